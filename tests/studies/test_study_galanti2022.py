"""The study of the rank that mini-batch descent leaves, at smoke scale, and without the decay that it rests on."""

from dataclasses import replace

import numpy
import pandas
import pytest
import torch
from study_runs import verdicts

from deepcollapse.networks import load_weights
from deepcollapse.records import Run
from deepcollapse.records.study import StudyRecord
from deepcollapse.studies.galanti2022 import STUDY, rank_of, recipes, remembered
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.reproduce import Setting, reproduce
from deepcollapse.sweeps import key_of
from deepcollapse.sweeps.engines.stacked import Stacked
from deepcollapse.training import Recipe
from deepcollapse.training.data import prepare
from deepcollapse.training.loop import build_network

SMOKE = STUDY.scales["smoke"]
MEASURES = ["mean_norm"]  # the study takes its own
CLAIMS = {claim.id: claim for claim in STUDY.claims}


@pytest.fixture(scope="module")
def healthy(folder) -> StudyRecord:
    return reproduce(STUDY, folder, scale="smoke", setting=Setting(device="cpu", threads=1, engine=Stacked()))


@pytest.fixture(scope="module")
def runs(healthy, folder) -> list[Finished]:
    del healthy
    return [Finished.at(recipe, folder / "sweep" / "runs" / key_of(recipe)) for recipe in recipes(SMOKE)]


def verdict(name: str, evidence: Evidence) -> str:
    return CLAIMS[name].judged(evidence).verdict


def test_rank_follows_batch_rate_and_decay(healthy):
    found = verdicts(healthy)
    # On 200 digits strong decay helps test accuracy by more than three points.
    assert found.pop("little") != "not tested"
    assert found.pop("rate") in ("holds", "inconclusive")  # the two largest rates of one seed may change places
    # At equally many steps the rank falls with the batch here, if anything: the effect is that of fading.
    assert found.pop("faded") in ("fails", "inconclusive")
    assert found == dict.fromkeys(["batch", "decay", "none", "bound"], "holds")
    assert healthy.failures == []
    assert [shown.title for shown in healthy.shown] == [
        "Rank of weights (digits, mlp)",
        "What theory allows (digits, mlp)",
    ]


def test_the_record_comes_back_as_it_was_written(healthy, folder):
    found = StudyRecord.read(folder)
    assert verdicts(found) == verdicts(healthy)
    assert len(found.shown) == 2


def test_ranks_are_those_of_the_weights(runs):
    """By the square roots of eigenvalues of W W^T."""
    run = runs[0]
    network = load_weights(build_network(run.recipe, prepare(run.recipe)), run.path)
    for name in ("blocks.0.linear", "blocks.1.linear"):
        weight = network.get_submodule(name).weight.detach().double()
        values = torch.linalg.eigvalsh(weight @ weight.T).clamp(min=0).sqrt()
        count = int((values > 1e-3 * values.square().sum().sqrt()).sum())
        assert run.last("rank_at_one_per_mille_of_norm_weight", name, None) == count


def test_ranks_of_small_matrices():
    diagonal = torch.diag(torch.tensor([3.0, 4.0, 0.004, 0.0051]))  # of norm 5
    assert [rank_of(diagonal), rank_of(1e-6 * diagonal), rank_of(torch.zeros(2, 3))] == [3, 3, 0]


def test_steps_that_are_remembered_leave_rank_to_bound():
    assert [remembered((64, 784), batch) for batch in (1, 2, 8, 64, 512)] == [32, 16, 4, 1, 1]
    assert remembered((512, 512), 1) == 50


def test_what_was_judged_is_what_the_records_say(healthy, folder):
    (judged,) = next(claim for claim in healthy.claims if claim.id == "little").judgements
    spans = []
    for seed in SMOKE.seeds:
        accuracies = []
        for recipe in recipes(SMOKE):
            if recipe.seed == seed and recipe.epochs == SMOKE["epochs"]:
                rows = Run(folder / "sweep" / "runs" / key_of(recipe)).records()
                rows = rows[
                    (rows["measure"] == "accuracy") & rows["baseline"].isna() & (rows["epoch"] == recipe.epochs)
                ]
                values = dict(zip(rows["split"], rows["value"], strict=True))
                if values["train"] >= 0.999:
                    accuracies.append(values["test"])
        spans.append(100 * (max(accuracies) - min(accuracies)))
    assert judged.numbers["points"] == pytest.approx(numpy.median(spans), rel=1e-12)


