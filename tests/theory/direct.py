"""The slow twin of every closed form: a problem's own objective, minimised over all its variables by scipy."""

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from deepcollapse.theory.problem import Point, Problem


def minimised(problem: Problem, seed: int = 0, tolerance: float = 1e-11) -> Point:
    """Where L-BFGS-B ends from a random start, by automatic derivatives."""
    start = problem.start(torch.Generator().manual_seed(seed))
    coefficients = {name: value[None] for name, value in problem.coefficients().items()}

    def unpacked(flat: Tensor) -> Point:
        parts = flat.split([value.numel() for value in start.values()])
        return {name: part.view(value.shape) for (name, value), part in zip(start.items(), parts, strict=True)}

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        flat = torch.tensor(values, requires_grad=True)
        value = problem.objective({name: part[None] for name, part in unpacked(flat).items()}, coefficients).sum()
        value.backward()
        assert flat.grad is not None
        return value.item(), flat.grad.numpy()

    flat = torch.cat([value.flatten() for value in start.values()]).numpy()
    options = {"maxiter": 20_000, "maxfun": 50_000, "maxcor": 50, "ftol": 0.0, "gtol": tolerance}
    found = minimize(objective, flat, jac=True, method="L-BFGS-B", options=options)
    return unpacked(torch.tensor(found.x))
