"""The parts of the squared error: fixed values, the identity on random data, ridge regression, and bad input."""

import math

import pytest
import torch
from torch import Tensor

from deepcollapse import collect
from deepcollapse.errors import NonFiniteError, OptionError, ScatterLevelError, ShapeError, TooFewClassesError
from deepcollapse.theory.problems.decomposition import decompose, least_squares_head

FEATURES = torch.tensor(
    [(4, 0, 1, 0), (5, 1, 0, 1), (3, -1, 2, -1), (0, 4, 0, 1), (1, 5, 1, 0), (-1, 3, -1, 2), (-3, -3, 1, 0),
     (-4, -2, 0, 1), (-2, -4, 2, 2)], dtype=torch.float64,
)  # fmt: skip
LABELS = torch.arange(3).repeat_interleave(3)
W = torch.tensor([(1, -0.5, 0.25, 0), (-0.5, 1, 0, 0.25), (-0.5, -0.75, 0, 0)], dtype=torch.float64)
B = torch.tensor([0, 0.1, -0.1], dtype=torch.float64)


def gaussian(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_fixed_values():
    parts = decompose(collect(FEATURES, LABELS, 3), W, B, 0.1)
    assert parts.total == pytest.approx(10.1085694444, rel=1e-11)
    assert parts.within == pytest.approx(0.0328884224286, rel=1e-11)
    assert parts.simplex == pytest.approx(0.00280784529742, rel=1e-11)
    assert parts.deviation == pytest.approx(10.0728731767, rel=1e-11)
    row = (0.158856831782, -0.073545212466, -0.046268905205, -0.044623434257)
    assert parts.classifier[0].tolist() == pytest.approx(row, abs=1e-12)
    assert parts.bias.tolist() == pytest.approx((0.332264563518, 0.144036064464, 0.272840484349), abs=1e-12)


def loss(features: Tensor, labels: Tensor, weights: Tensor, bias: Tensor, decay: float) -> float:
    """The loss sample by sample, each weighing 1/(C' n_c)."""
    count = labels.bincount().double()
    share = 1 / (count[labels] * (count > 0).sum())
    error = (features @ weights.T + bias - torch.eye(len(bias), dtype=torch.float64)[labels]).square().sum(dim=1)
    return ((share * error).sum() / 2 + decay / 2 * (weights.square().sum() + bias.square().sum())).item()


@pytest.mark.parametrize("decay", [0.0, 1e-6, 5e-4, 0.1, 30.0])
@pytest.mark.parametrize("seed", range(6))
def test_the_parts_sum_to_the_loss(seed, decay):
    classes, dim = 2 + seed, 3 + 2 * (seed % 3)
    labels = torch.arange(classes).repeat_interleave(12)
    features = gaussian(seed, len(labels), dim) + 3 * gaussian(seed + 50, classes, dim)[labels] + 2
    weights, bias = gaussian(seed + 100, classes, dim), gaussian(seed + 200, classes)
    parts = decompose(collect(features, labels, classes), weights, bias, decay)
    assert parts.total == pytest.approx(loss(features, labels, weights, bias, decay), rel=1e-12)
    assert parts.within + parts.simplex + parts.deviation == pytest.approx(parts.total, rel=1e-10)
    assert min(parts.within, parts.simplex, parts.deviation) >= 0
    best = loss(features, labels, parts.classifier, parts.bias, decay)
    assert parts.within + parts.simplex == pytest.approx(best, rel=1e-10)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_imbalanced_and_absent_classes_count_equally(decay):
    labels = torch.tensor([0] * 9 + [1] * 4 + [3] * 6)
    features = gaussian(7, 19, 3)
    weights, bias = gaussian(8, 4, 3), gaussian(9, 4)
    parts = decompose(collect(features, labels, 4), weights, bias, decay)
    assert parts.total == pytest.approx(loss(features, labels, weights, bias, decay), rel=1e-12)
    assert parts.within + parts.simplex + parts.deviation == pytest.approx(parts.total, rel=1e-11)
    assert (parts.classifier[2].abs().sum().item(), parts.bias[2].item()) == (0.0, 0.0)


@pytest.mark.parametrize("decay", [0.0, 1e-3, 0.7])
def test_the_head_is_ridge_regression_on_features_and_one(decay):
    features, labels = gaussian(3, 40, 5) + 1, torch.arange(4).repeat_interleave(10)
    one = torch.cat([features, torch.ones(40, 1, dtype=torch.float64)], dim=1)
    labels_one_hot = torch.eye(4, dtype=torch.float64)[labels]
    head = torch.linalg.solve(one.T @ one / 40 + decay * torch.eye(6).double(), one.T @ labels_one_hot / 40).T
    weights, bias = least_squares_head(collect(features, labels, 4), decay)
    torch.testing.assert_close(torch.cat([weights, bias[:, None]], dim=1), head, rtol=1e-10, atol=1e-13)


def test_the_published_formula_is_ours():
    moments, decay = collect(FEATURES, LABELS, 3), 0.1
    mean, means = moments.global_mean(), moments.class_means()
    gram = moments.total_scatter() + decay / (1 + decay) * torch.outer(mean, mean) + decay * torch.eye(4).double()
    published = (means - mean / (1 + decay)) @ torch.linalg.inv(gram) / 3
    weights, bias = least_squares_head(moments, decay)
    torch.testing.assert_close(weights, published, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(bias, (1 / 3 - published @ mean) / (1 + decay), rtol=1e-12, atol=1e-15)


def test_collapsed_features_with_their_own_head_lose_nothing():
    moments = collect(torch.eye(4, 6, dtype=torch.float64).repeat(3, 1), torch.arange(4).repeat(3), 4)
    parts = decompose(moments, *least_squares_head(moments, 0.0), 0.0)
    assert max(parts.total, parts.within, parts.simplex, parts.deviation) < 1e-28


def test_a_shift_of_ten_thousand_keeps_the_identity():
    labels = torch.arange(3).repeat_interleave(8)
    features = gaussian(1, 24, 4) + 1e4
    parts = decompose(collect(features, labels, 3), gaussian(2, 3, 4), gaussian(3, 3), 5e-4)
    assert parts.within + parts.simplex + parts.deviation == pytest.approx(parts.total, rel=1e-10)


@pytest.mark.parametrize("decay", [-0.1, math.nan, math.inf])
def test_a_decay_that_is_none(decay):
    with pytest.raises(OptionError) as error:
        decompose(collect(FEATURES, LABELS, 3), W, B, decay)
    assert str(error.value) == f"decay must be a finite number, 0 or above; got {decay:g}."


def test_a_head_that_does_not_fit():
    with pytest.raises(ShapeError) as error:
        decompose(collect(FEATURES, LABELS, 3), W[:, :3], B, 0.1)
    assert str(error.value) == ("classifier has shape (3, 3) and bias (3,); these moments need (3, 4) and (3,).")


def test_a_head_that_is_no_number():
    with pytest.raises(NonFiniteError) as error:
        decompose(collect(FEATURES, LABELS, 3), W / 0, B, 0.1)
    assert str(error.value) == "classifier holds 12 NaN or infinite entries; leave out what they belong to."


def test_moments_that_do_not_serve():
    with pytest.raises(ScatterLevelError):
        decompose(collect(FEATURES, LABELS, 3, scatter="none"), W, B, 0.1)
    with pytest.raises(TooFewClassesError):
        least_squares_head(collect(FEATURES[:3], LABELS[:3], 3), 0.1)
