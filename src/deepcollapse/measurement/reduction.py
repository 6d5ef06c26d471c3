"""From what a layer gives to one feature vector a sample; the record says which way was taken."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from deepcollapse.errors import CaptureError, OptionError

Reduction = Literal["mean", "flatten", "cls"]
POSITIONS = "positions"  # the reduction of records where every position has a label of its own

# Where layers keep the number of channels that they give, and whether those are then the last axis.
WIDTHS = {"out_channels": False, "num_features": False, "num_channels": False}
WIDTHS |= {"out_features": True, "normalized_shape": True, "embedding_dim": True, "embed_dim": True, "nf": True}


def check_reduction(reduction: str) -> None:
    """Raise OptionError unless `reduction` is one there is."""
    if reduction not in get_args(Reduction):
        raise OptionError(f"reduction must be one of {', '.join(map(repr, get_args(Reduction)))}; got {reduction!r}.")


def first_tensor(output: Any, name: str) -> Tensor:
    """The features in what a layer gave, free of their history: see `first_floating`."""
    return first_floating(output, name).detach()


def first_floating(output: Any, name: str) -> Tensor:
    """The features in what a layer gave: a tensor, or the first one in a tuple, list, mapping or model output."""
    if isinstance(output, Mapping):
        output = [output[key] for key in ("last_hidden_state", "logits") if key in output] + list(output.values())
    if isinstance(output, tuple | list):
        found = [part for part in output if isinstance(part, Tensor) and part.dtype.is_floating_point]
        output = found[0] if found else output
    if not isinstance(output, Tensor) or not output.dtype.is_floating_point:
        given = f"a tensor of {output.dtype}" if isinstance(output, Tensor) else type(output).__name__
        raise CaptureError(
            f"layer {name!r} gave {given}, which holds no floating-point tensor to measure. Choose a layer that does."
        )
    return output


def has_channels_last(shape: torch.Size, own: Iterable[nn.Module], around: Iterable[nn.Module]) -> bool:
    """Whether the channels of an output (n, ...) are its last axis, as in transformers, and not its second.

    `own` are the parts of the layer, `around` the other modules, both from the closest on. The closest whose number
    of outputs is the size of exactly one of the two axes tells. Where both are of that size, its kind does
    (convolutions and batch norm keep channels second), a convolution inside the layer before anything else; where
    neither is, that of the closest layer.

    >>> has_channels_last(torch.Size([8, 16, 20]), [], [nn.Linear(4, 20), nn.Conv1d(3, 16, 3)])
    True
    """
    ties, kinds = [], []
    for parts in (own, around):
        for module in parts:
            width, last = _channels(module)
            if width is not None:
                kinds.append(last)
            if width == shape[1] == shape[-1]:
                ties.append(last)
            elif width in (shape[1], shape[-1]):
                return width == shape[-1]
        if ties:
            return all(ties) if parts is own else ties[0]
    return kinds[0] if kinds else len(shape) == 3


def _channels(module: nn.Module) -> tuple[int | None, bool]:
    """How many channels a layer without parts gives, where it says so, and whether they are the last axis."""
    if module._modules:
        return None, False
    for name, last in WIDTHS.items():
        width = getattr(module, name, None)
        width = width[0] if isinstance(width, tuple) and len(width) == 1 else width
        if isinstance(width, int):
            return width, last
    return None, False


def reduce_features(
    output: Tensor,
    labels_shape: torch.Size,
    reduction: Reduction,
    name: str,
    *,
    channels_last: bool,
    mask: Tensor | None = None,
) -> Tensor:
    """Feature vectors (n, d) from a layer's output, for labels of shape (n,) or, position by position, (n, ...).

    "mean" averages over positions: all axes but the first and the channels; of (n, length, channels) sequences,
    padding (`mask` 0) is left out. "flatten" keeps every number, "cls" takes the first position of a sequence. Raises
    CaptureError where the first axis is not the samples.
    """
    if len(labels_shape) > 1:
        return _by_position(output, labels_shape, name, channels_last)
    if output.ndim == 0 or output.shape[0] != labels_shape[0]:
        raise CaptureError(
            f"layer {name!r} gave features of shape {tuple(output.shape)} for {labels_shape[0]} labels; the first axis "
            "must be the samples. Set batch_first=True in sequence models, or choose another layer."
        )
    if output.ndim <= 2 or reduction == "flatten":
        # A copy: what comes after the layer may overwrite it in place.
        return output.flatten(1).clone() if output.ndim > 1 else output[:, None].clone()
    if reduction == "cls":
        if output.ndim != 3 or not channels_last:
            raise CaptureError(
                f"layer {name!r} gave features of shape {tuple(output.shape)}; reduction='cls' takes the first "
                "position of (samples, length, channels). Use reduction='mean'."
            )
        return output[:, 0].clone()
    # Half precision is averaged in float32.
    wide = torch.float32 if output.dtype in (torch.float16, torch.bfloat16) else output.dtype
    if not channels_last:
        return output.flatten(2).mean(dim=2, dtype=wide)
    if mask is not None and mask.shape == output.shape[:2] and output.ndim == 3:
        # Left out rather than multiplied by 0: padded positions may hold NaN.
        kept = mask.bool()[..., None]
        return output.masked_fill(~kept, 0).sum(dim=1, dtype=wide) / kept.sum(dim=1).clamp(min=1)
    return output.flatten(1, -2).mean(dim=1, dtype=wide)


def _by_position(output: Tensor, labels_shape: torch.Size, name: str, channels_last: bool) -> Tensor:
    """One row for each labelled position, channels last or first."""
    last = output.ndim > len(labels_shape) and output.shape[: len(labels_shape)] == labels_shape
    first = output.ndim > 1 and output.shape[:1] + output.shape[2:] == labels_shape
    if last and (channels_last or not first):
        return output.reshape(labels_shape.numel(), -1).clone()
    if first:
        return output.movedim(1, -1).reshape(labels_shape.numel(), -1).clone()
    raise CaptureError(
        f"layer {name!r} gave features of shape {tuple(output.shape)} for labels of shape {tuple(labels_shape)}; "
        "position by position they must be (*labels, channels) or (samples, channels, *positions). "
        "Choose layers that keep all positions, or turn one-hot labels into class indices with .argmax(1)."
    )
