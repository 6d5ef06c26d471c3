import itertools
from dataclasses import replace
from typing import Any

import numpy
import pytest
import torch
from made_runs import judged, made_run
from study_runs import as_json, run_changed, verdicts

from deepcollapse.records.study import StudyRecord
from deepcollapse.studies.feng2022 import PUBLISHED, STUDY, recipes
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.measured.few_logits import FEWEST_SAMPLES, explained_by_few, shares_of_classes

SMOKE = STUDY.scales["smoke"]
SUBJECT = "digits, mlp"  # of runs that are made by hand
MEASURES = ["within_class_variability"]  # the study takes its own after training


@pytest.fixture(scope="module")
def healthy(folder) -> StudyRecord:
    return run_changed(STUDY, folder)


def test_rank_diminishes_in_a_trained_network(healthy):
    assert verdicts(healthy) == dict.fromkeys(("monotone", "pca", "low", "deficit"), "holds")
    assert healthy.failures == []


def test_the_record_is_read_as_it_was_written(healthy, folder):
    assert as_json(StudyRecord.read(folder)) == as_json(healthy)


def test_ranks_by_depth_are_drawn_and_exact_ones_never_rise(healthy):
    chart: Any = healthy.shown[0]
    (panel,) = chart.panels
    curves = {curve.name: curve for curve in panel.curves}
    assert list(curves) == ["Jacobian", "partial Jacobian", "partial Jacobian, published cut", "perturbed PCA"]
    for name in ("Jacobian", "partial Jacobian"):
        assert [*curves[name].x] == [1, 2, 3, 4, 5, 6]
        assert all(later <= before for before, later in itertools.pairwise(curves[name].y))
    below = zip(curves["partial Jacobian"].y, curves["Jacobian"].y, strict=True)
    assert all(part <= whole for part, whole in below)


def test_published_classification_dimensions_stand_beside_ours(healthy):
    table: Any = healthy.shown[2]
    ours, *published = table.rows
    assert ours[0] == "digits, mlp"
    assert 2 <= ours[1] <= 10
    assert ours[2] == 64
    assert [row[1:3] for row in published] == list(PUBLISHED.values())
    assert (published[1][3], published[4][3]) == (6.4, 56.8)


def test_the_counter_example_shows_numerical_rank_rising(healthy):
    table: Any = healthy.shown[3]
    assert [row[2] for row in table.rows] == [1, 1, 2]
    product = numpy.diag([1e-6, 1]) @ numpy.diag([1, 1e-6])
    assert numpy.linalg.matrix_rank(product, tol=1e-3 * numpy.abs(product).max()) == 2


def test_an_untrained_network_keeps_no_accuracy_and_its_logits_are_independent(tmp_path):
    found = verdicts(run_changed(STUDY, tmp_path / "s", rate=1e-30, epochs=1))
    assert (found["low"], found["deficit"]) == ("fails", "fails")
    assert found["monotone"] == "holds"  # which is a theorem, of any network


def test_orthogonal_maps_lose_no_rank_and_span_no_fewer_dimensions(tmp_path):
    record = run_changed(
        STUDY,
        tmp_path / "s",
        network="orthogonal_network:build",
        width=None,
        depth=None,
        parameters=(),
        layers=("blocks.5",),
        rate=1e-30,
        epochs=1,
    )
    found = verdicts(record)
    assert (found["monotone"], found["pca"]) == ("holds", "fails")
    (judged,) = next(claim for claim in record.claims if claim.id == "monotone").judgements
    assert judged.numbers == {
        **{f"Jacobian: {name}": value for name, value in (("largest rise", 0), ("first", 64), ("last", 64))},
        **{f"partial Jacobian: {name}": value for name, value in (("largest rise", 0), ("first", 36), ("last", 36))},
    }


