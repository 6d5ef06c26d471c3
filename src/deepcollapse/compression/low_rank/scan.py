"""How far a rank can fall before accuracy does: candidates from mild to strong, every one that was looked at kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

from torch import nn

from deepcollapse.compression.low_rank.decomposition import LowRank
from deepcollapse.compression.low_rank.plans import Ranks
from deepcollapse.errors import OptionError

T = TypeVar("T")
FAILURES = 2


@dataclass(frozen=True)
class ScanPoint(Generic[T]):
    """One candidate, its accuracy, and whether that was enough."""

    candidate: T
    accuracy: float
    accepted: bool


@dataclass(frozen=True)
class Scan(Generic[T]):
    """What a scan looked at, in order, and the strongest candidate that was accepted (None where none was).

    `needed` is the accuracy that was asked for.
    """

    points: tuple[ScanPoint[T], ...]
    needed: float

    @property
    def best(self) -> T | None:
        """The last of the accepted candidates: candidates come from mild to strong."""
        return next((point.candidate for point in reversed(self.points) if point.accepted), None)


def scan(
    candidates: Sequence[T],
    accuracy: Callable[[T], float],
    needed: float | int,
    failures: int = FAILURES,
) -> Scan[T]:
    """Look at candidates from mild to strong, until `failures` in a row have less than the accuracy that is needed.

    Accuracy does not fall evenly: one candidate that fails may be followed by one that does not, so that halving would
    be wrong. NaN is a failure. Raises OptionError for failures below 1.

    >>> scan([8, 4, 2, 1], lambda rank: {8: 0.98, 4: 0.90, 2: 0.97, 1: 0.5}[rank], needed=0.95).best
    2
    """
    if failures < 1:
        raise OptionError(f"failures in a row that end a scan are at least 1; got {failures}.")
    points: list[ScanPoint[T]] = []
    for candidate in candidates:
        found = float(accuracy(candidate))
        points.append(ScanPoint(candidate, found, found >= needed))
        if len(points) >= failures and not any(point.accepted for point in points[-failures:]):
            break
    return Scan(tuple(points), float(needed))


def rank_scan(
    network: nn.Module | LowRank,
    ranks: Sequence[int] | Sequence[Ranks],
    evaluate: Callable[[nn.Module], float],
    *,
    drop: float = 0.0,
    layers: str = "*",
    failures: int = FAILURES,
    **how: Any,
) -> Scan[Any]:
    r"""Accuracy at falling ranks, down to the smallest with accuracy >= that of the network less `drop`.

    Args:
        network: or its `LowRank`, which is then not made again.
        ranks: falling; numbers, each for all of `layers`, or mappings of layers to ranks, such as thresholds give.
            Numbers that do not fall raise OptionError.
        evaluate: a network's accuracy on validation data, a share or in percent.
        drop: how much may be lost, in the unit of `evaluate`.
        layers: the layer, or pattern of layers, that numbers are for.
        failures: how many in a row end the scan.
        how: batches, how, form, ridge, ... as in `truncate`; each layer is cut on its own.

    >>> net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 20))
    >>> found = rank_scan(net, [9, 6, 3, 2], lambda one: 1.0 if sum(p.numel() for p in one.parameters()) > 500 else 0.5)
    >>> found.best, [point.accuracy for point in found.points]
    (6, [1.0, 1.0, 0.5, 0.5])
    """
    numbers = [rank for rank in ranks if isinstance(rank, int)]
    if any(later >= earlier for earlier, later in pairwise(numbers)):
        raise OptionError(f"ranks are scanned from the largest to the smallest; got {numbers}.")
    if isinstance(network, LowRank):
        decomposition = network
    else:
        names = [layers] if numbers else None
        decomposition = LowRank(network, names, **how)

    def accuracy(rank: int | Ranks) -> float:
        asked = {layers: rank} if isinstance(rank, int) else rank
        return evaluate(decomposition.cut(asked).network)

    return scan(list(ranks), accuracy, float(evaluate(decomposition.network)) - drop, failures)
