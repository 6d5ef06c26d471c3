"""Any point of the deep model: its gradient, its best scales, its kind, its geometry, and whether it is stationary."""

import math
from dataclasses import replace

import pytest
import torch

from deepcollapse.theory.problems.deep.homogeneity import homogeneous_scales
from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures

PLAIN = DeepUnconstrainedFeatures.uniform(10, depth=4, decay=0.004, width=20)
UNEQUAL = DeepUnconstrainedFeatures(4, 3, (0.02, 0.01, 0.03), 0.005, width=6, first_width=5)


def seeded(problem: DeepUnconstrainedFeatures, *seeds: int) -> dict[str, torch.Tensor]:
    """Random starts as one batch."""
    points = [problem.start(torch.Generator().manual_seed(seed)) for seed in seeds]
    return {name: torch.stack([point[name] for point in points]) for name in points[0]}


def stacked(*problems: DeepUnconstrainedFeatures) -> dict[str, torch.Tensor]:
    found = [problem.coefficients() for problem in problems]
    return {name: torch.stack([coefficients[name] for coefficients in found]) for name in found[0]}


# --- objective and gradient -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_objective_is_the_definition_column_by_column(depth):
    problem = DeepUnconstrainedFeatures(3, 2, (0.02, 0.01, 0.03, 0.04)[:depth], 0.005, width=5)
    point = problem.start(torch.Generator().manual_seed(1))
    columns = point["features"].T
    for layer in range(1, depth + 1):
        columns = point[f"W{layer}"] @ (columns if layer == 1 else columns.clamp(min=0))
    targets = torch.eye(3).double().repeat_interleave(2, dim=1)
    expected = (columns - targets).square().sum() / 12 + 0.005 / 2 * point["features"].square().sum()
    for layer, decay in enumerate(problem.weight_decays, start=1):
        expected += decay / 2 * point[f"W{layer}"].square().sum()
    assert problem.value(point) == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize("problem", [PLAIN, UNEQUAL, replace(UNEQUAL, weight_decays=(0.1,), width=5)])
def test_gradient_by_hand_is_that_of_autograd(problem):
    other = replace(problem, feature_decay=0.02, weight_decays=tuple(2 * c for c in problem.weight_decays))
    coefficients = stacked(problem, other, problem)
    point = {name: tensor.requires_grad_() for name, tensor in seeded(problem, 0, 1, 2).items()}
    problem.objective(point, coefficients).sum().backward()
    by_hand = problem.gradient(point, coefficients)
    for name, tensor in point.items():
        torch.testing.assert_close(by_hand[name], tensor.grad, rtol=1e-12, atol=1e-15)
        assert not by_hand[name].requires_grad


def test_a_batch_is_its_members_and_float32_stays_float32():
    points, problems = seeded(UNEQUAL, 0, 1), (UNEQUAL, replace(UNEQUAL, feature_decay=0.5))
    values = UNEQUAL.objective(points, stacked(*problems))
    for index, problem in enumerate(problems):
        alone = {name: tensor[index] for name, tensor in points.items()}
        assert problem.value(alone) == pytest.approx(float(values[index]), rel=1e-14)
    single = {name: tensor.float() for name, tensor in points.items()}
    coefficients = stacked(*problems)
    assert UNEQUAL.objective(single, coefficients).dtype == torch.float32
    assert {g.dtype for g in UNEQUAL.gradient(single, coefficients).values()} == {torch.float32}
    torch.testing.assert_close(UNEQUAL.objective(single, coefficients).double(), values, rtol=1e-5, atol=0)


def test_shapes_and_starts():
    assert UNEQUAL.shapes() == {"features": (12, 5), "W1": (6, 5), "W2": (6, 6), "W3": (4, 6)}
    wide = replace(PLAIN, width=400)
    start = wide.start(torch.Generator().manual_seed(0), size=0.6)
    assert float(start["W2"].std()) == pytest.approx(0.6 * math.sqrt(2 / 400), rel=0.01)
    assert float(start["features"].std()) == pytest.approx(0.6, rel=0.05)


def test_collapse_is_stationary():
    problem = replace(UNEQUAL, first_width=None)
    point = problem.collapsed().point()
    gradient = problem.gradient({name: t[None] for name, t in point.items()}, stacked(problem))
    assert max(float(g.abs().max()) for g in gradient.values()) <= 1e-15
    assert problem.stationarity(point)[1] <= 1e-15


def test_decays_are_those_of_torchs_optimisers():
    point = {name: tensor[0].requires_grad_() for name, tensor in seeded(UNEQUAL, 3).items()}
    decays = (UNEQUAL.feature_decay, *UNEQUAL.weight_decays)
    groups = [{"params": [tensor], "weight_decay": c} for tensor, c in zip(point.values(), decays, strict=True)]
    before = {name: tensor.detach().clone() for name, tensor in point.items()}
    out = UNEQUAL.layers(point)[-1]
    (out - torch.eye(4).double().repeat_interleave(3, dim=0)).square().sum().div(2 * len(out)).backward()
    torch.optim.SGD(groups, lr=0.1).step()
    gradient = UNEQUAL.gradient({name: tensor[None] for name, tensor in before.items()}, stacked(UNEQUAL))
    for name, tensor in point.items():
        torch.testing.assert_close(tensor.detach(), before[name] - 0.1 * gradient[name][0], rtol=1e-12, atol=1e-15)


