"""Ranks of Jacobians and of their products: the published rule, what it cannot see, and what depth does to spectra."""

import math

import pytest
import torch
from examples import gaussian
from hypothesis import given, settings
from hypothesis.strategies import integers

from deepcollapse import errors
from deepcollapse.geometry import gram_rank, numerical_rank, singular_values
from unchecked import shapes_unchecked


def test_numerical_rank_may_grow_from_layer_to_layer():
    first, second = torch.diag(torch.tensor([1.0, 1e-6])).double(), torch.diag(torch.tensor([1e-6, 1.0])).double()
    product = second @ first
    assert [numerical_rank(j, 1e-3).item() for j in (first, second, product)] == [1, 1, 2]
    assert [gram_rank(j).item() for j in (first, second, product)] == [1, 1, 2]
    assert [numerical_rank(j).item() for j in (first, second, product)] == [2, 2, 2], "the exact rank is 2 all along"


@settings(max_examples=40, derandomize=True, deadline=None)
@given(seed=integers(0, 2**16), r1=integers(0, 5), r2=integers(0, 5))
def test_exact_rank_of_a_product_is_at_most_that_of_each_factor(seed, r1, r2):
    draw = torch.Generator().manual_seed(seed)
    a, b, c, d = (torch.randint(-3, 4, s, generator=draw).double() for s in ((7, r1), (r1, 6), (6, r2), (r2, 8)))
    first, second = a @ b, c @ d
    ranks = [int(torch.linalg.matrix_rank(m)) for m in (first, second, first @ second)]
    assert ranks[2] <= min(ranks[:2])
    for matrix, rank in zip((first, second, first @ second), ranks, strict=True):
        assert numerical_rank(matrix) == rank
        assert gram_rank(matrix) <= rank


def test_the_published_cut():
    cut = math.sqrt(768 * torch.finfo(torch.float32).eps)
    assert cut == pytest.approx(0.009568, abs=5e-7)
    for small, counted in ((1.02 * cut, 768), (0.98 * cut, 767)):
        values = torch.ones(768)
        values[-1] = small
        assert gram_rank(torch.cat([torch.diag(values), torch.zeros(5, 768)])).item() == counted
        assert numerical_rank(torch.diag(values)).item() == 768


@settings(max_examples=30, derandomize=True, deadline=None)
@given(seed=integers(0, 2**16), m=integers(1, 12), n=integers(1, 12))
def test_it_is_what_torch_says_of_the_gram_matrix(seed, m, n):
    spread = gaussian(seed, m, n).float() * 10 ** gaussian(seed + 1, n).float()
    assert gram_rank(spread).item() == torch.linalg.matrix_rank(spread.T @ spread).item()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_no_scale_overflows_or_vanishes(scale):
    jacobian = gaussian(0, 9, 3) @ gaussian(1, 3, 6)
    assert gram_rank(scale * jacobian.float()).item() == gram_rank(jacobian).item() == 3


def test_loose_products_of_the_users_choice_change_nothing():
    values = torch.diag(torch.tensor([1.0, 0.1, 0.01, 1e-3, 1e-4]))
    turned = torch.linalg.qr(gaussian(3, 5, 5)).Q.float() @ values
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert gram_rank(turned).item() == 4
    finally:
        torch.set_float32_matmul_precision(before)


def test_degenerate_matrices():
    assert gram_rank(torch.zeros(4, 3)).item() == 0
    assert gram_rank(torch.zeros(0, 3)).item() == 0
    assert gram_rank(torch.full((1, 1), 1e-40)).item() == 1
    message = "matrix holds 1 NaN or infinite entries; leave out what they belong to."
    with pytest.raises(errors.NonFiniteError) as error:
        gram_rank(torch.tensor([[1.0, torch.nan]]))
    assert str(error.value) == message
    with shapes_unchecked(), pytest.raises(errors.ShapeError) as error:
        gram_rank(torch.ones(3))
    assert str(error.value) == "matrix has shape (3,); expected (outputs, inputs). Flatten or pool other axes first."


def test_products_of_gaussian_matrices_thin_out_at_the_rates_of_theory():
    """log s_i of a product of d x d Gaussian matrices grows by (log 2 + digamma((d - i + 1) / 2)) / 2 a factor."""
    d, depth, runs = 10, 300, 4
    i = torch.arange(1, d + 1).double()
    rates = (math.log(2) + torch.digamma((d - i + 1) / 2)) / 2
    torch.testing.assert_close(rates[:3], torch.tensor([1.0996, 1.0410, 0.9746]).double(), rtol=0, atol=5e-5)
    assert (rates[0] - rates[1]).item() == pytest.approx(0.05862, abs=5e-6)
    draw, found = torch.Generator().manual_seed(0), torch.zeros(d).double()
    for _ in range(runs):
        basis = torch.eye(d).double()
        for _ in range(depth):  # Q R as one goes: the product itself would leave nothing but its largest direction
            basis, r = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=draw) @ basis)
            found += r.diagonal().abs().log() / (depth * runs)
    # Each rate is a mean of 1200 logs with standard deviation at most 1.3.
    assert (found - rates).abs().max().item() < 4 * 1.3 / math.sqrt(depth * runs)
    product = torch.eye(d).double()
    for _ in range(40):
        product = torch.randn(d, d, dtype=torch.float64, generator=draw) @ product
        product /= product.norm()
    assert gram_rank(product).item() < d
    assert singular_values(product)[-1] > 0
