"""Claims are decided by fixed rules, from what was measured, and what is missing is said."""

import json
import math
from dataclasses import replace

import pandas
import pytest

from deepcollapse.errors import RunError, UnknownNameError
from deepcollapse.records import Run
from deepcollapse.records.charts import Axis, Chart, Curve, Heat, Panel, Table, from_mapping, to_mapping
from deepcollapse.records.study import JudgedClaim, Judgement, StudyRecord
from deepcollapse.studies import find
from deepcollapse.studies.judging.claim import Claim, MissingEvidence
from deepcollapse.studies.judging.criteria import exceeds, falls_with, settled, spearman
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.terminal_phase import Quantity, falls, in_phase
from deepcollapse.studies.measured.table import computed
from deepcollapse.studies.reproduce import Setting, reproduce
from deepcollapse.studies.study import Computation, Scale, Study
from deepcollapse.training import Recipe

SCALE = Scale("Nothing much.", ("digits",), ("mlp",), (0, 1))
TINY = Recipe(epochs=2, width=8, depth=1, per_class=5, test_per_class=5, measurements=2)


def run_of(tmp_path, values, *, onset=1, seed=0, measure="cdnv"):
    """A finished run that has only these values, epoch by epoch from 1."""
    rows = [
        {"measure": measure, "layer": "head.input", "split": "train", "baseline": None, "epoch": epoch, "value": value}
        for epoch, value in enumerate(values, start=1)
    ]
    if onset is not None:
        told = {"measure": "tpt_onset", "layer": "network", "split": "train", "baseline": None}
        rows.append({**told, "epoch": onset, "value": onset})
    frame = pandas.DataFrame([{"array": None, **row} for row in rows])
    return Finished(Recipe(seed=seed, epochs=len(values)), tmp_path / f"run{seed}", frame)


def judged_fall(runs):
    return in_phase("x", runs, lambda subject, reached: falls(subject, reached, Quantity("CDNV", "cdnv")))


def test_falling_needs_both_order_and_size(tmp_path):
    def verdict(*series, onset=1):
        runs = [run_of(tmp_path, values, onset=onset, seed=seed) for seed, values in enumerate(series)]
        return judged_fall(runs).verdict

    falling, flat, late = [8, 4, 2, 1], [8, 7.9, 7.8, 7.7], [1, 8, 4, 2]
    assert verdict(falling, falling, falling) == "holds"
    assert verdict(flat, flat, flat) == "fails"
    assert verdict(falling, falling, flat) == "inconclusive"
    assert verdict(late, late, late) == "fails"
    assert verdict(late, late, late, onset=2) == "holds"
    assert verdict([0, 0, 0], [0, 0, 0], [0, 0, 0]) == "inconclusive"
    assert verdict([0, 0, 1], [0, 0, 1], [0, 0, 1]) == "fails"


def test_a_phase_that_was_never_reached_is_no_collapse(tmp_path):
    runs = [run_of(tmp_path, [8, 4, 2, 1], onset=None, seed=seed) for seed in range(3)]
    found = judged_fall(runs)
    assert (found.verdict, found.measured) == ("fails", "0 of 3 runs reached the terminal phase")


def test_those_that_did_not_reach_the_phase_are_told(tmp_path):
    runs = [run_of(tmp_path, [8, 4, 2, 1], onset=1 if seed < 3 else None, seed=seed) for seed in range(4)]
    found = judged_fall(runs)
    assert found.verdict == "holds"
    assert found.measured.endswith("; 3 of 4 runs reached the terminal phase")


def test_what_is_undefined_at_the_onset_is_no_evidence(tmp_path):
    runs = [run_of(tmp_path, [math.nan, 4, 2, 1], seed=seed) for seed in range(3)]
    with pytest.raises(MissingEvidence) as undefined:
        judged_fall(runs)
    assert str(undefined.value) == "cdnv of head.input has no value at TPT onset of run run0"


def test_an_array_is_that_of_the_last_epoch_and_no_earlier_one_stands_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "read_array", lambda self, reference: reference)
    run = run_of(tmp_path, [math.nan] * 3)
    kept = run.records.assign(epoch=[3, 1, 2, 1])[:3]
    late = Finished(run.recipe, run.path, kept.assign(array=["c", "a", "b"]))
    assert [late.array("cdnv", "head.input"), late.array("cdnv", "head.input", epoch=2)] == ["c", "b"]
    lost = Finished(run.recipe, run.path, kept.assign(array=[None, "a", "b"]))
    with pytest.raises(MissingEvidence) as undefined:
        lost.array("cdnv", "head.input")
    assert str(undefined.value) == "the array cdnv of head.input is undefined at the end of run run0"
    with pytest.raises(MissingEvidence) as missing:
        lost.array("cdnv", "head")
    assert str(missing.value) == "the array cdnv of head was not kept in run run0"


