"""From what a layer gives to one feature vector a sample; the record says which way was taken."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from deepcollapse.errors import CaptureError, OptionError

Reduction = Literal["mean", "flatten", "cls"]
POSITIONS = "positions"  # the reduction of records where every position has a label of its own

# Layers whose three-dimensional outputs are (samples, channels, length) and not (samples, length, channels).
CHANNELS_FIRST = (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)


def check_reduction(reduction: str) -> None:
    """Raise OptionError unless `reduction` is one there is."""
    if reduction not in get_args(Reduction):
        raise OptionError(f"reduction must be one of {', '.join(map(repr, get_args(Reduction)))}; got {reduction!r}.")


def first_tensor(output: Any, name: str) -> Tensor:
    """The features in what a layer gave: a tensor, or the first one in a tuple, list, mapping or model output."""
    if isinstance(output, Mapping):
        output = [output[key] for key in ("last_hidden_state", "logits") if key in output] + list(output.values())
    if isinstance(output, tuple | list):
        found = [part for part in output if isinstance(part, Tensor) and part.dtype.is_floating_point]
        output = found[0] if found else output
    if not isinstance(output, Tensor) or not output.dtype.is_floating_point:
        raise CaptureError(
            f"layer {name!r} gave {type(output).__name__}, which holds no floating-point tensor to measure. "
            "Choose a layer that does."
        )
    return output.detach()


def reduce_features(
    output: Tensor, labels_shape: torch.Size, reduction: Reduction, name: str, module: nn.Module, mask: Tensor | None
) -> Tensor:
    """Feature vectors (n, d) from a layer's output, for labels of shape (n,) or, position by position, (n, ...).

    "mean" averages over positions: the trailing axes of (n, channels, ...) maps, or the middle one of (n, length,
    channels) sequences, of which padding (`mask` 0) is left out. "flatten" keeps every number, "cls" takes the first
    position of a sequence. Raises CaptureError where the first axis is not the samples.
    """
    if len(labels_shape) > 1:
        return _by_position(output, labels_shape, name)
    if output.ndim == 0 or output.shape[0] != labels_shape[0]:
        raise CaptureError(
            f"layer {name!r} gave features of shape {tuple(output.shape)} for {labels_shape[0]} labels; the first axis "
            "must be the samples. Set batch_first=True in sequence models, or choose another layer."
        )
    # Half precision is averaged in float32; a layer that may still be overwritten in place is copied.
    wide = torch.float32 if output.dtype in (torch.float16, torch.bfloat16) else output.dtype
    if output.ndim <= 2 or reduction == "flatten":
        return output.flatten(1).clone() if output.ndim > 1 else output[:, None].clone()
    if reduction == "cls":
        if output.ndim != 3:
            raise CaptureError(
                f"layer {name!r} gave features of shape {tuple(output.shape)}; reduction='cls' takes the first "
                "position of (samples, length, channels). Use reduction='mean'."
            )
        return output[:, 0].clone()
    if output.ndim > 3 or any(isinstance(part, CHANNELS_FIRST) for part in module.modules()):
        return output.flatten(2).mean(dim=2, dtype=wide)
    if mask is not None and mask.shape == output.shape[:2]:
        kept = mask.to(wide)[..., None]
        return (output * kept).sum(dim=1, dtype=wide) / kept.sum(dim=1).clamp(min=1)
    return output.mean(dim=1, dtype=wide)


def _by_position(output: Tensor, labels_shape: torch.Size, name: str) -> Tensor:
    """One row for each labelled position, channels last or first."""
    positions = len(labels_shape)
    if output.shape[:positions] == labels_shape:
        return output.reshape(labels_shape.numel(), -1).clone()
    if output.shape[:1] + output.shape[2:] == labels_shape:
        return output.movedim(1, -1).reshape(labels_shape.numel(), -1).clone()
    raise CaptureError(
        f"layer {name!r} gave features of shape {tuple(output.shape)} for labels of shape {tuple(labels_shape)}; "
        "position by position they must be (*labels, channels) or (samples, channels, *positions)."
    )
