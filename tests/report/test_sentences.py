import math

import pytest
from predicted_sample import add_predictions
from sample import make_run

from deepcollapse.records import Record, read_records
from deepcollapse.report import reading, summary_rows

RULE = (
    "Collapse is what this page calls it where, after TPT onset, NC1 becomes at least ten times smaller, and unequal "
    "lengths, unequal angles and self-duality are at least halved."
)
SPAN = "from TPT onset (epoch 12) to the end (epoch 200)"


def signs(nc1, lengths, angles, nc3):
    """How the headline tells of the four signs."""
    return (
        f"{SPAN}, within-class variability (NC1) {nc1}, unequal lengths of the class means (NC2) {lengths}, unequal "
        f"angles between them (NC2) {angles} and the classifier's distance from the class means (NC3) {nc3}."
    )


def told(records):
    return {sentence.measure: sentence for sentence in reading(records)}


def test_a_run_that_collapses_is_told_in_plain_words(run):
    sentences = told(run.records())
    assert {measure: (one.verdict, one.text) for measure, one in sentences.items()} == {
        None: (
            "fell",
            "Neural collapse is seen: " + signs("fell 12 times", "fell 6.3 times", "fell 6.3 times", "fell 12 times"),
        ),
        "tpt_onset": ("note", "TPT began at epoch 12; training went on to epoch 200."),
        "within_class_variability": (
            "fell",
            "NC1, within-class variability at the head's input: from TPT onset (epoch 12) to the end (epoch 200) it "
            "fell 12 times, from 0.0663 to 0.00564.",
        ),
        "equinorm": (
            "fell",
            "NC2, equal lengths: since TPT onset for the class means it fell 6.3 times, from 0.124 to 0.0195; for the "
            "classifier it fell 7.2 times, from 0.0789 to 0.011.",
        ),
        "equiangularity": (
            "fell",
            "NC2, equal angles: since TPT onset for the class means it fell 6.3 times, from 0.142 to 0.0223; for the "
            "classifier it fell 7.2 times, from 0.0789 to 0.011.",
        ),
        "maximal_angle": (
            "fell",
            "NC2, widest angles: since TPT onset for the class means it fell 6.3 times, from 0.159 to 0.0251; for the "
            "classifier it fell 7.2 times, from 0.0789 to 0.011.",
        ),
        "self_duality": (
            "fell",
            "NC3, self-duality of classifier and class means: from TPT onset (epoch 12) to the end (epoch 200) it fell "
            "12 times, from 0.119 to 0.0101.",
        ),
        "nearest_class_mean_disagreement": (
            "fell",
            "NC4, nearest class mean: network and nearest class mean disagree on 0 % of the training samples at the "
            "end (0.79 % at TPT onset), 0 % of the test samples at the end (0.79 % at TPT onset).",
        ),
        "accuracy": (
            "note",
            "Accuracy: the network gets right 100 % of the training samples at the end (100 % at TPT onset), 97 % of "
            "the test samples at the end (97 % at TPT onset).",
        ),
    }
    assert sentences[None].meaning == RULE
    assert all(one.meaning for one in sentences.values())


def test_what_did_not_fall_is_said(tmp_path):
    sentences = told(make_run(tmp_path / "r", collapse=-0.1).records())
    assert (sentences[None].verdict, sentences[None].text) == (
        "rose",
        "Neural collapse is not seen: "
        + signs("rose 1.31 times", "rose 1.23 times", "rose 1.23 times", "rose 1.31 times"),
    )
    assert sentences["self_duality"].verdict == "rose"
    assert sentences["self_duality"].text.endswith("it rose 1.31 times, from 1.55 to 2.04: it did not collapse.")


def test_collapse_in_part_names_what_fell_short(slow):
    verdict = told(slow.records())[None]
    assert verdict.verdict == "stayed"
    assert verdict.text == (
        "Neural collapse is seen in part (3 of 4 signs, not within-class variability (NC1)): "
        + signs("fell 3 times", "fell 2.3 times", "fell 2.3 times", "fell 3 times")
    )


