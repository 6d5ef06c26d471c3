"""What goes wrong is told in full, kept, and harms no other run."""

import errno
import json
import os
from dataclasses import replace

import pytest

from deepcollapse.errors import RunError
from deepcollapse.sweeps import Sweep, SweepFolder, run_sweep
from deepcollapse.sweeps.engines.choose import Automatic
from deepcollapse.sweeps.engines.in_process import InProcess
from sweep_extras import KEYS, SWEEP, TINY, swept, tree


def refused(sweep, folder, **how):
    with pytest.raises(RunError) as caught:
        run_sweep(sweep, folder, **how)
    return str(caught.value)


def fill_the_disk(monkeypatch, after):
    """From then on nothing more reaches the disk."""
    synced = iter(range(after))
    sync = os.fsync

    def fsync(number):
        if next(synced, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(number)

    monkeypatch.setattr(os, "fsync", fsync)


def test_recipes_that_cannot_be_trained_fail_alone_and_are_tried_again(there):
    unknown, wild = replace(TINY, network="no-such-network"), replace(TINY, rate=1e30)
    sweep = Sweep((*SWEEP.recipes, unknown, wild))
    folder = SweepFolder(there)
    for _ in range(2):
        outcomes = run_sweep(sweep, there)
        assert [outcome.state for outcome in outcomes] == ["done", "done", "failed", "failed"]
        assert [outcome.stops for outcome in outcomes] == [False] * 4
        assert outcomes[2].error.startswith("UnknownNameError: no network is called 'no-such-network'.")
        assert outcomes[3].error.startswith("DivergedError: training diverged in epoch 1: ")
        for recipe, outcome in zip(sweep.recipes[2:], outcomes[2:], strict=True):
            kept = folder.failure_path(recipe).read_text()
            assert kept.startswith("Traceback (most recent call last):\n")
            assert kept.endswith(f"{outcome.error}\n")
    assert [folder.state(recipe) for recipe in sweep.recipes] == ["done", "done", "failed", "failed"]


def test_after_success_nothing_is_left_of_a_failure(tmp_path, monkeypatch):
    folder = SweepFolder(tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr("sweep_extras.look_again", lambda _: [][0])
        (outcome,) = run_sweep(swept(runs=1), folder.path)
    assert outcome.error == "IndexError: list index out of range"
    recipe = swept(runs=1).recipes[0]
    assert folder.failure_path(recipe).is_file()
    assert run_sweep(swept(runs=1), folder.path)[0].state == "done"
    assert not folder.failure_path(recipe).exists()


def test_other_measures_after_training_take_the_place_of_those_before(tmp_path, monkeypatch):
    plain, asked = Sweep(swept(runs=1).recipes), swept(runs=1)
    run_sweep(plain, tmp_path / "plain")
    run_sweep(asked, tmp_path / "asked")
    whole = tree(tmp_path / "asked")
    run_sweep(plain, tmp_path / "asked")  # asks for none, and loses none
    assert tree(tmp_path / "asked") == whole
    run_sweep(asked, tmp_path / "plain")  # training is not repeated
    assert tree(tmp_path / "plain") == whole
    with monkeypatch.context() as patch:  # measures that fail do not leave a run that seems to be done
        patch.setattr("sweep_extras.troubled", lambda _: [][0])
        (failed,) = run_sweep(Sweep(plain.recipes, "sweep_extras:troubled"), tmp_path / "asked")
    assert failed.state == "failed"
    run_sweep(asked, tmp_path / "asked")
    assert tree(tmp_path / "asked") == whole


# What was written before: nothing, one run's beginning (which the stack then notes with both), or some epochs.
@pytest.mark.parametrize(
    ("engine", "written", "stopped"),
    [
        *((InProcess(), written, 2) for written in (0, 3, 9)),
        *((Automatic(), written, stopped) for written, stopped in ((0, 2), (3, 3), (7, 2), (20, 2))),
    ],
    ids=str,
)
def test_a_full_disk_stops_the_sweep_with_what_is_done_unharmed(there, finished, engine, written, stopped, monkeypatch):
    sweep = Sweep.grid(TINY, seed=(0, 1, 2, 3))
    key = list(sweep.named())[stopped]
    with monkeypatch.context() as patch:
        SweepFolder(there).plan(sweep)
        fill_the_disk(patch, after=written)
        told = refused(sweep, there, engine=engine)
    first, _, rest = told.partition(": No space left on device")
    assert first.startswith(
        f"the sweep in {there} was stopped at run {key}, because every further run would fail too: RunError: could not "
    )
    assert rest.endswith("Of 4 runs 2 are done, which are unharmed; the same command goes on from there.")
    before = tree(finished)
    assert {name: content for name, content in tree(there).items() if name in before} == before
    states = [SweepFolder(there).state(recipe) for recipe in sweep.recipes]
    assert states[:2] == ["done", "done"]
    assert "done" not in states[2:]
    if isinstance(engine, InProcess):
        assert states[3] == "waiting"
    assert {outcome.state for outcome in run_sweep(sweep, there, engine=engine)} == {"done"}


def test_a_full_disk_before_anything_begins_is_told_as_it_is(tmp_path, monkeypatch):
    fill_the_disk(monkeypatch, after=0)
    size = len(json.dumps({"schema_version": 1, **SWEEP.to_mapping()}, indent=1))
    assert refused(SWEEP, tmp_path / "s") == (
        f"could not write {tmp_path}/s/sweep.json ({size} bytes): No space left on device; nothing was left behind. "
        "Free some space, or choose another folder with --out."
    )


def test_folders_that_cannot_be_written_are_told(there, tmp_path):
    (tmp_path / "file").write_text("")
    assert refused(SWEEP, tmp_path) == (
        f"{tmp_path} holds files and is not a sweep. Choose a new or empty folder with --out."
    )
    assert refused(SWEEP, tmp_path / "file") == (
        f"{tmp_path}/file is a file, not a folder. Choose another place with --out."
    )
    assert refused(SWEEP, tmp_path / "file" / "s") == (
        f"could not write in {tmp_path}/file/s/locks: Not a directory. Choose another folder with --out."
    )
    (there / "runs").rename(tmp_path / "runs")
    (there / "runs").write_text("")
    assert {outcome.error for outcome in run_sweep(SWEEP, there)} == {
        f"RunError: could not write {there}/runs/{key}/recipe.toml "
        f"({(tmp_path / 'runs' / key / 'recipe.toml').stat().st_size} bytes): Not a directory; nothing was left "
        "behind. Choose another folder with --out."
        for key in KEYS
    }


REMOVED = {
    "done.json": "Remove that file alone: what comes after training is then measured again.",
    "trained.json": "Remove that file alone: the run then goes on from its last checkpoint.",
}


@pytest.mark.parametrize("name", REMOVED)
@pytest.mark.parametrize(
    ("content", "reason"),
    [("[1]", "it holds no JSON object"), ("", "Expecting value: line 1 column 1 (char 0)"), ("{}", None)],
)
def test_damaged_marks_are_told_and_what_the_message_says_to_do_helps(there, finished, name, content, reason):
    run = there / "runs" / KEYS[0]
    if name == "trained.json":
        (run / "done.json").unlink()
    (run / name).write_text(content)
    if name == "done.json":
        assert SweepFolder(there).state(SWEEP.recipes[0]) == "failed"
    reason = reason or {"done.json": "it lacks version, data or afterwards", "trained.json": "it has no position"}[name]
    outcomes = run_sweep(SWEEP, there)
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    assert outcomes[0].error == f"RunError: {run}/{name} is damaged ({reason}). {REMOVED[name]}"
    (run / name).unlink()
    assert {outcome.state for outcome in run_sweep(SWEEP, there)} == {"done"}
    assert tree(there) == tree(finished)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ('{"schema_version": 1}', "it lacks recipes or afterwards"),
        (
            '{"schema_version": 1, "recipes": [{"rate": "a"}], "afterwards": null}',
            "the recipe's rate is 'a'; it must be a number",
        ),
        ('{"schema_version": 1, "recipes": [{}], "afterwards": 3}', "afterwards is 3; it must be a text"),
    ],
)
def test_a_damaged_plan_is_told_and_can_be_written_anew(there, finished, content, reason):
    (there / "sweep.json").write_text(content)
    assert refused(SWEEP, there) == (
        f"{there}/sweep.json is damaged ({reason}). Take that file away and run the sweep "
        "again, which writes it anew; runs stay as they are."
    )
    (there / "sweep.json").unlink()
    assert {outcome.state for outcome in run_sweep(SWEEP, there)} == {"done"}
    assert tree(there) == tree(finished)
    assert SweepFolder(there).sweep() == SWEEP


def test_a_done_run_without_its_records_fails_and_is_trained_anew_once_it_is_moved_away(there, finished, tmp_path):
    run = there / "runs" / KEYS[0]
    (run / "records.jsonl").unlink()
    outcomes = run_sweep(SWEEP, there)
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    assert outcomes[0].error == (
        f"RunError: {run}/records.jsonl cannot be read (No such file or directory). Put it back, or move {run} away "
        "and run the sweep again, which trains it anew."
    )
    run.rename(tmp_path / "away")
    assert {outcome.state for outcome in run_sweep(SWEEP, there)} == {"done"}
    assert tree(there) == tree(finished)


def test_a_plan_that_was_never_finished_is_no_foreign_file(tmp_path):
    (tmp_path / ".sweep.json.17.part").write_text("{")
    SweepFolder(tmp_path).plan(SWEEP)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locks", "sweep.json"]


def test_a_damaged_provenance_is_told(there):
    run = there / "runs" / KEYS[0]
    for name in ("done.json", "trained.json"):
        (run / name).unlink()
    (run / "provenance.json").write_text("{}")
    assert run_sweep(SWEEP, there)[0].error == (
        f"RunError: {run}/provenance.json is damaged (it has no digests of data). Move the run away to train it anew."
    )
