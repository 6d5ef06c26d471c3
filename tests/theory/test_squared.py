"""The squared error on free features: fixed values, direct minimisation, thresholds, the sweep, and the MSE trap."""

import math
from fractions import Fraction

import pytest
import torch
from direct import minimised

from deepcollapse.errors import OptionError, TooFewClassesError
from deepcollapse.theory.problems.squared import UnconstrainedSquared, decay_of_mse_loss

SMALL = (4, 3, 5e-3, 1e-3)


@pytest.mark.parametrize(
    ("bias_decay", "mean_value", "bias", "structure"),
    [
        (None, 1.70521799184, 0.0, "an orthogonal frame"),
        (0.0, 0.0, 0.25, "a simplex ETF"),
        (0.01, 0.0, 0.247524752475, "a simplex ETF"),
        (0.2, 1.57105391319, 0.019364916731, "between frame and simplex ETF"),
    ],
)
def test_fixed_values(bias_decay, mean_value, bias, structure):
    facts = UnconstrainedSquared(*SMALL, bias_decay=bias_decay).optimum().facts()
    assert list(facts)[:7] == [
        "contrast_value", "mean_value", "bias", "weight_norm_squared", "feature_norm_squared", "loss", "gap",
    ]  # fmt: skip
    assert facts["contrast_value"] == pytest.approx(1.70521799184, rel=1e-11)
    assert facts["mean_value"] == pytest.approx(mean_value, rel=1e-11)
    assert facts["bias"] == pytest.approx(bias, rel=3e-11)
    assert (facts["structure"], facts["note"]) == (structure, None)
    assert facts["gap"] < 1e-15


BIASES = [None, 0.0, 0.01, 0.2, 50.0]