def test_three_points_are_not_less_than_three_whatever_their_rounding(tmp_path):
    def fitted(seed, batch, accuracy):
        rows = [("train", 1.0), ("test", accuracy)]
        frame = pandas.DataFrame(rows, columns=["split", "value"]).assign(measure="accuracy", layer="network", epoch=1)
        path = tmp_path / f"{seed}-{batch}"
        return Finished(
            Recipe(seed=seed, batch=batch, epochs=SMOKE["epochs"]), path, frame.assign(baseline=None, array=None)
        )

    def judged(*accuracies):
        found = [fitted(seed, batch, a) for seed in range(3) for batch, a in enumerate(accuracies, start=1)]
        return verdict("little", Evidence(SMOKE, found))

    assert 100 * (0.96 - 0.93) < 3
    assert [judged(0.96, 0.93), judged(0.96, 0.931)] == ["fails", "holds"]


def test_where_most_runs_do_not_fit_the_effect_on_accuracy_is_not_tested(tmp_path):
    def run(seed, batch, accuracy):
        rows = [("train", accuracy), ("test", 0.9)]
        frame = pandas.DataFrame(rows, columns=["split", "value"]).assign(measure="accuracy", layer="network", epoch=1)
        frame = frame.assign(baseline=None, array=None)
        return Finished(Recipe(seed=seed, batch=batch, epochs=SMOKE["epochs"]), tmp_path / f"{seed}-{batch}", frame)

    def judged(fitting):
        found = [run(seed, batch, 1.0 if batch <= fitting else 0.5) for seed in range(3) for batch in range(1, 7)]
        return CLAIMS["little"].judged(Evidence(SMOKE, found)).judgements[0]

    assert judged(3).verdict == "holds"
    told = judged(2)
    assert (told.verdict, told.why) == (
        "not tested",
        "the criterion is for at least 3 seeds with half of their runs fitting the training data, and those that do "
        "are 2 of 6 of seed 0, 2 of 6 of seed 1, 2 of 6 of seed 2",
    )
    assert len(told.runs) == 18


def test_without_decay_batches_do_not_lower_the_rank(runs):
    """The same judges where the middle of the study is at no decay; those runs are there already."""
    scale = replace(SMOKE, settings={**SMOKE.settings, "decay": 0.0})
    bare = [run for run in runs if run.recipe.decay == 0.0]  # all of which have as many epochs
    assert len({run.recipe.batch for run in bare}) == 5
    assert [verdict(name, Evidence(scale, bare)) for name in ("batch", "none")] == ["fails", "fails"]


def test_the_same_network_at_every_setting_fails(runs):
    """Runs that say decay, and were trained without; what rate they say does not matter then."""
    at = {name: SMOKE[name] for name in ("epochs", "batch", "rate")}
    middle = [run for run in runs if {name: getattr(run.recipe, name) for name in at} == at]
    bare = {run.recipe.seed: run for run in middle if run.recipe.decay == 0.0}
    same = [Finished(run.recipe, bare[run.recipe.seed].path, bare[run.recipe.seed].records) for run in middle]
    assert verdict("decay", Evidence(SMOKE, same)) == "fails"
    rates = [replace_rate(bare[seed], rate) for seed in SMOKE.seeds for rate in SMOKE["rates"]]
    assert verdict("rate", Evidence(SMOKE, rates)) == "fails"


def replace_rate(run: Finished, rate: float) -> Finished:
    return Finished(replace(run.recipe, rate=rate, decay=SMOKE["decay"]), run.path, run.records)


def test_a_tail_that_is_too_long_breaks_the_bound(runs):
    records = runs[0].records
    longer = records["value"].where(records["measure"] != "rank_memory_tail_weight", 10.0)
    broken = Finished(runs[0].recipe, runs[0].path, records.assign(value=longer))
    assert [verdict("bound", Evidence(SMOKE, one)) for one in (runs[:1], [broken])] == ["holds", "fails"]