def test_too_few_seeds_or_values_are_no_evidence(tmp_path):
    with pytest.raises(MissingEvidence) as few:
        judged_fall([run_of(tmp_path, [2, 1, 0.5])])
    assert str(few.value) == "the criterion is for at least 3 seeds, and 1 came to their end"
    with pytest.raises(MissingEvidence) as values:
        falls_with("x", {0: [(1, 2), (2, 1)]}, "decay")
    assert str(values.value) == "the criterion is for at least 5 values of decay, and 2 came out"


def test_falls_with_goes_by_order_alone():
    points = {seed: [(x, 100 - x**3) for x in range(5)] for seed in range(3)}
    assert falls_with("x", points, "decay").verdict == "holds"
    assert falls_with("x", {seed: [(x, x) for x in range(5)] for seed in range(3)}, "decay").verdict == "fails"
    assert falls_with("x", {seed: [(x, 7) for x in range(5)] for seed in range(3)}, "decay").verdict == "fails"


def test_seeds_that_disagree_settle_nothing():
    assert settled([0, 0, 1], at_most=0.4) == "inconclusive"
    assert settled([0, 0, 0, 0, 1], at_most=0.5) == "holds"
    assert settled([0, 1, 1], at_least=1) == "inconclusive"
    assert settled([math.nan, 0, 0], at_most=1) == "inconclusive"
    assert exceeds([3, 4, 5], [1, 1, 1], by=2.6) == "inconclusive"
    assert exceeds([3, 4, 5], [1, 1, 1], by=1.9) == "holds"
    assert exceeds([3, 4, 5], [1, 1, 1], by=3) == "fails"
    assert spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)


def test_a_claim_without_evidence_is_not_tested():
    def judge(evidence):
        evidence.table("nothing")

    found = Claim("a", "s", "c", judge).judged(Evidence(SCALE))
    assert found.verdict == "not tested"
    assert found.judgements[0].why == "nothing was computed for 'nothing' at this scale"
    nothing_said = Claim("a", "s", "c", lambda evidence: ()).judged(Evidence(SCALE))
    assert nothing_said.judgements[0].why == "nothing was run for it"


def test_a_failure_is_not_lost_over_what_another_subject_lacks():
    def judge(evidence):
        yield Judgement("digits", "fails", "low")
        raise MissingEvidence("no run came to its end")

    found = Claim("a", "s", "c", judge).judged(Evidence(SCALE))
    assert found.verdict == "fails"
    assert [(one.subject, one.verdict, one.why) for one in found.judgements] == [
        ("digits", "fails", ""),
        ("the rest", "not tested", "no run came to its end"),
    ]


def test_the_worst_verdict_is_the_claims():
    def claim(*verdicts):
        return JudgedClaim("a", "s", "c", [Judgement("x", verdict, "") for verdict in verdicts]).verdict

    assert claim("holds", "holds") == "holds"
    assert claim("holds", "not tested") == "not tested"
    assert claim("not tested", "inconclusive", "holds") == "inconclusive"
    assert claim("holds", "inconclusive") == "inconclusive"
    assert claim("inconclusive", "fails", "holds") == "fails"
    assert claim() == "not tested"


def test_charts_come_back_from_json_as_they_were():
    curve = Curve("a", (1, 2), (0.5, None), low=(0.4, None), high=(0.6, None), kind="prediction")
    heat = Heat("h", Axis("x"), Axis("y"), ("1", "2"), ("a",), ((1.0, None),), unit="%")
    chart = Chart(
        "t", (Panel("p", Axis("x", log=True), Axis("y"), (curve,), ((3, "TPT onset"),)), heat), "Fig. 6", "look"
    )
    table = Table("t", ("a", "b"), (("x", 1.5), ("y", None)), "Table 1")
    for shown in (chart, table):
        assert from_mapping(json.loads(json.dumps(to_mapping(shown)))) == shown


def test_a_table_is_computed_once_and_survives_a_torn_line(tmp_path):
    path, calls = tmp_path / "t.jsonl", []

    def compute(setting):
        calls.append(setting["x"])
        return {"y": setting["x"] ** 2 if setting["x"] else math.nan}

    settings = [{"x": x} for x in range(3)]
    first = computed(path, settings, compute)
    path.write_text(path.read_text() + '{"key": "torn', encoding="utf-8")
    again = computed(path, [*settings, {"x": 5}], compute)
    assert calls == [0, 1, 2, 5]
    assert again["y"].tolist()[1:] == [1, 4, 25]
    assert math.isnan(first["y"][0])
    assert math.isnan(again["y"][0])