def test_neurons_have_no_names_and_features_no_axes():
    """Collapse turned in feature space, and with its neurons in another order, is as good."""
    point, generator = PLAIN.strongly_regular().point(), torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(20, 20, generator=generator, dtype=torch.float64)).Q
    point |= {"features": point["features"] @ turn, "W1": point["W1"] @ turn}
    for layer in (1, 2, 3):
        order = torch.randperm(20, generator=generator)
        point[f"W{layer}"] = point[f"W{layer}"][order]
        point[f"W{layer + 1}"] = point[f"W{layer + 1}"][:, order]
    assert PLAIN.value(point) == pytest.approx(PLAIN.strongly_regular().loss, abs=1e-14)
    assert PLAIN.classify(point).kind == "strongly regular graph"


# --- stationary in Clarke's sense -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "slopes"), [(3, (0.3058, 0.4833)), (4, (0.5505, 0.5556, 0.4824))])
def test_the_refined_graph_is_stationary_with_slopes_between_0_and_1(depth, slopes):
    problem = DeepUnconstrainedFeatures.uniform(10, depth, 0.004, width=12)
    found, residual = problem.stationarity(problem.refined().point())
    assert found == pytest.approx(slopes, abs=1e-4)
    assert residual <= 1.3e-10
    # The plain graph is not: its last weights are no ridge solution. Nor does PyTorch's slope show the refined one.
    assert problem.stationarity(problem.strongly_regular().point())[1] > 1e-4
    plain = problem.gradient({n: t[None] for n, t in problem.refined().point().items()}, stacked(problem))
    assert max(float(g.abs().max()) for g in plain.values()) > 1e-4


def test_other_refined_solutions_are_stationary_too():
    six = DeepUnconstrainedFeatures.uniform(6, 4, 0.004, width=6)
    assert six.stationarity(six.refined().point())[1] < 1e-9
    two_layers = DeepUnconstrainedFeatures.uniform(15, 2, 0.004, width=20)
    assert two_layers.stationarity(two_layers.refined().point())[1] < 1e-9
    three = DeepUnconstrainedFeatures.uniform(3, 4, 0.03, width=4)
    assert three.stationarity(three.arc().point())[1] < 1e-8


# --- the best scales --------------------------------------------------------------------------------------------------


def scaled(point: dict[str, torch.Tensor], *by: float) -> dict[str, torch.Tensor]:
    return {name: factor * tensor for (name, tensor), factor in zip(point.items(), by, strict=True)}


