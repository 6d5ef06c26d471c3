"""The classifier: which layer it is, its weights, and what the network decides."""

from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import LayerNameError, OptionError
from deepcollapse.linalg import as_float64
from deepcollapse.measurement.layers import named_layers, no_such_layer


def find_head(network: nn.Module, head: str | None, num_classes: int | None) -> tuple[str, nn.Module] | None:
    """The final linear layer: by name, or the last nn.Linear that gives `num_classes` numbers. None for head=None.

    Where no nn.Linear fits `num_classes`, the last 1 x 1 convolution that does. Raises LayerNameError where the name
    is none of the network's, or no layer can be told to be the head.
    """
    if head is None:
        return None
    layers = named_layers(network)
    if head != "auto":
        if head not in layers:
            raise no_such_layer(head, layers)
        return head, layers[head]
    linear = {name: module for name, module in layers.items() if isinstance(module, nn.Linear)}
    fitting = [n for n, m in linear.items() if num_classes in (None, m.out_features)]
    fitting = fitting or [n for n, m in layers.items() if _pointwise(m) and m.out_channels == num_classes]
    if not fitting:
        found = ", ".join(f"{n!r} ({m.in_features} to {m.out_features})" for n, m in list(linear.items())[-3:])
        wanted = "" if num_classes is None else f" with {num_classes} outputs"
        raise LayerNameError(
            f"no final linear layer{wanted} could be found; the last linear layers are: {found or 'none at all'}. "
            "Name it with head='...', or pass head=None to measure without a classifier."
        )
    return fitting[-1], layers[fitting[-1]]


def _pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd) and set(module.kernel_size) == {1} and module.groups == 1


def class_count(name: str, head: nn.Module, num_classes: int | None) -> int | None:
    """C: as given, or as many as the head has outputs. Raises OptionError where the two differ."""
    width = getattr(head, "out_features", None) or getattr(head, "out_channels", None)
    if not isinstance(width, int):
        return num_classes
    if num_classes not in (None, width):
        raise OptionError(
            f"the head {name!r} has {width} outputs and num_classes is {num_classes}; they must be the same (classes "
            "that never occur are left out by themselves). Leave num_classes out, or name another layer with head=..."
        )
    return width


def head_weights(head: nn.Module, name: str) -> tuple[Tensor, Tensor | None]:
    """W (C, d) and b (C,) of a linear layer or a 1 x 1 convolution, in float64, whole where they are sharded."""
    weight = getattr(head, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2 or weight[0, 0].numel() != 1:
        raise LayerNameError(
            f"the head {name!r} is a {type(head).__name__} without a weight of shape (classes, dim). "
            "Name the final linear layer with head='...', or pass head=None to measure without a classifier."
        )
    bias = getattr(head, "bias", None)
    whole = [getattr(w, "full_tensor", lambda w=w: w)() for w in (weight, bias) if isinstance(w, Tensor)]
    # Copies: a view would change as training goes on.
    weights = [w.detach().to("cpu" if w.device.type == "mps" else w.device, torch.float64, copy=True) for w in whole]
    return weights[0].flatten(1), (weights[1] if len(weights) > 1 else None)


def output_logits(
    output: Any, labels_shape: torch.Size, num_classes: int | None, channels_last: bool = False
) -> Tensor | None:
    """The network's own output as logits (samples or positions, C), where it is that; None otherwise.

    Where there are as many positions as classes, `channels_last` tells which axis holds the classes.
    """
    logits = getattr(output, "logits", output)
    if isinstance(logits, tuple | list) and logits:
        logits = logits[0]
    if not isinstance(logits, Tensor) or not logits.dtype.is_floating_point:
        return None
    logits = logits.detach()
    width = logits.shape[-1] if num_classes is None else num_classes
    last = logits.shape == (*labels_shape, width)
    second = logits.shape == (*labels_shape[:1], width, *labels_shape[1:])
    if last and (channels_last or not second):
        return logits.reshape(-1, width)
    return logits.movedim(1, -1).reshape(-1, width) if second else None


class GivenHead:
    """A classifier that came as tensors, in the place of a captured one."""

    by_position = False

    def __init__(self, classifier: Tensor | None, bias: Tensor | None) -> None:
        self.classifier = None if classifier is None else as_float64(classifier).detach()
        self.bias = None if bias is None else as_float64(bias).detach()
        self.reductions: dict[str, str] = {}
        self.precisions: dict[str, torch.dtype] = {}
