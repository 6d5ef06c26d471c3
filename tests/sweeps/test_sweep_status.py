"""How a sweep stands, from folders made by hand: what the words mean, not what training leaves."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from deepcollapse.records import FIELDS
from deepcollapse.records.sweep import error_line, failure_of
from deepcollapse.sweeps import Sweep, SweepFolder, key_of
from deepcollapse.sweeps.combinations import combinations, endings
from deepcollapse.sweeps.locks import lock
from deepcollapse.sweeps.status import status
from deepcollapse.training.recipe import Recipe

fcntl = pytest.importorskip("fcntl")  # there are no such locks on Windows
BEGUN = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "sweep")


def begun(folder, recipe, epoch=None, seconds=0):
    """A run that began so many seconds ago, as far as an epoch."""
    run = folder.run_path(recipe)
    run.mkdir(parents=True)
    created = datetime.fromtimestamp(time.time() - seconds, UTC)
    (run / "provenance.json").write_text(json.dumps({"created": created.isoformat()}))
    rows = [{"epoch": number} for number in range(0 if epoch is None else epoch + 1)] + [{"epoch": None}]
    (run / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 99')
    return run


def taken(folder, recipe, seconds):
    """The lock of a run, which was taken so many seconds ago."""
    path = folder.path / "locks" / key_of(recipe)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - seconds,) * 2)


def done(folder, recipe, seconds):
    run = begun(folder, recipe, recipe.epochs)
    (run / "provenance.json").write_text(json.dumps({"created": BEGUN.isoformat()}))
    mark_done(run)
    os.utime(run / "done.json", (BEGUN.timestamp() + seconds,) * 2)


def mark_done(run):
    (run / "done.json").write_text('{"version": "1", "data": {}, "afterwards": null}')
    (run / "records.jsonl").write_text(json.dumps(dict.fromkeys(FIELDS)) + "\n")


def test_what_is_left_is_told_from_runs_that_are_done(folder):
    recipes = [Recipe(epochs=10, seed=seed) for seed in range(5)]
    folder.plan(Sweep(tuple(recipes)))
    assert status(folder.path).seconds_left is None  # nothing was run that would tell
    for recipe, seconds in zip(recipes, (20, 20, 1000), strict=False):  # the third was stopped for the night
        done(folder, recipe, seconds)
    begun(folder, recipes[3], 4)
    now = status(folder.path)
    assert now.counts == {"done": 3, "running": 0, "failed": 0, "stopped": 1, "waiting": 1}
    assert now.seconds_left == pytest.approx((6 + 10) * 2)
    done(folder, recipes[4], 20)
    for recipe in recipes[3:4]:
        mark_done(folder.run_path(recipe))
    assert status(folder.path).seconds_left == 0


def test_what_is_left_is_told_from_runs_under_way_and_shared_by_them(folder):
    recipes = [Recipe(epochs=10, seed=seed) for seed in range(3)]
    folder.plan(Sweep(tuple(recipes)))
    for recipe in recipes[:2]:
        begun(folder, recipe, 5, seconds=50)
        taken(folder, recipe, seconds=50)
    holder = (
        "import fcntl, sys\n"
        "files = [open(path) for path in sys.argv[1:]]\n"
        "for file in files: fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); input()"
    )
    locks = [folder.path / "locks" / key_of(recipe) for recipe in recipes[:2]]
    process = subprocess.Popen(
        [sys.executable, "-c", holder, *locks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        now = status(folder.path)
        assert [run.state for run in now.runs] == ["running", "running", "waiting"]
        assert now.seconds_left == pytest.approx((5 + 5 + 10) * 10 / 2, rel=0.1)
    finally:
        process.kill()
        process.communicate()
    assert [run.state for run in status(folder.path).runs] == ["stopped", "stopped", "waiting"]


def test_a_run_that_goes_on_after_a_break_tells_no_pace(folder):
    recipes = [Recipe(epochs=100, seed=seed) for seed in range(3)]
    folder.plan(Sweep(tuple(recipes)))
    begun(folder, recipes[0], 50, seconds=86400)
    with lock(folder.path / "locks" / key_of(recipes[0])):
        assert status(folder.path).counts["running"] == 1
        assert status(folder.path).seconds_left is None
        done(folder, recipes[1], 20)
        assert status(folder.path).seconds_left == pytest.approx((50 + 100) * 0.2)


def test_a_done_run_that_went_on_after_a_break_tells_no_pace(folder):
    recipes = [Recipe(epochs=10, seed=seed) for seed in range(5)]
    folder.plan(Sweep(tuple(recipes)))
    stamps = ((86400, 86390), (86400, 40000), (20, 0), (20, 90000))  # the last was asked for again when it was done
    for recipe, (took, last_taken) in zip(recipes, stamps, strict=False):
        done(folder, recipe, took)
        taken(folder, recipe, seconds=time.time() - BEGUN.timestamp() - last_taken)
    assert status(folder.path).seconds_left == pytest.approx(10 * 2)


def test_a_run_that_failed_is_running_while_it_is_tried_again(folder):
    recipe = Recipe(epochs=3)
    folder.plan(Sweep((recipe,)))
    failure = folder.failure_path(recipe)
    failure.parent.mkdir()
    failure.write_text('Traceback (most recent call last):\n  File "x.py"\nValueError: no\nnot at all\n')
    (run,) = status(folder.path).runs
    assert (run.state, run.error, run.traceback, run.epoch) == ("failed", "ValueError: no", failure, None)
    assert status(folder.path).seconds_left == 0  # nothing is left that would run
    (folder.path / "locks").mkdir(exist_ok=True)
    with (folder.path / "locks" / key_of(recipe)).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (run,) = status(folder.path).runs
    assert (run.state, run.error, run.traceback) == ("running", None, None)


@pytest.mark.parametrize(
    ("kept", "line"),
    [
        (
            "Traceback (most recent call last):\n  File 'a'\nOSError: disk\n\nThe above exception was the direct "
            "cause:\n\nTraceback (most recent call last):\n  File 'b'\n    ^^^\n"
            "deepcollapse.errors.RunError: full\nand more\n",
            "RunError: full",
        ),
        (
            "deepcollapse.errors.RunError: the worker process of this run ended\n",
            "RunError: the worker process of this run ended",
        ),
        ("", "no reason given"),
    ],
)
def test_the_error_is_the_one_that_was_raised_last(folder, kept, line):
    recipe = Recipe(epochs=3)
    folder.plan(Sweep((recipe,)))
    failure = folder.failure_path(recipe)
    failure.parent.mkdir()
    failure.write_text(kept)
    (run,) = status(folder.path).runs
    assert (error_line(kept), run.error) == (line, line)


def test_a_traceback_that_went_is_told_in_its_place(folder):
    assert failure_of(folder.path, "none") == "its traceback cannot be read: No such file or directory"


def test_medians_are_over_the_seeds_that_are_done(folder):
    recipes = [Recipe(epochs=1, rate=rate, seed=seed) for rate in (0.1, 0.2) for seed in range(4)]
    sweep = Sweep(tuple(recipes))
    folder.plan(sweep)
    for recipe, accuracy in zip(recipes, (0.5, 0.7, 0.9), strict=False):
        done(folder, recipe, 1)
        rows = [(epoch, "accuracy", "network", "test", None, value) for epoch, value in ((0, 0.1), (1, accuracy))]
        rows += [(1, "accuracy", "network", "train", None, 1), (1, "accuracy", "network", "test", "untrained", 0.0)]
        rows += [(1, "within_class_variability", "head.input", "train", None, None)]
        rows += [(1, "within_class_variability", "blocks.0", "train", None, 7.0)]
        names = ("epoch", "measure", "layer", "split", "baseline", "value")
        lines = [json.dumps(dict.fromkeys(FIELDS) | dict(zip(names, row, strict=True))) for row in rows]
        (folder.run_path(recipe) / "records.jsonl").write_text("\n".join(lines) + "\n")
    first, second = combinations(sweep, endings(sweep, folder))
    assert (first.settings, first.runs, first.done) == ({"rate": 0.1}, 4, 3)
    assert (first.accuracy_test, first.accuracy_train, first.within_class_variability) == (0.7, 1.0, None)
    assert (second.settings, second.done, second.accuracy_test) == ({"rate": 0.2}, 0, None)


def test_status_needs_no_torch():
    modules = "deepcollapse.sweeps.status, deepcollapse.sweeps.combinations"
    code = f"import sys, {modules}; print({{'torch', 'pandas'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
