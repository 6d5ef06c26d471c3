"""NC5 and NECO: the worked example, definitions, and samples without a direction."""

import math
import re

import pytest
import torch
from examples import D1, D1_MEANS, FOREIGN, assert_digits, doubles, gaussian, rotation
from hypothesis import given, settings
from hypothesis.strategies import integers

from deepcollapse.errors import NonFiniteError, OptionError, ShapeError
from deepcollapse.geometry.foreign import Neco, foreign_orthogonality, neco
from unchecked import shapes_unchecked


def test_worked_example():
    assert_digits(foreign_orthogonality(D1_MEANS, FOREIGN.mean(dim=0)), 0.231177480123345)
    assert_digits(neco(FOREIGN, D1, k=2), [0.117849328271929, 0.103249681129066, 0.317154897664004])
    assert_digits(neco(D1[:1], D1, k=2), [0.998436673418132])


@given(seed=integers(0, 2**16), k=integers(1, 4))
@settings(derandomize=True, max_examples=15, deadline=None)
def test_against_definitions_at_every_magnitude(seed, k):
    train, features = gaussian(seed, 30, 4) * torch.arange(1.0, 5) + 2, gaussian(seed + 1, 7, 4) * 3
    centre = train.mean(dim=0)
    axes = torch.linalg.eigh((train - centre).T @ (train - centre)).eigenvectors[:, -k:]
    scores = ((features - centre) @ axes).norm(dim=1) / (features - centre).norm(dim=1)
    logits, turn = gaussian(seed + 2, 7, 3), rotation(seed, 4)
    for scale in (1.0, 1e-200, 1e200):
        assert_digits(neco(features * scale, train * scale, k), scores)
    assert_digits(neco(features @ turn + 50, train @ turn + 50, k), scores)
    assert_digits(Neco.fit(train, k).scores_with_max_logit(features, logits), scores * logits.max(dim=1).values)
    spread = train.std(dim=0, correction=0)
    standardised = Neco.fit_standardised(train, k)
    assert_digits(standardised.scores(features), neco(features / spread, train / spread, k))
    assert_digits(Neco.fit_standardised(train * 1e200, k).scores(features * 1e200), standardised.scores(features))
    cosines = torch.cosine_similarity(train[:5], features[:1]).abs()
    for scale in (1.0, 1e-200, 1e200):
        assert_digits(foreign_orthogonality(train[:5] * scale, features[0] / scale), cosines.mean())


def test_constant_features_are_not_divided_by_zero():
    train = doubles((1, 5), (-1, 5), (2, 5), (-2, 5))
    fitted = Neco.fit_standardised(train, k=1)
    assert_digits(fitted.spread, [math.sqrt(2.5), 1])
    assert_digits(fitted.scores(doubles((9, 5), (0, 6))), [1, 0])


def test_what_has_no_direction():
    assert_digits(neco(D1.mean(dim=0, keepdim=True), D1, k=2), [math.nan])
    assert_digits(foreign_orthogonality(D1_MEANS, torch.zeros(4)), math.nan)
    assert_digits(foreign_orthogonality(torch.zeros(3, 4), torch.ones(4)), math.nan)
    assert_digits(foreign_orthogonality(doubles((1, 0), (0, 0)), torch.tensor([2.0, 0.0])), 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: foreign_orthogonality(torch.ones(3, 4), torch.ones(3)), ShapeError,
         "class_means has shape (3, 4) and foreign_mean (3,); "
         "expected at least one class mean, and one foreign mean of their dimension."),
        (lambda: foreign_orthogonality(torch.ones(3, 1), torch.tensor([math.nan])), NonFiniteError,
         "foreign_mean holds 1 NaN or infinite entries; leave out what they belong to."),
        (lambda: Neco.fit(torch.ones(5, 3), k=4), OptionError,
         "k=4 principal axes cannot be had from 5 samples of dimension 3; "
         "expected 1 <= k <= 3, near the number of classes."),
        (lambda: neco(torch.ones(2, 4), D1[:, :3], k=1), ShapeError,
         "features have dimension 4 and the fitted axes 3; take both from one layer."),
        (lambda: Neco.fit(D1, k=1).scores_with_max_logit(D1, torch.ones(2, 3)), ShapeError,
         "logits has 2 rows and features 9; expected as many."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
