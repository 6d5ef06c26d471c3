"""Independence deficit: the orthogonal design in closed form, other solvers, the published steps, and what is empty."""

import numpy as np
import pytest
import torch
from examples import assert_digits, gaussian
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from deepcollapse import errors
from deepcollapse.geometry import independence_deficit, independence_deficit_by_descent
from unchecked import shapes_unchecked


def logits_of(seed, n=60, classes=6, size=6.0):
    """Logits that depend on one another, as those of a network do."""
    return size * (gaussian(seed, n, classes) @ gaussian(seed + 1, classes, classes) + 1), torch.arange(n) % classes


def objective(rest, f, p, w):
    return ((rest @ p - f).square().mean() + w * p.abs().sum()).item()


@settings(max_examples=8, derandomize=True, deadline=None)
@given(seed=integers(0, 2**16), penalty=sampled_from([0.5, 5.0, 20.0]))
def test_orthogonal_design(seed, penalty):
    """p_j = soft(<F_j, f>/n, w/2) / (|F_j|^2 / n) where the other classes' logits are orthogonal."""
    n = 30
    rest = torch.linalg.qr(gaussian(seed, n, 5)).Q * torch.tensor([10.0, 20, 5, 40, 15])
    f = rest @ gaussian(seed + 1, 5) + 3 * gaussian(seed + 2, n)
    found = independence_deficit(torch.cat([rest[:, :2], f[:, None], rest[:, 2:]], dim=1), torch.full((n,), 2), penalty)
    product = rest.T @ f / n
    expected = product.sign() * (product.abs() - penalty / 2).clamp(min=0) / (rest.square().sum(dim=0) / n)
    others = [0, 1, 3, 4, 5]
    assert_digits(found.coefficients[2, others], expected, rtol=1e-10, atol=1e-12)
    assert found.coefficients[2, 2] == 0
    assert found.predictors[2] == (expected != 0).sum()
    assert found.violation[2] < 1e-12
    assert found.coefficients[others].isnan().all()


@settings(max_examples=2, derandomize=True, deadline=None)
@given(seed=integers(0, 2**16), penalty=sampled_from([1.0, 20.0]))
def test_no_other_solver_does_better(seed, penalty):
    logits, labels = logits_of(seed)
    found = independence_deficit(logits, labels, penalty)
    for c in (0, 3):
        own, others = logits[labels == c], [j for j in range(6) if j != c]
        rest, f, p = own[:, others], own[:, c], found.coefficients[c, others]
        # Proximal gradient with Nesterov's momentum, from the definition.
        gram, step = rest.T @ rest / len(f), 0.5 / torch.linalg.eigvalsh(rest.T @ rest / len(f))[-1]
        q, ahead, t = torch.zeros(5).double(), torch.zeros(5).double(), 1.0
        for _ in range(400):
            moved = ahead - 2 * step * (gram @ ahead - rest.T @ f / len(f))
            new = moved.sign() * (moved.abs() - step * penalty).clamp(min=0)
            t, before = (1 + (1 + 4 * t * t) ** 0.5) / 2, t
            q, ahead = new, new + (before - 1) / t * (new - q)
        assert objective(rest, f, p, penalty) <= objective(rest, f, q, penalty) * (1 + 1e-12)
        assert objective(rest, f, p, penalty) == pytest.approx(objective(rest, f, q, penalty), rel=1e-3)
        assert found.unexplained[c].item() == pytest.approx(
            ((rest @ p - f).square().mean() / f.square().mean()).item(), rel=1e-12
        )
    assert found.violation.max() < 1e-9


def test_the_published_steps():
    logits, labels = logits_of(3, size=4.0)
    found = independence_deficit_by_descent(logits, labels, steps=200)
    for c in range(6):
        own = logits[labels == c].numpy()
        rest, f, p = np.delete(own, c, axis=1), own[:, c], np.zeros(5)
        for _ in range(200):
            p -= 1e-5 * (2 * rest.T @ (rest @ p - f) / len(f) + 20 * np.sign(p))
        assert_digits(found.coefficients[c][torch.arange(6) != c], torch.from_numpy(p), rtol=1e-9)
    assert (found.predictors == 5).all()


def test_long_descent_comes_near_the_minimiser():
    logits, labels = logits_of(5, size=4.0)
    exact = independence_deficit(logits, labels)
    violations = []
    for steps in (0, 500, 5000):
        found = independence_deficit_by_descent(logits, labels, steps=steps, classes=[1])
        violations.append((found.coefficients[1] - exact.coefficients[1]).abs().max().item())
    assert violations == sorted(violations, reverse=True)
    assert violations[-1] < violations[0] / 2


def test_logits_that_depend_on_one_another_still_have_a_proven_minimum():
    logits = 5 * gaussian(0, 40, 3) @ gaussian(1, 3, 12)  # of rank 3
    found = independence_deficit(logits, torch.zeros(40).long(), 2.0, classes=[0])
    assert found.violation[0] < 1e-9
    few = independence_deficit(logits[:2], torch.zeros(2).long(), 2.0, classes=[0])
    assert few.violation[0] < 1e-9


def test_without_a_penalty_it_is_least_squares():
    logits, _ = logits_of(2)
    found = independence_deficit(logits, torch.zeros(60).long(), 0.0)
    expected = torch.linalg.lstsq(logits[:, 1:], logits[:, :1]).solution[:, 0]
    assert_digits(found.coefficients[0, 1:], expected, rtol=1e-8)


def test_nothing_to_predict_or_to_predict_with():
    logits, labels = torch.zeros(4, 3), torch.zeros(4).long()
    found = independence_deficit(logits, labels)
    assert found.coefficients[0].tolist() == [0, 0, 0]
    assert found.unexplained.isnan().all()
    assert found.violation[0] == 0
    assert found.coefficients[1:].isnan().all()
    alone = independence_deficit(torch.ones(4, 1), labels)
    assert (alone.coefficients.tolist(), alone.unexplained.tolist(), alone.violation.tolist()) == ([[0]], [1], [0])
    assert independence_deficit(logits[:0], labels[:0]).coefficients.isnan().all()
    weak = independence_deficit(torch.eye(3), torch.arange(3))
    assert weak.predictors.tolist() == [0, 0, 0]
    assert weak.violation.tolist() == [0, 0, 0]


L, Y = logits_of(0)
ERRORS = {
    "penalty": (
        lambda: independence_deficit(L, Y, -1.0),
        errors.OptionError,
        "penalty must be at least 0 and finite; got -1.0.",
    ),
    "labels": (
        lambda: independence_deficit(L, Y[:5]),
        errors.ShapeError,
        "60 rows of logits came with labels of shape (5,); expected (60,).",
    ),
    "range": (
        lambda: independence_deficit(L, Y + 2),
        errors.LabelError,
        "labels run from 2 to 7; expected 0 to 5.",
    ),
    "classes": (
        lambda: independence_deficit(L, Y, classes=[6]),
        errors.OptionError,
        "classes are indices from 0 to 5; got [6].",
    ),
    "rate": (
        lambda: independence_deficit_by_descent(L, Y, rate=0.0),
        errors.OptionError,
        "rate must be above 0 and steps at least 0; got rate=0.0, steps=5000.",
    ),
    "NaN": (
        lambda: independence_deficit(L * torch.inf, Y),
        errors.NonFiniteError,
        "logits holds 360 NaN or infinite entries; leave out what they belong to.",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error) as found:
        call()
    assert str(found.value) == message
