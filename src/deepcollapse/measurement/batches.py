"""Reading batches: (inputs, labels) pairs, mappings as Hugging Face collates them, or the user's own kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import BatchError

LABEL_KEYS = ("labels", "label", "y", "target", "targets")


@dataclass(frozen=True)
class Batch:
    """What a network is called with, and the labels that belong to it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    labels: Any = None


ReadBatch = Callable[[Any], tuple[tuple[Any, ...], dict[str, Any], Any]]


def read_batch(batch: Any, custom: ReadBatch | None = None) -> Batch:
    """A batch as `Batch`: from a pair (inputs, labels), a mapping with a labels key, or by `custom(batch)`.

    `custom` returns (args, kwargs, labels); the network is then called as network(*args, **kwargs). Of a mapping, the
    labels are under one of labels, label, y, target or targets, and the rest is passed by keyword; a lone input goes
    by position. Raises BatchError for anything else.

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
        key = next((key for key in LABEL_KEYS if key in batch), None)
        if key is None:
            raise BatchError(
                f"a batch came as a mapping with the keys {', '.join(map(repr, batch))}, none of which is "
                f"{', '.join(LABEL_KEYS)}. Pass read_batch=lambda batch: (args, kwargs, labels)."
            )
        rest = {name: value for name, value in batch.items() if name != key}
        args = tuple(rest.values()) if len(rest) == 1 and "pixel_values" not in rest and "input_ids" not in rest else ()
        return Batch(args, {} if args else rest, batch[key])
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, labels = batch
        return Batch(tuple(inputs) if isinstance(inputs, tuple) else (inputs,), {}, labels)
    raise BatchError(
        f"a batch came as {_describe(batch)}; expected (inputs, labels) or a mapping with labels. "
        "Pass read_batch=lambda batch: (args, kwargs, labels) for any other shape."
    )


def _describe(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    return f"{type(value).__name__}{size}{shape}"


def network_place(network: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Where the network's parameters lie, and their floating type where they all share one."""
    parameters = list(network.parameters()) or list(network.buffers())
    types = {p.dtype for p in parameters if p.dtype.is_floating_point}
    return (parameters[0].device if parameters else torch.device("cpu")), (types.pop() if len(types) == 1 else None)


def to_place(value: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """Tensors inside `value` moved to `device`; floating ones to the network's own type."""
    if isinstance(value, Tensor):
        floating = value.dtype.is_floating_point and dtype is not None
        return value.to(device, dtype if floating else value.dtype, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: to_place(part, device, dtype) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)([to_place(part, device, dtype) for part in value])
    return value
