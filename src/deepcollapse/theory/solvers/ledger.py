"""What happened to each member of a batch: its history while it ran, and how and where it ended."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from deepcollapse.theory.problem import Point
from deepcollapse.theory.solvers.batch import select

Reason = Literal["converged", "stalled", "step limit", "diverged"]
Progress = Callable[[float], None]
"""Called now and then with the share of the steps that is done, between 0 and 1."""
PER_DECADE = 8


def log_spaced(steps: int) -> set[int]:
    """The steps whose objective is kept: 0, and about eight a decade from 1 to `steps`.

    >>> sorted(log_spaced(50))
    [0, 1, 2, 3, 4, 6, 7, 10, 13, 18, 24, 32, 42]
    """
    powers = range(int(PER_DECADE * math.log10(max(1, steps))) + 1)
    return {0, *(round(10 ** (i / PER_DECADE)) for i in powers)}


@dataclass(frozen=True)
class Ended:
    """How one member ended: why, after how many steps, and where; `history` holds (step, objective)."""

    reason: Reason
    steps: int
    point: Point
    history: tuple[tuple[int, float], ...]


class Ledger:
    """The members that still run, by their places in the whole batch, and what became of the others.

    Objectives are kept as tensors until the end, so that no step waits for the device.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.size = size
        self.running = torch.arange(size, device=device)
        self.logged: list[tuple[int, Tensor, Tensor]] = []
        self.ends: dict[int, tuple[Reason, int, Point]] = {}

    def log(self, step: int, values: Float64[Tensor, " b"]) -> None:
        """Keep the objectives of the running members at a step."""
        self.logged.append((step, self.running, values))

    def sift(self, step: int, size: Float64[Tensor, " b"], tolerance: float, point: Point) -> Bool[Tensor, " b"] | None:
        """Retire who converged or diverged, by the gradient norm; returns who stays, or None where all do."""
        converged, diverged = size <= tolerance, ~size.isfinite()
        if not (done := converged | diverged).any():
            return None
        self.retire(converged, "converged", step, point)
        self.retire(diverged, "diverged", step, point)
        self.keep(~done)
        return ~done

    def retire(self, leaving: Bool[Tensor, " b"], reason: Reason, step: int, point: Point) -> None:
        """Write down where the marked running members are; `keep` then takes them out."""
        places = self.running[leaving].tolist()
        parts = {name: tensor.cpu() for name, tensor in select(point, leaving).items()}
        for i, place in enumerate(places):
            self.ends[place] = (reason, step, {name: tensor[i].clone() for name, tensor in parts.items()})

    def keep(self, staying: Bool[Tensor, " b"]) -> None:
        """Go on with the marked running members only."""
        self.running = self.running[staying]

    def close(self, steps: int, point: Point) -> list[Ended]:
        """Those still running reached the limit of steps; all ends, in the order of the whole batch."""
        everyone = torch.ones_like(self.running, dtype=torch.bool)
        self.retire(everyone, "step limit", steps, point)
        histories: list[list[tuple[int, float]]] = [[] for _ in range(self.size)]
        for step, places, values in self.logged:
            for place, value in zip(places.tolist(), values.tolist(), strict=True):
                histories[place].append((step, value))
        return [Ended(*self.ends[place], history=tuple(histories[place])) for place in range(self.size)]
