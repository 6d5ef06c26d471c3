"""Matrices of full rank that need no generator."""

import torch
from torch import Tensor


def sines(rows: int, columns: int, shift: float) -> Tensor:
    """sin(shift + i j^1.5) for i, j from 1; a plain sin(i + j) would have rank 2."""
    i = torch.arange(1, rows + 1, dtype=torch.float64)[:, None]
    return torch.sin(shift + i * torch.arange(1, columns + 1, dtype=torch.float64) ** 1.5)


def ridge(x: Tensor, y: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """The stationary weight of 1/(2N) |X W^T - Y|^2 + decay/2 |W|^2, and the signals at it."""
    n = len(x)
    weight = (y.T @ x / n) @ torch.linalg.inv(x.T @ x / n + decay * torch.eye(x.shape[1], dtype=torch.float64))
    return weight, (x @ weight.T - y) / n
