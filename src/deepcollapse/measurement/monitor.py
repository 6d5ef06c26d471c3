"""Measuring inside a loop of the user's own."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import BatchError, CaptureError, OptionError
from deepcollapse.geometry.moments import Weighting
from deepcollapse.measurement.capture import Capture
from deepcollapse.measurement.conclude import Settings, conclude
from deepcollapse.measurement.evidence import wanted_measures
from deepcollapse.measurement.measure import parse_bytes
from deepcollapse.measurement.measurement import Measurement
from deepcollapse.measurement.passes import FirstPass, Intake, Kept
from deepcollapse.measurement.reduction import Reduction


class Monitor:
    """Measures what passes through a network while it is open, in a loop of your own.

    Say the labels before each forward pass; `compute` gives the measurement so far, and `reset` starts anew. The
    network's mode is left as it is: in training mode batch norm and dropout make the features those of a moving
    network, and the measurement says so. Features are kept for NC1, NC4 and nearest-class-mean accuracy while they fit
    `memory_budget`; beyond it those are NaN with the reason, and the rest stands. Arguments are those of `measure`.

    Raises CaptureError where a layer does not fire, OptionError where the number of classes cannot be told.

    >>> net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    >>> with Monitor(net, num_classes=2) as monitor:
    ...     for x, y in [(torch.randn(16, 2), torch.arange(16) % 2)]:
    ...         monitor.labels(y)
    ...         logits = net(x)
    >>> monitor.compute().layers
    ('1', 'head.input')
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        num_classes: int | None = None,
        layers: str | Sequence[str] | None = None,
        head: str | None = "auto",
        measures: Sequence[str] | None = None,
        split: str = "train",
        means_of: Measurement | None = None,
        weighting: Weighting = "class",
        centre: Weighting | None = None,
        reduction: Reduction = "mean",
        class_names: Sequence[str] = (),
        ignore_index: int = -100,
        on_nonfinite: str = "raise",
        memory_budget: int | str = "1GiB",
        max_scatter_dim: int = 2048,
    ) -> None:
        self.settings = Settings(
            metrics=wanted_measures(measures),
            split=split,
            weighting=weighting,
            centre=centre or weighting,
            reduction=reduction,
            max_scatter_dim=max_scatter_dim,
            class_names=class_names,
        )
        self.capture = Capture(network, layers=layers, head=head, num_classes=num_classes, reduction=reduction)
        if self.capture.num_classes is None:
            raise OptionError("num_classes is not known: there is no head to tell. Pass num_classes=...")
        self.intake = Intake(self.capture.num_classes, ignore_index, on_nonfinite)
        self.budget, self.means_of = parse_bytes(memory_budget), means_of
        self._labels: Tensor | None = None
        self._handle: Any = None
        self.reset()

    def reset(self) -> None:
        """Forget what was measured, and start anew (say, at the next epoch)."""
        self.first, self.kept = FirstPass(self.intake, self.settings.level), Kept(self.budget)
        self._labels, self._trained, self._unlabelled = None, False, 0

    def __enter__(self) -> "Monitor":
        self.capture.__enter__()
        self._handle = self.capture.root.register_forward_hook(self._after_forward)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._handle.remove()
        self.capture.__exit__()
        if kind is None:
            self._check_fired()

    def labels(self, labels: Any) -> None:
        """Say the labels of the samples in the next forward pass: (n,), or one a position."""
        self._check_fired()
        labels = torch.as_tensor(labels)
        if labels.ndim == 0:
            raise BatchError("labels came as a single number; expected one for each sample, (n,).")
        self._labels = labels
        self.capture.expect(labels)

    def _check_fired(self) -> None:
        if self._labels is not None:
            self._labels = None
            raise CaptureError(
                "labels were given and no forward pass of the monitored network followed. Call monitor.labels(y) right "
                "before network(x), and open the monitor on the network that is called (for a compiled one, either)."
            )

    def _after_forward(self, network: nn.Module, _: Any, output: Any) -> None:
        if self._labels is None:
            self._unlabelled += 1
            if self._unlabelled == 1:
                warnings.warn(
                    "the monitored network ran without monitor.labels(y) before it; such batches are not measured.",
                    stacklevel=2,
                )
            return
        labels, self._labels = self._labels, None
        self._trained |= network.training
        # What is made here is used outside of the user's inference mode, if that is what the loop runs in.
        with torch.inference_mode(False), torch.no_grad():
            self.kept.add(self.first.add(self.capture.take(labels, output)))

    def compute(self) -> Measurement:
        """The measurement of everything since the start, or the last `reset`. Raises BatchError before any batch."""
        again = self.kept.batches
        reason = (
            f"it takes a second look at the features, and those passed the memory budget of {self.budget} bytes; "
            "raise memory_budget, or use deepcollapse.measure, which runs the network twice"
        )
        with torch.inference_mode(False), torch.no_grad():
            records, arrays, moments = conclude(
                self.first, reason if again is None else again, self.capture, self.settings, means_of=self.means_of
            )
        notes = list(self.capture.notes)
        if self._trained:
            notes.append("the network ran in training mode: features moved while they were measured")
        if self._unlabelled:
            notes.append(f"{self._unlabelled} forward passes came without labels and are left out")
        return Measurement(tuple(records), arrays, moments, tuple(moments), runs=1, notes=tuple(notes))
