"""The worked examples that fixed values are held to, and how closely: float64 tensors, written out."""

import torch
from torch import Tensor


def doubles(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# D1: three classes of three samples in four dimensions, with a classifier that sees it.
D1 = doubles(
    (4, 0, 1, 0), (5, 1, 0, 1), (3, -1, 2, -1),
    (0, 4, 0, 1), (1, 5, 1, 0), (-1, 3, -1, 2),
    (-3, -3, 1, 0), (-4, -2, 0, 1), (-2, -4, 2, 2),
)  # fmt: skip
D1_LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
D1_MEANS = doubles((4, 0, 1, 0), (0, 4, 0, 1), (-3, -3, 1, 1))
D1_CENTRE = D1_MEANS.mean(dim=0)
D1_CENTRED_MEANS = D1_MEANS - D1_CENTRE
W1 = doubles((1, -0.5, 0.25, 0), (-0.5, 1, 0, 0.25), (-0.5, -0.75, 0, 0))
B1 = torch.tensor([0, 0.1, -0.1], dtype=torch.float64)

# T1: test samples for D1.
T1 = doubles((-4, 0, 0, 2), (-4, 1, 0, 0), (4, 0, 0, 0), (0, 3, 0, 1))

# D2: imbalanced, four classes of which class 2 has no sample.
D2 = doubles((2, 0, 0), (4, 0, 2), (3, 3, 1), (3, 1, 1), (0, 4, 0), (2, 4, 2), (-2, -2, 5))
D2_LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 3])
D2_MEANS = torch.stack([rows.mean(dim=0) for rows in (D2[:4], D2[4:6], D2[6:])])  # of the classes present
D2_CENTRED_MEANS = D2_MEANS - D2_MEANS.mean(dim=0)  # weighting and centre "class"
D2_SAMPLE_CENTRED_MEANS = D2_MEANS - D2.mean(dim=0)  # centre "sample"

# Samples from outside D1's classes.
FOREIGN = doubles((1, 1, 5, 4), (0, 2, 6, 3), (-1, 0, 4, 5))

# Regression: features, two targets, and the rows of the last layer.
REGRESSION_FEATURES = doubles(
    (1, 2, 0, 1), (2, 1, 1, 0), (-1, 0, 2, 1), (0, -2, 1, 1), (3, 1, 0, -1), (-2, -1, 1, 0)
)  # fmt: skip
REGRESSION_TARGETS = doubles((1, 0), (2, 1), (-1, 1), (0, -2), (3, 0), (-2, -1))
REGRESSION_W = doubles((1, 0.2, 0.1, 0), (0.1, 0.8, 0, -0.2))


def regular_polygon(corners: int) -> Tensor:
    """The corners of a regular polygon on the unit circle, (corners, 2)."""
    angles = 2 * torch.pi * torch.arange(corners, dtype=torch.float64) / corners
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def gaussian(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotation(seed: int, dim: int) -> Tensor:
    return torch.linalg.qr(gaussian(seed, dim, dim)).Q


def assert_digits(actual: object, expected: object, rtol: float = 1e-10, atol: float = 1e-14) -> None:
    """Hold numbers together to `rtol`, NaN equal to NaN; a failure names the worst entry."""
    actual, expected = (torch.as_tensor(value, dtype=torch.float64) for value in (actual, expected))
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