def test_training_that_never_reached_the_terminal_phase(tmp_path):
    records = make_run(tmp_path / "r", epochs=(0, 1, 3, 6)).records()
    sentences = told(records)
    assert sentences["tpt_onset"].text == (
        "Training accuracy never reached 99.9 % (best: 96.73 %, epoch 6), so there was no terminal phase; change is "
        "told from epoch 0, the first that was measured, to epoch 6."
    )
    assert "from epoch 0 to the end (epoch 6) it fell" in sentences["within_class_variability"].text
    assert {(row.start_epoch, row.from_onset) for row in summary_rows(records)} == {(0, False)}


def test_training_that_stopped_at_the_onset(tmp_path):
    sentences = told(make_run(tmp_path / "r", epochs=(0, 3, 12)).records())
    assert sentences["tpt_onset"].text == (
        "TPT began at epoch 12, and nothing was measured after it; change is told from epoch 0, the first that was "
        "measured. Train for longer to see collapse."
    )


def test_what_is_missing_or_undefined_is_said(run):
    records = run.records()
    records = records[records["measure"] != "self_duality"].copy()
    undefined = records["measure"] == "equinorm_means"
    records.loc[undefined, "value"] = math.nan
    records.loc[undefined, "note"] = "one class only"
    sentences = told(records)
    assert sentences["self_duality"].verdict == "missing"
    assert sentences["self_duality"].text == "NC3, self-duality of classifier and class means: it was not recorded."
    assert sentences["equinorm"].text == (
        "NC2, equal lengths: since TPT onset for the classifier it fell 7.2 times, from 0.0789 to 0.011; "
        "for the class means it is undefined here (one class only)."
    )
    assert sentences[None].text.endswith("Not recorded: unequal lengths, class means, self-duality.")


def test_a_network_measured_once_has_values_and_no_change(run):
    records = run.records()
    records = records[records["epoch"] == 200].copy()
    records["epoch"] = None
    sentences = told(records.astype({"epoch": "Int64"}))
    assert sentences[None].text == "The network was measured once, so there is no change to tell of."
    assert sentences["within_class_variability"].text == (
        "NC1, within-class variability at the head's input: it is 0.00564."
    )
    row = summary_rows(records.astype({"epoch": "Int64"}))[0]
    assert (row.start, row.start_epoch, row.end) == (None, None, pytest.approx(0.00564, rel=1e-2))


def test_no_records_at_all_give_no_sentences(run):
    assert reading(run.records().iloc[:0]) == []
    assert summary_rows(run.records().iloc[:0]) == []


def test_the_table_compares_both_ends(run, slow):
    rows = summary_rows(read_records([run.path, slow.path]))
    assert [row.run for row in rows] == ["steady"] * 16 + ["slow"] * 16
    first = rows[0]
    assert (first.measure, first.symbol, first.plain) == ("within_class_variability", "NC1", "within-class variability")
    assert (first.layer, first.split, first.start_epoch, first.end_epoch) == ("head.input", "train", 12, 200)
    assert first.start is not None
    assert first.ratio == pytest.approx(first.start / first.end)
    assert first.collapsed == 0
    table = {(row.measure, row.split): row for row in rows[:16]}
    assert table["nearest_class_mean_disagreement", "test"].ratio == math.inf
    assert table["effective_rank_features", "train"].collapsed == 3
    assert table["equinorm_classifier", None].layer == "head"


def test_on_classes_of_different_sizes_a_reader_is_told_that_zero_is_not_the_target(tmp_path):
    run = make_run(tmp_path / "run")

    def counted(smallest):
        sizes = {"largest_class": 500.0, "smallest_class": smallest}
        return [
            Record(epoch=200, split="train", layer="head.input", measure=measure, value=value, unit="samples")
            for measure, value in sizes.items()
        ]

    run.append(counted(300.0))
    assert "largest_class" not in told(run.records())
    run.append(counted(50.0))
    text = (
        "The largest class has 10 times the samples of the smallest. 0 is what balanced classes collapse to; for these "
        "theory holds other values optimal"
    )
    assert told(run.records())["largest_class"].text == text + "."
    add_predictions(run)
    assert told(run.records())["largest_class"].text.endswith("optimal, which Measured beside predicted shows.")
