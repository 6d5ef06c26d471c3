"""Truncations of one matrix: fixed values, the optimum by its definition, and what must not change."""

import math
import re
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers
from matrices import close, draw, mat2, tail

from deepcollapse.compression.low_rank.factors import Factors
from deepcollapse.compression.low_rank.truncation import (
    activation_aware,
    diagonally_scaled,
    random_directions,
    scales_of,
    truncated,
)
from deepcollapse.errors import NonFiniteError, OptionError, ShapeError
from unchecked import shapes_unchecked

W, X = mat2(4, 6, 1.0), mat2(6, 9, 0.3)
C = X @ X.T
SIDES = integers(1, 9)


def output_error(weight, factors: Factors, inputs) -> float:
    change = 0.0 if factors.bias_change is None else factors.bias_change[:, None]
    return float(((weight - factors.matrix()) @ inputs - change).norm())


def asvd(weight, rank, inputs):
    return diagonally_scaled(weight, rank, scales_of(inputs.abs().mean(dim=1)))


def compensated(weight, rank, inputs):
    mean = inputs.mean(dim=1)
    centred = inputs - mean[:, None]
    return activation_aware(weight, rank, centred @ centred.T, mean)


def whitened(weight, rank, moment):
    """The same optimum by another way: SVD of W S with S S^T = C, and S undone."""
    root = torch.linalg.cholesky(moment)
    u, s, v = torch.linalg.svd(weight @ root, full_matrices=False)
    return torch.linalg.solve_triangular(root, (u[:, :rank] * s[:rank]) @ v[:rank], upper=False, left=False)


@pytest.mark.parametrize(
    ("rank", "plain", "optimal", "scaled", "plain_weight", "optimal_weight"),
    [
        (1, 4.625000212540, 4.591048875185, 4.616222722569, 2.118574665176, 2.129012961217),
        (2, 3.176153088027, 2.839355439029, 3.065012462918, 1.393634222024, 1.494436787260),
        (3, 2.050187357512, 1.389012137967, 1.873916054123, 0.802613354360, 1.042181859647),
    ],
)
def test_fixed_values(rank, plain, optimal, scaled, plain_weight, optimal_weight):
    by_weight, by_output = truncated(W, rank), activation_aware(W, rank, C)
    close(output_error(W, by_weight, X), plain)
    close(output_error(W, by_output, X), optimal)
    close(output_error(W, asvd(W, rank, X), X), scaled)
    close(float((W - by_weight.matrix()).norm()), plain_weight)
    close(float((W - by_output.matrix()).norm()), optimal_weight)


@pytest.mark.parametrize(("rank", "error"), [(1, 4.067629800747), (2, 2.154828985691)])
def test_fixed_values_with_the_bias_mended(rank, error):
    close(output_error(W, compensated(W, rank, X), X), error)


@given(m=SIDES, n=SIDES, samples=integers(1, 20), rank=integers(0, 9), seed=integers(0, 2**16))
@settings(deadline=None, max_examples=60)
def test_no_truncation_keeps_outputs_nearer_than_the_activation_aware_one(m, n, samples, rank, seed):
    weight, inputs = draw(m, n, seed=seed), draw(n, samples, seed=seed + 1) + 0.5
    best = output_error(weight, activation_aware(weight, rank, inputs @ inputs.T), inputs)
    size = float((weight @ inputs).norm())
    close(best, tail(weight @ inputs, rank), rtol=1e-9, atol=1e-9 * size)  # also where C is singular
    slack = 1e-9 * size
    assert best <= output_error(weight, truncated(weight, rank), inputs) + slack
    assert best <= output_error(weight, asvd(weight, rank, inputs), inputs) + slack
    assert output_error(weight, compensated(weight, rank, inputs), inputs) <= best + slack


@given(m=SIDES, n=SIDES, rank=integers(0, 9), seed=integers(0, 2**16))
@settings(deadline=None, max_examples=40)
def test_whitening_gives_the_same_matrix(m, n, rank, seed):
    weight, inputs = draw(m, n, seed=seed), draw(n, 4 * n + 4, seed=seed + 1)
    moment = inputs @ inputs.T
    found = activation_aware(weight, rank, moment).matrix()
    values = torch.linalg.svdvals(weight @ torch.linalg.cholesky(moment))
    if rank < len(values) and rank > 0:
        gap = float(values[rank - 1] - values[rank]) / float(values[0])
        if gap < 1e-3:  # the truncation itself is not unique where values coincide
            return
    close(found, whitened(weight, rank, moment), rtol=0, atol=1e-8 * float(weight.norm()))


@given(m=SIDES, n=SIDES, rank=integers(0, 9), seed=integers(0, 2**16))
@settings(deadline=None, max_examples=40)
def test_truncating_again_changes_nothing_and_the_error_is_the_tail(m, n, rank, seed):
    weight = draw(m, n, seed=seed)
    once = truncated(weight, rank)
    close(float((weight - once.matrix()).norm()), tail(weight, rank), atol=1e-12)
    close(truncated(once.matrix(), rank).matrix(), once.matrix(), rtol=0, atol=1e-12)
    moment = draw(n, n, seed=seed + 1)
    aware = partial(activation_aware, rank=rank, second_moment=moment @ moment.T)
    close(aware(aware(weight).matrix()).matrix(), aware(weight).matrix(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7)])
