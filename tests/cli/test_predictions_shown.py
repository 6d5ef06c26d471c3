"""`deepcollapse measure --predictions`: theory beside what was measured."""

import json

import pytest

from deepcollapse.records import MODELS, Run
from deepcollapse.records.record import LAYER_PEELED, SELI, UNCONSTRAINED

SOME = ("--measures", "equinorm", "equiangularity", "weight_budget", "feature_budget")


def told(done, measure, layer):
    """Model (or split) -> value, of the JSON that `measure` prints."""
    rows = [r for r in done.json["records"] if (r["measure"], r["layer"]) == (measure, layer)]
    return {row["baseline"] or row["split"]: row["value"] for row in rows}


def test_each_model_stands_beside_what_was_measured(trained, call):
    done = call("measure", trained, "--predictions", "--json")
    found = told(done, "equiangularity_classifier", "head")
    assert set(found) == {"train", "test", *MODELS}
    assert found["train"] > 0.01
    assert found[SELI] == pytest.approx(0, abs=1e-9)  # classes are balanced
    # The decay is that of the recipe in the run.
    recipe = Run.open(trained).recipe
    assert told(done, "weight_decay", "network") == {UNCONSTRAINED: recipe["decay"]}


def test_without_the_flag_nothing_is_predicted(trained, call):
    done = call("measure", trained, *SOME, "--json")
    assert not any(row["baseline"] for row in done.json["records"])


def test_the_table_fits_80_columns_and_notes_name_the_models(trained, call, here):
    done = call("measure", trained, "--predictions", "--baselines", *SOME)
    assert done.code == 0
    lines = done.out.splitlines()
    [head] = [i for i, line in enumerate(lines) if line.startswith(" beside theory")]
    assert lines[head - 1].split() == ["layer-", "uncon-"]
    assert lines[head].split() == ["beside", "theory", "measured", "peeled", "strained", "SELI"]
    assert "equinorm_classifier" in " ".join(lines[head : head + 8])
    assert [line for line in done.out.splitlines() if len(line) > 80 and "weights.safetensors" not in line] == []
    for model in MODELS:
        assert f"{model}: given " in done.out.replace("\n", " ")
    # Other tables show what no collapse looks like, and no predictions.
    for name in ("equinorm_means of", "at the head's input"):
        if name in done.out:
            part = done.out[done.out.index(name) :].split("\n\n")[0]
            assert not any(model.split()[0] in part for model in MODELS)


def test_usual_rows_are_shown_where_no_measures_were_asked_for(trained, call, here):
    out = call("measure", trained, "--predictions").out
    part = out[out.index("beside theory") :].split("\n\n")[0]
    names = [line.split()[0] for line in part.splitlines() if line[1:2].isalpha()]
    assert "weight_budget" in names
    assert "self_duality" in names
    assert "rankme_classifier" not in names


def test_the_decay_of_a_network_trained_elsewhere_is_given_by_hand(trained, call):
    network = ["mlp", "--weights", trained / "weights.safetensors", "--parameters", "width=16", "depth=2"]
    some = ["--per-class", "12", "--test-per-class", "5", "--predictions", *SOME, "--json"]
    unknown = call("measure", *network, *some)
    assert told(unknown, "optimality_gap", "network")[UNCONSTRAINED] is None
    given = call("measure", *network, "--weight-decay", "0.02", *some)
    assert told(given, "weight_decay", "network") == {UNCONSTRAINED: 0.02}
    assert set(told(given, "feature_budget", "head.input")) == {"train", "test", UNCONSTRAINED}


def test_predictions_are_written_with_the_records_and_on_the_page(trained, call, here):
    done = call("measure", trained, "--predictions", *SOME, "--out", here / "out", "--json")
    rows = Run.open(here / "out").records()
    assert set(rows.baseline.dropna()) == set(MODELS)
    page = (here / "out" / "report.html").read_text(encoding="utf-8")
    assert ">Measured beside predicted</h2>" in page
    assert json.dumps(LAYER_PEELED) in json.dumps(done.json)
