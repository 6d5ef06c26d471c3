"""The search for a network that keeps to a target: from mild to strong, every network that was looked at is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn

from deepcollapse.compression.target import Target

# Accuracy does not fall evenly: one network that misses may be followed by one that does not.
MISSES = 2


@dataclass(frozen=True)
class Candidate:
    """A network that was tried: how it was made, its accuracy where it is chosen by, and what it takes.

    `doubt` is the standard error of its accuracy beside the original's, on `samples` samples.
    """

    setting: str
    network: nn.Module
    accuracy: float
    stored_bytes: int
    parameters: int
    multiply_adds: int
    doubt: float = 0.0
    samples: int = 0


@runtime_checkable
class Ladder(Protocol):
    """Networks from mild to strong compression, by a number between the two ends."""

    @property
    def steps(self) -> Sequence[float]:
        """The strengths to try, the mildest first."""
        ...

    def make(self, step: float) -> tuple[nn.Module, str]:
        """The network at this strength, and its setting in words."""
        ...

    def between(self, milder: float, stronger: float) -> float | None:
        """A strength half-way between two; None where there is nothing between."""
        ...


def search(
    ladder: Ladder,
    score: Callable[[nn.Module, str], Candidate],
    target: Target,
    original: Candidate,
    refinements: int = 3,
) -> tuple[Candidate, ...]:
    """Every candidate that was looked at, in order; `chosen` says which one keeps to the target best.

    For an accuracy drop, strengths are taken upward until `MISSES` in a row lose too much; for a size, until one is
    small enough. Then the gap between the last on one side and the first on the other is halved `refinements` times.
    """
    tried: dict[float, Candidate] = {}

    def keeps(step: float) -> bool:
        if step not in tried:
            tried[step] = score(*ladder.make(step))
        return keeps_to(target, tried[step], original)

    edge = _climb(ladder.steps, keeps) if target.size is None else _until_small(ladder.steps, keeps)
    for _ in range(refinements if edge else 0):
        assert edge is not None
        middle = ladder.between(*edge)
        if middle is None:
            break
        inside = keeps(middle) == (target.size is None)
        edge = (middle, edge[1]) if inside else (edge[0], middle)
    return tuple(tried.values())


def _climb(steps: Sequence[float], keeps: Callable[[float], bool]) -> tuple[float, float] | None:
    """The last strength that keeps enough accuracy, and the first one after it that does not."""
    missed: list[float] = []
    last: float | None = None
    for step in steps:
        if keeps(step):
            last, missed = step, []
        else:
            missed.append(step)
            if len(missed) == MISSES:
                break
    return None if last is None or not missed else (last, missed[0])


def _until_small(steps: Sequence[float], keeps: Callable[[float], bool]) -> tuple[float, float] | None:
    """The last strength that is too large, and the first one that is small enough."""
    large: float | None = None
    for step in steps:
        if keeps(step):
            return None if large is None else (large, step)
        large = step
    return None


def keeps_to(target: Target, one: Candidate, original: Candidate) -> bool:
    """Whether a candidate keeps to a target, a standard error included: of many that are tried, some are lucky.

    Where the drop that is allowed is less than two samples, no error would leave room for any; then none is added.
    """
    told = target.accuracy_drop is not None and target.accuracy_drop * one.samples >= 2
    accuracy = one.accuracy - (one.doubt if told else 0.0)
    return target.allows(accuracy, one.stored_bytes, original.accuracy, original.stored_bytes)


def chosen(candidates: Sequence[Candidate], target: Target, original: Candidate) -> Candidate | None:
    """The smallest candidate that keeps its accuracy, or the most accurate one that is small enough; None if none is.

    Ties go to the smaller, then to the more accurate.
    """
    fitting = [
        one for one in candidates if keeps_to(target, one, original) and one.stored_bytes < original.stored_bytes
    ]
    if not fitting:
        return None
    if target.size is None:
        return min(fitting, key=lambda one: (one.stored_bytes, -one.accuracy))
    return max(fitting, key=lambda one: (one.accuracy, -one.stored_bytes))


def pareto(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Those that no other one beats in both bytes and accuracy, the smallest first."""
    front: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.stored_bytes, -one.accuracy)):
        if not front or one.accuracy > front[-1].accuracy:
            front.append(one)
    return tuple(front)
