import itertools
from dataclasses import replace
from typing import Any

import numpy
import pandas
import pytest
import torch
from study_runs import as_json, run_changed, verdicts

from deepcollapse.records.study import StudyRecord
from deepcollapse.studies.feng2022 import PUBLISHED, STUDY, recipes
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.measured.few_logits import explained_by_few
from deepcollapse.training import Recipe

SMOKE = STUDY.scales["smoke"]
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


def test_a_rank_that_rises_for_one_seed_of_many_fails_and_none_at_all_is_not_tested(tmp_path):
    def one(seed, rise):
        sizes = [("blocks.0", 4.0), ("head.input", 4.0)]
        rows = [("flattened_dimension", layer, size) for layer, size in sizes]
        rows += [("jacobian_rank", layer, size) for layer, size in sizes] if rise is not None else []
        rows += [("jacobian_rank_largest_rise", "all", rise)] if rise is not None else []
        table = [dict(zip(("measure", "layer", "value"), row, strict=True)) for row in rows]
        frame = pandas.DataFrame(table).assign(split="test", baseline=None, epoch=1, array=None)
        return Finished(Recipe(seed=seed), tmp_path / str(seed), frame)

    def judged(rises):
        claim = next(claim for claim in STUDY.claims if claim.id == "monotone")
        return claim.judged(Evidence(SMOKE, [one(seed, rise) for seed, rise in enumerate(rises)]))

    assert judged([0.0] * 5).verdict == "holds"
    assert judged([0.0] * 9 + [1.0]).verdict == "fails"
    assert judged([0.0, None, 0.0]).verdict == "holds"
    assert judged([None] * 3).judgements[0].why == "the rank of no Jacobian was worked out"


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
    few = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    assert explained_by_few(few, torch.zeros(4, dtype=torch.int64))[0].isnan()  # any three others fit four samples


def test_any_network_may_be_asked_for_at_any_scale():
    for scale in STUDY.scales.values():
        asked = replace(scale, datasets=("digits", "cifar10"), networks=("mlp", "resnet", "vgg11"))
        assert len({(recipe.dataset, recipe.network) for recipe in recipes(asked)}) == 6
    laptop = recipes(STUDY.scales["laptop"])
    assert {(recipe.dataset, recipe.network) for recipe in laptop} == {("mnist", "mlp"), ("cifar10", "resnet")}
