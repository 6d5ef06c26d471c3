"""Matrices that anyone can make again, and errors by their definitions."""

import math

import torch
from torch import Tensor


def mat2(m: int, n: int, c: float = 1.0) -> Tensor:
    """sin(c + (i + 1) (j + 1)^1.5), of full rank."""
    i, j = torch.arange(m).double()[:, None], torch.arange(n).double()
    return torch.sin(c + (i + 1) * (j + 1) ** 1.5)


def the_kernel() -> Tensor:
    """sin(0.7 + index^1.3) of shape (4, 3, 3, 3)."""
    return torch.sin(0.7 + torch.arange(108).double() ** 1.3).reshape(4, 3, 3, 3)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tail(matrix: Tensor, rank: int) -> float:
    """sqrt(sum_{i > r} s_i^2)."""
    return math.sqrt(float(torch.linalg.svdvals(matrix)[rank:].square().sum()))


def close(actual, expected, rtol: float = 1e-10, atol: float = 0.0) -> None:
    actual, expected = (torch.as_tensor(x, dtype=torch.float64) for x in (actual, expected))
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)
