"""Measuring inside a loop of the user's own."""

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

from torch import nn

from deepcollapse.errors import CaptureError
from deepcollapse.geometry.moments import Weighting
from deepcollapse.measurement.capture import Capture
from deepcollapse.measurement.conclude import Settings, conclude
from deepcollapse.measurement.evidence import wanted_measures
from deepcollapse.measurement.measurement import Measurement
from deepcollapse.measurement.passes import FirstPass, Intake, Kept, parse_bytes
from deepcollapse.measurement.reduction import Reduction
from deepcollapse.measurement.weights import MAX_WEIGHT_DIM


class Monitor:
    """Measures what passes through a network while it is open, in a loop of your own.

    Say the labels before each forward pass; `compute` gives the measurement so far, and `reset` starts anew. The
    network's mode is left as it is: in training mode batch norm and dropout make the features those of a moving
    network, and the measurement says so. Features are kept for NC1, NC4 and nearest-class-mean accuracy while they fit
    `memory_budget`; beyond it those are NaN with the reason, and the rest stands. Arguments are those of `measure`.

    Raises CaptureError where a layer does not fire, OptionError where the number of classes cannot be told.

    >>> import torch
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
        weights: bool | None = None,
        max_weight_dim: int = MAX_WEIGHT_DIM,
    ) -> None:
        self.settings = Settings(
            metrics=wanted_measures(measures),
            split=split,
            weighting=weighting,
            centre=centre or weighting,
            reduction=reduction,
            max_scatter_dim=max_scatter_dim,
            class_names=class_names,
            means_of=means_of,
            weights=means_of is None if weights is None else weights,
            max_weight_dim=max_weight_dim,
        )
        self.capture = Capture(network, layers=layers, head=head, num_classes=num_classes, reduction=reduction)
        self.intake = Intake(self.capture.num_classes, ignore_index, on_nonfinite)
        self.budget = parse_bytes(memory_budget)
        self._closing: contextlib.ExitStack | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what was measured, and start anew (say, at the next epoch)."""
        self.first = FirstPass(self.intake, self.settings.level, reference=self.settings.reference)
        self.kept = Kept(self.budget)
        self.capture.precisions.clear()
        self._waiting = self._trained = False
        self._unlabelled = 0

    def __enter__(self) -> "Monitor":
        if self._closing is not None:
            raise CaptureError("this monitor is open already; use one `with monitor:` block at a time.")
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.capture)
            stack.callback(self.capture.root.register_forward_hook(self._after_forward).remove)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._closing is not None:
            self._closing.close()
        self._closing = None
        if kind is None:
            self._check_fired()

    def labels(self, labels: Any) -> None:
        """Say the labels of the samples in the next forward pass: (n,), soft (n, C), or one a position."""
        if self._closing is None:
            raise CaptureError("this monitor is not open, so it sees no forward pass. Use it inside `with monitor:`.")
        self._check_fired()
        self.capture.expect(labels)
        self._waiting = True

    def _check_fired(self) -> None:
        if self._waiting:
            self._waiting = False
            raise CaptureError(
                "labels were given and no forward pass of the monitored network was finished with them. Call "
                "monitor.labels(y) right before network(x), and open the monitor on the network that is called (for a "
                "compiled one, either)."
            )

    def _after_forward(self, network: nn.Module, _: Any, output: Any) -> None:
        if not self._waiting:
            self._unlabelled += 1
            if self._unlabelled == 1:
                warnings.warn(
                    "the monitored network ran without monitor.labels(y) before it; such batches are not measured.",
                    stacklevel=2,
                )
            return
        self._waiting = False
        self._trained |= network.training
        self.kept.add(self.first.add(self.capture.take(output)))

    def compute(self) -> Measurement:
        """The measurement of everything since the start, or the last `reset`. Raises BatchError before any batch."""
        again = self.kept.batches
        reason = (
            f"it takes a second look at the features, and those passed the memory budget of {self.budget} bytes; "
            "raise memory_budget, or use deepcollapse.measure, which runs the network twice"
        )
        found = conclude(self.first, reason if again is None else again, self.capture, self.settings)
        notes = [*self.capture.notes, *self.first.left_out()]
        if again is None:
            notes.append(f"features passed the memory budget of {self.budget} bytes: measures of a second look are NaN")
        if self._trained:
            notes.append("the network ran in training mode: features moved while they were measured")
        if self._unlabelled:
            notes.append(f"{self._unlabelled} forward passes came without labels and are left out")
        layers = tuple(found.moments)
        return Measurement(tuple(found.records), found.arrays, found.moments, layers, 1, tuple(notes), found.probes)
