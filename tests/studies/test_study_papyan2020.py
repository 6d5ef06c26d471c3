from dataclasses import replace
from typing import Any

import numpy
import pandas
import pytest
import torch
from study_runs import HERE, as_json, run_changed, verdicts

import deepcollapse.training.loop
from deepcollapse.records import Run
from deepcollapse.records.charts import Chart
from deepcollapse.records.study import StudyRecord
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.papyan2020 import STUDY, at_best_rate, recipes
from deepcollapse.studies.reproduce import reproduce
from deepcollapse.sweeps import key_of
from deepcollapse.training import Recipe

SMOKE = STUDY.scales["smoke"]
MEASURES = [
    "within_class_variability",
    "equinorm",
    "equiangularity",
    "maximal_angle",
    "self_duality",
    "nearest_class_mean_disagreement",
]
NAMES = ["tpt", "nc1", "nc2-norm", "nc2-angle", "nc2-max", "nc3", "nc4", "accuracy", "robust"]


@pytest.fixture(scope="module")
def healthy(folder) -> StudyRecord:
    return run_changed(STUDY, folder)


def charts(record: StudyRecord) -> dict[str, Any]:
    return {shown.figure or shown.title: shown for shown in record.shown if isinstance(shown, Chart)}


def test_every_claim_holds_where_a_network_collapses(healthy):
    assert verdicts(healthy) == dict.fromkeys(NAMES, "holds")
    assert {(j.subject, len(j.runs)) for claim in healthy.claims for j in claim.judgements} == {("digits, mlp", 3)}
    assert healthy.failures == []


def test_what_was_judged_is_what_the_records_say(healthy, folder):
    """An independent reading of the rows of one seed after another."""
    found = []
    for recipe in recipes(SMOKE):
        rows: Any = Run(folder / "sweep" / "runs" / key_of(recipe)).records()
        rows = rows[rows["baseline"].isna()]
        onset = int(rows[rows["measure"] == "tpt_onset"]["value"].iloc[0])
        at = rows[(rows["layer"] == "head.input") & (rows["split"] == "train") & (rows["measure"] == MEASURES[0])]
        values = dict(zip(at["epoch"], at["value"], strict=True))
        found.append(values[recipe.epochs] / values[onset])
    (judged,) = next(claim for claim in healthy.claims if claim.id == "nc1").judgements
    assert judged.numbers["end_over_onset"] == pytest.approx(numpy.median(found), rel=1e-12)


def test_the_record_is_read_as_it_was_written(healthy, folder):
    assert as_json(StudyRecord.read(folder)) == as_json(healthy)


def test_every_figure_of_the_paper_is_drawn(healthy):
    figures = [shown.figure for shown in healthy.shown if shown.figure]
    assert figures == [*(f"Fig. {number}" for number in range(1, 9)), "Table 1"]
    assert [shown.title for shown in healthy.shown if not shown.figure] == ["Loss", "Accuracy"]
    for number in range(2, 9):
        (panel,) = charts(healthy)[f"Fig. {number}"].panels
        assert [word for _, word in panel.marks] == ["TPT onset"]
        assert all(epoch > 0 for curve in panel.curves for epoch in curve.x)
    assert [len(charts(healthy)[f"Fig. {n}"].panels[0].curves) for n in range(2, 9)] == [2, 2, 2, 1, 1, 2, 1]


def test_the_picture_ends_with_means_and_classifiers_on_the_corners(healthy):
    first, *_, last = charts(healthy)["Fig. 1"].panels
    assert [panel.title.endswith("(TPT onset)") for panel in charts(healthy)["Fig. 1"].panels].count(True) == 1
    assert last.title == "digits, mlp, epoch 150"

    def far(panel, name):
        curves = {curve.name: numpy.array([curve.x, curve.y]).T for curve in panel.curves}
        return numpy.linalg.norm(curves[name] - curves["simplex"][:3], axis=1).max()

    for name in ("class means", "classifiers"):
        assert far(last, name) < 0.2
    assert far(first, "classifiers") > 2 * far(last, "classifiers")


def test_robustness_is_drawn_at_onset_and_end_though_onsets_differ(healthy):
    (panel,) = charts(healthy)["Fig. 8"].panels
    (curve,) = panel.curves
    (mark,) = panel.marks
    assert [*curve.x] == [mark[0], 150]
    (judged,) = next(claim for claim in healthy.claims if claim.id == "robust").judgements
    assert [*curve.y] == pytest.approx([judged.numbers["onset"], judged.numbers["end"]], rel=1e-12)
    assert all(low < y < high for low, y, high in zip(curve.low, curve.y, curve.high, strict=True))


def test_the_table_stands_beside_the_paper(healthy):
    (table,) = [shown for shown in healthy.shown if shown.figure == "Table 1"]
    ((subject, seeds, onset, end, change, *paper),) = table.rows
    assert (subject, seeds, paper) == ("digits, mlp", 3, [None, None, None])
    assert 80 < onset < end < 100
    assert change == pytest.approx(end - onset, abs=0.011)


def judged(claim, runs):
    (found,) = next(one for one in STUDY.claims if one.id == claim).judged(Evidence(SMOKE, runs)).judgements
    return found


