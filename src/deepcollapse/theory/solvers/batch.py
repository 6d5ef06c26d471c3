"""Many problems of one program, each from its own start, as one tensor program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from deepcollapse.errors import OptionError
from deepcollapse.theory.problem import Point, Problem

Slope = tuple[Tensor | None, Point]
"""The objective (batch,), None where it was not needed, and its gradient by variable."""


@runtime_checkable
class HandWritten(Protocol):
    """A problem that brings its own gradient, batched as its objective is."""

    def gradient(self, point: Mapping[str, Tensor], coefficients: Mapping[str, Tensor]) -> Point:
        """The gradient of each member's objective, by variable."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Members that run together: every tensor carries one leading dimension, one entry a member.

    Members never mix: each entry of a result depends on that member's numbers alone, so one that diverges leaves the
    others as they are. `problem` is any of them, for they share their program.
    """

    problem: Problem
    coefficients: dict[str, Tensor]
    start: Point

    @classmethod
    def of(cls, members: Sequence[tuple[Problem, int]], device: torch.device) -> "Batch":
        """Problems with the seeds that they start from. Starts are drawn on the CPU: the same ones on any device."""
        drawn = [problem.start(torch.Generator().manual_seed(seed)) for problem, seed in members]
        given = [problem.coefficients() for problem, _ in members]
        stack = lambda parts: {name: torch.stack([part[name] for part in parts]).to(device) for name in parts[0]}  # noqa: E731
        return cls(members[0][0], stack(given), stack(drawn))

    def __len__(self) -> int:
        return len(next(iter(self.start.values())))

    def only(self, kept: Bool[Tensor, " b"]) -> "Batch":
        """The members that are marked."""
        if kept.all():
            return self
        return Batch(self.problem, select(self.coefficients, kept), select(self.start, kept))

    def value(self, point: Point) -> Float64[Tensor, " b"]:
        """The objective of each member."""
        with torch.no_grad():
            return self.problem.objective(point, self.coefficients)

    def autograd(self, point: Point) -> Slope:
        """The objective and its gradient, taken of the sum over members."""
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in point.items()}
        with torch.enable_grad():
            values = self.problem.objective(leaves, self.coefficients)
            slopes = torch.autograd.grad(values.sum(), list(leaves.values()), materialize_grads=True)
        return values.detach(), dict(zip(leaves, slopes, strict=True))

    def by_hand(self, point: Point) -> Slope:
        """The gradient that the problem brings; the objective is not computed."""
        assert isinstance(self.problem, HandWritten)
        with torch.no_grad():
            return None, self.problem.gradient(point, self.coefficients)


def select(tensors: Mapping[str, Tensor], kept: Bool[Tensor, " b"]) -> dict[str, Tensor]:
    """The marked members of every tensor."""
    return {name: tensor[kept] for name, tensor in tensors.items()}


def norms(gradient: Point) -> Float64[Tensor, " b"]:
    """The Euclidean norm over all variables, of each member."""
    return torch.stack([part.flatten(1).norm(dim=1) for part in gradient.values()]).norm(dim=0)


def flatten(point: Point) -> Float64[Tensor, "b p"]:
    """All variables of each member in one row."""
    return torch.cat([part.flatten(1) for part in point.values()], dim=1)


def unflatten(flat: Float64[Tensor, "b p"], like: Point) -> Point:
    """Views of a flat row as variables of the shapes of `like`."""
    sizes = [part.shape[1:].numel() for part in like.values()]
    parts = flat.split(sizes, dim=1)
    return {name: part.view(len(flat), *like[name].shape[1:]) for name, part in zip(like, parts, strict=True)}


def require_gradient(problem: Problem) -> None:
    """Raise OptionError for a problem that brings no gradient of its own."""
    if not isinstance(problem, HandWritten):
        raise OptionError(
            f'{type(problem).__name__} brings no gradient of its own; use gradient="autograd", which needs none.'
        )
