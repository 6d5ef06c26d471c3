"""Reading batches: (inputs, labels) pairs, mappings as Hugging Face collates them, or the user's own kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import BatchError, LabelError

LABEL_KEYS = ("labels", "label", "y", "target", "targets")
BY_KEYWORD = {"pixel_values", "input_ids"}  # a lone input under another name goes by position


@dataclass(frozen=True)
class Batch:
    """What a network is called with, and the labels that belong to it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    labels: Any = None


ReadBatch = Callable[[Any], tuple[tuple[Any, ...], dict[str, Any], Any]]


def read_batch(batch: Any, custom: ReadBatch | None = None) -> Batch:
    """A batch as `Batch`: from a pair (inputs, labels), a mapping with a labels key, or by `custom(batch)`.

    `custom` returns (args, kwargs, labels); the network is then called as network(*args, **kwargs). Of a pair, inputs
    in a tuple or list go by position, one after the other. Of a mapping, the labels are under one of labels, label, y,
    target or targets, and the rest is passed by keyword; a lone input goes by position. Raises BatchError for anything
    else.

    >>> read_batch({"x": 1, "labels": 2})
    Batch(args=(1,), kwargs={}, labels=2)
    """
    if custom is not None:
        made = custom(batch)
        if not (isinstance(made, tuple) and len(made) == 3):
            raise BatchError(f"read_batch gave {_describe(made)}; expected a tuple (args, kwargs, labels).")
        args, kwargs, labels = made
        return Batch(args if isinstance(args, tuple) else (args,), dict(kwargs), labels)
    if isinstance(batch, Mapping):
        return _read_mapping(batch)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, labels = batch
        # Data loaders turn a sample's tuple of inputs into a list.
        return Batch(tuple(inputs) if type(inputs) in (tuple, list) else (inputs,), {}, labels)
    raise BatchError(
        f"a batch came as {_describe(batch)}; expected (inputs, labels) or a mapping with labels. "
        "Pass read_batch=lambda batch: (args, kwargs, labels) for any other kind."
    )


def _read_mapping(batch: Mapping[str, Any]) -> Batch:
    key = next((key for key in LABEL_KEYS if key in batch), None)
    if key is None:
        raise BatchError(
            f"a batch came as a mapping with the keys {', '.join(map(repr, batch))}; the labels must be under one of "
            f"{', '.join(LABEL_KEYS)}. Pass read_batch=lambda batch: (args, kwargs, labels) for other names."
        )
    rest = {name: value for name, value in batch.items() if name != key}
    if len(rest) == 1 and not BY_KEYWORD & rest.keys():
        return Batch(tuple(rest.values()), {}, batch[key])
    return Batch((), rest, batch[key])


def read_targets(labels: Any, num_classes: int) -> tuple[Tensor, bool]:
    """Labels as a tensor (n,), or (n, ...) with one for each position; and whether they came soft.

    Soft labels, floating (n, C), become their largest entry; a last axis of length 1 is dropped. Range and type are
    checked later, by `read_labels`. Raises BatchError for what is no tensor of labels, LabelError for soft labels of
    another number of classes.
    """
    try:
        targets = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BatchError(
            f"the labels of a batch came as {_describe(labels)}, which is no tensor of whole numbers. "
            "Turn class names into class indices, or pass read_batch=lambda batch: (args, kwargs, labels)."
        ) from error
    if targets.ndim == 0:
        raise BatchError(f"labels came as a single number ({targets.item()}); expected one for each sample, (n,).")
    if targets.ndim > 1 and targets.shape[-1] == 1:
        targets = targets.squeeze(-1)
    if targets.ndim == 1 or not targets.dtype.is_floating_point:
        return targets, False
    if targets.ndim > 2 or targets.shape[1] != num_classes:
        raise LabelError(
            f"labels are {targets.dtype} of shape {tuple(targets.shape)}; expected whole numbers, or soft labels of "
            f"shape (samples, {num_classes})."
        )
    return targets.argmax(dim=1), True


def _describe(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    return f"{type(value).__name__}{size}{shape}"


def network_place(network: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Where a network takes its inputs, and of which floating type: those of its first parameters."""
    parameters = [*network.parameters(), *network.buffers()]
    dtype = next((p.dtype for p in parameters if p.dtype.is_floating_point), None)
    return (parameters[0].device if parameters else torch.device("cpu")), dtype


def to_place(value: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """Tensors inside `value` moved to `device`; floating ones to the network's own type."""
    if isinstance(value, Tensor):
        floating = value.dtype.is_floating_point and dtype is not None
        return value.to(device, dtype if floating else value.dtype, non_blocking=device.type == "cuda")
    if isinstance(value, Mapping):
        return {key: to_place(part, device, dtype) for key, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(to_place(part, device, dtype) for part in value)
    # Packed sequences, graphs and the like know how to move.
    return value.to(device) if callable(getattr(value, "to", None)) else value
