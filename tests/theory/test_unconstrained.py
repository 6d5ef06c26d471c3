"""Cross-entropy on free features: fixed values, direct minimisation, certificates, thresholds and bad settings."""

import math
import time
import tracemalloc
from decimal import Decimal, localcontext

import pytest
import torch
from direct import minimised

from deepcollapse.errors import MemoryBudgetError, OptionError, TooFewClassesError
from deepcollapse.theory.problems.unconstrained import UnconstrainedFeatures

SMALL = {"num_classes": 4, "per_class": 3, "weight_decay": 5e-3, "feature_decay": 1e-3}
OTHER = {"num_classes": 3, "per_class": 2, "weight_decay": 1e-2, "feature_decay": 2e-2}


@pytest.mark.parametrize(
    ("settings", "margin", "weights", "features", "value"),
    [
        ((4, 3, 5e-3, 1e-3), 5.54204320094, 12.8785446127, 64.3927230636, 0.076079700554),
        ((3, 2, 1e-2, 2e-2), 3.87120101091, 15.4848040436, 7.74240202182, 0.195670034957),
        ((10, 5000, 5e-4, 1e-5), 5.25227342805, 472.704608524, 23635.2304262, 0.282396242764),
        ((10, 100, 1e-3, 1e-3), 4.51085950652, 405.977355587, 405.977355587, 0.500288035058),
    ],
)
def test_fixed_values(settings, margin, weights, features, value):
    facts = UnconstrainedFeatures(*settings).optimum().facts()
    assert list(facts)[:5] == ["margin", "weight_norm_squared", "feature_norm_squared", "loss", "gap"]
    assert facts["margin"] == pytest.approx(margin, rel=1e-11)
    assert facts["weight_norm_squared"] == pytest.approx(weights, rel=1e-11)
    assert facts["feature_norm_squared"] == pytest.approx(features, rel=1e-11)
    assert facts["loss"] == pytest.approx(value, rel=1e-11)
    assert facts["gap"] < 1e-14
    assert facts["note"] is None


def test_fixed_values_with_smoothed_labels():
    slight = UnconstrainedFeatures(**SMALL, smoothing=0.05).optimum()
    more = UnconstrainedFeatures(**SMALL, smoothing=0.1).optimum()
    assert slight.margin == pytest.approx(4.06175635631, rel=1e-11)
    assert slight.weight_norm_squared == pytest.approx(9.43866883461, rel=1e-11)
    assert (slight.value, slight.gap) == (pytest.approx(0.249875510699, rel=1e-11), pytest.approx(0, abs=1e-14))
    assert more.margin == pytest.approx(3.45424682825, rel=1e-11)
    assert (more.value, more.gap) == (pytest.approx(0.389805358587, rel=1e-11), pytest.approx(0, abs=1e-14))


