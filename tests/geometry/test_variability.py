"""NC1 and its family: worked examples, twins from the definition, collapse, degenerate data and strong collapse."""

import math

import pytest
import torch
from examples import D1, D1_LABELS, D2, D2_LABELS, assert_digits, gaussian
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from deepcollapse import errors
from deepcollapse.geometry import (
    cdnv,
    cdnv_fourth_power,
    cdnv_max,
    cdnv_per_pair,
    class_variability,
    collect,
    frobenius_quotient,
    generalised_eigenvalues,
    largest_generalised_eigenvalue,
    log_trace_ratio,
    look_again,
    rounding_floor,
    separation_fuzziness,
    spectral_quotient,
    trace_ratio,
    within_class_variability,
)


def blobs(seed: int, samples: int, dim: int, classes: int, offset: float = 0.0, spread: float = 1.0):
    labels = torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(seed))
    return spread * gaussian(seed, samples, dim) + gaussian(seed + 1, classes, dim)[labels] + offset, labels


def dense_nc1(features, labels, weighting: str):
    """tr(Sigma_W Sigma_B^+) / C' by d x d matrices and a pseudo-inverse of known rank."""
    h = features.double()
    classes = labels.unique()
    share = {int(c): (labels == c).double().mean() if weighting == "sample" else 1 / len(classes) for c in classes}
    means = {c: h[labels == c].mean(dim=0) for c in share}
    centre = sum(share[c] * means[c] for c in share)
    within = sum(share[c] * torch.cov(h[labels == c].T, correction=0).reshape(h.shape[1], -1) for c in share)
    between = sum(share[c] * torch.outer(means[c] - centre, means[c] - centre) for c in share)
    values, vectors = torch.linalg.eigh((between + between.T) / 2)
    rank = min(len(classes) - 1, h.shape[1])
    top, directions = values[-rank:], vectors[:, -rank:]
    return ((directions.T @ within @ directions).diagonal() / top).sum() / len(classes)


def test_worked_example():
    moments = collect(D1, D1_LABELS, 3)
    assert_digits(within_class_variability(moments), 0.057381126101236)
    assert_digits(separation_fuzziness(moments), 0.172143378303708)
    assert_digits(trace_ratio(moments), 0.157894736842105)
    assert_digits(log_trace_ratio(moments), math.log(3 / 19))
    assert_digits(largest_generalised_eigenvalue(moments), 0.0944598844215451)
    assert_digits(generalised_eigenvalues(moments).sum(), 0.172143378303708)
    assert_digits(cdnv(moments), 0.0562756175916694)
    assert_digits(cdnv_per_pair(moments)[0, 1], 4 / 51)
    assert_digits(cdnv_max(moments), cdnv_per_pair(moments).nan_to_num(0).max())
    assert_digits(cdnv_fourth_power(moments), 0.00127964395282083)
    assert_digits(class_variability(moments).mean(), 0.057381126101236)


@pytest.mark.parametrize(("weighting", "nc1"), [("class", 0.0706503545813044), ("sample", 0.104050481045075)])
def test_imbalanced_worked_example(weighting, nc1):
    moments = collect(D2, D2_LABELS, 4)
    assert_digits(within_class_variability(moments, weighting=weighting), nc1)
    looked = look_again(collect(D2, D2_LABELS, 4, scatter="none"), [(D2, D2_LABELS)], weighting=weighting)
    assert_digits(within_class_variability(looked, weighting=weighting), nc1)
    assert_digits(cdnv(moments), 0.071490121899958)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(
    seed=integers(0, 2**16),
    shape=sampled_from([(40, 6, 3), (60, 3, 8), (30, 20, 5), (50, 1, 2)]),  # also C > d + 1, and d = 1
    weighting=sampled_from(["class", "sample"]),
    offset=sampled_from([0.0, 1e4]),
)
def test_nc1_is_its_definition_by_every_route(seed, shape, weighting, offset):
    samples, dim, classes = shape
    h, y = blobs(seed, samples, dim, classes, offset)
    expected = dense_nc1(h - offset, y, weighting)
    rtol = 1e-9 if offset == 0 else 1e-7
    by_scatter = within_class_variability(collect(h, y, classes), weighting=weighting)
    assert_digits(by_scatter, expected, rtol)
    batches = list(zip(h.split(7), y.split(7), strict=True))
    looked = look_again(collect(h, y, classes, scatter="none"), batches, weighting=weighting, matrix=True)
    assert_digits(within_class_variability(looked, weighting=weighting), expected, rtol)
    eigenvalues = generalised_eigenvalues(looked, weighting=weighting)
    assert_digits(eigenvalues.sum() / looked.num_present, expected, rtol)
    pi = looked.class_weights(weighting)
    assert_digits(pi @ class_variability(looked, weighting=weighting), expected, rtol)


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_float32_features_give_nc1_to_five_digits_however_collapsed(spread):
    h, y = blobs(1, 600, 50, 10, spread=spread)
    h = h.float()
    looked = look_again(collect(h, y, 10, scatter="none"), [(h, y)])
    assert_digits(within_class_variability(looked), dense_nc1(h.double(), y, "class"), 1e-5)


