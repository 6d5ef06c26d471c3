"""The bounds of one layer: fixed values, a naive twin with projectors, and what holds for every weight."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import floats, integers
from sine import ridge, sines

from deepcollapse.errors import LabelError, NonFiniteError, OptionError, ShapeError
from deepcollapse.theory.bounds.group_moments import group_moments
from deepcollapse.theory.bounds.rank_collapse import rank_collapse
from unchecked import shapes_unchecked

HALVES = torch.tensor([0] * 4 + [1] * 4)


def random_layer(seed, rows=30, outputs=6, inputs=5, groups=3):
    g = torch.Generator().manual_seed(seed)
    z, d, w = (torch.randn(*s, generator=g).double() for s in ((rows, inputs), (rows, outputs), (outputs, inputs)))
    return w, z, d, torch.randint(groups, (rows,), generator=g)


def naive(weight, z, d, groups, decay):
    """As the formulas are written, with the projector P as a matrix."""
    ones = torch.nn.functional.one_hot(groups).double()
    ones = ones[:, ones.sum(0) > 0]
    p = ones @ torch.diag(1 / ones.sum(0)) @ ones.T
    zt, dt, k = z - p @ z, d - p @ d, ones.shape[1]
    residual = decay * weight + d.T @ z
    left, s = residual.norm(), torch.linalg.svdvals(weight)
    spectral = lambda a: torch.linalg.svdvals(a)[0]  # noqa: E731
    return {
        "distance": s[k:].norm(),
        "bound_cross": ((dt.T @ zt).norm() + left) / decay,
        "bound_spectral": (spectral(dt.T @ zt) + spectral(residual)) / decay,
        "bound_product": (dt.norm() * spectral(zt) + left) / decay,
        "bound_variability": (spectral(d) * zt.norm() + left) / decay,
        "stationarity_residual": left / (decay * weight.norm()),
        "input_variation": zt.square().sum() / len(z),
    }


def test_a_ridge_layer_has_the_published_digits():
    weight, signals = ridge(sines(8, 5, 0.2), sines(8, 4, 1.7), 0.1)
    found = rank_collapse(weight, sines(8, 5, 0.2), signals, HALVES, 0.1)
    expected = {
        "norm": 1.071998372583,
        "distance": 0.121373752864,
        "next_singular_value": 0.107574766309,
        "bound_cross": 0.965993088145,
        "bound_spectral": 0.902356665313,
        "bound_product": 8.277294415394,
        "bound_variability": 11.019754631174,
        "relative_distance": 0.113221956272,
        "relative_bound": 0.965993088145 / 1.071998372583,
        "input_variation": 2.713974459129,
    }
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-10)
    assert found.stationarity_residual < 1e-14
    assert found.assumptions == ()
    assert (found.groups, found.shape, found.rows) == (2, (4, 5), 8)


@pytest.mark.parametrize(
    ("scale", "distance", "cross", "variability", "variation"),
    [
        (0.4, 0.422358, 2.631443, 5.812423, 0.441355),
        (0.2, 0.206347, 0.844564, 1.648156, 0.110339),
        (0.1, 0.067070, 0.241822, 0.511888, 0.027585),
        (0.05, 0.018069, 0.063386, 0.197273, 0.006896),
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_halving_the_deviations_quarters_the_distance(scale, distance, cross, variability, variation):
    groups = torch.arange(3).repeat_interleave(4)
    x = sines(3, 6, 0.9)[groups] + scale * sines(12, 6, 0.2)
    y = sines(3, 5, 2.3)[groups] + scale * sines(12, 5, 1.1)
    weight, signals = ridge(x, y, 0.05)
    found = rank_collapse(weight, x, signals, groups, 0.05)
    seen = [found.distance, found.bound_cross, found.bound_variability, found.input_variation]
    assert seen == pytest.approx([distance, cross, variability, variation], abs=6e-7)


@given(seed=integers(0, 2**16), decay=floats(1e-3, 10))
@settings(max_examples=40, deadline=None)
def test_every_bound_is_true_of_every_weight_and_is_as_its_formula(seed, decay):
    layer = random_layer(seed)
    found = rank_collapse(*layer, decay)
    expected = {name: float(value) for name, value in naive(*layer, decay).items()}
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for bound in (found.bound_cross, found.bound_product, found.bound_variability, found.bound_alignment):
        assert found.distance <= bound * (1 + 1e-12)
    assert found.bound_cross <= min(found.bound_product, found.bound_variability) * (1 + 1e-12)
    assert found.bound_alignment <= min(found.norm, found.bound_cross) * (1 + 1e-12)
    assert found.next_singular_value <= found.bound_spectral * (1 + 1e-12)
    assert found.relative_distance <= found.relative_bound * (1 + 1e-12)


@given(seed=integers(0, 2**16), cut=integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_any_cut_into_batches_gives_the_same_moments(seed, cut):
    _, z, d, groups = random_layer(seed)
    z = z + 1e3  # far from the origin, where sums of squares lose digits
    whole = group_moments(z, d, groups, 3)
    merged = group_moments(z[:cut], d[:cut], groups[:cut], 3).merge(group_moments(z[cut:], d[cut:], groups[cut:], 3))
    for name in ("count", "input_mean", "signal_mean", "cross", "signal_gram", "input_gram"):
        torch.testing.assert_close(getattr(merged, name), getattr(whole, name), rtol=1e-9, atol=1e-8)
    assert merged.input_square == pytest.approx(whole.input_square, rel=1e-9)
    torch.testing.assert_close(whole.between() + whole.cross, d.T @ z, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(whole.signal_second_moment(), d.T @ d)


def test_finer_groups_count_more_and_leave_less():
    weight, signals = ridge(sines(8, 5, 0.2), sines(8, 4, 1.7), 0.1)
    x = sines(8, 5, 0.2)
    coarse = rank_collapse(weight, x, signals, HALVES, 0.1)
    fine = rank_collapse(weight, x, signals, torch.tensor([0, 0, 5, 5, 7, 7, 7, 7]), 0.1)
    assert (fine.groups, coarse.groups) == (3, 2)  # numbers without rows are no groups
    assert fine.distance < coarse.distance
    assert fine.input_variation < coarse.input_variation


def test_as_many_groups_as_rows_of_the_weight_make_it_trivially_true():
    weight, signals = ridge(sines(8, 5, 0.2), sines(8, 4, 1.7), 0.1)
    found = rank_collapse(weight, sines(8, 5, 0.2), signals, torch.arange(8) // 2, 0.1)
    assert found.distance == found.next_singular_value == 0
    assert found.assumptions == ("trivially true: with 4 groups no rank of 4 x 5 lies above",)


def test_away_from_stationary_it_says_so():
    weight, z, d, groups = random_layer(0)
    found = rank_collapse(weight, z, d, groups, 0.5)
    share = f"{found.stationarity_residual:.2g}"
    assert found.assumptions == (
        f"not stationary: |decay W + gradient| is {share} of |decay W|, which the bounds take in",
    )


@pytest.mark.parametrize(
    ("decay", "reason"), [(None, "the decay is not known"), (0, "without weight decay nothing bounds the rank")]
)
def test_without_a_decay_only_what_needs_none_is_told(decay, reason):
    found = rank_collapse(*random_layer(1), decay)
    assert found.assumptions == (reason,)
    assert math.isnan(found.bound_cross)
    assert math.isnan(found.bound_variability)
    assert found.distance <= found.bound_alignment <= found.norm


def test_a_weight_of_zeros_is_at_rank_k():
    _, z, d, groups = random_layer(2)
    found = rank_collapse(torch.zeros(6, 5), z, d, groups, 0.1)
    assert found.distance == found.bound_alignment == 0
    assert math.isnan(found.relative_distance)
    assert math.isnan(found.stationarity_residual)


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1.0, 1e21, 1e30])
def test_float32_rows_of_any_size_keep_their_squares(scale):
    _, z, d, groups = random_layer(3)
    z, d = (z * scale).float(), (d * scale).float()
    single, exact = group_moments(z, d, groups, 3), group_moments(z.double(), d.double(), groups, 3)
    for name in ("signal_gram", "input_gram"):
        found, expected = getattr(single, name) / scale**2, getattr(exact, name) / scale**2
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert expected.diagonal().min() > 1


def test_what_does_not_fit_is_refused():
    weight, z, d, groups = random_layer(0)
    with shapes_unchecked(), pytest.raises(ShapeError) as caught:
        rank_collapse(weight, z[:, :4], d, groups, 0.1)
    assert str(caught.value) == "inputs have shape (30, 4); a weight of shape (6, 5) takes (rows, 5)."
    with shapes_unchecked(), pytest.raises(ShapeError) as caught:
        rank_collapse(weight, z[:29], d, groups, 0.1)
    assert str(caught.value) == "inputs, signals and groups must have as many rows; got 29, 30 and 30."
    with pytest.raises(OptionError) as caught:
        rank_collapse(weight, z, d, groups, -0.1)
    assert str(caught.value) == "decay must be 0 or more; got -0.1."
    with pytest.raises(LabelError) as caught:
        group_moments(z, d, groups - 1, 3)
    assert str(caught.value) == ("groups run from 0 to 2; got -1 to 1. Number them from 0, or say how many there are.")
    with pytest.raises(NonFiniteError) as caught:
        rank_collapse(weight, z * math.inf, d, groups, 0.1)
    assert str(caught.value) == "inputs hold NaN or infinite entries. Look for a diverged network."
    for args, name in (((z * 1e170, d), "inputs"), ((z, d * 1e170), "signals")):
        peak = float(dict(inputs=z - z.mean(dim=0), signals=d - d.mean(dim=0))[name].abs().max()) * 1e170
        with pytest.raises(NonFiniteError) as caught:
            group_moments(*args, torch.zeros_like(groups), 1)
        assert str(caught.value) == (
            f"{name} reach {peak:.2g}, and their squares would overflow. Look for a diverged network."
        )