@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        OTHER,
        {**SMALL, "smoothing": 0.1, "bias_decay": 0.0},
        {**SMALL, "smoothing": 0.05, "dim": 3},
        {**OTHER, "bias_decay": 0.3, "dim": 5},
        {"num_classes": 2, "per_class": 1, "weight_decay": 0.1, "feature_decay": 0.02, "bias_decay": 0.0},
    ],
)
def test_direct_minimisation_finds_the_closed_form(settings):
    problem = UnconstrainedFeatures(**settings)
    optimum, point = problem.optimum(), minimised(problem)
    assert problem.value(point) == pytest.approx(optimum.value, rel=1e-9)
    assert point["classifier"].square().sum().item() == pytest.approx(optimum.weight_norm_squared, rel=1e-6)
    assert point["features"].square().sum().item() == pytest.approx(optimum.feature_norm_squared, rel=1e-6)
    assert problem.gap(point) < 1e-7
    exact, k = optimum.point(), problem.num_classes
    gram = optimum.weight_norm_squared / (k - 1) * (torch.eye(k, dtype=torch.float64) - 1 / k)
    torch.testing.assert_close(point["classifier"] @ point["classifier"].T, gram, rtol=0, atol=1e-5)
    torch.testing.assert_close(exact["classifier"] @ exact["classifier"].T, gram, rtol=0, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("bias_decay", [None, 0.0, 0.5])
def test_the_factors_have_the_norms_the_value_and_no_gap(smoothing, bias_decay):
    problem = UnconstrainedFeatures(5, 2, 4e-3, 1e-2, smoothing=smoothing, bias_decay=bias_decay, dim=6)
    optimum, point = problem.optimum(), problem.optimum().point()
    assert {name: tuple(value.shape) for name, value in point.items()} == problem.shapes()
    assert point["classifier"].square().sum().item() == pytest.approx(optimum.weight_norm_squared, rel=1e-13)
    assert point["features"].square().sum().item() == pytest.approx(optimum.feature_norm_squared, rel=1e-13)
    assert 4e-3 * optimum.weight_norm_squared == pytest.approx(1e-2 * optimum.feature_norm_squared, rel=1e-13)
    assert problem.value(point) == pytest.approx(optimum.value, rel=1e-13)
    assert problem.gap(point) < 1e-13
    logits = problem.logits({name: value[None] for name, value in point.items()})[0, :, 0]
    assert (logits[0, 0] - logits[0, 1]).item() == pytest.approx(optimum.margin, rel=1e-12)
    assert logits.softmax(dim=1)[0, 0].item() == pytest.approx(optimum.probability, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias_decay", [None, 0.0, 0.2])
def test_the_gap_of_any_point_bounds_how_far_it_is_from_the_optimum(smoothing, bias_decay):
    problem = UnconstrainedFeatures(4, 3, 2e-2, 3e-2, smoothing=smoothing, bias_decay=bias_decay)
    optimum = problem.optimum()
    for seed in range(20):
        point = problem.start(torch.Generator().manual_seed(seed))
        near = {name: value + 10.0**-seed * point[name] for name, value in optimum.point().items()}
        for where in (point, near):
            assert problem.gap(where) >= problem.value(where) - optimum.value - 1e-15
    assert problem.gap(near) < 1e-12


def test_cross_entropy_is_what_torch_calls_it():
    problem = UnconstrainedFeatures(4, 3, 2e-2, 3e-2, smoothing=0.1, bias_decay=0.2)
    point = problem.start(torch.Generator().manual_seed(0))
    logits = point["features"] @ point["classifier"].T + point["bias"]
    loss = torch.nn.functional.cross_entropy(logits, problem.labels, label_smoothing=0.1)
    decays = sum(
        decay / 2 * point[name].square().sum()
        for name, decay in {"classifier": 2e-2, "features": 3e-2, "bias": 0.2}.items()
    )
    assert problem.value(point) == pytest.approx((loss + decays).item(), rel=1e-14)


def test_problems_that_differ_in_numbers_alone_are_one_batch():
    problems = [UnconstrainedFeatures(3, 2, 0.1, decay, smoothing=decay) for decay in (0.01, 0.02)]
    assert problems[0].program() == problems[1].program()
    assert problems[0].program() != UnconstrainedFeatures(3, 2, 0.1, 0.1, bias_decay=0.0).program()
    points = [problem.start(torch.Generator().manual_seed(seed)) for seed, problem in enumerate(problems)]
    batch = {name: torch.stack([point[name] for point in points]) for name in points[0]}
    coefficients = [problem.coefficients() for problem in problems]
    stacked = {name: torch.stack([each[name] for each in coefficients]) for name in coefficients[0]}
    assert problems[0].objective(batch, stacked).tolist() == pytest.approx(
        [problem.value(point) for problem, point in zip(problems, points, strict=True)], rel=1e-14
    )


def test_geometry_at_the_optimum_is_neural_collapse():
    problem = UnconstrainedFeatures(**SMALL, bias_decay=0.0)
    seen = problem.geometry(problem.optimum().point())
    for measure in ("within_class_variability", "equinorm_means", "equiangularity_classifier", "self_duality"):
        assert seen[measure] == pytest.approx(0, abs=1e-7), measure


def exact_margin(num_classes: int, per_class: int, lw: float, lh: float, smoothing: float = 0.0) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        t = (per_class * Decimal(lw) * Decimal(lh)).sqrt()
        tau = (num_classes - 1) * (t + Decimal(smoothing) / num_classes)
        return ((num_classes - 1) * (1 - tau) / tau).ln()


@pytest.mark.parametrize("num_classes", [2, 7, 100_000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("below", [1e-15, 1e-9, 1e-3, 0.5, 1 - 1e-12])
def test_digits_hold_near_the_threshold_and_at_tiny_decays(num_classes, smoothing, below):
    decay = (1 - smoothing) * (1 - below) / num_classes / 3**0.5
    problem = UnconstrainedFeatures(num_classes, 3, decay, decay, smoothing=smoothing)
    exact = exact_margin(num_classes, 3, decay, decay, smoothing)
    if exact > 0:
        assert problem.optimum().margin == pytest.approx(float(exact), rel=1e-13)
    assert problem.optimum().trivial == (exact <= 0)
    assert problem.optimum().gap < 1e-13


def test_decays_so_small_that_their_product_would_vanish():
    optimum = UnconstrainedFeatures(10, 1, 1e-200, 1e-200).optimum()
    assert optimum.margin == pytest.approx(float(exact_margin(10, 1, 1e-200, 1e-200)), rel=1e-13)
    assert optimum.gap < 1e-200
    assert math.isfinite(optimum.weight_norm_squared)


def test_zero_from_the_threshold_on_and_at_any_width():
    # K sqrt(n lW lH) = 1 exactly: 4 sqrt(4 / 64).
    at = UnconstrainedFeatures(4, 4, 1 / 64, 1.0, dim=1)
    facts = at.optimum().facts()
    assert at.optimum().trivial
    assert (facts["margin"], facts["weight_norm_squared"], facts["feature_norm_squared"]) == (0.0, 0.0, 0.0)
    assert facts["loss"] == pytest.approx(math.log(4), rel=1e-15)
    assert facts["gap"] < 1e-15
    assert facts["probability"] == pytest.approx(1 / 4)
    assert facts["note"] == (
        "zero classifier and features are optimal, because "
        "the decays charge K sqrt(n lW lH) = 1 for logits that gain at most "
        "1 - smoothing = 1"
    )
    assert at.gap(at.optimum().point()) < 1e-15
    assert not UnconstrainedFeatures(4, 4, 1 / 64, 1 - 1e-15).optimum().trivial
    assert UnconstrainedFeatures(4, 4, 1 / 64, 1 - 1e-15, smoothing=1e-12).optimum().trivial


def test_direct_minimisation_shrinks_to_zero_past_the_threshold():
    problem = UnconstrainedFeatures(3, 2, 0.3, 0.3)
    assert problem.optimum().trivial
    assert all(value.abs().max() < 1e-6 for value in minimised(problem).values())


def test_a_hundred_thousand_classes_cost_no_more_than_ten():
    problem = UnconstrainedFeatures(100_000, 600, 1e-9, 1e-9, smoothing=0.1, bias_decay=0.0)
    problem.optimum().facts()
    tracemalloc.start()
    start = time.perf_counter()
    facts = problem.optimum().facts()
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert facts["gap"] < 1e-10
    assert facts["margin"] == pytest.approx(float(exact_margin(100_000, 600, 1e-9, 1e-9, 0.1)), rel=1e-13)
    assert peak < 1e6  # a K x K matrix takes 80 GB
    assert seconds < 0.05  # some 50 microseconds on a quiet core


def test_factors_that_would_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr("deepcollapse.theory.problems.free_features.memory_of", lambda device: 3 * 10**9)
    with pytest.raises(MemoryBudgetError) as error:
        UnconstrainedFeatures(10_000, 1, 1e-6, 1e-6).optimum().factors()
    assert str(error.value) == (
        "a classifier and features of 10000 classes in dimension 10000 take 1.6 GB, and half of the memory is 1.5 GB. "
        "Norms and values are at hand without them."
    )


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"num_classes": 1}, TooFewClassesError, "theory compares classes: it needs at least 2 of them; got 1."),
        ({"per_class": 0}, OptionError, "per_class must be at least 1; got 0."),
        ({"dim": 0}, OptionError, "dim must be at least 1; got 0."),
        (
            {"weight_decay": 0.0},
            OptionError,
            "weight_decay must be a finite number above 0; got 0. "
            "At a decay of 0 there is no optimum: logits of a fitted class grow for ever.",
        ),
        (
            {"feature_decay": math.nan},
            OptionError,
            "feature_decay must be a finite number above 0; got nan. "
            "At a decay of 0 there is no optimum: logits of a fitted class grow for ever.",
        ),
        (
            {"bias_decay": -0.5},
            OptionError,
            "bias_decay must be a finite number, 0 (a free bias) or above, or None (no bias); got -0.5.",
        ),
        (
            {"bias_decay": math.inf},
            OptionError,
            "bias_decay must be a finite number, 0 (a free bias) or above, or None (no bias); got inf.",
        ),
        (
            {"smoothing": 1.0},
            OptionError,
            "smoothing must be 0 (plain labels) or above, and below 1 (labels that say nothing); got 1.",
        ),
        (
            {"smoothing": math.nan},
            OptionError,
            "smoothing must be 0 (plain labels) or above, and below 1 (labels that say nothing); got nan.",
        ),
    ],
)
def test_settings_out_of_range(settings, kind, message):
    with pytest.raises(kind) as error:
        UnconstrainedFeatures(**{**SMALL, **settings})
    assert str(error.value) == message


def test_too_few_dimensions_for_the_simplex():
    with pytest.raises(OptionError) as error:
        UnconstrainedFeatures(**SMALL, dim=2).optimum()
    assert str(error.value) == (
        "the optimum of 4 classes is a simplex ETF and needs dim >= 3; got 2. "
        "No closed form is known in fewer dimensions: descend in so few by solve(problem, LBFGS())."
    )