def small_study(name="small", **changes):
    def recipes(scale):
        return [
            Recipe(**{**TINY.__dict__, "seed": seed, "dataset": dataset})
            for dataset in scale.datasets
            for seed in scale.seeds
        ]

    def judge(evidence):
        losses = [run.last("loss", "network", "test") for run in evidence.runs]
        yield Judgement("digits", settled(losses, at_most=100, fewest=2), "low", {"loss": losses[0]})

    def table(task):
        return computed(task.path, [{"x": 1}], lambda setting: {"y": len(task.runs)}, task.progress)

    claims = (Claim("low", "the loss is low", "at most 100", judge),)
    return Study(
        name, "A small study", "nobody2020", "Small.", {"smoke": SCALE}, claims, recipes,
        computations=(Computation("counted", table),), **changes,
    )  # fmt: skip


def test_a_study_runs_judges_and_leaves_a_record(tmp_path):
    record = reproduce(small_study(), tmp_path / "s", scale="smoke", setting=Setting(threads=1))
    assert [claim.verdict for claim in record.claims] == ["holds"]
    assert (record.runs, record.failures, record.scale) == (2, [], "smoke")
    assert json.loads((tmp_path / "s" / "tables" / "counted.jsonl").read_text())["y"] == 2
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "s" / "sweep" / "runs").rglob("records.jsonl")}
    reproduce(small_study(), tmp_path / "s", scale="smoke", setting=Setting(threads=1))
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps


def test_data_that_are_not_here_are_left_out_in_words(tmp_path):
    scale = Scale("Both.", ("digits", "mnist"), ("mlp",), (0, 1))
    setting = Setting(threads=1, data_root=tmp_path / "empty")
    record = reproduce(small_study(), tmp_path / "s", scale=scale, setting=setting)
    assert record.runs == 2
    assert record.left_out[0].startswith("mnist was left out: ")
    assert record.scale == "own"


def test_a_run_that_fails_is_named_and_its_claim_is_not_tested(tmp_path):
    def recipes(scale):
        return [replace(TINY, seed=seed, rate=1e30) for seed in scale.seeds]

    study = Study("s", "t", "c", "s", {"smoke": SCALE}, small_study().claims, recipes)
    record = reproduce(study, tmp_path, scale="smoke", setting=Setting(threads=1))
    assert record.claims[0].verdict == "not tested"
    assert len(record.failures) == 2
    assert [failure.settings for failure in record.failures] == ["seed=0", "seed=1"]
    assert record.failures[0].line.startswith("DivergedError: training diverged in epoch 1")
    assert (tmp_path / "sweep" / "failures" / f"{record.failures[0].run}.txt").is_file()
    assert list(StudyRecord.read(tmp_path).failures) == record.failures
    assert record.left_out == ("digits, mlp: none of 2 runs came to its end.",)


def test_a_folder_of_another_study_is_refused(tmp_path):
    setting = Setting(threads=1)
    reproduce(small_study(), tmp_path / "s", scale="smoke", setting=setting)
    with pytest.raises(RunError) as refused:
        reproduce(small_study("other"), tmp_path / "s", scale="smoke", setting=setting)
    assert str(refused.value) == (
        f"{tmp_path / 's'} holds the study small, not other. Choose another folder with --out."
    )


def test_studies_and_records_that_are_not_there_are_told(tmp_path):
    with pytest.raises(UnknownNameError) as unknown:
        find("papyan")
    assert str(unknown.value) == (
        "no study is called 'papyan'. Did you mean papyan2020? There are date2020, fang2021, feng2022, galanti2022, "
        "marino2021, papyan2020, sukenik2024, zangrando2024; what each is about: deepcollapse list studies."
    )
    with pytest.raises(RunError) as missing:
        StudyRecord.read(tmp_path)
    assert str(missing.value) == (
        f"{tmp_path / 'study.json'} cannot be read as what a study found (No such file or directory). "
        "Name the folder of `deepcollapse reproduce`."
    )
    (tmp_path / "study.json").write_text('{"schema_version": 99}', encoding="utf-8")
    with pytest.raises(RunError) as newer:
        StudyRecord.read(tmp_path)
    assert str(newer.value) == (
        f"{tmp_path / 'study.json'} has version 99, and this deepcollapse reads version 1. "
        "Use the deepcollapse that wrote it."
    )