def test_exact_from_the_rank_on(shape):
    weight = draw(shape[0], 2) @ draw(2, shape[1], seed=1)
    moment = draw(shape[1], 3, seed=2) @ draw(3, shape[1], seed=3)
    moment = moment @ moment.T  # singular
    for rank in (2, 3, 40):
        for factors in (
            truncated(weight, rank),
            activation_aware(weight, rank, moment),
            diagonally_scaled(weight, rank, torch.rand(shape[1])),
        ):
            close(factors.matrix(), weight, rtol=0, atol=1e-12)
            assert factors.rank == min(rank, 4)


def test_factors_are_balanced_and_count_their_numbers():
    for factors in (truncated(W, 3), activation_aware(W, 3, C), asvd(W, 3, X)):
        close(factors.left.T @ factors.left, factors.right @ factors.right.T, rtol=0, atol=1e-12)
        assert factors.parameters == 3 * (4 + 6)


def test_rank_zero_and_zero_weights_give_zero():
    assert truncated(W, 0).matrix().eq(0).all()
    assert truncated(torch.zeros(3, 5), 2).matrix().eq(0).all()
    assert activation_aware(torch.zeros(3, 5), 2, torch.eye(5).double()).matrix().eq(0).all()
    assert activation_aware(W, 2, torch.zeros(6, 6).double()).rank == 2


def test_an_unseen_direction_is_kept_by_its_weight_with_a_ridge():
    weight = torch.diag(torch.tensor([1.0, 2.0, 3.0])).double()
    moment = torch.diag(torch.tensor([1.0, 0.0, 0.0])).double()  # inputs 1 and 2 never differ from 0
    found = activation_aware(weight, 2, moment, ridge=1e-6).matrix()
    close(found, torch.diag(torch.tensor([1.0, 0.0, 3.0])), rtol=0, atol=1e-12)
    # C + ridge tr(C)/n I, by hand
    direct = activation_aware(W, 2, C + 0.1 * C.trace() / 6 * torch.eye(6).double())
    close(activation_aware(W, 2, C, ridge=0.1).matrix(), direct.matrix(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_any_magnitude_of_inputs_is_safe(scale):
    inputs = scale * X
    close(activation_aware(W, 2, inputs @ inputs.T).matrix(), activation_aware(W, 2, C).matrix(), rtol=1e-9)


def test_scales_are_floored_and_powers_of_the_magnitude():
    assert scales_of(torch.tensor([9.0, 0.0])).tolist() == [3.0, 1e-6]
    assert scales_of(torch.tensor([9.0, 0.0]), alpha=0).tolist() == [1.0, 1.0]
    dead = diagonally_scaled(torch.ones(2, 2), 1, torch.tensor([1.0, 0.0]))
    assert dead.matrix().isfinite().all()


@pytest.mark.parametrize("decay", [0.0, 0.25, 0.5, 1.0])
def test_random_projections_lose_a_thousandth_more_at_most(decay):
    # From a flat spectrum, the hardest, to one that falls as 1/i.
    s = torch.arange(1, 301).double() ** -decay
    weight = torch.linalg.qr(draw(400, 300)).Q * s @ torch.linalg.qr(draw(300, 300, seed=1)).Q.T
    found = truncated(weight, 12, torch.Generator().manual_seed(2))
    assert tail(weight, 12) <= float((weight - found.matrix()).norm()) * (1 + 1e-12)
    assert float((weight - found.matrix()).norm()) <= (1 + 1e-3) * tail(weight, 12)
    again = truncated(weight, 12, torch.Generator().manual_seed(2))
    assert again.matrix().equal(found.matrix())


def test_random_projections_are_exact_once_they_span_everything():
    directions = random_directions(W, 4, torch.Generator().manual_seed(0))
    close(directions.values, torch.linalg.svdvals(W), rtol=1e-12)


def test_half_precision_weights_are_decomposed_in_float64():
    weight = W.to(torch.bfloat16)
    close(float((weight.double() - truncated(weight, 2).matrix()).norm()), tail(weight.double(), 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: truncated(W, -1), OptionError, "a rank is at least 0; got -1."),
        (
            lambda: truncated(torch.zeros(3), 1),
            ShapeError,
            "the weight has shape (3,); expected (outputs, inputs). Flatten or pool other axes first.",
        ),
        (
            lambda: truncated(torch.tensor([[1.0, math.nan]]), 1),
            NonFiniteError,
            "the weight holds 1 NaN or infinite entries; leave out what they belong to.",
        ),
        (
            lambda: activation_aware(W, 1, torch.eye(5).double()),
            ShapeError,
            "the second moment has shape (5, 5); expected (6, 6) for a weight with 6 inputs.",
        ),
        (
            lambda: activation_aware(W, 1, C, ridge=-1.0),
            OptionError,
            "ridge is a share of the mean input variance, at least 0; got -1.0.",
        ),
        (
            lambda: activation_aware(W, 1, C * math.inf),
            NonFiniteError,
            "the second moment holds 36 NaN or infinite entries; leave out what they belong to.",
        ),
        (
            lambda: diagonally_scaled(W, 1, torch.ones(5)),
            ShapeError,
            "scales have shape (5,); expected one for each of 6 inputs.",
        ),
        (lambda: scales_of(torch.ones(2), alpha=1.5), OptionError, "alpha is a power between 0 and 1; got 1.5."),
    ],
)
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
