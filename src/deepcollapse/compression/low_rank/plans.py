"""Which layers are cut to which ranks, in which form, and which ones stay as they are."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from deepcollapse.compression.layers import Layer, compressible_layers
from deepcollapse.compression.low_rank.decomposed import DecomposedLayer, Form, How, Rank
from deepcollapse.compression.low_rank.factors import checked_rank
from deepcollapse.compression.low_rank.inputs import LayerInputs
from deepcollapse.errors import OptionError

Ranks = Mapping[str, Rank | None]
Forms = str | Mapping[str, str]
FORMS = ("channel", "spatial", "tucker")
HOWS = ("weights", "scaled", "activations")


def chosen_ranks(network: nn.Module, ranks: Ranks) -> dict[str, Rank | None]:
    """The rank of each layer that a name or pattern matches, the last one that does, in the network's order.

    >>> chosen_ranks(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), {"*": 1, "1": None})
    {'0': 1, '1': None}
    """
    layers = compressible_layers(network, list(ranks))
    for rank in ranks.values():
        for part in rank if isinstance(rank, tuple) else (rank,):
            checked_rank(part or 0)
    return {name: [rank for key, rank in ranks.items() if fnmatchcase(name, key)][-1] for name in layers}


def chosen_method(how: str | None, batches: object) -> How:
    """What weights are weighed with: as `how` says, or with activations where there are batches."""
    if how is None:
        return "weights" if batches is None else "activations"
    if how not in HOWS:
        raise OptionError(f"how must be one of {', '.join(HOWS)}; got {how!r}.")
    if how != "weights" and batches is None:
        raise OptionError(f"how={how!r} weighs the weights with their inputs; pass batches, or how='weights'.")
    return how  # pyright: ignore[reportReturnType]


def checked_forms(form: Forms, names: Iterable[str]) -> dict[str, str]:
    """The form of each layer by name, were it a convolution; "channel" where nothing is said."""
    given = [form] if isinstance(form, str) else list(form.values())
    if unknown := [name for name in given if name not in FORMS]:
        raise OptionError(f"the form of a convolution must be one of {', '.join(FORMS)}; got {unknown[0]!r}.")
    names = list(names)
    if isinstance(form, str):
        return dict.fromkeys(names, form)
    if strangers := [name for name in form if name not in names]:
        raise OptionError(f"form names {strangers[0]!r}, which is not cut; layers are {', '.join(names) or 'none'}.")
    return {name: form.get(name, "channel") for name in names}


def plan(
    name: str, layer: Layer, how: How, form: str, ridge: float | int, inputs: LayerInputs | None = None
) -> DecomposedLayer:
    """How one layer is cut; nothing is decomposed yet. OptionError where the form does not suit it."""
    kind: Form = "linear" if isinstance(layer, nn.Linear) else form  # pyright: ignore[reportAssignmentType]
    if kind == "spatial" and not isinstance(layer, nn.Conv2d):
        raise OptionError(
            f"layer {name!r} is a {type(layer).__name__}, and the spatial form parts two axes; take 'channel' or "
            "'tucker' for it, by name."
        )
    return DecomposedLayer(layer, kind, how, inputs.get(name) if inputs is not None else None, ridge)


def why_left(name: str, planned: DecomposedLayer, rank: Rank | None) -> str | None:
    """Why a layer stays as it is, in words; None where it is cut."""
    if rank is None:
        return "kept dense, as asked"
    if isinstance(rank, tuple) and planned.form != "tucker":
        raise OptionError(f"layer {name!r} has one rank in its {planned.form} form; got the ranks {rank}.")
    held, dense = planned.parameters(rank), planned.layer.weight.numel()
    if held >= dense:
        stored = " (stored as rank 1)" if rank == 0 else ""
        return f"factors of rank {rank}{stored} would hold {held} numbers, its weight holds {dense}"
    return None
