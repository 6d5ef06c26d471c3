"""The focal loss on free features: fixed values, direct minimisation, the proof's steps, and where it ends."""

import math

import numpy as np
import pytest
import torch
from direct import minimised

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.focal import UnconstrainedFocal
from deepcollapse.theory.problems.unconstrained import UnconstrainedFeatures


def of_price(price: float, num_classes: int, focus: float, **settings) -> UnconstrainedFocal:
    """A problem with (K-1) sqrt(n lW lH) = price, n = 1."""
    decay = price / (num_classes - 1)
    return UnconstrainedFocal(num_classes, 1, decay, decay, focus, **settings)


@pytest.mark.parametrize(
    ("focus", "margin", "value"),
    [(1.0, 4.19884053165, 0.01732616312), (2.0, 3.20618254568, 0.0131270992044), (3.0, 2.63324200164, 0.0107633250954)],
)
def test_fixed_values(focus, margin, value):
    facts = UnconstrainedFocal(4, 3, 5e-4, 1e-3, focus).optimum().facts()
    assert list(facts)[:5] == ["margin", "weight_norm_squared", "feature_norm_squared", "loss", "gap"]
    assert facts["margin"] == pytest.approx(margin, rel=3e-12)
    assert facts["loss"] == pytest.approx(value, rel=3e-12)
    assert facts["gap"] < 1e-15
    assert facts["note"] is None
    if focus == 1:
        assert facts["weight_norm_squared"] == pytest.approx(30.8550504416, rel=1e-11)


@pytest.mark.parametrize("settings", [(4, 3, 5e-3, 1e-3), (10, 5000, 5e-4, 1e-5), (3, 1, 0.5, 0.5), (2, 1, 0.1, 0.1)])
def test_without_focus_it_is_cross_entropy(settings):
    focal, plain = UnconstrainedFocal(*settings, 0.0).optimum(), UnconstrainedFeatures(*settings).optimum()
    assert focal.margin == pytest.approx(plain.margin, rel=1e-12)
    assert focal.value == pytest.approx(plain.value, rel=1e-13)
    assert focal.trivial == plain.trivial


@pytest.mark.parametrize("focus", [0.5, 2.0])
@pytest.mark.parametrize("bias_decay", [None, 0.0, 0.1])
def test_direct_minimisation_finds_the_closed_form(focus, bias_decay):
    problem = UnconstrainedFocal(4, 2, 1e-2, 2e-2, focus, bias_decay=bias_decay)
    optimum, point = problem.optimum(), minimised(problem)
    assert problem.value(point) == pytest.approx(optimum.value, rel=1e-9)
    assert point["classifier"].square().sum().item() == pytest.approx(optimum.weight_norm_squared, rel=1e-6)
    assert point["features"].square().sum().item() == pytest.approx(optimum.feature_norm_squared, rel=1e-6)
    assert problem.gap(point) < 1e-9
    assert problem.value(optimum.point()) == pytest.approx(optimum.value, rel=1e-12)
    assert problem.gap(optimum.point()) < 1e-13


def test_the_loss_is_what_its_formula_says():
    problem = UnconstrainedFocal(4, 3, 2e-2, 3e-2, 1.5, bias_decay=0.2)
    point = problem.start(torch.Generator().manual_seed(0))
    logits = point["features"] @ point["classifier"].T + point["bias"]
    p = logits.softmax(dim=1)[torch.arange(12), problem.labels]
    decays = {"classifier": 2e-2, "features": 3e-2, "bias": 0.2}
    expected = (-((1 - p) ** 1.5) * p.log()).mean()
    expected = expected + sum(decay / 2 * point[name].square().sum() for name, decay in decays.items())
    assert problem.value(point) == pytest.approx(expected.item(), rel=1e-13)


def test_a_well_fitted_sample_has_a_finite_gradient():
    # 1 - p rounds to 0 here, and its power below 1 has no derivative there.
    logits = torch.zeros(1, 2, 1, 2, dtype=torch.float64)
    logits[0, 0, 0, 0] = logits[0, 1, 0, 1] = 50.0
    logits.requires_grad_()
    problem = UnconstrainedFocal(2, 1, 0.1, 0.1, 0.5)
    loss = problem.loss(logits, {"focus": torch.tensor([0.5], dtype=torch.float64)})
    loss.sum().backward()
    assert logits.grad is not None
    assert loss.item() == pytest.approx(math.exp(-75), rel=1e-12)
    assert logits.grad[0, 0, 0, 0].item() == pytest.approx(-0.75 * math.exp(-75), rel=1e-12)


