"""A codebook's arithmetic, against counting by hand."""

import collections
import math
import re

import numpy as np
import pytest

from deepcollapse.compression.quantisation.codebook import Quantised, split
from deepcollapse.errors import NonFiniteError, ShapeError


def codebook(values, indices):
    return Quantised(np.array(values, np.float32), np.array(indices, np.int32))


def test_entropy_counts_values_and_not_indices():
    few = codebook([0.5, 0.0, -2.0, 0.5], [[0, 3, 1, -1], [2, 2, 2, -1]])  # 0.5 twice, and 0 beside the pruned
    counts = collections.Counter(few.array().ravel().tolist())
    assert counts == {0.5: 2, 0.0: 3, -2.0: 3}
    entropy = -sum(n / 8 * math.log2(n / 8) for n in counts.values())
    assert few.entropy == pytest.approx(entropy, rel=1e-12)
    assert few.distinct == 3
    values, times = few.frequencies()
    assert dict(zip(values.tolist(), times.tolist(), strict=True)) == counts


def test_values_that_float32_cannot_tell_apart_become_one():
    few = Quantised.of(np.array([1.0, 1.0 + 1e-12, 3.0]), np.array([0, 1, 1]), np.ones((3, 1), bool))
    assert few.values.tolist() == [1.0]
    assert few.indices.tolist() == [[0], [0], [0]]


def test_distortion_takes_pruned_weights_in():
    few = codebook([1.0], [0, -1, 0])
    assert few.distortion(np.array([1.5, 2.0, 1.0])) == 0.25 + 4.0
    with pytest.raises(ShapeError, match=r"^weights have shape \(2,\), the indices \(3,\); both must be the same\.$"):
        few.distortion(np.ones(2))


def test_indices_must_name_values_and_values_must_be_numbers():
    message = "indices run from -1 to 2; a codebook of 2 values takes -1 (pruned) to 1."
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        codebook([1, 2], [-1, 2])
    with pytest.raises(ShapeError, match="indices run from -2 to 0"):
        codebook([1, 2], [-2, 0])
    with pytest.raises(NonFiniteError, match=r"^a codebook holds 1 NaN or infinite values\.$"):
        codebook([1, np.nan], [0])


def test_layers_taken_apart_share_their_values():
    joint = codebook([1.0, 2.0], [0, 1, -1, 1, 0, 0])
    parts = split(joint, {"a": (2, 2), "b": (1, 2)})
    assert parts["a"].array().tolist() == [[1, 2], [0, 2]]
    assert parts["b"].array().tolist() == [[1, 1]]
    assert parts["a"].values is parts["b"].values
    with pytest.raises(ShapeError, match=r"^the layers hold 4 weights; 6 were quantised\.$"):
        split(joint, {"a": (2, 2)})
