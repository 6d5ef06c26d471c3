"""Capturing features: forward hooks on the eager network, each checked to have fired, all removed afterwards."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import CaptureError, OptionError
from deepcollapse.geometry.moments import coarser
from deepcollapse.linalg import first_largest
from deepcollapse.measurement.batches import read_targets
from deepcollapse.measurement.head import class_count, find_head, head_weights, output_logits
from deepcollapse.measurement.layers import HEAD_INPUT, INPUT, choose_layers, named_layers
from deepcollapse.measurement.reduction import (
    Reduction,
    check_reduction,
    first_tensor,
    has_channels_last,
    reduce_features,
)
from deepcollapse.measurement.wrappers import eager, refuse_scripted, unwrapped


@dataclass(frozen=True)
class Captured:
    """One batch as the network saw it: features (n, d) of each layer, labels (n,), decisions (n,), logits (n, C)."""

    features: dict[str, Tensor]
    labels: Tensor
    decisions: Tensor | None
    logits: Tensor | None = None


class Capture:
    """Hooks on chosen layers and on the head of a network.

    Within `with capture:` the hooks are in place; `expect(labels)` before each forward pass says what is to come, and
    `take(output)` after it hands over the features, reduced inside the hooks so that no feature map is kept. A module
    that runs several times in one pass gives `name#1`, `name#2`, ...; a tuple or model output gives its first tensor.
    Compiled networks run eagerly meanwhile: late hooks on compiled code are skipped in silence.

    Args: as in `measure`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        layers: str | Sequence[str] | None = None,
        head: str | None = "auto",
        num_classes: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        check_reduction(reduction)
        self.network, self.root = network, unwrapped(network)
        refuse_scripted(self.root)
        self.head_name, self.head = find_head(network, head, num_classes) or ("", None)
        classes = num_classes if self.head is None else class_count(self.head_name, self.head, num_classes)
        if classes is None:
            given = "none was given (head=None)" if self.head is None else f"{self.head_name!r} does not say"
            raise OptionError(f"the number of classes is read from the head, and {given}. Pass num_classes=...")
        choice = choose_layers(network, layers, self.head_name)
        self.layers, self.exact, self.notes = choice.names, choice.exact, choice.notes
        self.reduction: Reduction = reduction
        self.num_classes = classes
        self.classifier: Tensor | None = None
        self.bias: Tensor | None = None
        self.order: list[str] | None = None  # the layers that fire, in the order of the first pass
        self.by_position = False
        self.reductions: dict[str, str] = {}  # how each layer was reduced, where that was not a choice
        self.precisions: dict[str, torch.dtype] = {}  # the coarsest type that each layer gave
        self._channels_last: dict[str, bool] = {}
        self._closing = contextlib.ExitStack()
        self._labels: Tensor | None = None  # None: no pass of ours is under way
        self._mask: Tensor | None = None
        self._fired: list[tuple[str, Tensor]] = []  # in order
        self._logits: Tensor | None = None

    # --- hooks ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> "Capture":
        modules = named_layers(self.network)
        handles = [
            modules[name].register_forward_hook(self._on_layer(name))
            for name in dict.fromkeys(layer.partition("#")[0] for layer in self.layers if layer != INPUT)
        ]
        handles.append(self.root.register_forward_pre_hook(self._on_start, with_kwargs=True))
        if self.head is not None:
            handles.append(self.head.register_forward_pre_hook(self._on_head, with_kwargs=True))
            handles.append(self.head.register_forward_hook(self._after_head))
        for handle in handles:
            self._closing.callback(handle.remove)
        self._closing.enter_context(eager())
        return self

    def __exit__(self, *_: object) -> None:
        self._labels = None
        self._closing.close()

    def _keep(self, name: str, output: Any, module: nn.Module, reduction: Reduction | None = None) -> None:
        if self._labels is None:
            return  # a pass without labels is none of ours
        features = first_tensor(output, name)
        if features.ndim <= 2:
            self.reductions[name] = "none"
        elif reduction is not None:
            self.reductions[name] = reduction
        self.precisions[name] = coarser(self.precisions.get(name, features.dtype), features.dtype)
        reduced = self._reduce(features, name, module, reduction or self.reduction)
        self._fired.append((name, reduced))

    def _reduce(self, features: Tensor, name: str, module: nn.Module, reduction: Reduction) -> Tensor:
        assert self._labels is not None
        last = False
        if features.ndim > 2:
            # Decided once: later batches may be of another length.
            if name not in self._channels_last:
                self._channels_last[name] = self._find_channels(features.shape, name, module)
            last = self._channels_last[name]
        shape = self._labels.shape
        reduced = reduce_features(features, shape, reduction, name, channels_last=last, mask=self._mask)
        return reduced.cpu() if reduced.device.type == "mps" else reduced  # no float64 there

    def _find_channels(self, shape: torch.Size, name: str, module: nn.Module) -> bool:
        if name == HEAD_INPUT:
            return not isinstance(module, nn.modules.conv._ConvNd)
        everywhere = list(self.root.modules())
        own = list(module.modules())
        here = everywhere.index(module)
        return has_channels_last(shape, own[::-1], everywhere[:here][::-1] + everywhere[here + len(own) :])

    def _on_layer(self, name: str):
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            self._keep(name, output, module)

        return hook

    def _on_start(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._mask = kwargs.get("attention_mask")
        if INPUT in self.layers:
            self._keep(INPUT, args + tuple(kwargs.values()), module, "flatten")

    def _on_head(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._labels is None:
            return  # a pass without labels is none of ours
        self._keep(HEAD_INPUT, args + tuple(kwargs.values()), module)
        # Here, because sharded weights are whole only while their module runs.
        self.classifier, self.bias = head_weights(module, self.head_name)

    def _after_head(self, module: nn.Module, _: Any, output: Any) -> None:
        if self._labels is not None:
            self._channels_last[self.head_name] = not isinstance(module, nn.modules.conv._ConvNd)
            self._logits = self._reduce(first_tensor(output, self.head_name), self.head_name, module, "mean")

    # --- one forward pass --------------------------------------------------------------------------------------------

    def expect(self, labels: Any) -> None:
        """Say that a forward pass with these labels comes next: (n,), soft (n, C), or one a position."""
        self._labels, soft = read_targets(labels, self.num_classes)
        self._mask, self._fired, self._logits = None, [], None
        note = "soft labels were read as hard ones: the class with the largest share counts"
        if soft and note not in self.notes:
            warnings.warn(note, stacklevel=4)
            self.notes.append(note)

    def take(self, output: Any) -> Captured:
        """The features of the pass that just ended. Raises CaptureError where a layer did not fire as it should."""
        fired, self._fired = self._fired, []
        labels, self._labels = self._labels, None
        assert labels is not None
        self.by_position = labels.ndim > 1
        calls, features = Counter(name for name, _ in fired), {}
        so_far = Counter[str]()
        for name, value in fired:
            so_far[name] += 1
            features[name if calls[name] == 1 else f"{name}#{so_far[name]}"] = value
        if self.order is None:
            self.order = self._settle_order(features)
        missing = [name for name in self.order if name not in features]
        if missing:
            name = missing[0].partition("#")[0]
            before = sum(layer.partition("#")[0] == name for layer in self.order)
            raise CaptureError(
                f"layer {name!r} was called {calls[name]} times in this forward pass and {before} times "
                "in the first one. Choose layers that run equally often in every pass."
            )
        # The network's own output decides, where it is logits; the head's where more comes after it.
        last = self._channels_last.get(self.head_name, False)
        logits = output_logits(output, labels.shape, self.num_classes, last)
        logits = self._logits if logits is None else logits
        if logits is not None and logits.shape != (labels.numel(), self.num_classes):
            logits = None
        return Captured(
            features={name: features[name] for name in self.order},
            labels=labels.reshape(-1),
            decisions=None if logits is None else first_largest(logits),
            logits=logits,
        )

    def _settle_order(self, features: dict[str, Tensor]) -> list[str]:
        """Hold the layers that fired in the first pass against those that were chosen."""
        if self.head is not None and HEAD_INPUT not in features:
            calls = sum(name.startswith(HEAD_INPUT + "#") for name in features)
            raise CaptureError(
                f"the head {self.head_name!r} was called {calls} times in one forward pass; it must be called once, as "
                "a module. Name the layer that is with head='...', or pass head=None to measure without a classifier."
            )
        kept = {HEAD_INPUT} if self.head is not None else set()
        for name in self.layers:
            found = [f for f in features if f == name or f.startswith(name + "#")]
            if not found and name in self.exact:
                raise CaptureError(
                    f"layer {name!r} was never called in a forward pass, or not that often. Layers that were called: "
                    f"{', '.join(list(features)[:8]) or 'none'}."
                )
            if not found:
                self.notes.append(f"layer {name!r} was chosen by default or pattern and never called; it is left out")
            kept.update(found)
        if not kept:
            chosen = ", ".join(self.layers[:8]) or "there are none"
            raise CaptureError(
                f"none of the chosen layers was called in a forward pass: {chosen}. "
                "Name layers that are called as modules with layers=[...], or 'input' for the raw input."
            )
        return [name for name in features if name in kept]
