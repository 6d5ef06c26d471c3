"""Layers written down: what a compressed network has in place of the original's layers, as plain values."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from deepcollapse.compression.coded_layers import CodedConv, CodedLayer, CodedLinear
from deepcollapse.errors import WeightsError

# The layers that compression puts in place of others, and what makes one.
KINDS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "linear": (nn.Linear, ("in_features", "out_features")),
    "conv1d": (nn.Conv1d, ()),
    "conv2d": (nn.Conv2d, ()),
    "conv3d": (nn.Conv3d, ()),
}
_CONVOLUTION = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")


def spec_of(module: nn.Module) -> dict[str, Any]:
    """A layer, or a sequence of them, as plain values that `made` turns into one again, without its weights.

    >>> spec_of(nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 4)))["layers"][0]
    {'kind': 'linear', 'bias': False, 'in_features': 3, 'out_features': 2}
    """
    if isinstance(module, CodedLayer):
        kind = "linear" if isinstance(module, CodedLinear) else f"conv{len(module.weight_shape) - 2}d"
        return {"kind": "coded", "bytes": module.code.numel(), "layer": _plain_layer(kind, module)}
    if isinstance(module, nn.Sequential):
        return {"kind": "sequence", "layers": [spec_of(layer) for layer in module]}
    for kind, (made_by, _) in KINDS.items():
        if isinstance(module, made_by):
            return _plain_layer(kind, module)
    raise WeightsError(
        f"a compressed network cannot be saved with a {type(module).__name__} in place of a layer; "
        "it can with linear and convolutional layers, coded ones, and sequences of these."
    )


def _plain_layer(kind: str, module: nn.Module) -> dict[str, Any]:
    values = {name: _plain(getattr(module, name)) for name in _names(kind)}
    return {"kind": kind, "bias": module.bias is not None, **values}


def _names(kind: str) -> tuple[str, ...]:
    return KINDS[kind][1] or _CONVOLUTION


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def coded_parts(name: str, spec: Mapping[str, Any]) -> list[str]:
    """The names of the codes in what stands in place of a layer.

    >>> coded_parts("fc", {"kind": "sequence", "layers": [{"kind": "coded"}, {"kind": "linear"}]})
    ['fc.0.code']
    """
    if spec["kind"] == "sequence":
        return [part for i, layer in enumerate(spec["layers"]) for part in coded_parts(f"{name}.{i}", layer)]
    return [f"{name}.code".lstrip(".")] if spec["kind"] == "coded" else []


def made(spec: Mapping[str, Any]) -> nn.Module:
    """The layer that a spec describes, on the meta device: shapes and no memory, whatever sizes it declares.

    Raises WeightsError for a spec that describes none.

    >>> made({"kind": "linear", "bias": True, "in_features": 3, "out_features": 2})
    Linear(in_features=3, out_features=2, bias=True)
    """
    try:
        return _made(spec)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, AttributeError, RecursionError) as error:
        raise WeightsError(f"the description of a compressed layer makes no layer: {str(spec)[:200]}") from error


def _made(spec: Mapping[str, Any]) -> nn.Module:
    kind = spec["kind"]
    if kind == "sequence":
        if not 1 <= len(spec["layers"]) <= 3 or any(layer["kind"] == "sequence" for layer in spec["layers"]):
            raise ValueError("a sequence of one to three layers")
        return nn.Sequential(*(_made(layer) for layer in spec["layers"]))
    if kind == "coded":
        if spec["layer"]["kind"] not in KINDS or type(spec["bytes"]) is not int:
            raise ValueError("one coded layer")
        layer, code = _made(spec["layer"]), torch.empty(int(spec["bytes"]), dtype=torch.uint8, device="meta")
        return CodedLinear(layer, code) if isinstance(layer, nn.Linear) else CodedConv(layer, code)  # pyright: ignore
    values = {name: tuple(v) if isinstance(v := spec[name], list) else v for name in _names(kind)}
    for name, value in values.items():
        _check(name, value, axes=int(kind[4]) if kind != "linear" else 0)
    return KINDS[kind][0](**values, bias=bool(spec["bias"]), device="meta")


def _check(name: str, value: Any, axes: int) -> None:
    """Raise ValueError for what no layer of ours has in this place."""
    if name == "padding_mode" or (name == "padding" and isinstance(value, str)):
        fine = value in (("zeros", "reflect", "replicate", "circular") if name == "padding_mode" else ("same", "valid"))
    else:
        numbers = value if isinstance(value, tuple) else (value,)
        least = 0 if name == "padding" else 1
        several = name in ("kernel_size", "stride", "padding", "dilation")
        fine = len(numbers) == (axes if several else 1) and all(type(n) is int and n >= least for n in numbers)
    if not fine:
        raise ValueError(f"{name} {value!r}")