def test_a_direction_that_float32_drops_is_kept():
    # Means that differ by 1 along one axis and by 1e-4 along another; a float32 d x d pseudo-inverse loses the second.
    means = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 1e-4, 0.0]], dtype=torch.float64)
    y = torch.arange(300) % 3
    h = means[y] + 1e-5 * gaussian(0, 300, 3)
    moments = collect(h, y, 3)
    lossy = torch.linalg.pinv(moments.between_scatter().float())
    assert (moments.within_scatter().float() @ lossy).trace() / 3 < 0.01 * dense_nc1(h, y, "class")  # the trap
    assert_digits(within_class_variability(moments), dense_nc1(h, y, "class"), 1e-9)


def test_rounding_of_the_float32_product_does_not_show():
    # Whole numbers that float32 holds exactly. The means are +-64 along (1, ..., 1), a residual of +-1 lies along it,
    # and one a million times larger across it, whose float32 products drown what lies along it.
    across = torch.randint(-(2**22), 2**22, (100, 199), generator=torch.Generator().manual_seed(0))
    across = torch.cat([across, -across.sum(dim=1, keepdim=True)], dim=1)
    across = across[across[:, -1].abs() < 2**23 - 100]
    along = torch.ones(200, dtype=torch.int64)
    residual = torch.cat([across + along, -across - along])  # in pairs, so that the class means are exact
    h = torch.cat([residual + 64 * along, residual - 64 * along])
    assert int(h.abs().max()) < 2**24
    y = torch.arange(2).repeat_interleave(len(residual))
    looked = look_again(collect(h.float(), y, 2, scatter="none"), [(h.float(), y)])
    assert_digits(within_class_variability(looked), dense_nc1(h.double(), y, "class"), 1e-5)
    assert_digits(within_class_variability(looked), 1 / 64**2 / 2, 1e-9)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_looser_products_of_the_user_do_not_reach_the_numbers(precision):
    before = torch.get_float32_matmul_precision()
    h, y = blobs(1, 300, 20, 4)
    h = h.float()
    try:
        torch.set_float32_matmul_precision(precision)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            looked = look_again(collect(h, y, 4, scatter="none"), [(h, y)])
    finally:
        torch.set_float32_matmul_precision(before)
    assert_digits(within_class_variability(looked), dense_nc1(h.double(), y, "class"), 1e-5)


def test_full_collapse_and_coinciding_means():
    points = torch.eye(3).double()[torch.arange(9) % 3]
    assert within_class_variability(collect(points, torch.arange(9) % 3, 3)).item() == 0
    same = collect([[1.0], [-1.0], [1.0], [-1.0]], [0, 0, 1, 1], 2)
    assert within_class_variability(same).item() == math.inf
    assert trace_ratio(same).item() == math.inf
    assert class_variability(same).tolist() == [math.inf, math.inf]
    assert cdnv_max(same).item() == math.inf
    assert math.isnan(cdnv(same).item())
    assert generalised_eigenvalues(same).tolist() == []
    assert math.isnan(largest_generalised_eigenvalue(same).item())
    nothing = collect([[1.0], [1.0]], [0, 1], 2)
    assert math.isnan(within_class_variability(nothing).item())
    assert math.isnan(trace_ratio(nothing).item())


