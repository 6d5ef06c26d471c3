"""`deepcollapse measure --bounds` and `deepcollapse theory sgd-rank`."""

import pytest

from deepcollapse.records import Run

FEW = ("--measures", "equinorm")


def test_both_sides_stand_in_the_table_and_reasons_below(trained, call, here):
    done = call("measure", trained, "--bounds", *FEW)
    assert done.code == 0
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    [head] = [i for i, line in enumerate(lines) if line.startswith(" weight of")]
    rows = {line.split()[0]: line.split()[1:] for line in lines[head + 2 : head + 5]}
    assert list(rows) == ["blocks.0.linear", "blocks.1.linear", "head"]
    assert rows["blocks.0.linear"][0] == "10"
    text = " ".join(lines)
    assert "note: blocks.0.linear: scale-invariant, so that decay leaves no stationary point" in text


def test_json_has_every_digit_and_the_decay_of_the_run_or_the_flag(trained, call):
    def residual(*flags):
        rows = call("measure", trained, "--bounds", *FEW, *flags, "--json").json["records"]
        found = {(row["layer"], row["measure"]): row for row in rows}
        return found["blocks.0.linear", "stationarity_residual_weight"]

    decay = Run.open(trained).recipe["decay"]
    assert residual()["value"] == pytest.approx(residual("--weight-decay", str(decay))["value"], rel=1e-9)
    none = residual("--weight-decay", "0")
    assert none["value"] is None
    assert "without weight decay nothing bounds the rank" in none["note"]


def test_without_the_flag_there_are_no_bounds(trained, call):
    done = call("measure", trained, *FEW, "--json")
    assert not any(row["measure"].startswith(("rank_collapse", "distance_to")) for row in done.json["records"])


def test_sgd_rank_counts_steps(call, here):
    done = call("theory", "sgd-rank", "--rate", "0.1", "--decay", "0.1", "--batch", "2", "--momentum", "0", "--json")
    assert done.json == {
        "rate": 0.1,
        "decay": 0.1,
        "batch": 2,
        "momentum": 0.0,
        "eps": 0.1,
        "patches": 1,
        "steps": 300,
        "rank": 600,
        "fading": 0.99,
        "vacuous": None,
        "note": "",
    }
    shown = call("theory", "sgd-rank", "--rate", "0.1", "--decay", "0.1", "--batch", "2", "--shape", "512", "512")
    assert shown.code == 0
    assert "A weight whose smaller side is 512 has" not in shown.out  # momentum: 30 steps are enough
    vacuous = call("theory", "sgd-rank", "--shape", "512", "256")
    assert "A weight whose smaller side is 256 has no rank above that, so the bound says\nnothing here." in vacuous.out


def test_sgd_rank_of_a_run_takes_its_last_rate_and_says_so(trained, call, here):
    recipe = Run.open(trained).recipe
    done = call("theory", "sgd-rank", "--run", trained, "--json")
    assert (done.json["batch"], done.json["decay"], done.json["momentum"]) == (32, recipe["decay"], recipe["momentum"])
    assert done.json["rate"] == pytest.approx(0.002)  # 0.2 after two drops
    assert done.json["note"].startswith(f"The rate is that of the last epochs, {done.json['rate']:g}; it began at 0.2,")
    assert call("theory", "sgd-rank", "--run", trained, "--rate", "0.3", "--json").json["note"] == ""


def test_sgd_rank_refuses_what_it_is_not_for(call, here):
    done = call("theory", "sgd-rank", "--decay", "0")
    assert (done.code, done.err) == (
        1,
        "deepcollapse: without weight decay old steps never fade, so no rank is bounded; give a decay above 0.\n",
    )
