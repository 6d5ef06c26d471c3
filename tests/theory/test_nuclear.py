"""The price of a product is its nuclear norm: the cheapest factors reach it, and no others fall below."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.theory.nuclear import balanced_factors, constrained_gap, nuclear_norm, spectral_norm

SEEDS = st.integers(0, 2**16)


def price(w, h, lw, lh):
    return float(lw / 2 * w.square().sum() + lh / 2 * h.square().sum())


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 6), n=st.integers(1, 6))
def test_the_cheapest_factors_of_a_product_cost_its_nuclear_norm(seed, m, n):
    z = torch.randn(m, n, generator=torch.Generator().manual_seed(seed)).double()
    lw, lh = 0.3, 0.02
    w, h = balanced_factors(z, (lh / lw) ** 0.5, dim=min(m, n) + 1)
    torch.testing.assert_close(w @ h.T, z, rtol=0, atol=1e-13)
    assert price(w, h, lw, lh) == pytest.approx((lw * lh) ** 0.5 * nuclear_norm(z), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_no_other_factors_of_the_same_product_are_cheaper(seed):
    generator = torch.Generator().manual_seed(seed)
    w, h = torch.randn(4, 3, generator=generator).double(), torch.randn(5, 3, generator=generator).double()
    assert price(w, h, 0.3, 0.02) >= 0.006**0.5 * nuclear_norm(w @ h.T) * (1 - 1e-12)


def test_directions_beyond_the_width_are_dropped_from_the_smallest():
    z = torch.diag(torch.tensor([5.0, 1.0, 3.0]).double())
    w, h = balanced_factors(z, 1.0, dim=2)
    torch.testing.assert_close(w @ h.T, torch.diag(torch.tensor([5.0, 0.0, 3.0]).double()))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_constrained_gap_bounds_what_a_convex_function_can_still_lose(seed):
    """f(Z) = |Z - T|^2 / 2, whose minimiser over |Z|_* <= radius is reached by soft-thresholding singular values."""
    generator = torch.Generator().manual_seed(seed)
    target, z = torch.randn(2, 4, 3, generator=generator).double()
    radius = 0.4 * nuclear_norm(target)
    z *= radius / nuclear_norm(z)
    left, values, right = torch.linalg.svd(target, full_matrices=False)
    low, high = torch.tensor(0.0).double(), values[0]
    for _ in range(200):
        level = (low + high) / 2
        low, high = (level, high) if (values - level).clamp(min=0).sum() > radius else (low, level)
    best = left @ torch.diag((values - low).clamp(min=0)) @ right
    lost = ((z - target).square().sum() - (best - target).square().sum()) / 2
    assert constrained_gap(z, z - target, radius) >= lost - 1e-10
    assert constrained_gap(best, best - target, radius) == pytest.approx(0.0, abs=1e-10)


def test_norms_of_a_known_matrix():
    z = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, -4.0]]).double()
    assert (nuclear_norm(z), spectral_norm(z)) == (7.0, 4.0)
