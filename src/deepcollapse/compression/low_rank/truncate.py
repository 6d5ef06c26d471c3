"""A network with layers of lower rank: each cut on its own, or one after the other on what the cut ones hand on."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from deepcollapse.compression.layers import Layer, compressible_layers
from deepcollapse.compression.low_rank.decomposed import DecomposedLayer
from deepcollapse.compression.low_rank.decomposition import LowRank
from deepcollapse.compression.low_rank.inputs import LayerInputs, check_memory, inputs_of_one
from deepcollapse.compression.low_rank.outcome import Truncated, TruncatedLayer, row_of_cut, row_of_left
from deepcollapse.compression.low_rank.passes import call_order
from deepcollapse.compression.low_rank.plans import (
    Forms,
    Ranks,
    checked_forms,
    chosen_method,
    chosen_ranks,
    plan,
    why_left,
)
from deepcollapse.errors import CaptureError
from deepcollapse.measurement.wrappers import unwrapped


def truncate(
    network: nn.Module,
    ranks: Ranks,
    batches: Iterable[Any] | None = None,
    *,
    how: str | None = None,
    form: Forms = "channel",
    sequential: bool = True,
    ridge: float | int = 0.0,
    memory_limit: int | None = None,
) -> Truncated:
    r"""A copy of a network whose layers are cut to the ranks given, each a few ordinary layers in a row.

    A layer is never made larger: where factors would hold as many numbers as the weight it stays as it is, and the
    result says so. Rank 0 leaves the bias alone. Grouped convolutions are cut group by group, each group to the rank.
    A layer without bias stays without one.

    Args:
        network: any; it stays as it is.
        ranks: by layer name or pattern ({"*": 10, "head": None}), the last that matches counts; None leaves a layer.
            Tucker's form takes a pair (r_o, r_i), or one number for both.
        batches: inputs as tensors, (inputs, labels) or mappings, to weigh the weights with what enters them, and to
            tell `output_error`.
        how: "activations" keeps the outputs on the batches nearest, the mean output by the bias; "scaled" scales
            each input by the root of its mean magnitude; "weights" keeps the weights nearest. By default activations
            where there are batches. Spatial and Tucker forms are always of the weights, with the bias mended.
        form: of convolutions, "channel", "spatial" (two axes alone) or "tucker"; one for all or by name.
        sequential: with activations or scales, cut layer after layer in the order in which they are called, on what
            the layers that are cut already hand on. One pass a layer, each only as far as that layer.
        ridge: as in `activation_aware`. memory_limit: as in `LayerInputs.collect`.

    Raises LayerNameError, OptionError, NonFiniteError for weights or inputs, CaptureError for a layer that no pass
    calls, BatchError, MemoryBudgetError. Sources :cite:`eckart1936,wang2025,yuan2023`, of the spatial form
    :cite:`jaderberg2014`, of the channel form :cite:`zhang2016`, of Tucker's :cite:`kim2016`.

    >>> net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    >>> made = truncate(net, {"0": 3})
    >>> made.network[0]
    Sequential(
      (0): Linear(in_features=20, out_features=3, bias=False)
      (1): Linear(in_features=3, out_features=30, bias=True)
    )
    >>> made.layers[0].parameters_before, made.layers[0].parameters_after
    (630, 180)
    """
    network = unwrapped(network)
    method, chosen = chosen_method(how, batches), chosen_ranks(network, ranks)
    forms = checked_forms(form, chosen)
    layers = {name: layer for name, layer in compressible_layers(network).items() if name in chosen}
    plans = {name: plan(name, layer, method, forms[name], ridge) for name, layer in layers.items()}
    notes = {name: why_left(name, plans[name], rank) for name, rank in chosen.items()}
    cut = [name for name, note in notes.items() if note is None]
    if batches is None or method == "weights" or not sequential:
        inputs = None
        if batches is not None:
            inputs = LayerInputs.collect(network, batches, cut, memory_limit=memory_limit) if cut else LayerInputs({})
        return LowRank(network, list(chosen), inputs, how=how, form=forms, ridge=ridge).cut(chosen)
    for name in cut:  # one after the other: no more than one layer's moments are held
        check_memory({name: layers[name]}, memory_limit)
    rows = {name: row_of_left(name, plans[name], note, measured=True) for name, note in notes.items() if note}
    made, rows_of_cut = _one_after_the_other(
        copy.deepcopy(network), batches, {name: plans[name] for name in cut}, chosen
    )
    return Truncated(made, tuple((rows | rows_of_cut)[name] for name in chosen))


def _one_after_the_other(
    working: nn.Module, batches: Iterable[Any], plans: Mapping[str, DecomposedLayer], ranks: Ranks
) -> tuple[nn.Module, dict[str, TruncatedLayer]]:
    """A network of our own with its layers cut in the order in which they are called, and their rows."""
    layers: dict[str, Layer] = {name: working.get_submodule(name) for name in plans}  # pyright: ignore[reportAssignmentType]
    calls = call_order(working, batches, layers) if layers else {}
    if missing := [name for name in plans if name not in calls]:
        raise CaptureError(
            f"layer {missing[0]!r} was never called as a module in a pass of the first batch. "
            "Leave it out, or truncate by weights alone."
        )
    rows = {}
    for name, times in calls.items():
        moments = inputs_of_one(working, batches, name, layers[name], times)
        planned, rank = replace(plans[name], layer=layers[name], moments=moments), ranks[name]
        assert rank is not None
        cut = planned.cut(rank)
        working = _swapped(working, layers[name], cut.module)
        rows[name] = row_of_cut(name, planned, rank, cut)
    return working, rows


def _swapped(network: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """The network with one module in place of another wherever it occurs, itself included; changed in place."""
    if network is old:
        return new
    for module in list(network.modules()):
        for key, child in module._modules.items():
            if child is old:
                module._modules[key] = new
    return network
