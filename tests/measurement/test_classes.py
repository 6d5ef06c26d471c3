"""Absent, single, two and too many classes: what is said of them, and what is undefined."""

import math

import pytest
import torch
from toy import CLASSES, blobs, mlp

from deepcollapse import measure


def note_of(measured, name: str, layer: str = "head.input") -> str | None:
    return next(r.note for r in measured.records if (r.measure, r.layer) == (name, layer))


def test_absent_classes_are_named_and_left_out():
    net, (x, y) = mlp(classes=5), blobs()
    names = ["ant", "bee", "cat", "dog", "elk"]
    y = y + 1
    measured = measure(net, [(x, y)], class_names=names)
    for name in ("within_class_variability", "cdnv", "equinorm_means", "self_duality"):
        assert note_of(measured, name) == "absent and left out: ant, elk"
    assert note_of(measure(net, [(x, y)]), "cdnv") == "absent and left out: 0, 4"
    assert note_of(measured, "equinorm_classifier", "head") is None
    assert measured.arrays["head.input/cosines_means"].shape == (3, 3)
    assert measured.arrays["head/cosines_classifier"].shape == (5, 5)
    many = measure(mlp(classes=12), [(x, y)], measures=["cdnv"])
    assert note_of(many, "cdnv") == "absent and left out: 0, 4, 5, 6, 7 and 4 more"


def test_classes_of_one_sample_are_flagged_where_spread_counts():
    x, y = blobs(4)
    measured = measure(mlp(), [(x, y)])
    caveat = "2 classes have a single sample, so within-class scatter is biased low"
    assert note_of(measured, "within_class_variability") == note_of(measured, "cdnv") == caveat
    assert note_of(measured, "equinorm_means") is None


def test_one_class_alone_has_no_geometry():
    x, y = blobs()
    measured = measure(mlp(), [(x, y * 0)])
    assert math.isnan(measured["within_class_variability"])
    assert note_of(measured, "within_class_variability").startswith("1 of 3 classes have samples;")
    assert measured["equinorm_classifier"] > 0
    assert not math.isnan(measured["accuracy", "network"])


def test_two_classes_and_more_than_d_plus_one_are_flagged():
    x, y = blobs(classes=2)
    caveat = "two classes: equal norms and angles of centred means hold by construction"
    two = measure(mlp(classes=2), [(x, y)])
    assert note_of(two, "equinorm_means") == caveat
    assert note_of(two, "within_class_variability") is None
    x, y = blobs(classes=10)
    caveat = "more than d + 1 classes: no simplex ETF fits, see log_inverse_distance_mean"
    assert note_of(measure(mlp(classes=10), [(x, y)]), "equiangularity_means") == caveat


def test_classes_without_any_spread_between_them():
    measured = measure(mlp(), [(torch.ones(9, 4), torch.arange(9) % CLASSES)])
    assert math.isnan(measured["within_class_variability"])
    assert measured["nearest_class_mean_accuracy"] == pytest.approx(1 / 3)  # ties go to the smallest class


def test_classes_that_the_training_data_lack_are_named_beside_nearest_means():
    net, (x, y) = mlp(classes=3), blobs()
    seen = y < 2
    train = measure(net, [(x[seen], y[seen])], class_names=["ant", "bee", "cat"])
    test = measure(net, [(x, y)], split="test", means_of=train, class_names=["ant", "bee", "cat"])
    told = "absent in the training data, so never the nearest: cat"
    for name in ("nearest_class_mean_accuracy", "nearest_class_mean_disagreement", "linear_probe_accuracy"):
        assert note_of(test, name) == told
    assert note_of(train, "nearest_class_mean_accuracy") is None
