"""Classes put together by their counts, and matrices of groups against their dense twins."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, lists

from deepcollapse.errors import OptionError, TooFewClassesError
from deepcollapse.theory.nuclear import balanced_factors
from deepcollapse.theory.reduced.groups import Balanced, GroupMatrix, Groups

SIZES = [(3, 1, 2), (4,), (1, 1), (2, 5)]


def random_matrix(sizes, seed=0):
    rng, count = np.random.default_rng(seed), len(sizes)
    return GroupMatrix(sizes, rng.standard_normal(count), rng.standard_normal((count, count)))


def test_equal_counts_form_a_group_and_members_find_it():
    counts = [5, 500, 50, 500, 5, 5]
    groups = Groups.of(counts)
    assert groups == Groups((2, 1, 3), (500.0, 50.0, 5.0))
    assert groups.members(counts).tolist() == [2, 0, 1, 0, 2, 2]
    assert groups.num_classes == 6


@given(lists(integers(0, 50), min_size=2, max_size=12).filter(any))
def test_weights_of_all_classes_sum_to_1(counts):
    groups = Groups.of(counts)
    assert groups.class_weights @ np.array(groups.sizes) == pytest.approx(1)
    weights = groups.class_weights[groups.members(counts)]
    assert weights == pytest.approx(np.array(counts) / sum(counts))


def test_two_groups_and_an_infinite_ratio():
    assert Groups.two(3, 7, 4.0) == Groups((3, 7), (4.0, 1.0))
    assert Groups.two(3, 7, math.inf) == Groups((3, 7), (1.0, 0.0))
    assert Groups.two(3, 7, math.inf).class_weights.tolist() == [1 / 3, 0]


@pytest.mark.parametrize("sizes", SIZES)
def test_spectra_norms_and_products_are_those_of_the_dense_matrix(sizes):
    matrix, other = random_matrix(sizes, 0), random_matrix(sizes, 1)
    values = np.linalg.svd(matrix.dense(), compute_uv=False)
    assert matrix.nuclear_norm == pytest.approx(values.sum())
    assert matrix.spectral_norm == pytest.approx(values[0])
    assert matrix.inner(other) == pytest.approx((matrix.dense() * other.dense()).sum())
    factors = np.arange(1.0, len(sizes) + 1)
    columns = np.repeat(factors, sizes)
    assert matrix.scaled_columns(factors).dense() == pytest.approx(matrix.dense() * columns)
    assert matrix.times(-2.0).dense() == pytest.approx(-2 * matrix.dense())


@pytest.mark.parametrize("sizes", SIZES)
def test_exchanging_classes_of_one_group_changes_nothing(sizes):
    members = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    dense = random_matrix(sizes).dense(members)
    for group in range(len(sizes)):
        places = np.flatnonzero(members == group)
        order = np.arange(len(members))
        order[places] = places[::-1]
        assert dense[np.ix_(order, order)] == pytest.approx(dense)


@settings(max_examples=20)
@given(seed=integers(0, 2**16))
def test_balanced_gram_matrices_are_those_of_the_cheapest_factors(seed):
    sizes, counts, scale = (3, 1, 2), np.array([9.0, 4.0, 1.0]), 1.7
    z = random_matrix(sizes, seed)
    z = GroupMatrix(sizes, np.abs(z.contrast), z.block)
    balanced = Balanced.of(z, counts, scale)
    root = np.sqrt(np.repeat(counts, sizes))
    w, h = balanced_factors(torch.from_numpy(z.dense() * root), scale, dim=6)
    assert balanced.classifier.dense() == pytest.approx((w @ w.T).numpy(), abs=1e-12)
    assert balanced.features.dense() == pytest.approx((h @ h.T).numpy() / np.outer(root, root), abs=1e-12)
    cosine = (w[0] @ w[5] / w[0].norm() / w[5].norm()).item()
    assert balanced.cosine("classifier", 0, 2) == pytest.approx(cosine)
    assert balanced.norm_squared("features", 2) == pytest.approx(h[5].square().sum().item() / counts[2])


def test_cosines_that_are_undefined_are_nan():
    z = GroupMatrix((2, 1, 2), np.array([1.0, 0.0, 0.0]), np.diag([1.0, 1.0, 0.0]))
    balanced = Balanced.of(z, np.ones(3), 1.0)
    assert math.isnan(balanced.cosine("classifier", 1, 1))
    assert math.isnan(balanced.cosine("classifier", 2, 2))
    assert math.isnan(balanced.cosine("features", 0, 2))
    assert balanced.cosine("classifier", 0, 1) == 0


def test_classes_without_samples_keep_zero_features():
    z = GroupMatrix((2, 2), np.array([1.0, 0.0]), np.array([[1.0, 0.0], [-1.0, 0.0]]))
    balanced = Balanced.of(z, np.array([1.0, 0.0]), 1.0)
    assert balanced.norm_squared("features", 1) == 0
    assert balanced.cosine("classifier", 1, 1) == 1


def test_a_hundred_thousand_classes_take_no_matrix():
    matrix = random_matrix((99_990, 10))
    assert matrix.nuclear_norm > 0
    assert matrix.own.shape == (2,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Groups((2, 3), (1.0,)),
            "groups need one count and at least one class each; got sizes (2, 3) and counts (1.0,).",
        ),
        (
            lambda: Groups((2, 0), (2.0, 1.0)),
            "groups need one count and at least one class each; got sizes (2, 0) and counts (2.0, 1.0).",
        ),
        (lambda: Groups((2,), (-1.0,)), "samples a class must be finite, 0 or more, and not all 0; got (-1.0,)."),
        (lambda: Groups((2,), (math.nan,)), "samples a class must be finite, 0 or more, and not all 0; got (nan,)."),
        (lambda: Groups((2,), (math.inf,)), "samples a class must be finite, 0 or more, and not all 0; got (inf,)."),
        (lambda: Groups((2,), (0.0,)), "samples a class must be finite, 0 or more, and not all 0; got (0.0,)."),
        (lambda: Groups.two(2, 2, 0.5), "the ratio of majority to minority samples must be 1 or more; got 0.5."),
        (lambda: Groups.two(2, 2, math.nan), "the ratio of majority to minority samples must be 1 or more; got nan."),
    ],
)
def test_bad_input_is_told(make, message):
    with pytest.raises(OptionError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("make", [lambda: Groups((1,), (5.0,)), lambda: Groups.of([7])])
def test_one_class_is_too_few(make):
    with pytest.raises(TooFewClassesError) as error:
        make()
    assert str(error.value) == "theory compares classes: it needs at least 2 of them; got 1."
