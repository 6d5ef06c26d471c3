r"""How to share a budget of parameters (or of multiply-adds) among layers: which rank each is cut to.

Minimises sum_l weight_l sum_{i > r_l} s_{l,i}^2 over the ranks r_l, where rank r costs r (m + n) and a layer that is
kept dense costs m n and loses nothing. With the singular values of W X it is the squared error of the outputs.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.errors import MemoryBudgetError, OptionError
from deepcollapse.geometry.rank import checked_finite

MOST_STATES = 50_000_000  # layers times budget steps of the exact method: 200 MB of choices


@dataclass(frozen=True)
class Spectrum:
    """What a layer loses at each rank, and what each rank costs.

    Attributes:
        name: the layer. shape: (m, n) of its weight as a matrix.
        singular_values: (k,) of the weight, or of the weight times its inputs.
        weight: how much this layer's squared error counts.
        cost: what one unit of rank costs; m + n parameters by default.
        dense_cost: what the layer costs as it is; m n by default.
    """

    name: str
    shape: tuple[int, int]
    singular_values: Float64[Tensor, " k"]
    weight: float = 1.0
    cost: int = 0
    dense_cost: int = 0

    def __post_init__(self) -> None:
        """Fill in the costs, and check what cannot be."""
        m, n = self.shape
        object.__setattr__(self, "cost", self.cost or m + n)
        object.__setattr__(self, "dense_cost", self.dense_cost or m * n)
        if not 0 <= self.weight < math.inf or self.cost < 0 or self.dense_cost < 0:
            raise OptionError(
                f"layer {self.name!r} has weight {self.weight}, cost {self.cost} and dense cost {self.dense_cost}; "
                "expected finite numbers, none of them below 0."
            )


@dataclass(frozen=True)
class Allocation:
    """The rank of each layer, None where it is kept dense; what they cost together, and the squared error left."""

    ranks: dict[str, int | None]
    cost: int
    error: float


def allocate(spectra: Sequence[Spectrum], budget: int, *, least: int = 0, keep_dense: bool = True) -> Allocation:
    r"""Ranks within a budget, by always taking the step that removes the most squared error per cost.

    A step raises one layer to a higher rank, or to dense; steps that do not fit any more are passed over, and of equal
    ones the first layer's goes first. Optimal at its own break points and otherwise within one step of it.

    Args:
        spectra: one a layer. budget: in the unit of the costs.
        least: the rank that every layer gets at least, where it has so many singular values; 1 for a network.
        keep_dense: whether a layer may stay as it is. Ranks at which factors cost as much are then left out.

    Raises OptionError where the budget does not reach for `least`.

    >>> import torch
    >>> first = Spectrum("a", (8, 4), torch.tensor([5.0, 3.0, 1.0, 0.5]).double())
    >>> allocate([first, Spectrum("b", (4, 4), torch.tensor([4.0, 4.0, 0.5, 0.5]).double())], 20)
    Allocation(ranks={'a': 1, 'b': 1}, cost=20, error=26.75)
    """
    tables = _tables(spectra, budget, least, keep_dense)
    chosen = [0] * len(tables)
    left = budget - sum(table.costs[0] for table in tables)
    waiting: list[tuple[float, int, int]] = []  # minus gain per cost, layer, option

    def offer(layer: int) -> None:
        step = tables[layer].best_step(chosen[layer], left)
        if step is not None:
            heapq.heappush(waiting, (-step[0], layer, step[1]))

    for layer in range(len(tables)):
        offer(layer)
    while waiting:
        _, layer, option = heapq.heappop(waiting)
        cost = tables[layer].costs[option] - tables[layer].costs[chosen[layer]]
        if cost <= left:
            left -= cost
            chosen[layer] = option
        offer(layer)  # the next step, or the best of those that still fit
    return _allocation(spectra, tables, chosen)


def allocate_exactly(
    spectra: Sequence[Spectrum], budget: int, *, least: int = 0, keep_dense: bool = True
) -> Allocation:
    r"""As `allocate`, at the least error there is: the knapsack's dynamic programme, in steps of the costs' divisor.

    Time O(sum_l ranks_l * budget / gcd), memory 4 bytes a layer and step: MemoryBudgetError beyond 200 MB. Of equal
    errors the cheapest is taken. Raises OptionError where the budget does not reach for `least`.

    >>> import torch
    >>> values = {"a": ((8, 4), [5.0, 3.0]), "b": ((4, 4), [4.0, 4.0]), "c": ((6, 10), [6.0, 2.0])}
    >>> three = [Spectrum(name, shape, torch.tensor(s).double()) for name, (shape, s) in values.items()]
    >>> allocate_exactly(three, 20).ranks, allocate(three, 20).ranks
    ({'a': 1, 'b': 1, 'c': 0}, {'a': 0, 'b': 0, 'c': 1})
    """
    tables = _tables(spectra, budget, least, keep_dense)
    unit = math.gcd(*(cost for table in tables for cost in table.costs)) or 1
    steps = min(budget, sum(max(table.costs) for table in tables)) // unit
    if (states := (steps + 1) * len(tables)) > MOST_STATES:
        raise MemoryBudgetError(
            f"the exact allocation of {budget} in steps of {unit} over {len(tables)} layers has {states:,} states; at "
            f"most {MOST_STATES:,} are taken on. Use allocate, which is within one step of it."
        )
    error, choices = numpy.zeros(steps + 1), []
    for table in tables:
        best = numpy.full(steps + 1, numpy.inf)
        choice = numpy.zeros(steps + 1, dtype=numpy.int32)
        for option, (cost, loss) in enumerate(zip(table.costs, table.losses, strict=True)):
            start = cost // unit
            if start <= steps:
                reached = error[: steps + 1 - start] + loss
                better = reached < best[start:]
                best[start:][better], choice[start:][better] = reached[better], option
        error = best
        choices.append(choice)
    at, chosen = int(numpy.argmin(error)), []  # the first of equal ones: the cheapest
    for table, choice in zip(reversed(tables), reversed(choices), strict=True):
        chosen.append(int(choice[at]))
        at -= table.costs[chosen[-1]] // unit
    return _allocation(spectra, tables, chosen[::-1])


@dataclass(frozen=True)
class _Table:
    """A layer's options by rising cost: ranks from `least` on, dense last where it is one."""

    ranks: list[int | None]
    costs: list[int]
    losses: list[float]

    @classmethod
    def of(cls, spectrum: Spectrum, least: int, keep_dense: bool) -> "_Table":
        s = checked_finite(spectrum.singular_values, f"the spectrum of layer {spectrum.name!r}").cpu().numpy()
        squares = numpy.sort(s)[::-1] ** 2
        # Summed from the smallest on, so that the last ones are not drowned by the first.
        tails = spectrum.weight * numpy.concatenate([numpy.cumsum(squares[::-1])[::-1], [0.0]])
        ranks: list[int | None] = list(range(min(least, len(s)), len(s) + 1))
        costs = [spectrum.cost * int(r or 0) for r in ranks]
        if keep_dense:
            cheaper = [index for index, cost in enumerate(costs) if cost < spectrum.dense_cost]
            ranks, costs = [ranks[index] for index in cheaper], [costs[index] for index in cheaper]
        losses = [float(tails[r or 0]) for r in ranks]
        return (
            cls([*ranks, None], [*costs, spectrum.dense_cost], [*losses, 0.0])
            if keep_dense
            else cls(ranks, costs, losses)
        )

    def best_step(self, option: int, left: int) -> tuple[float, int] | None:
        """The gain per cost of the best step up that costs at most `left`, and where it leads."""
        costs = numpy.asarray(self.costs[option + 1 :]) - self.costs[option]
        gains = self.losses[option] - numpy.asarray(self.losses[option + 1 :])
        fits = (costs <= left) & (gains > 0)
        if not fits.any():
            return None
        rates = numpy.where(fits, gains / numpy.maximum(costs, 1e-300), -numpy.inf)
        best = int(rates.argmax())
        return float(rates[best]), option + 1 + best


def _tables(spectra: Sequence[Spectrum], budget: int, least: int, keep_dense: bool) -> list[_Table]:
    tables = [_Table.of(spectrum, least, keep_dense) for spectrum in spectra]
    floor = sum(table.costs[0] for table in tables)
    if budget < floor:
        raise OptionError(
            f"a budget of {budget} is too small: rank {least} in each of {len(tables)} layers costs {floor} already."
        )
    return tables


def _allocation(spectra: Sequence[Spectrum], tables: Sequence[_Table], chosen: Sequence[int]) -> Allocation:
    picked = list(zip(spectra, tables, chosen, strict=True))
    return Allocation(
        {spectrum.name: table.ranks[option] for spectrum, table, option in picked},
        sum(table.costs[option] for _, table, option in picked),
        float(sum(table.losses[option] for _, table, option in picked)),
    )
