import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

import deepcollapse.training.loop
from deepcollapse.measurement import measure
from deepcollapse.records import Run
from deepcollapse.records.charts import Chart
from deepcollapse.records.study import StudyRecord
from deepcollapse.studies.papyan2020 import STUDY, recipes
from deepcollapse.studies.reproduce import Setting, reproduce
from deepcollapse.sweeps import key_of

SMOKE = STUDY.scales["smoke"]
NAMES = ["tpt", "nc1", "nc2-norm", "nc2-angle", "nc2-max", "nc3", "nc4", "accuracy", "robust"]


@pytest.fixture(autouse=True, scope="module")
def lean():
    """One thread and the measures that the paper looks at; all measures together are tested where they live."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deepcollapse.training.loop, "measure", few_measures)
        yield
    torch.set_num_threads(before)


MEASURES = ["within_class_variability", "equinorm", "equiangularity", "maximal_angle", "self_duality"]
few_measures = partial(measure, measures=[*MEASURES, "nearest_class_mean_disagreement"])


def run(folder: Path, **changes) -> StudyRecord:
    """The study at smoke scale, with its recipes changed."""
    study = replace(STUDY, recipes=lambda scale: [replace(recipe, **changes) for recipe in recipes(scale)])
    return reproduce(study, folder, scale="smoke", setting=Setting(device="cpu", threads=1))


def verdicts(record: StudyRecord) -> dict[str, str]:
    return {claim.id: claim.verdict for claim in record.claims}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("papyan2020") / "study"


@pytest.fixture(scope="module")
def healthy(folder) -> StudyRecord:
    return run(folder)


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
    def plain(record):
        return json.loads(json.dumps(asdict(record)))

    assert plain(StudyRecord.read(folder)) == plain(healthy)


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
    def permuted(network, batches, **how):
        return few_measures(network, Permuted(batches), **how)

    monkeypatch.setattr(deepcollapse.training.loop, "measure", permuted)
    found = verdicts(run(tmp_path / "s"))
    assert {name: found[name] for name in ("nc1", "nc3", "nc4")} == dict.fromkeys(("nc1", "nc3", "nc4"), "fails")
    assert found["robust"] == "holds"  # for which no label is needed


def test_an_untrained_network_that_is_measured_at_every_epoch_fails_every_claim(tmp_path):
    record = run(tmp_path / "s", rate=1e-30, epochs=6)
    assert verdicts(record) == dict.fromkeys(NAMES, "fails")
    told = {judged.measured for claim in record.claims for judged in claim.judgements}
    assert "0 of 3 runs reached the terminal phase" in told


def test_stopped_at_the_onset_there_is_nothing_to_see_but_accuracy(healthy, folder, tmp_path):
    onset = {recipe.seed: _onset(folder, recipe) for recipe in recipes(SMOKE)}
    stopped = lambda scale: [replace(r, epochs=onset[r.seed], drops=()) for r in recipes(scale)]  # noqa: E731
    study = replace(STUDY, recipes=stopped)
    found = verdicts(reproduce(study, tmp_path / "s", scale="smoke", setting=Setting(device="cpu", threads=1)))
    assert found.pop("accuracy") == "holds"
    assert found == dict.fromkeys(found, "fails")


def _onset(folder, recipe) -> int:
    rows: Any = Run(folder / "sweep" / "runs" / key_of(recipe)).records()
    return int(rows[rows["measure"] == "tpt_onset"]["value"].iloc[0])


def test_without_weight_decay_and_in_few_steps_the_loss_falls_and_the_frame_is_not_reached(tmp_path):
    """A boundary of the phenomenon: the terminal phase alone does not do it."""
    found = verdicts(run(tmp_path / "s", decay=0.0, epochs=30))
    assert found["tpt"] == found["accuracy"] == "holds"
    collapse = ("nc1", "nc2-norm", "nc2-angle", "nc2-max", "nc3")
    assert {name: found[name] for name in collapse} == dict.fromkeys(collapse, "fails")