def test_ranks_that_rise_fail(tmp_path, monkeypatch):
    """With the layers of a network taken in the wrong order."""
    from deepcollapse.studies.measured import layer_ranks

    right = layer_ranks.chain
    monkeypatch.setattr(layer_ranks, "chain", lambda *given: right(*given)[::-1])
    assert verdicts(run_changed(STUDY, tmp_path / "s", rate=1e-30, epochs=1))["monotone"] == "fails"


def ranks(seed, rise, measure="jacobian_rank"):
    """A run whose rank of that name rises by so much; one without any where that is None."""
    found = {("flattened_dimension", layer, "test"): 4.0 for layer in ("blocks.0", "head.input")}
    if rise is not None:
        found |= {(measure, layer, "test"): 4.0 for layer in ("blocks.0", "head.input")}
        found[f"{measure}_largest_rise", "all", "test"] = rise
    return made_run(found, seed=seed)


@pytest.mark.parametrize("measure", ["jacobian_rank", "partial_jacobian_rank_svd"])
def test_a_rank_that_rises_for_one_seed_of_many_fails_and_none_or_few_are_not_tested(measure):
    def found(*rises):
        runs = [ranks(seed, rise, measure) for seed, rise in enumerate(rises)]
        (one,) = judged(STUDY, "monotone", Evidence(SMOKE, runs)).values()
        return one

    assert found(*[0.0] * 5).verdict == "holds"
    assert found(*[0.0] * 9, 1.0).verdict == "fails"
    assert found(0.0, None, 0.0, 0.0).verdict == "holds"
    assert found(None, None, None).why == "the rank of no Jacobian was worked out"
    assert found(1.0).verdict == "fails"  # once is enough
    for few in ((0.0,), (0.0, None, 0.0)):
        assert found(*few).verdict == "not tested"
        assert found(*few).why.endswith(f"at least 3 seeds, and {few.count(0.0)} came to their end")


def test_few_of_one_rank_hide_no_rise_of_the_other_and_no_lack():
    partial = [ranks(seed, 0.0, "partial_jacobian_rank_svd") for seed in range(3)]
    assert judged(STUDY, "monotone", Evidence(SMOKE, [*partial, ranks(0, 0.0)]))[SUBJECT].verdict == "not tested"
    assert judged(STUDY, "monotone", Evidence(SMOKE, [*partial, ranks(0, 1.0)]))[SUBJECT].verdict == "fails"


@pytest.mark.parametrize(
    ("dimensions", "accuracy", "verdict"),
    [
        ((4.0, 4.0, 4.0), 0.9, "holds"),
        ((4.1, 4.1, 4.1), 0.9, "fails"),
        ((3.0, 4.0, 6.0), 0.9, "inconclusive"),
        ((4.0, 4.0), 0.9, "not tested"),
        ((1.0, 1.0, 1.0), 0.19, "fails"),  # less than twice that of guessing keeps nothing
    ],
)
def test_few_dimensions_are_two_fifths_of_them(dimensions, accuracy, verdict, monkeypatch):
    monkeypatch.setattr(Finished, "array", lambda self, *what: numpy.zeros(10))  # of ten classes

    def run(seed, needed):
        found = {("classification_dimension", "head.input", "test"): needed, ("accuracy", "network", "test"): accuracy}
        return made_run(found | {("flattened_dimension", "head.input", "test"): 10.0}, seed=seed)

    runs = [run(seed, needed) for seed, needed in enumerate(dimensions)]
    assert judged(STUDY, "low", Evidence(SMOKE, runs))[SUBJECT].verdict == verdict


