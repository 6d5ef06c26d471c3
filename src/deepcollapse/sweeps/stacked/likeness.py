"""Which runs can be trained as one program, and what stands against it."""

from torch import nn

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.training.recipe import Recipe

# Settings that each member of a stack may have for itself; all others they share.
OWN = ("seed", "rate", "decay", "momentum", "drops", "drop_factor", "tpt_accuracy", "weighting", "layers")
OWN += ("measurements",)

_KNOWN = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.Tanh, nn.Identity, nn.Flatten),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.GELU, nn.Sigmoid, nn.LayerNorm, nn.GroupNorm),
)


def shared(recipe: Recipe) -> tuple[tuple[str, object], ...]:
    """What recipes must share to be stacked.

    >>> shared(Recipe(seed=1, rate=0.1)) == shared(Recipe(seed=2)), shared(Recipe(width=8)) == shared(Recipe(width=9))
    (True, False)
    """
    return tuple((name, getattr(recipe, name)) for name in Recipe.__dataclass_fields__ if name not in OWN)


def reason_against(recipe: Recipe) -> str | None:
    """Why runs of a recipe are trained one by one; None where it says nothing against a stack."""
    if recipe.optimiser != "sgd":
        return f"only stochastic gradient descent is stacked, and the optimiser is {recipe.optimiser}"
    if recipe.precision != "float32":
        return f"only float32 is stacked, and the precision is {recipe.precision}"
    chosen = [name for name in ("compile", "channels_last") if getattr(recipe, name)]
    return f"{' and '.join(chosen)} are for single networks" if chosen else None


def reason_against_network(network: nn.Module, data: object) -> str | None:
    """Why this network on these data cannot be a member of a stack; None where it can."""
    if not isinstance(data, Dataset):
        return "the data are read by code of one's own, which may draw at random"
    for name, module in network.named_modules():
        own = any(True for _ in module.parameters(recurse=False)) or not any(True for _ in module.children())
        if own and not isinstance(module, _KNOWN) and not _ours(module):
            return f"layer {name!r} is a {type(module).__name__}, of which it is not known whether it can be stacked"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is None:
            return f"layer {name!r} averages its statistics over all batches"
    if not all(parameter.requires_grad for parameter in network.parameters()):
        return "some of its parameters are frozen"
    return None


def _ours(module: nn.Module) -> bool:
    return type(module).__module__.startswith("deepcollapse.networks.")
