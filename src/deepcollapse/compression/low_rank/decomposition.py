"""A network whose layers are taken apart once, to be cut at any ranks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from deepcollapse.compression.layers import compressible_layers, replaced
from deepcollapse.compression.low_rank.allocation import Spectrum
from deepcollapse.compression.low_rank.inputs import LayerInputs
from deepcollapse.compression.low_rank.outcome import Truncated, row_of_cut, row_of_left
from deepcollapse.compression.low_rank.plans import (
    Forms,
    Ranks,
    checked_forms,
    chosen_method,
    chosen_ranks,
    plan,
    why_left,
)
from deepcollapse.errors import OptionError
from deepcollapse.measurement.wrappers import unwrapped


class LowRank:
    """A network's layers taken apart once, to be cut at any ranks: what a search over ranks calls again and again.

    Takes the arguments of `truncate`, with the layers' names or patterns (by default all that are called) in place of
    ranks, and for batches also what `LayerInputs.collect` found. Inputs are those of the network as it is.

    >>> net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    >>> found = LowRank(net)
    >>> [(spectrum.name, spectrum.cost) for spectrum in found.spectra()]
    [('0', 50), ('2', 35)]
    >>> [layer.parameters_after for layer in found.cut({"*": 2}).layers]
    [130, 75]
    """

    def __init__(
        self,
        network: nn.Module,
        names: Sequence[str] | None = None,
        batches: Iterable[Any] | LayerInputs | None = None,
        *,
        how: str | None = None,
        form: Forms = "channel",
        ridge: float | int = 0.0,
        memory_limit: int | None = None,
    ) -> None:
        self.network = unwrapped(network)
        method = chosen_method(how, batches)
        layers = compressible_layers(self.network, names)
        forms = checked_forms(form, layers)
        if batches is not None and not isinstance(batches, LayerInputs):
            batches = LayerInputs.collect(self.network, batches, list(layers), memory_limit=memory_limit)
        self.inputs = batches
        self.layers = {name: plan(name, one, method, forms[name], ridge, batches) for name, one in layers.items()}

    def spectra(self, positions: Mapping[str, int] | None = None) -> list[Spectrum]:
        """What each layer loses and pays at each rank, for `allocate`: its cost in parameters, or in multiply-adds.

        Squared errors are those of the weights, or a row of inputs with activations or scales. With `positions`, at
        how many places each layer applies its weight, costs are multiply-adds a sample; those of a spatial form are
        not known from positions, which raises OptionError, as does Tucker's form, which has no single spectrum.
        """
        found = []
        for name, planned in self.layers.items():
            if positions is not None and planned.form == "spatial":
                raise OptionError(
                    f"multiply-adds of layer {name!r} in its spatial form depend on the image's height and width, not "
                    "on its positions alone; take the channel form, or allocate by parameters."
                )
            places = 1 if positions is None else positions[name]
            costs = places * planned.cost, places * planned.layer.weight.numel()
            found.append(Spectrum(name, planned.shape, planned.singular_values, 1.0, *costs))
        return found

    def cut(self, ranks: Ranks) -> Truncated:
        """The network with these ranks, each layer cut on its own; layers that are not named stay as they are."""
        modules, rows = {}, []
        for name, rank in chosen_ranks(self.network, ranks).items():
            planned = self.layers.get(name)
            if planned is None:
                there = ", ".join(self.layers) or "none"
                raise OptionError(f"layer {name!r} was not taken apart; there are {there}.")
            note = why_left(name, planned, rank)
            if rank is None or note is not None:
                assert note is not None
                rows.append(row_of_left(name, planned, note, measured=self.inputs is not None))
                continue
            cut = planned.cut(rank)
            modules[name] = cut.module
            rows.append(row_of_cut(name, planned, rank, cut))
        return Truncated(replaced(self.network, modules), tuple(rows))