@pytest.mark.parametrize("num_classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("focus", [0.0, 0.3, 1.0, 2.0, 5.0, 40.0])
def test_the_steepness_has_one_peak_as_the_proof_says(num_classes, focus):
    problem = of_price(0.5, num_classes, focus)
    margins = np.linspace(-60, 60, 1001)
    steep = np.array([problem._log_steepness(margin) for margin in margins])
    steps = np.diff(steep)  # flat but for rounding at the far left, then up, then down for ever
    assert np.flatnonzero(steps > 1e-12).max(initial=-1) < np.flatnonzero(steps < -1e-12).min()
    assert steep[0] == pytest.approx(0, abs=1e-9)
    slope = [(problem.loss_at(margin - 1e-4) - problem.loss_at(margin + 1e-4)) / 2e-4 for margin in margins]
    np.testing.assert_allclose(slope, np.exp(steep), rtol=1e-4, atol=1e-9)
    top = margins[steep.argmax()]
    assert problem._steepest() == pytest.approx(max(0.0, top) if steep.max() > 1e-6 else 0.0, abs=0.15)


@pytest.mark.parametrize("num_classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("focus", [0.0, 0.5, 1.0, 2.0, 6.0])
@pytest.mark.parametrize("price", [1e-12, 1e-3, 0.3, 0.49, 0.51, 0.9, 0.999, 1.0, 1.05, 1.3, 4.0])
def test_no_common_margin_is_better_and_the_gap_is_closed_up_to_price_one(num_classes, focus, price):
    problem = of_price(price, num_classes, focus)
    optimum = problem.optimum()
    scan = min(problem.loss_at(margin) + price * margin for margin in np.linspace(0, 60, 1001))
    assert optimum.value <= scan + 1e-14
    assert optimum.gap < 1e-13 or price > 1
    assert optimum.lower_bound <= optimum.value + 1e-14


@pytest.mark.parametrize("settings", [(1.02, 2.0), (1.1, 2.0), (1.02, 6.0), (1.3, 0.5)])
def test_past_price_one_no_descent_goes_below_the_lower_bound(settings):
    price, focus = settings
    problem = of_price(price, 30, focus, bias_decay=0.0)
    optimum = problem.optimum()
    for seed in range(2):
        point = minimised(problem, seed, tolerance=1e-6)
        assert problem.value(point) >= optimum.lower_bound - 1e-12
        assert problem.gap(point) == pytest.approx(problem.value(point) - optimum.lower_bound, abs=1e-15)


def test_jensen_bounds_the_loss_by_that_at_the_mean_margin():
    problem = UnconstrainedFocal(5, 40, 0.1, 0.1, 2.0)
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(1, 5, 40, 5, dtype=torch.float64, generator=generator)
    own = logits.diagonal(dim1=1, dim2=3)[0].T
    mean_margins = (own - (logits[0].sum(dim=2) - own) / 4).flatten().tolist()
    bound = sum(problem.loss_at(margin) for margin in mean_margins) / 200
    assert problem.loss(logits, {"focus": torch.tensor([2.0], dtype=torch.float64)}).item() > bound


def test_zero_is_called_optimal_only_where_it_is_proved():
    proved = of_price(0.7, 2, 1.0).optimum()
    assert proved.gap < 1e-15
    assert proved.trivial == (proved.margin == 0)
    past = of_price(2.0, 3, 0.0).optimum()
    assert (past.trivial, past.gap) == (True, 0.0)
    assert past.note == (
        "zero classifier and features are optimal, because "
        "the decays charge (K-1) sqrt(n lW lH) = 2 for a margin that gains at most "
        "0.666667"
    )
    unknown = of_price(1.5, 100, 2.0).optimum()
    assert unknown.trivial
    assert unknown.gap > 0.1
    assert unknown.note == (
        "all zero is the best point that is symmetric in the classes; whether another is better is unknown, for what "
        "is proved ends at (K-1) sqrt(n lW lH) = 1 and here it is 1.5"
    )
    best = of_price(1.05, 100, 2.0).optimum()
    assert best.margin > 2
    assert best.note == (
        "this is the best point that is symmetric in the classes; whether another is better is unknown, for what "
        "is proved ends at (K-1) sqrt(n lW lH) = 1 and here it is 1.05"
    )


def test_a_hundred_thousand_classes_leave_no_gap():
    optimum = UnconstrainedFocal(100_000, 600, 1e-9, 1e-9, 2.0).optimum()
    assert optimum.gap < 1e-10
    assert 10 < optimum.margin < 20


@pytest.mark.parametrize("focus", [-1.0, math.nan, math.inf])
def test_focus_out_of_range(focus):
    with pytest.raises(OptionError) as error:
        UnconstrainedFocal(4, 3, 5e-4, 1e-3, focus)
    assert str(error.value) == f"focus must be a finite number, 0 (cross-entropy) or above; got {focus:g}."


def test_too_few_dimensions_for_the_simplex():
    with pytest.raises(OptionError, match=r"^the optimum of 4 classes is a simplex ETF and needs dim >= 3; got 2\. "):
        UnconstrainedFocal(4, 3, 5e-4, 1e-3, 2.0, dim=2).optimum()
