"""Capturing features: forward hooks on the eager network, each checked to have fired, all removed afterwards."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import CaptureError, LayerNameError
from deepcollapse.linalg import as_float64, first_largest
from deepcollapse.measurement.layers import HEAD_INPUT, INPUT, choose_layers, find_head, named_layers, unwrapped
from deepcollapse.measurement.reduction import Reduction, check_reduction, first_tensor, reduce_features


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
        found = find_head(network, head, num_classes)
        self.head_name, self.head = found if found else (None, None)
        self.layers, self.exact = choose_layers(network, layers, self.head_name)
        self.reduction, self.num_classes = reduction, num_classes or head_width(self.head)
        self.classifier: Tensor | None = None
        self.bias: Tensor | None = None
        self.notes: list[str] = []
        self.order: list[str] | None = None  # the layers that fire, in the order of the first pass
        self.by_position = False
        self.reductions: dict[str, str] = {}  # how each layer was reduced, where that was not a choice
        self._handles: list[Any] = []
        self._closing = contextlib.ExitStack()
        self._labels_shape = torch.Size()  # empty: no pass of ours is under way
        self._mask: Tensor | None = None
        self._fired: dict[str, list[Tensor]] = {}
        self._logits: Tensor | None = None

    # --- hooks ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> "Capture":
        modules = named_layers(self.network)
        for name in dict.fromkeys(layer.partition("#")[0] for layer in self.layers if layer != INPUT):
            self._handles.append(modules[name].register_forward_hook(self._on_layer(name)))
        self._handles.append(self.root.register_forward_pre_hook(self._on_start, with_kwargs=True))
        if self.head is not None:
            self._handles.append(self.head.register_forward_pre_hook(self._on_head))
            self._handles.append(self.head.register_forward_hook(self._after_head))
        self._closing.enter_context(eager())
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._closing.close()

    def _keep(self, name: str, output: Any, module: nn.Module, reduction: Reduction | None = None) -> None:
        if not self._labels_shape:
            return  # a pass without labels is none of ours
        features = first_tensor(output, name)
        if features.ndim <= 2:
            self.reductions[name] = "none"
        elif reduction is not None:
            self.reductions[name] = reduction
        reduced = reduce_features(features, self._labels_shape, reduction or self.reduction, name, module, self._mask)
        self._fired.setdefault(name, []).append(reduced)

    def _on_layer(self, name: str):
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            self._keep(name, output, module)

        return hook

    def _on_start(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._mask = kwargs.get("attention_mask")
        if INPUT in self.layers:
            self._keep(INPUT, args + tuple(kwargs.values()), module, "flatten")

    def _on_head(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._keep(HEAD_INPUT, args, module)
        # Here, because sharded weights are whole only while their module runs.
        self.classifier, self.bias = head_weights(module, self.head_name or "")

    def _after_head(self, module: nn.Module, _: Any, output: Any) -> None:
        if self._labels_shape:
            name = self.head_name or ""
            logits = first_tensor(output, name)
            self._logits = reduce_features(logits, self._labels_shape, "mean", name, module, self._mask)

    # --- one forward pass --------------------------------------------------------------------------------------------

    def expect(self, labels: Tensor) -> None:
        """Say that a forward pass with these labels comes next."""
        self._labels_shape, self._mask = labels.shape, None
        self._fired, self._logits = {}, None

    def take(self, labels: Tensor, output: Any) -> Captured:
        """The features of the pass that just ended. Raises CaptureError where a layer did not fire as it should."""
        fired, self._fired = self._fired, {}
        shape, self._labels_shape = self._labels_shape, torch.Size()
        self.by_position = len(shape) > 1
        features = {
            name if len(calls) == 1 else f"{name}#{call}": value
            for name, calls in fired.items()
            for call, value in enumerate(calls, start=1)
        }
        if self.order is None:
            self._settle_order(features)
        wanted = self.order or []
        if missing := [name for name in wanted if name not in features]:
            raise CaptureError(
                f"layer {missing[0]!r} fired in the first batch and not in this one ({len(missing)} layers did so). "
                "Measure layers that run in every forward pass, each the same number of times."
            )
        logits = self._logits if self._logits is not None else _output_logits(output, self.num_classes)
        fits = logits is not None and len(logits) == shape.numel()
        return Captured(
            features={name: features[name] for name in wanted},
            labels=labels.reshape(-1),
            decisions=first_largest(logits) if fits else None,
            logits=logits if fits else None,
        )

    def _settle_order(self, features: dict[str, Tensor]) -> None:
        """Hold the layers that fired in the first pass against those that were chosen."""
        if self.head is not None and HEAD_INPUT not in features:
            raise CaptureError(
                f"the head {self.head_name!r} was never called as a module in a forward pass. Name the layer that is "
                "with head='...', or pass head=None; scripted networks do not run hooks, so measure the eager one."
            )
        if many := [name for name in features if name.startswith(HEAD_INPUT + "#")]:
            raise CaptureError(
                f"the head {self.head_name!r} was called {len(many)} times in one forward pass, so its input is no one "
                "set of features. Name another layer with head='...'."
            )
        kept = {HEAD_INPUT} if self.head is not None else set()
        for name in self.layers:
            found = [f for f in features if f == name or f.startswith(name + "#")]
            if not found and name in self.exact:
                raise CaptureError(
                    f"layer {name!r} was never called in a forward pass, or not that often. Layers that were called: "
                    f"{', '.join(list(features)[:8]) or 'none'}. "
                    "Scripted networks do not run hooks: measure the eager one."
                )
            if not found:
                self.notes.append(f"layer {name!r} was chosen by default or pattern and never called; it is left out")
            kept.update(found)
        self.order = [name for name in features if name in kept]
        if not self.order:
            raise CaptureError(
                "none of the chosen layers was called in a forward pass. "
                "Scripted networks do not run hooks: measure the eager one."
            )


class GivenHead:
    """A classifier that came as tensors, in the place of a captured one."""

    by_position = False

    def __init__(self, classifier: Tensor | None, bias: Tensor | None) -> None:
        self.classifier = None if classifier is None else as_float64(classifier)
        self.bias = None if bias is None else as_float64(bias)
        self.reductions: dict[str, str] = {}


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Compiled networks run their eager code in this block: hooks registered after compiling would not fire."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and importing the compiler takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def head_width(head: nn.Module | None) -> int | None:
    """C, the number of outputs of a linear head."""
    width = getattr(head, "out_features", None) or getattr(head, "out_channels", None)
    return width if isinstance(width, int) else None


def head_weights(head: nn.Module, name: str) -> tuple[Tensor, Tensor | None]:
    """W (C, d) and b (C,) of a linear layer or a 1 x 1 convolution, in float64, whole where they are sharded."""
    weight = getattr(head, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2 or weight[0, 0].numel() != 1:
        raise LayerNameError(
            f"the head {name!r} is a {type(head).__name__} without a weight of shape (classes, dim). "
            "Name the final linear layer with head='...', or pass head=None to measure without a classifier."
        )
    bias = getattr(head, "bias", None)
    whole = [w.full_tensor() if hasattr(w, "full_tensor") else w for w in (weight, bias) if isinstance(w, Tensor)]
    # Copies: a view would change as training goes on.
    weights = [w.detach().to("cpu" if w.device.type == "mps" else w.device, torch.float64, copy=True) for w in whole]
    return weights[0].flatten(1), (weights[1] if len(weights) > 1 else None)


def _output_logits(output: Any, num_classes: int | None) -> Tensor | None:
    """The network's own output as logits (n, C), where no head was named."""
    logits = getattr(output, "logits", output)
    fits = isinstance(logits, Tensor) and logits.ndim == 2 and num_classes in (None, logits.shape[1])
    return logits.detach() if fits else None
