"""The last n steps of mini-batch descent on a weight, and both sides of the bound that they put on its rank."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepcollapse.errors import OptionError
from deepcollapse.linalg import as_float64
from deepcollapse.measurement.layers import distinct_layers
from deepcollapse.measurement.own_weights import why_not_own
from deepcollapse.theory.bounds.sgd_rank import state_matrix
from deepcollapse.theory.bounds.taps import Layer


@dataclass(frozen=True)
class RecentRank:
    """Both sides of the bound over the steps remembered; shares are of the weight's own norm, dimensionless.

    Attributes:
        steps: n, so far. rank: of all their gradients together at most, rows that went through the layer.
        tail_share: the (rank + 1)st singular value over the largest; at most `tail_bound`, old weights as they have
            faded over |W|_2. frobenius_share and frobenius_bound: the same for all singular values past `rank`.
        rank_of_recent: numerical rank of what the steps have put into the weight, above the rounding of its own type;
            see `miscounted`.
        identity_error: |W - faded - recent|_F / |W|_F; rounding alone, or the layer was changed by other means.
    """

    steps: int
    rank: int
    tail_share: float
    tail_bound: float
    frobenius_share: float
    frobenius_bound: float
    rank_of_recent: int
    identity_error: float

    @property
    def vacuous(self) -> bool:
        """Whether old weights are left at full size or more, so that the bound says nothing."""
        return self.tail_bound >= 1

    @property
    def miscounted(self) -> bool:
        """Whether the steps put a higher rank into the weight than rows went through the layer, which voids the bound.

        Then the weight is used by other means too, gradients were not set to zero between steps, or products were
        rounded more roughly than the weight's type tells (TF32).
        """
        return self.rank_of_recent > self.rank


@dataclass(frozen=True)
class _Step:
    """Weight and velocity before a step, its gradient, how many rows gave it, and the optimiser's settings then."""

    weight: Tensor
    velocity: Tensor
    gradient: Tensor
    rows: int
    rate: float
    decay: float
    momentum: float


