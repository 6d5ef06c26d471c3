"""Whether a layer's weight is a parameter of its own: one that can be replaced, and that descent acts on as it is."""

from collections.abc import Mapping

from torch import nn
from torch.nn.parameter import is_lazy

MADE_ANEW = "its weight is made anew in every pass"


def why_not_own(layer: nn.Module, modules: Mapping[str, nn.Module]) -> str | None:
    """Why a layer's weight is no filled parameter of that layer alone, in words; None where it is.

    `modules` are those of the network by name. Weights that hooks or parametrisations make anew in every pass are none,
    whichever way that is done: such a weight is not among the module's parameters.

    >>> first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> second.weight = first.weight
    >>> why_not_own(second, {"0": first, "1": second})
    "its weight is also that of '0'"
    """
    weight = layer._parameters.get("weight")
    if not isinstance(weight, nn.Parameter):
        return MADE_ANEW
    if is_lazy(weight):
        return "its weight has no shape before a first pass"
    if weight.numel() == 0:
        return "its weight is empty"
    twins = (n for n, m in modules.items() if m is not layer and any(p is weight for p in m._parameters.values()))
    twin = next(twins, None)
    return f"its weight is also that of {twin!r}" if twin is not None else None