@pytest.mark.parametrize("bias_decay", BIASES)
@pytest.mark.parametrize("settings", [SMALL, (3, 2, 1e-2, 2e-2), (2, 1, 0.1, 0.2)])
def test_direct_minimisation_finds_the_closed_form(settings, bias_decay):
    problem = UnconstrainedSquared(*settings, bias_decay=bias_decay)
    optimum, point = problem.optimum(), minimised(problem)
    assert problem.value(point) == pytest.approx(optimum.value, rel=1e-9)
    assert point["classifier"].square().sum().item() == pytest.approx(optimum.weight_norm_squared, rel=1e-6)
    assert point["features"].square().sum().item() == pytest.approx(optimum.feature_norm_squared, rel=1e-6)
    assert problem.gap(point) < 1e-7
    exact = optimum.point()
    torch.testing.assert_close(
        point["classifier"] @ point["classifier"].T, exact["classifier"] @ exact["classifier"].T, rtol=0, atol=1e-5
    )
    if bias_decay is not None:
        torch.testing.assert_close(point["bias"], exact["bias"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("bias_decay", BIASES)
@pytest.mark.parametrize("strength", [1e-12, 0.1, 0.6, 0.999, 1.0, 3.0])
def test_the_factors_have_the_value_and_no_gap(bias_decay, strength):
    decay = strength / 5 / 2**0.5
    problem = UnconstrainedSquared(5, 2, decay, decay, bias_decay=bias_decay, dim=7)
    optimum, point = problem.optimum(), problem.optimum().point()
    assert {name: tuple(value.shape) for name, value in point.items()} == problem.shapes()
    assert point["classifier"].square().sum().item() == pytest.approx(optimum.weight_norm_squared, rel=1e-12)
    assert problem.value(point) == pytest.approx(optimum.value, rel=1e-12, abs=1e-15)
    assert optimum.gap < 1e-15
    assert problem.gap(point) < 1e-13
    logits = (point["features"] @ point["classifier"].T)[::2] * 2**0.5
    expected = torch.full((5,), optimum.contrast_value, dtype=torch.float64)
    expected[0] = optimum.mean_value
    torch.testing.assert_close(
        torch.linalg.svdvals(logits), expected.sort(descending=True).values, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("bias_decay", BIASES)
def test_the_gap_of_any_point_bounds_how_far_it_is_from_the_optimum(bias_decay):
    problem = UnconstrainedSquared(4, 3, 2e-2, 3e-2, bias_decay=bias_decay)
    optimum = problem.optimum()
    for seed in range(20):
        point = problem.start(torch.Generator().manual_seed(seed))
        near = {name: value + 10.0**-seed * point[name] for name, value in optimum.point().items()}
        for where in (point, near):
            assert problem.gap(where) >= problem.value(where) - optimum.value - 1e-15
    assert problem.gap(near) < 1e-12


@pytest.mark.parametrize("below", [1e-15, 1e-8, 0.3, 1 - 1e-12])
def test_digits_hold_near_the_threshold_and_at_tiny_decays(below):
    decay = (1 - below) / 100_000 / 3**0.5
    optimum = UnconstrainedSquared(100_000, 3, decay, decay).optimum()
    left = 1 - 10**10 * 3 * Fraction(decay) ** 2  # 1 - x^2, exactly
    expected = 3**0.5 * float(left) / (1 + 1e5 * 3**0.5 * decay) if left > 0 else 0.0
    assert optimum.contrast_value == pytest.approx(expected, rel=1e-13)
    assert optimum.gap < 1e-10


def test_a_bias_takes_what_classes_share_from_its_threshold_on():
    # lb/(1 + lb) = K sqrt(n lW lH) = 1/2 at lb = 1.
    below, at, above = (UnconstrainedSquared(4, 4, 1 / 64, 1 / 4, bias_decay=lb).optimum() for lb in (0.99, 1.0, 1.01))
    assert (below.mean_value, at.mean_value) == (0.0, 0.0)
    assert 0 < above.mean_value < above.contrast_value
    assert [o.structure for o in (below, at, above)] == ["a simplex ETF"] * 2 + ["between frame and simplex ETF"]
    assert at.bias == pytest.approx(1 / 8, rel=1e-15)


def test_zero_from_the_threshold_on_and_at_any_width():
    problem = UnconstrainedSquared(4, 4, 1 / 64, 1.0, bias_decay=1.0, dim=1)
    optimum = problem.optimum()
    assert (optimum.trivial, optimum.structure, optimum.bias) == (True, "zero", 1 / 8)
    assert optimum.value == pytest.approx((3 + 1 / 2) / 8, rel=1e-15)
    assert optimum.gap < 1e-16
    assert problem.gap(optimum.point()) < 1e-15
    assert optimum.facts()["note"] == (
        "zero classifier and features are optimal, because "
        "the decays charge K sqrt(n lW lH) = 1 of every singular value of the labels, "
        "which is all of it"
    )


@pytest.mark.parametrize(
    ("bias_decay", "dim", "message"),
    [
        (None, 3, "the optimum of 4 classes is an orthogonal frame and needs dim >= 4; got 3. "),
        (0.0, 2, "the optimum of 4 classes is a simplex ETF and needs dim >= 3; got 2. "),
    ],
)
def test_too_few_dimensions(bias_decay, dim, message):
    with pytest.raises(OptionError) as error:
        UnconstrainedSquared(*SMALL, bias_decay=bias_decay, dim=dim).optimum()
    remedy = "No closed form is known in fewer dimensions: descend in so few by solve(problem, LBFGS())."
    assert str(error.value) == message + remedy


def test_just_enough_dimensions():
    assert UnconstrainedSquared(*SMALL, bias_decay=0.0, dim=3).optimum().factors()[0].shape == (4, 3)


def gradients(problem, point, coefficients):
    leaves = {name: value.clone().requires_grad_() for name, value in point.items()}
    problem.objective(leaves, coefficients).sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize("biases", [None, (0.0, 0.3, 5.0)])
def test_a_sweep_is_exact_in_either_half_and_ends_at_the_optimum(biases):
    problems = [
        UnconstrainedSquared(3, 4, 0.05, decay, bias_decay=None if biases is None else biases[i], dim=5)
        for i, decay in enumerate((0.02, 0.05, 0.3))
    ]
    each = [problem.coefficients() for problem in problems]
    coefficients = {name: torch.stack([numbers[name] for numbers in each]) for name in each[0]}
    starts = [problem.start(torch.Generator().manual_seed(seed)) for seed, problem in enumerate(problems)]
    point = {name: torch.stack([start[name] for start in starts]) for name in starts[0]}
    new = problems[0].sweep(point, coefficients)
    assert {name: value.shape for name, value in new.items()} == {name: value.shape for name, value in point.items()}
    half = gradients(problems[0], {**new, "features": point["features"]}, coefficients)
    assert all(half[name].abs().max() < 1e-14 for name in half if name != "features")
    assert gradients(problems[0], new, coefficients)["features"].abs().max() < 1e-14
    values = [problems[0].objective(point, coefficients)]
    for _ in range(300):
        point = problems[0].sweep(point, coefficients)
        values.append(problems[0].objective(point, coefficients))
        assert (values[-1] <= values[-2] + 1e-15).all()
    assert values[-1].tolist() == pytest.approx([problem.optimum().value for problem in problems], rel=1e-10)


def test_weight_decay_beside_mse_loss_is_read_in_the_right_unit():
    assert decay_of_mse_loss(5e-4, 10) == pytest.approx(2.5e-3, rel=1e-15)
    problem = UnconstrainedSquared(5, 2, decay_of_mse_loss(0.02, 5), decay_of_mse_loss(0.04, 5))
    point = problem.start(torch.Generator().manual_seed(0))
    logits = point["features"] @ point["classifier"].T
    loss = torch.nn.MSELoss()(logits, torch.eye(5, dtype=torch.float64)[problem.labels])
    trained = loss + 0.02 / 2 * point["classifier"].square().sum() + 0.04 / 2 * point["features"].square().sum()
    assert problem.value(point) == pytest.approx(5 / 2 * trained.item(), rel=1e-14)


@pytest.mark.parametrize("decay", [-1e-3, math.nan, math.inf])
def test_a_decay_that_is_none(decay):
    with pytest.raises(OptionError) as error:
        decay_of_mse_loss(decay, 10)
    assert str(error.value) == f"weight_decay must be a finite number, 0 or above; got {decay:g}."


def test_classes_that_are_too_few():
    with pytest.raises(TooFewClassesError, match=r"^theory compares classes: it needs at least 2 of them; got 1\.$"):
        decay_of_mse_loss(0.1, 1)


def test_a_hundred_thousand_classes_leave_no_gap():
    for bias_decay in BIASES:
        optimum = UnconstrainedSquared(100_000, 600, 1e-9, 1e-8, bias_decay=bias_decay).optimum()
        assert optimum.gap < 1e-10
        assert optimum.contrast_value > 0