class RankMemory:
    r"""Remembers the last `steps` steps of torch.optim.SGD on a layer's weight; `now()` gives both sides of the bound.

    Takes 2 copies of the weight a step, 3 with momentum. Rates, decay and momentum may change from step to step. Use it
    as a context, or `close()` it, to let go of layer and optimiser.

    Args:
        layer: nn.Linear or a convolution without groups, not a transposed one.
        optimiser: a plain torch.optim.SGD that holds the layer's weight: no Nesterov, dampening or maximise.
        steps: n.
        network: that the layer is of, to refuse a weight that another of its modules has too.

    Raises OptionError for another optimiser, a layer that is not in it or does not fit, or steps below 1; and at a step
    of the optimiser where its settings no longer fit, or where the weight has a gradient and no row went through the
    layer. What only the numbers tell is in `RecentRank.miscounted`.
    Source: :cite:`galanti2025`; the extension to momentum is ours.

    >>> layer = nn.Linear(4, 3, bias=False)
    >>> optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    >>> with RankMemory(layer, optimiser, steps=2) as memory:
    ...     for _ in range(5):
    ...         optimiser.zero_grad()
    ...         layer(torch.ones(1, 4)).sum().backward()
    ...         optimiser.step()
    >>> found = memory.now()
    >>> found.steps, found.rank, found.identity_error < 1e-6, found.tail_share <= found.tail_bound
    (2, 2, True, True)
    """

    def __init__(
        self, layer: Layer, optimiser: torch.optim.Optimizer, steps: int, network: nn.Module | None = None
    ) -> None:
        if steps < 1:
            raise OptionError(f"steps must be 1 or more; got {steps}.")
        if reason := _why_not(layer, {} if network is None else distinct_layers(network)):
            raise OptionError(f"rows cannot be counted for this layer: {reason}.")
        self.layer, self.optimiser = layer, optimiser
        self._checked_group()
        self._steps: deque[_Step] = deque(maxlen=steps)
        self._rows = 0
        self._handles = [
            layer.register_forward_hook(self._count),
            optimiser.register_step_pre_hook(self._before),
        ]

    def _checked_group(self) -> dict[str, Any]:
        if type(self.optimiser) is not torch.optim.SGD:
            kind = type(self.optimiser).__name__
            raise OptionError(f"the bound is for steps of torch.optim.SGD; got {kind}, whose steps are no gradients.")
        for group in self.optimiser.param_groups:
            if any(p is self.layer.weight for p in group["params"]):
                return self._plain(group)
        raise OptionError("the optimiser does not hold the layer's weight; pass the layer that it trains.")

    @staticmethod
    def _plain(group: dict[str, Any]) -> dict[str, Any]:
        used = [name for name in ("nesterov", "dampening", "maximize") if group[name]]
        if used:
            raise OptionError(f"the bound is for plain heavy-ball momentum; this one has {' and '.join(used)} on.")
        return group

    def __enter__(self) -> "RankMemory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of layer and optimiser; what is remembered stays."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _count(self, _: nn.Module, __: Any, output: Tensor) -> None:
        """Each row that passes forwards can add one to the rank of the gradient."""
        if output.requires_grad and torch.is_grad_enabled():
            self._rows += output.numel() // self.layer.weight.shape[0]

    def _before(self, *_: Any) -> None:
        """A step is about to be taken."""
        weight = self.layer.weight
        if weight.grad is None:
            return
        # Schedulers, and a state that was loaded, change settings between steps.
        group = self._checked_group()
        if not self._rows and weight.grad.any():
            raise OptionError(
                "the weight has a gradient, and no row went through its layer since the step before: it is read "
                "without a call of the layer, tied to another module's, or its gradient is an old one."
            )
        # Kept while momentum is 0 as well: torch leaves it as it is, and it counts again when momentum is back.
        velocity = self.optimiser.state[weight].get("momentum_buffer")
        self._steps.append(
            _Step(
                weight.detach().clone(),
                weight.new_zeros(()) if velocity is None else velocity.detach().clone(),
                weight.grad.detach().clone(),
                self._rows,
                float(group["lr"]),
                float(group["weight_decay"]),
                float(group["momentum"]),
            )
        )
        self._rows = 0

    def now(self) -> RecentRank:
        """Both sides after the steps so far. Raises OptionError before the first step."""
        if not self._steps:
            raise OptionError("no step was taken yet; call now() after optimiser.step().")
        weight = _matrix(self.layer.weight.detach())
        faded, recent = self._parts()
        rank = sum(step.rows for step in self._steps)
        s, left = torch.linalg.svdvals(weight), torch.linalg.svdvals(faded)
        tail = s[rank:]
        error = float((weight - faded - recent).norm() / weight.norm())
        sums = torch.linalg.svdvals(recent)
        rounding = max(weight.shape) * torch.finfo(self.layer.weight.dtype).eps
        return RecentRank(
            steps=len(self._steps),
            rank=rank,
            tail_share=float(tail[0] / s[0]) if len(tail) else 0.0,
            tail_bound=float(left[0] / s[0]),
            frobenius_share=float(tail.norm() / s.norm()),
            frobenius_bound=float(left.norm() / s.norm()),
            rank_of_recent=int((sums > rounding * sums[0]).sum()),
            identity_error=error,
        )

    def _parts(self) -> tuple[Tensor, Tensor]:
        """What is left of the oldest state that is remembered, and what the steps since have added."""
        carried, recent = np.eye(2), torch.zeros(())
        for step in reversed(self._steps):
            matrix, entry = _taken(step)
            # The weight's share of a gradient put in at this step: (product of later A) u, first entry.
            share = float((carried @ entry)[0])
            recent = recent + share * _matrix(step.gradient)
            carried = carried @ matrix
        oldest = self._steps[0]
        old = float(carried[0, 0]) * _matrix(oldest.weight)
        if oldest.velocity.ndim:
            old = old + float(carried[0, 1]) * _matrix(oldest.velocity)
        return old, recent


def _taken(step: _Step) -> tuple[np.ndarray, np.ndarray]:
    """A and u of a step as torch takes it: without momentum it neither reads the velocity nor changes it."""
    if step.momentum:
        return state_matrix(step.rate, step.decay, step.momentum), np.array([-step.rate, 1.0])
    return np.diag([1 - step.rate * step.decay, 1.0]), np.array([-step.rate, 0.0])


def _why_not(layer: nn.Module, modules: Mapping[str, nn.Module]) -> str | None:
    """Why the rows that go through a layer do not bound the rank of its weight's gradient; None where they do."""
    if getattr(layer, "transposed", False):
        return "a transposed convolution's kernel has its inputs first"
    if not isinstance(layer, Layer):
        return f"it is {type(layer).__name__}, neither linear nor a convolution"
    if getattr(layer, "groups", 1) > 1:
        return f"each row adds up to {layer.groups} to the rank of a convolution of {layer.groups} groups"
    return why_not_own(layer, modules)


def _matrix(values: Tensor) -> Tensor:
    return as_float64(values).flatten(1)