def known(folder, seed, values, rate=0.1, **where):
    """A finished run that reached the terminal phase at epoch 1, with one quantity by epoch."""
    rows = [{"measure": "tpt_onset", "layer": "network", "split": "train", "epoch": 1, "value": 1.0}]
    rows += [{"epoch": epoch, "value": value, "split": "test", "layer": "network", **where} for epoch, value in values]
    recipe = Recipe(epochs=values[-1][0], seed=seed, rate=rate)
    return Finished(recipe, folder / f"{seed}-{rate}", pandas.DataFrame(rows).assign(baseline=None, array=None))


@pytest.mark.parametrize(
    ("values", "verdict", "when"),
    [
        ([(1, 0.1), (9, 0.2)], "holds", None),
        ([(1, 0.1), (9, numpy.nan)], "not tested", "the end"),
        ([(1, numpy.nan), (9, 0.2)], "not tested", "TPT onset"),
        ([(1, numpy.nan), (5, 0.1), (9, 0.2)], "not tested", "TPT onset"),
    ],
)
def test_what_is_undefined_at_either_end_did_not_stay_as_it_was(tmp_path, values, verdict, when):
    runs = [known(tmp_path, seed, values, measure="robustness") for seed in range(3)]
    found = judged("robust", runs)
    why = f"robustness of network has no value at {when} of run 0-0.1" if when else ""
    assert (found.verdict, found.why) == (verdict, why)


def test_no_disagreement_at_the_end_counts_where_the_phase_was_watched(tmp_path):
    def runs(*epochs):
        found = [known(tmp_path, seed, [(epoch, 0.0) for epoch in epochs],
                       measure="nearest_class_mean_disagreement", layer="head.input") for seed in range(3)]  # fmt: skip
        both = [pandas.concat([run.records, run.records[1:].assign(split="train")]) for run in found]
        return [replace(run, records=records) for run, records in zip(found, both, strict=True)]

    assert judged("nc4", runs(1, 5, 9)).verdict == "holds"
    assert judged("nc4", runs(1, 9)).verdict == "fails"


def test_a_run_without_test_accuracy_unseats_no_subject(tmp_path):
    def at(rate, accuracy, seeds=3, measure="accuracy"):
        values = [(1, accuracy), (9, accuracy)]
        return [known(tmp_path, seed, values, rate, measure=measure) for seed in range(seeds)]

    whole = [*at(0.1, 0.8), *at(0.2, 0.9), *at(0.3, 1.0, 2), *at(0.3, 1.0, 1, "loss")]
    assert {run.recipe.rate for run in at_best_rate(whole)} == {0.2}
    (rates,) = [shown for shown in STUDY.show(Evidence(SMOKE, whole)) if shown.title == "Learning rates"]
    assert [*rates.panels[0].curves[0].y] == pytest.approx([0.2, 0.1, 0.0])
    unknown = [*at(0.1, 0.8, measure="loss"), *at(0.2, 0.8, measure="loss")]
    assert judged("accuracy", unknown).why == "no run has a test accuracy, and the learning rate is chosen by it"


class Permuted:
    """Batches whose labels are shuffled, the same way on each pass."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        order = torch.Generator().manual_seed(0)
        for x, y in self.batches:
            yield x, y[torch.randperm(len(y), generator=order)]


def test_with_labels_permuted_when_measuring_nothing_collapses(healthy, tmp_path, monkeypatch):
    few = deepcollapse.training.loop.measure

    def permuted(network, batches, **how):
        return few(network, Permuted(batches), **how)

    monkeypatch.setattr(deepcollapse.training.loop, "measure", permuted)
    found = verdicts(run_changed(STUDY, tmp_path / "s"))
    assert {name: found[name] for name in ("nc1", "nc3", "nc4")} == dict.fromkeys(("nc1", "nc3", "nc4"), "fails")
    assert found["robust"] == "holds"  # for which no label is needed


def test_an_untrained_network_that_is_measured_at_every_epoch_fails_every_claim(tmp_path):
    record = run_changed(STUDY, tmp_path / "s", rate=1e-30, epochs=6)
    assert verdicts(record) == dict.fromkeys(NAMES, "fails")
    told = {judged.measured for claim in record.claims for judged in claim.judgements}
    assert "0 of 3 runs reached the terminal phase" in told


def test_stopped_at_the_onset_there_is_nothing_to_see_but_accuracy(healthy, folder, tmp_path):
    onset = {recipe.seed: _onset(folder, recipe) for recipe in recipes(SMOKE)}
    stopped = lambda scale: [replace(r, epochs=onset[r.seed], drops=()) for r in recipes(scale)]  # noqa: E731
    study = replace(STUDY, recipes=stopped)
    found = verdicts(reproduce(study, tmp_path / "s", scale="smoke", setting=HERE))
    assert found.pop("accuracy") == "holds"
    assert found == dict.fromkeys(found, "fails")


def _onset(folder, recipe) -> int:
    rows: Any = Run(folder / "sweep" / "runs" / key_of(recipe)).records()
    return int(rows[rows["measure"] == "tpt_onset"]["value"].iloc[0])


def test_without_weight_decay_and_in_few_steps_the_loss_falls_and_the_frame_is_not_reached(tmp_path):
    """A boundary of the phenomenon: the terminal phase alone does not do it."""
    found = verdicts(run_changed(STUDY, tmp_path / "s", decay=0.0, epochs=30))
    assert found["tpt"] == found["accuracy"] == "holds"
    collapse = ("nc1", "nc2-norm", "nc2-angle", "nc2-max", "nc3")
    assert {name: found[name] for name in collapse} == dict.fromkeys(collapse, "fails")
