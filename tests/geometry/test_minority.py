"""Minority collapse: merged, erased and shrunken classes."""

import math
import re

import pytest
import torch
from examples import assert_digits, doubles, gaussian, rotation
from hypothesis import given, settings
from hypothesis.strategies import integers

from deepcollapse.errors import LabelError, OptionError, TooFewClassesError
from deepcollapse.geometry.minority import erased_classes, minority_angle_mean, minority_angle_min, minority_norm_ratio
from deepcollapse.geometry.simplex import cosines, simplex_etf
from unchecked import shapes_unchecked

MEASURES = [minority_angle_mean, minority_angle_min, minority_norm_ratio]


def test_balanced_collapse():
    rows = 4 * simplex_etf(5, 7) @ rotation(0, 7)
    for subset in ((0, 1), (1, 3, 4)):
        assert_digits(minority_angle_mean(rows, subset), -1 / 4)
        assert_digits(minority_angle_min(rows, subset), -1 / 4)
        assert_digits(minority_norm_ratio(rows, subset), 1)
    assert erased_classes(rows) == ()


def test_merged_classes():
    rows = doubles((3, 0, 0), (0, 3, 0), (0, 0, 1), (0, 0, 1), (0, 1, 0))
    assert_digits(minority_angle_mean(rows, (2, 3)), 1)
    assert_digits(minority_angle_mean(rows, (2, 3, 4)), 1 / 3)
    assert_digits(minority_angle_min(rows, (2, 3, 4)), 0)
    assert_digits(minority_norm_ratio(rows, (2, 3, 4)), 1 / 3)


def test_erased_classes_have_no_angle():
    rows = doubles((3, 0), (0, 3), (0, 1e-14), (1e-5, 0))
    assert erased_classes(rows) == (2,)
    assert erased_classes(rows, tolerance=1e-3) == (2, 3)
    assert_digits(minority_angle_mean(rows, (2, 3)), math.nan)
    assert_digits(minority_angle_min(rows, (2, 3)), math.nan)
    assert_digits(minority_angle_mean(rows, (1, 3)), 0)
    assert_digits(minority_angle_mean(rows, (1, 3), tolerance=1e-3), math.nan)
    assert_digits(minority_angle_min(rows, (1, 3), tolerance=1e-3), math.nan)
    assert_digits(minority_norm_ratio(rows, (2, 3)), 5e-6 / 3, rtol=1e-8)


def test_nothing_but_zeros():
    rows = torch.zeros(3, 2)
    assert erased_classes(rows) == (0, 1, 2)
    assert_digits(torch.stack([measure(rows, (0, 1)) for measure in MEASURES]), [math.nan] * 3)
    assert_digits(minority_norm_ratio(doubles((1, 0), (0, 0), (0, 0)), (0,)), math.inf)


@given(seed=integers(0, 2**16), size=integers(2, 5))
@settings(derandomize=True, max_examples=15, deadline=None)
def test_against_definitions_at_every_magnitude(seed, size):
    rows = gaussian(seed, 6, 4)
    subset = tuple(torch.randperm(6, generator=torch.Generator().manual_seed(seed))[:size].tolist())
    rest = [c for c in range(6) if c not in subset]
    pairs = torch.stack([cosines(rows)[i, j] for i in subset for j in subset if i != j])
    ratio = rows[list(subset)].norm(dim=1).mean() / rows[rest].norm(dim=1).mean()
    for scale in (1.0, 1e-200, 1e200):
        assert_digits(minority_angle_mean(rows * scale, subset), pairs.mean())
        assert_digits(minority_angle_min(rows * scale, subset), pairs.min())
        assert_digits(minority_norm_ratio(rows * scale, subset), ratio)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: minority_angle_mean(torch.ones(3, 2), (1, 3)), LabelError,
         "subset (1, 3) must name classes 0 to 2, each once; 3 is none of them."),
        (lambda: minority_angle_min(torch.ones(3, 2), (1, -1)), LabelError,
         "subset (1, -1) must name classes 0 to 2, each once; -1 is none of them."),
        (lambda: minority_norm_ratio(torch.ones(3, 2), (1, 1)), LabelError,
         "subset (1, 1) must name classes 0 to 2, each once; a class is named twice."),
        (lambda: minority_angle_mean(torch.ones(3, 2), (1,)), LabelError,
         "subset names 1 of 3 classes; this measure takes 2 to 3."),
        (lambda: minority_norm_ratio(torch.ones(3, 2), (0, 1, 2)), LabelError,
         "subset names 3 of 3 classes; this measure takes 1 to 2."),
        (lambda: erased_classes(torch.ones(3, 2), tolerance=-0.5), OptionError,
         "tolerance is a share of the largest norm, at least 0 and below 1; got -0.5."),
        (lambda: erased_classes(torch.ones(1, 2)), TooFewClassesError,
         "rows has 1 row; the geometry of classes needs at least two."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