@pytest.mark.parametrize(
    ("explained", "undefined", "verdict"),
    [
        ((0.5, 0.5, 0.5), 0.5, "holds"),
        ((0.4, 0.4, 0.4), 0.0, "fails"),
        ((0.4, 0.5, 0.6), 0.0, "inconclusive"),
        ((0.4, 0.4, 0.4), 0.6, "not tested"),
        ((1.0, 1.0), 0.0, "not tested"),
    ],
)
def test_logits_are_told_from_few_for_half_of_the_classes(explained, undefined, verdict):
    def run(seed, share):
        shares = {"explained": share, "undefined": undefined}
        return made_run({(f"share_of_logits_{what}", "head", "test"): of for what, of in shares.items()}, seed=seed)

    runs = [run(seed, share) for seed, share in enumerate(explained)]
    found = judged(STUDY, "deficit", Evidence(SMOKE, runs))[SUBJECT]
    assert found.verdict == verdict
    if undefined > 0.5:
        assert found.why == (
            "share of classes 0.4 (0.4 to 0.4); undefined in 0.6 (0.6 to 0.6) of them: more than half of the classes "
            "have fewer than 30 test samples, or a logit that is the same for all"
        )


def test_classes_that_are_undefined_count_and_those_that_are_absent_do_not():
    explained = torch.tensor([0.9, 0.1, *[torch.nan] * 8], dtype=torch.float64)
    assert shares_of_classes(explained, torch.arange(10), 0.8) == (0.1, 0.8)
    assert shares_of_classes(explained, torch.tensor([1, 0, 0, 5, 1]), 0.8) == pytest.approx((1 / 3, 1 / 3))
    assert shares_of_classes(explained, torch.tensor([1, 0, 0, 5, 9]), 0.8, classes=5) == (0.5, 0.0)


@pytest.mark.parametrize(("samples", "undefined"), [(5, 1.0), (29, 1.0), (30, 0.0), (100, 0.0)])
def test_noise_is_never_explained_however_few_samples_there_are(samples, undefined):
    for seed in range(3):
        noise = torch.randn(10 * samples, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        labels = torch.arange(10).repeat_interleave(samples)
        assert shares_of_classes(explained_by_few(noise, labels), labels, 0.5) == (0.0, undefined)


@pytest.mark.parametrize("scale", ["smoke", "laptop"])
def test_small_scales_test_on_thirty_samples_a_class(scale):
    assert all((recipe.test_per_class or 0) >= FEWEST_SAMPLES for recipe in recipes(STUDY.scales[scale]))


def test_few_logits_explain_a_combination_of_three_and_no_more():
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(400, 9, generator=generator, dtype=torch.float64)
    labels = torch.zeros(400, dtype=torch.int64)

    def explained(f, most=3):
        return explained_by_few(torch.cat([f[:, None], others], dim=1), labels, most)

    three = 5 + 2 * others[:, 0] - others[:, 4] + 0.5 * others[:, 8]
    assert explained(three)[0].item() == pytest.approx(1, abs=1e-9)
    two = (
        others[:, [0, 4]]
        @ torch.linalg.lstsq(others[:, [0, 4]] - others[:, [0, 4]].mean(0), (three - three.mean())[:, None]).solution
    )
    rest = (three - three.mean()) - (two - two.mean()).flatten()
    assert explained(three, most=2)[0].item() == pytest.approx(1 - rest.var().item() / three.var().item(), abs=1e-9)
    assert explained(others.sum(dim=1))[0].item() < 0.6
    assert explained(torch.randn(400, generator=generator, dtype=torch.float64))[0].item() < 0.1
    assert explained(torch.full((400,), 7.0, dtype=torch.float64))[0].isnan()
    assert explained(three)[1:].isnan().all()  # of which there are no samples


def test_any_network_may_be_asked_for_at_any_scale():
    for scale in STUDY.scales.values():
        asked = replace(scale, datasets=("digits", "cifar10"), networks=("mlp", "resnet", "vgg11"))
        assert len({(recipe.dataset, recipe.network) for recipe in recipes(asked)}) == 6
    laptop = recipes(STUDY.scales["laptop"])
    assert {(recipe.dataset, recipe.network) for recipe in laptop} == {("mnist", "mlp"), ("cifar10", "resnet")}
