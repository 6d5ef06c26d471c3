import torch
from examples import D1, D1_LABELS, D2, D2_LABELS, D2_MEANS, W1, assert_digits

from deepcollapse import collect, measure_features
from deepcollapse.geometry import feature_budget, simplex_etf, weight_budget


def test_budgets_from_the_definitions_class_by_class():
    centre = D2.mean(dim=0)
    by_hand = sum((D2[D2_LABELS.eq(c)] - centre).square().sum(dim=1).mean() for c in (0, 1, 3)) / 3
    assert_digits(feature_budget(collect(D2, D2_LABELS, 4)), by_hand)
    assert_digits(weight_budget(W1), (1.3125 + 1.3125 + 0.8125) / 3)


def test_the_centre_is_the_mean_of_samples_also_where_classes_differ_in_size():
    # All scatter lies between the classes, whose means keep their distance from the mean of samples alone.
    counts = torch.tensor([6, 2, 1])
    labels = torch.repeat_interleave(torch.arange(3), counts)
    found = feature_budget(collect(D2_MEANS[labels], labels, 3))
    centre = (counts.double() @ D2_MEANS) / 9
    assert_digits(found, (D2_MEANS - centre).square().sum(dim=1).mean())
    of_class_means = (D2_MEANS - D2_MEANS.mean(dim=0)).square().sum(dim=1).mean()
    assert abs(found - of_class_means) > 0.1


def test_at_collapse_they_are_the_squared_length_of_a_vertex():
    vertices = 3.0 * simplex_etf(5, 4)
    labels = torch.arange(5).repeat_interleave(4)
    assert_digits(feature_budget(collect(vertices[labels], labels, 5)), 9.0)
    assert_digits(weight_budget(vertices), 9.0)


def test_a_measurement_records_them_at_the_head_and_at_every_layer():
    frame = measure_features(D1, D1_LABELS, num_classes=3, classifier=W1).to_frame().set_index("measure")
    assert frame.loc["weight_budget", ["layer", "unit"]].tolist() == ["head", "weight^2"]
    assert frame.loc["weight_budget", ["weighting", "centre", "reduction"]].isna().all()
    budget = frame.loc["feature_budget"]
    assert budget[["layer", "weighting", "centre", "unit"]].tolist() == ["head.input", "class", "sample", "feature^2"]
    assert_digits(budget["value"], feature_budget(collect(D1, D1_LABELS, 3)))


def test_rows_of_absent_classes_are_no_part_of_the_budget():
    classifier = torch.cat([W1[:, :3], torch.full((1, 3), 100.0).double()])[[0, 1, 3, 2]]
    frame = measure_features(D2, D2_LABELS, num_classes=4, classifier=classifier).to_frame().set_index("measure")
    assert_digits(frame.loc["weight_budget", "value"], weight_budget(classifier[[0, 1, 3]]))
    assert frame.loc["weight_budget", "note"] == "absent and left out: 2"
