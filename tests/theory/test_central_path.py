"""The central path: fixed values, the exact gradient of the features, long times, and the flow from near zero."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from deepcollapse import collect
from deepcollapse.errors import OptionError, ShapeError, TooFewClassesError
from deepcollapse.theory.problems.central_path import CentralPath, signal_to_noise, squared_flow_limit
from deepcollapse.theory.problems.decomposition import decompose, least_squares_head

FEATURES = torch.tensor(
    [(4, 0, 1, 0), (5, 1, 0, 1), (3, -1, 2, -1), (0, 4, 0, 1), (1, 5, 1, 0), (-1, 3, -1, 2), (-3, -3, 1, 0),
     (-4, -2, 0, 1), (-2, -4, 2, 2)], dtype=torch.float64,
)  # fmt: skip
LABELS = torch.arange(3).repeat_interleave(3)


def gaussian(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_fixed_values():
    omega = signal_to_noise(collect(FEATURES, LABELS, 3))
    assert omega.tolist() == pytest.approx((12.591831131694, 6.119296426135), rel=1e-12)
    assert CentralPath(3, 3).loss(omega) == pytest.approx(0.0154571628072, rel=1e-11)
    later = CentralPath(3, 4).omega_at(100.0, np.array([1.0, 2.0]))
    assert later.tolist() == pytest.approx((2.22757224774645, 2.7780428892973), rel=1e-13)


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_that_of_the_least_squares_head(seed):
    classes, labels = 3 + seed, torch.arange(3 + seed).repeat_interleave(15)
    features = gaussian(seed, len(labels), 8) + gaussian(seed + 9, classes, 8)[labels] + 3
    moments = collect(features, labels, classes)
    parts = decompose(moments, *least_squares_head(moments, 0.0), 0.0)
    path, omega = CentralPath(classes, 15), signal_to_noise(moments)
    assert path.loss(omega) == pytest.approx(parts.total, rel=1e-11)
    assert path.within(omega) == pytest.approx(parts.within, rel=1e-11)
    assert path.simplex(omega) == pytest.approx(parts.simplex, rel=1e-11)
    assert path.loss(omega) == pytest.approx(path.within(omega) + path.simplex(omega), rel=1e-14)


def loss_of(features: Tensor, classes: int) -> Tensor:
    """The least-squares loss as a differentiable function of class-ordered features."""
    x = features - features.mean(dim=0)
    y = torch.eye(classes, dtype=torch.float64).repeat_interleave(len(x) // classes, dim=0) - 1 / classes
    head = torch.linalg.solve(x.T @ x, x.T @ y)
    return (x @ head - y).square().sum() / (2 * len(x))


def omegas(features: Tensor, classes: int) -> np.ndarray:
    labels = torch.arange(classes).repeat_interleave(len(features) // classes)
    return signal_to_noise(collect(features, labels, classes))


def test_the_exact_gradient_of_whitened_features_moves_the_means_alone_at_our_speed():
    classes, per_class, dim = 4, 9, 6
    means = gaussian(1, classes, dim)
    noise = gaussian(2, classes, per_class, dim)
    noise = noise - noise.mean(dim=1, keepdim=True)
    flat = noise.flatten(0, 1)
    values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    noise = noise @ (vectors / values.sqrt()) @ vectors.T  # Sigma_W = I
    features = (means[:, None] + noise).flatten(0, 1).requires_grad_()
    loss_of(features, classes).backward()
    assert features.grad is not None
    gradient = features.grad.unflatten(0, (classes, per_class))
    within = (gradient - gradient.mean(dim=1, keepdim=True)).flatten(0, 1)
    # Normal to {Sigma_W = I}: a symmetric matrix times the residuals themselves.
    residuals = noise.flatten(0, 1)
    matrix = torch.linalg.lstsq(residuals, within).solution
    torch.testing.assert_close(residuals @ matrix, within, rtol=0, atol=1e-14)
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-14)
    step = 1e-5
    motion = -gradient.mean(dim=1, keepdim=True).expand(-1, per_class, -1).flatten(0, 1)
    ahead, behind = (omegas(features.detach() + sign * step * motion, classes) for sign in (1, -1))
    omega = omegas(features.detach(), classes)
    np.testing.assert_allclose((ahead - behind) / (2 * step), CentralPath(4, 9).speed(omega), rtol=1e-5)


def test_time_solves_the_equation_of_motion():
    path, start = CentralPath(10, 3), np.array([50.0, 12.0, 5.0, 3.0, 2.0, 1.0, 0.1, 1e-3, 1e-9])
    found = solve_ivp(lambda _, omega: path.speed(omega), (0, 1e5), start, rtol=1e-11, atol=1e-16, method="DOP853")
    np.testing.assert_allclose(path.omega_at(1e5, start), found.y[:, -1], rtol=1e-8)


@pytest.mark.parametrize("t", [1e-12, 1e-3, 1.0, 1e4, 1e12])
def test_time_can_be_turned_back(t):
    path, start = CentralPath(5, 7), np.array([0.01, 0.5, 3.0, 20.0])
    later = path.omega_at(t, start)
    assert (later >= start).all()
    forth = path.omega_at(2 * t, start)
    np.testing.assert_allclose(path.omega_at(t, later), forth, rtol=1e-13)
    np.testing.assert_allclose(path.omega_at(-t, forth), later, rtol=1e-10)


def test_a_small_time_keeps_its_digits():
    start = np.array([1.0, 2.0])
    moved = CentralPath(3, 4).omega_at(1e-6, start) - start
    np.testing.assert_allclose(moved, 1e-6 * CentralPath(3, 4).speed(start), rtol=1e-6)


def test_in_the_end_all_omega_grow_like_the_fourth_root_and_agree():
    late = CentralPath(4, 6).omega_at(1e24, np.array([1e-3, 1.0, 30.0]))
    assert (late / (4 * 1e24 / 6) ** 0.25).tolist() == pytest.approx([1, 1, 1], rel=1e-5)
    assert late.max() / late.min() == pytest.approx(1, rel=1e-10)


def test_no_signal_and_full_collapse_stay_where_they_are():
    path, ends = CentralPath(3, 4), np.array([math.inf, 0.0])
    assert path.omega_at(50.0, ends).tolist() == [math.inf, 0.0]
    assert path.speed(ends).tolist() == [0.0, 0.0]
    assert (path.loss(ends), path.within(ends), path.simplex(ends)) == pytest.approx((1 / 6, 0.0, 1 / 6), rel=1e-15)
    assert path.omega_at(1e3, np.array([1e-200, 1e-200]))[0] == pytest.approx(1e-200 * math.exp(1e3 / 36), rel=1e-12)
    assert path.omega_at(1e6, np.array([1e-200, 1e90])).tolist() == pytest.approx(
        [path.omega_at(1e6, np.array([1e-100, 1.0]))[0], 1e90], rel=1e-2
    )


def test_silent_directions_give_infinite_signal():
    labels = torch.arange(3).repeat_interleave(4)
    assert signal_to_noise(collect(torch.eye(3, dtype=torch.float64)[labels], labels, 3)).tolist() == [math.inf] * 2
    # Class 0 apart from the others without noise, those two apart with variance 1.
    noise = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64).repeat(3)
    side = torch.tensor([0.0, 3.0, -3.0], dtype=torch.float64)[labels]
    features = torch.stack([(labels == 0).double(), side + noise], dim=1)
    assert signal_to_noise(collect(features, labels, 3)).tolist() == [math.inf, pytest.approx(18**0.5, rel=1e-14)]


def test_signal_is_padded_where_features_have_too_few_dimensions():
    found = omegas(gaussian(3, 20, 1), 4)
    assert (len(found), found[0] > 0, found[1:].tolist()) == (3, True, [0.0, 0.0])
    assert omegas(torch.zeros(8, 2, dtype=torch.float64), 4).tolist() == [0.0] * 3


def test_signal_is_the_same_after_any_invertible_map():
    features, labels = gaussian(5, 30, 4) + gaussian(6, 3, 4).repeat_interleave(10, dim=0), 3
    turned = features @ gaussian(7, 4, 4) + 5
    np.testing.assert_allclose(omegas(turned, labels), omegas(features, labels), rtol=1e-9)


@pytest.mark.parametrize(
    ("omega", "kind", "message"),
    [
        ([1.0], ShapeError, "3 classes have 2 signal-to-noise values; got 1."),
        ([1.0, -2.0], OptionError, "signal-to-noise values must be 0 or above; got [1.0, -2.0]."),
        ([1.0, math.nan], OptionError, "signal-to-noise values must be 0 or above; got [1.0, nan]."),
    ],
)
def test_omega_that_is_none(omega, kind, message):
    path = CentralPath(3, 4)
    for ask in (path.loss, path.within, path.simplex, path.speed, lambda values: path.omega_at(1.0, values)):
        with pytest.raises(kind) as error:
            ask(np.array(omega))
        assert str(error.value) == message


def test_bad_settings():
    with pytest.raises(TooFewClassesError, match=r"^theory compares classes: it needs at least 2 of them; got 1\.$"):
        CentralPath(1, 4)
    with pytest.raises(OptionError, match=r"^per_class must be at least 1; got 0\.$"):
        squared_flow_limit(3, 0)
    with pytest.raises(OptionError, match=r"^t must be a finite number; got inf\.$"):
        CentralPath(3, 4).omega_at(math.inf, np.array([1.0, 2.0]))


def test_gradient_flow_from_near_zero_ends_at_its_limit():
    k, n, d = 4, 5, 6
    y = np.kron(np.eye(k), np.ones((n, 1)))
    start = 1e-4 * gaussian(0, k * d + k * n * d + k).numpy()

    def flow(_: float, state: np.ndarray) -> np.ndarray:
        w, h, b = np.split(state, [k * d, k * d + k * n * d])
        w, h = w.reshape(k, d), h.reshape(k * n, d)
        error = (h @ w.T + b - y) / (k * n)
        return -np.concatenate([(error.T @ h).ravel(), (error @ w).ravel(), error.sum(axis=0)])

    end = solve_ivp(flow, (0, 2000), start, rtol=1e-10, atol=1e-12, method="LSODA").y[:, -1]
    w, h, b = np.split(end, [k * d, k * d + k * n * d])
    w, h = w.reshape(k, d), h.reshape(k * n, d)
    classifier, features, bias = (part.numpy() for part in squared_flow_limit(k, n, dim=d))
    assert np.abs(w @ w.T - classifier @ classifier.T).max() < 1e-5
    assert np.abs(h @ h.T - np.repeat(np.repeat(features @ features.T, n, axis=0), n, axis=1)).max() < 1e-4
    assert np.abs(b - bias).max() < 1e-4
    assert np.abs(features @ classifier.T + bias - np.eye(k)).max() < 1e-14
