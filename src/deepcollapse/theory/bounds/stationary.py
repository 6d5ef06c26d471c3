"""A small network taken to a stationary point of its loss with weight decay, where the bounds on rank are about."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from deepcollapse.errors import NonFiniteError, OptionError
from deepcollapse.measurement.state import undisturbed

# Iterations between looks at the gradient; each look starts the memory of curvature anew, which has helped it along.
ROUND = 1000


@dataclass(frozen=True)
class Stationary:
    """Where the descent ended.

    Attributes:
        network: a copy in float64, in eval mode.
        value: the loss with decay. largest_gradient: the largest entry of its gradient, in magnitude.
        steps: iterations of L-BFGS. reached: whether the gradient is below the tolerance.

    >>> x, y = torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1])
    >>> to_stationarity(nn.Linear(1, 2), x, y, nn.functional.cross_entropy, decay=0.1, most_steps=1).reached
    False
    """

    network: nn.Module
    value: float
    largest_gradient: float
    steps: int
    reached: bool


def to_stationarity(
    network: nn.Module,
    inputs: Tensor,
    labels: Int64[Tensor, " n"],
    loss: Callable[[Tensor, Tensor], Tensor],
    decay: float | int,
    *,
    tolerance: float = 1e-7,
    most_steps: int = 5000,
) -> Stationary:
    """Minimise loss + (decay / 2) sum of all squared parameters on one batch, by L-BFGS with strong Wolfe steps.

    Works on a copy in float64 and eval mode until no entry of the gradient is above `tolerance`, or `most_steps`
    iterations are done, or no step leads further down; the network itself and all random generators stay as they are.
    Piecewise linear networks have kinks at which no gradient vanishes: tanh, softplus and the like arrive.

    Raises OptionError for a decay or tolerance that is not positive, NonFiniteError where the loss is no number.
    Source: Nocedal & Wright 2006, chapters 3 and 7, by torch.optim.LBFGS.

    >>> x, y = torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1])
    >>> found = to_stationarity(nn.Linear(1, 2), x, y, nn.functional.cross_entropy, decay=0.1)
    >>> found.reached, found.largest_gradient < 1e-7, round(abs(found.network.weight[0].item()), 6)
    (True, True, 1.064017)
    """
    for name, value in (("decay", decay), ("tolerance", tolerance), ("most_steps", most_steps)):
        if not (value > 0 and math.isfinite(value)):
            raise OptionError(f"{name} must be positive; got {value}.")
    with undisturbed(network):
        twin = copy.deepcopy(network).double().eval()
    x = inputs.double() if inputs.dtype.is_floating_point else inputs
    parameters = [p for p in twin.parameters() if p.requires_grad]
    descent = _Descent(parameters, lambda: loss(_logits(twin(x)), labels), float(decay))
    with torch.enable_grad():
        descent.run(tolerance, most_steps)
    return Stationary(twin, descent.value, descent.largest, descent.steps, descent.largest <= tolerance)


class _Descent:
    """L-BFGS in rounds, and where it stands."""

    def __init__(self, parameters: Sequence[Tensor], loss: Callable[[], Tensor], decay: float) -> None:
        self.parameters, self.loss, self.decay = parameters, loss, decay
        self.value = self.largest = math.inf
        self.steps = 0

    def objective(self) -> Tensor:
        """The loss with decay; its gradient is left in the parameters."""
        for p in self.parameters:
            p.grad = None
        total = self.loss() + self.decay / 2 * torch.stack([p.square().sum() for p in self.parameters]).sum()
        if not torch.isfinite(total):
            raise NonFiniteError("the loss became NaN or infinite. Look for NaN in the inputs, or huge weights.")
        total.backward()
        return total

    def run(self, tolerance: float, most_steps: int) -> None:
        """Round after round until it is done, or a round changes nothing."""
        while self.steps < most_steps:
            solver = torch.optim.LBFGS(
                self.parameters,
                max_iter=min(ROUND, most_steps - self.steps),
                max_eval=4 * ROUND,
                tolerance_grad=tolerance,
                tolerance_change=0.0,
                history_size=50,
                line_search_fn="strong_wolfe",
            )
            solver.step(self.objective)
            taken = int(solver.state[self.parameters[0]].get("n_iter", 0))
            self.steps += taken
            before = self.value, self.largest
            self.value = float(self.objective().detach())
            self.largest = max(float(p.grad.abs().max()) for p in self.parameters if p.grad is not None)
            if self.largest <= tolerance or not taken or (self.value, self.largest) == before:
                return


def _logits(output: Any) -> Tensor:
    return getattr(output, "logits", output)