def test_best_scales_bring_a_solution_back():
    for construction in (PLAIN.collapsed(), PLAIN.strongly_regular()):
        back = PLAIN.rescaled(scaled(construction.point(), 3.0, 0.1, 1.0, 2.0, 0.7))
        assert PLAIN.value(back) == pytest.approx(construction.loss, abs=1e-14)
    unequal = replace(UNEQUAL, first_width=None)
    back = unequal.rescaled(scaled(unequal.collapsed().point(), 3.0, 0.1, 1.0, 2.0))
    assert unequal.value(back) == pytest.approx(unequal.collapsed().loss, abs=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_scales_are_better(seed):
    problem = DeepUnconstrainedFeatures(3, 2, (2e-5, 1e-5, 3e-5), 1e-5, width=6)
    point = problem.start(torch.Generator().manual_seed(seed), size=1.0)
    best = problem.rescaled(point)
    value = problem.value(best)
    assert value <= min(problem.value(point), 0.5) + 1e-15
    generator = torch.Generator().manual_seed(seed)
    for _ in range(50):
        by = (0.2 * torch.randn(4, generator=generator, dtype=torch.float64)).exp().tolist()
        assert problem.value(scaled(best if value < 0.5 else point, *by)) >= value - 1e-15


def test_a_structure_that_speaks_for_the_wrong_classes_is_best_at_zero():
    point = PLAIN.collapsed().point()
    point["W4"] = -point["W4"]
    assert all(not tensor.any() for tensor in PLAIN.rescaled(point).values())
    targets = torch.eye(3).double()
    assert homogeneous_scales((0.1, 0.1), (1.0, 0.0), targets, targets) == ([0.0, 0.0], 0.5)
    assert homogeneous_scales((9.0, 9.0), (1.0, 1.0), targets, targets) == ([0.0, 0.0], 0.5)


# --- what kind of point ---------------------------------------------------------------------------------------------


def test_kinds_of_points():
    several = replace(PLAIN, per_class=3, feature_decay=PLAIN.feature_decay / 3)
    for problem in (PLAIN, several):
        assert problem.classify(problem.collapsed().point()).kind == "collapsed"
        assert problem.classify(problem.strongly_regular().point()).kind == "strongly regular graph"
        refined = problem.classify(problem.refined().point())
        assert (refined.kind, refined.ranks, refined.ranks_after) == (
            "strongly regular graph", (5, 5, 5, 5, 10), (5, 5, 10),
        )  # fmt: skip
        assert refined.loss_ratio == pytest.approx(0.81581, abs=1e-5)
        zero = {name: torch.zeros_like(tensor) for name, tensor in problem.refined().point().items()}
        assert problem.classify(zero).kind == "trivial"
        assert problem.classify(zero).ranks == (0,) * 5


def test_a_class_of_which_nothing_is_said_is_dead():
    point = PLAIN.collapsed().point()
    point["features"][3] = 0
    assert PLAIN.classify(point).kind == "dead class"


def test_low_rank_is_below_collapse_and_other_is_the_rest():
    three = DeepUnconstrainedFeatures.uniform(3, 4, 0.03, width=4)
    found = three.classify(three.arc().point())
    assert (found.kind, found.ranks) == ("low-rank", (2, 2, 2, 2, 3))
    # The same points at twice the scale are no longer below collapse, nor collapsed.
    assert three.classify(scaled(three.arc().point(), 1.0, 1.0, 1.0, 1.0, 1.5)).kind == "other"
    assert PLAIN.classify(scaled(PLAIN.collapsed().point(), 1.0, 1.0, 1.0, 1.0, 1.5)).kind == "other"


def test_a_graph_must_be_the_right_one_with_the_right_inner_products():
    point = PLAIN.strongly_regular().point()
    swapped = point | {"features": point["features"][[1, 0, *range(2, 10)]]}
    # The classes have other names now, and the outputs are wrong, but the features are those of the graph.
    assert PLAIN.classify(swapped).kind == "dead class"
    longer = point | {"features": point["features"] * torch.linspace(1, 1.3, 10).double()[:, None]}
    assert PLAIN.classify(longer).kind == "low-rank"


# --- geometry ---------------------------------------------------------------------------------------------------------


def test_geometry_of_collapse_and_of_the_graph():
    problem = replace(PLAIN, per_class=2)
    seen = problem.geometry(problem.collapsed().point())
    layers = ["H1", "H2", "relu(H2)", "H3", "relu(H3)", "H4", "relu(H4)", "out"]
    measures = [
        "trace_ratio", "within_class_variability", "orthogonal_frame_error", "orthogonal_conditioning",
        "numerical_rank",
    ]  # fmt: skip
    assert set(seen) == {f"{m}.{layer}" for m in measures for layer in layers} | {
        f"row_alignment.W{i}" for i in range(1, 5)
    }
    for name, value in seen.items():
        assert value == pytest.approx(10 if name.startswith("numerical_rank") else 0, abs=1e-12), name
    graph = problem.geometry(problem.strongly_regular().point())
    assert graph["orthogonal_conditioning.H2"] == math.inf
    assert graph["orthogonal_conditioning.relu(H4)"] == pytest.approx(2.0)  # eigenvalues 9, 4 and 1
    assert [graph[f"numerical_rank.{layer}"] for layer in layers] == [5, 5, 5, 5, 5, 5, 10, 10]
    assert graph["trace_ratio.relu(H4)"] == 0


def test_geometry_where_nothing_varies_is_nan():
    zero = {name: torch.zeros(shape).double() for name, shape in PLAIN.shapes().items()}
    seen = PLAIN.geometry(zero)
    assert math.isnan(seen["trace_ratio.H1"])
    assert math.isnan(seen["row_alignment.W1"])
    assert seen["numerical_rank.H1"] == 0


@pytest.mark.parametrize("depth", [2, 3])
def test_collapse_leaves_the_rank_before_the_first_relu_open(depth):
    """M_2 = s (I - T) has the same nuclear norm and ReLU for T >= 0 of zero diagonal with I - T semi-definite."""
    k, decay = 6, 1e-3
    problem = DeepUnconstrainedFeatures.uniform(k, depth, decay, width=k)
    collapsed = problem.collapsed()
    point = collapsed.point()
    means = point["features"] @ point["W1"].T
    identity = torch.eye(k, dtype=torch.float64)
    apart = 1 - identity
    pairs = torch.block_diag(*[1 - torch.eye(2, dtype=torch.float64)] * (k // 2))
    for taken, rank in ((0.1 * apart, k), (apart / (k - 1), k - 1), (pairs, k // 2)):
        moved = means[0, 0] * (identity - taken)
        left, values, right = torch.linalg.svd(moved)
        turned = {**point, "features": left * values.sqrt(), "W1": (values.sqrt()[:, None] * right).T}
        assert problem.value(turned) == pytest.approx(collapsed.loss, rel=1e-12)
        found = problem.classify(turned)
        assert (found.kind, found.ranks[1]) == ("collapsed", rank)


@pytest.mark.parametrize("blur", [0.15, 0.3])
def test_a_graph_that_is_only_nearly_regular_has_no_such_name(blur):
    problem = DeepUnconstrainedFeatures.uniform(10, 4, 0.004, width=30)
    point = problem.refined().point()
    assert problem.classify(point).kind == "strongly regular graph"
    point["features"][0] *= 1 - blur
    point["features"][1] *= 1 + blur
    assert problem.classify(point).kind != "strongly regular graph"