def test_two_coinciding_means_among_others_are_left_out_of_mean_cdnv():
    h = [[0.0], [2.0], [0.0], [2.0], [9.0], [11.0]]
    moments = collect(h, [0, 0, 1, 1, 2, 2], 3)
    assert_digits(cdnv(moments), 1 / 81)
    assert cdnv_max(moments).item() == math.inf
    pairs = cdnv_per_pair(moments)
    assert math.isnan(pairs[0, 0]) and pairs[0, 1] == math.inf  # noqa: PT018


def test_quotients_of_norms():
    h, y = blobs(8, 200, 5, 3)
    moments = collect(h, y, 3)
    within, between = moments.within_scatter(), moments.between_scatter()
    assert_digits(frobenius_quotient(moments), within.norm() / between.norm())
    svd = torch.linalg.svdvals
    assert_digits(spectral_quotient(moments), svd(within)[0] / svd(between)[0])
    assert_digits(trace_ratio(moments), svd(within).sum() / svd(between).sum())  # nuclear norms: the same number


def test_one_class_has_no_geometry():
    with pytest.raises(errors.TooFewClassesError):
        within_class_variability(collect([[1.0], [2.0]], [1, 1], 3))
    with pytest.raises(errors.TooFewClassesError):
        cdnv(collect([[1.0], [2.0]], [1, 1], 3))


def test_nc1_without_enough_scatter_says_what_to_do():
    with pytest.raises(errors.ScatterLevelError, match=r"look_again\(moments, batches\)\.$"):
        within_class_variability(collect(D2, D2_LABELS, 4, scatter="pooled"))
    with pytest.raises(errors.ScatterLevelError) as caught:
        class_variability(collect(D2, D2_LABELS, 4, scatter="pooled"))
    assert str(caught.value) == (
        "NC1 of each class needs more than these moments hold (scatter='pooled'). Collect with scatter='per_class', or "
        "look again in the span of the class means: look_again(moments, batches)."
    )


def test_a_second_look_at_other_data_is_told():
    h, y = blobs(1, 30, 4, 3)
    with pytest.raises(errors.BatchError) as caught:
        look_again(collect(h, y, 3), [(2 * h, y)])
    assert str(caught.value).startswith("the second look saw other data than the first: 30 samples with total squared ")
    assert str(caught.value).endswith("(no random augmentation, no sampling with replacement).")
    with pytest.raises(errors.BatchError):
        look_again(collect(h, y, 3), [(h[:20], y[:20])])


def test_half_precision_puts_a_floor_that_is_reported():
    y = torch.arange(1000) % 2
    h = 5 + torch.where(y == 0, 1.0, -1.0)[:, None] * torch.ones(8) + 1e-6 * gaussian(0, 1000, 8)
    exact, rounded = collect(h, y, 2), collect(h.bfloat16(), y, 2)
    floor = rounding_floor(rounded)
    eps = torch.finfo(torch.bfloat16).eps
    size = rounded.class_means().square().sum(dim=1).mean()
    assert_digits(floor, eps**2 * size / rounded.between_trace())
    assert rounding_floor(exact) < 1e-28 < 1e-6 < floor


@pytest.mark.parametrize("shift", [0.0, 10.0, 1e3, 1e5])
def test_means_in_fewer_directions_than_classes_leave_no_rounding_direction(shift):
    # Features (a, 3a): the class means lie on a line, and rounding of the shifted means is no second direction.
    y = torch.arange(600) % 6
    a = gaussian(0, 600) + y
    line = within_class_variability(collect(a[:, None], y, 6))
    h = torch.stack([a, 3 * a], dim=1) + shift
    assert_digits(within_class_variability(collect(h, y, 6)), line, 1e-7)
    looked = look_again(collect(h, y, 6, scatter="none"), [(h, y)])
    assert_digits(within_class_variability(looked), line, 1e-7)
    one_hot = torch.nn.functional.one_hot((y * torch.arange(600)) % 3, 3).double()  # rows sum to 1: rank 2 of 3
    assert_digits(
        within_class_variability(collect(one_hot, y, 6)), within_class_variability(collect(one_hot[:, :2], y, 6)), 1e-9
    )


def test_a_precision_set_for_one_backend_alone_is_taken_for_a_loose_one():
    h, y = blobs(1, 60, 5, 3)
    before = torch.backends.mkldnn.matmul.fp32_precision
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        looked = look_again(collect(h.float(), y, 3, scatter="none"), [(h.float(), y)])
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    assert_digits(within_class_variability(looked), dense_nc1(h.float().double(), y, "class"), 1e-5)
