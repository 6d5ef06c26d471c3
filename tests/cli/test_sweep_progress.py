"""What is told of many runs as they go, by a clock of our own."""

import json
from pathlib import Path

import pytest

from deepcollapse.cli.study_progress import StudyProgress
from deepcollapse.cli.sweep.progress import SweepProgress
from deepcollapse.records import FIELDS
from deepcollapse.sweeps import Outcome, Sweep, SweepFolder
from deepcollapse.training import Recipe

SWEEP = Sweep.grid(Recipe(epochs=10), seed=range(4))
KEYS = list(SWEEP.named())


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "sweep")


def ended(key, state="done"):
    return Outcome(key, Path("run"), state)


def test_lines_come_with_runs_that_end_and_not_too_often(folder, clock, capsys):
    with SweepProgress(folder, quiet=False, clock=clock) as progress:
        progress.start(SWEEP, 0)
        clock.now = 2
        progress.ended(ended(KEYS[0]))
        assert capsys.readouterr().out == "4 runs.\n"
        progress.epoch(KEYS[1], 5, 10)
        clock.now = 30
        assert capsys.readouterr().out == ""
        progress.ended(ended(KEYS[2], "failed"))
        assert capsys.readouterr().out == "1 of 4 runs done, 1 running, 1 failed; about 30 s left\n"
        clock.now = 31
        progress.ended(ended(KEYS[1]))
        clock.now = 40
        progress.ended(ended(KEYS[3], "elsewhere"))
    assert capsys.readouterr().out == "2 of 4 runs done, 1 failed, 1 at another process\n"


def test_what_was_done_before_took_no_time(folder, clock, capsys):
    run = folder.run_path(SWEEP.recipes[0])
    run.mkdir(parents=True)
    (run / "done.json").write_text('{"version": "1", "data": {}, "afterwards": null}')
    (run / "records.jsonl").write_text(json.dumps(dict.fromkeys(FIELDS)) + "\n")
    begun = folder.run_path(SWEEP.recipes[1])
    begun.mkdir()
    (begun / "records.jsonl").write_text('{"epoch": 8}\n')
    progress = SweepProgress(folder, quiet=False, clock=clock)
    progress.start(SWEEP, 1)
    assert capsys.readouterr().out == "4 runs; 1 is done already.\n"
    progress.ended(ended(KEYS[0]))
    assert progress.seconds_left() is None
    progress.epoch(KEYS[1], 6, 10)  # it goes on from a checkpoint at 5
    clock.now = 3
    progress.epoch(KEYS[1], 8, 10)
    assert progress.seconds_left() == pytest.approx(3 / 2 * (2 + 10 + 10))
    assert progress.words() == "1 of 4 runs done, 1 running; about 33 s left"


def test_the_pace_is_that_of_training_and_not_of_starting(folder, clock):
    progress = SweepProgress(folder, quiet=True, clock=clock)
    progress.start(SWEEP, 0)
    clock.now = 100
    progress.epoch(KEYS[0], 1, 10)
    assert progress.seconds_left() is None
    clock.now = 102
    progress.epoch(KEYS[0], 2, 10)
    assert progress.seconds_left() == pytest.approx(2 * 38)


def test_the_last_line_tells_how_it_ended(folder, clock, capsys):
    with SweepProgress(folder, quiet=False, clock=clock) as progress:
        progress.start(SWEEP, 0)
        for key, state in zip(KEYS, ("done", "failed", "done", "done"), strict=True):
            progress.ended(ended(key, state))
    assert capsys.readouterr().out == "4 runs.\n3 of 4 runs done, 1 failed\n"
    one = Sweep(SWEEP.recipes[:1])
    with SweepProgress(folder, quiet=False, clock=clock) as progress:
        progress.start(one, 0)
        progress.ended(ended(KEYS[0]))
    assert capsys.readouterr().out == "1 run.\n1 run done\n"


def test_what_a_study_computes_comes_after_the_last_line_of_its_runs(folder, clock, capsys):
    with StudyProgress(folder, quiet=False, clock=clock) as progress:
        progress.start(SWEEP, 0)
        for key in KEYS:
            progress.ended(ended(key))
        progress.computing("a_table", 0.5)
        clock.now = 10
        progress.computing("a_table", 1.0)
    assert capsys.readouterr().out == "4 runs.\n4 of 4 runs done\na table: 100%\n"


def test_where_nothing_was_run_there_is_no_last_line(folder, clock, capsys):
    for recipe in SWEEP.recipes:
        run = folder.run_path(recipe)
        run.mkdir(parents=True)
        (run / "done.json").write_text('{"version": "1", "data": {}, "afterwards": null}')
        (run / "records.jsonl").write_text(json.dumps(dict.fromkeys(FIELDS)) + "\n")
    with SweepProgress(folder, quiet=False, clock=clock) as progress:
        progress.start(SWEEP, 4)
        for key in KEYS:
            progress.ended(ended(key))
    assert capsys.readouterr().out == "4 runs; 4 are done already.\n"


def test_quiet_is_quiet(folder, clock, capsys):
    with SweepProgress(folder, quiet=True, clock=clock) as progress:
        progress.start(SWEEP, 0)
        clock.now = 100
        progress.ended(ended(KEYS[0]))
    assert capsys.readouterr() == ("", "")
