"""Each benchmark runs at a tiny size, its numbers are sane, and the plain recipe measures the same things."""

import contextlib
import importlib
import io
import json
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import one_layer
import overhead
import run
from timing import exponent, in_turn, ratios


@pytest.fixture(scope="module")
def found():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run.main(["--size", "tiny", "--json"])
    return json.loads(printed.getvalue())


def test_every_benchmark_is_listed():
    files = {p.stem for p in Path(run.__file__).parent.glob("*.py")}
    assert set(run.NAMES) == files - {"run", "timing", "peer"}


def test_numbers_are_sane(found):
    assert set(found) == {"machine", *run.NAMES}
    assert found["machine"]["threads"] == 1
    layer = found["one_layer"]
    assert layer["over_two_products"]["ours"]["least"] > 0
    assert all(peak is None or 0 <= peak < 500 for peak in layer["peak_megabytes"].values())
    assert set(found["overhead"]["added"]) == set(overhead.LAYERS)
    assert all(math.isfinite(axis["exponent"]) for axis in found["growth"]["one_layer"].values())
    descents = found["deep_descent"]["widths"].values()
    assert all(descent["largest_difference"] < 1e-12 for descent in descents)  # loops and batches go the same way
    for layer in found["storage_size"]["shares"].values():
        assert set(layer["payload_over_optimum"].values()) == {1.0}
        assert layer["bytes"]["delta"] * 8 > layer["bytes"]["csc"]
        assert layer["entropy_bytes"] < min(layer["bytes"].values())
    for layer in found["coded_product"]["shares"].values():
        for by_threads in layer["batches"].values():
            assert max(timed["largest_error"] for timed in by_threads.values()) < 1e-4
    for tried in found["ternary_trials"]["samples"].values():
        assert max(tried["largest_difference"].values()) < 1e-12  # every way of trying gives the same losses
    for shape in found["stacked_training"]["shapes"].values():
        assert all(0 < each["least"] <= each["median"] for each in shape["cpu"].values())
    for case in found["measuring_share"]["cases"].values():
        assert case["seconds"]["epoch"] > 0
        for share in case["shares"].values():
            assert 0 <= share["least"] <= share["median"] <= share["greatest"]
    swept = found["sweep_overhead"]
    assert 0 < swept["again"]["median"] < swept["training"]["median"]  # what is done is not trained again
    assert swept["worker"]["start"] > 0
    for cut in found["truncated_layer"]["layers"]:
        assert 0 < cut["weights"] < 1
        assert 0 < cut["products"] < 1
        assert cut["speed_up"]["least"] > 0


@pytest.mark.parametrize("name", run.NAMES)
def test_tables_fit_eighty_columns(found, name):
    lines = importlib.import_module(name).table(found[name]).splitlines()
    assert max(map(len, lines)) <= 80


def test_what_is_said_of_the_machine_names_no_path(capsys):
    run.main(["overhead", "--size", "tiny"])
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("cores ")
    assert "/" not in first
    assert len(first) <= 90


@pytest.mark.parametrize("kind", one_layer.KINDS)
def test_ours_keeps_the_digits_on_every_kind_of_features(kind):
    made = one_layer.layer(kind, 2000, 40, 12)
    errors = one_layer.error(one_layer.ours(*made), one_layer.reference(*made))
    # NC1 multiplies float32 residuals; all else is float64, and shares of samples are right to the sample.
    assert errors.pop("within_class_variability") < 1e-5
    assert max(errors.values()) < 1e-9


def test_the_plain_recipe_measures_the_same_things():
    made = one_layer.layer("spread", 2000, 40, 12)
    plain = one_layer.plain_recipe(*made, num_classes=12)
    assert max(one_layer.error(plain, one_layer.reference(*made)).values()) < 1e-3


def test_tasks_take_turns_and_ratios_are_taken_round_by_round():
    order = []
    in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == list("ababab")
    assert ratios([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == {"median": 3.0, "least": 2.0, "greatest": 4.0}
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2.0)


def test_threads_are_put_back():
    before = torch.get_num_threads()
    overhead.run("tiny", threads=1)
    assert torch.get_num_threads() == before
