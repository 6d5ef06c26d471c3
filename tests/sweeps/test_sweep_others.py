"""Runs of another version, on other data, or at another process are never mixed in, nor lost."""

import json
import threading
from dataclasses import replace

import pytest

from deepcollapse.errors import RunError
from deepcollapse.records import read_records
from deepcollapse.sweeps import Job, Outcome, Sweep, SweepFolder, do, run_sweep
from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.locks import lock
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training.data import Splits
from sweep_extras import KEYS, SWEEP, TINY, swept, tree


def altered(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | changes))
    return values


class NobodyTrains(SweepWatcher):
    def epoch(self, key, epoch, epochs):
        pytest.fail(f"{key} was trained")


def test_runs_of_another_version_are_listed_before_anything_is_trained(there):
    altered(there / "runs" / KEYS[1] / "done.json", version="0.0.9")
    with pytest.raises(RunError) as caught:
        run_sweep(Sweep.grid(TINY, seed=(0, 1, 2)), there, watcher=NobodyTrains())
    assert str(caught.value) == (
        f"1 of 3 runs of {there} were made otherwise than they would be now:\n"
        f"  {KEYS[1]}: deepcollapse 0.0.9 then, 0.1.0 now\n"
        "Nothing was trained. Choose another folder, or move them aside with `deepcollapse sweep run --retrain` (in "
        f"Python, retrain=True), which keeps them in {there}/old and trains anew."
    )


def test_runs_of_another_version_that_stand_in_the_folder_are_not_mixed_with_new_ones(there):
    altered(there / "runs" / KEYS[1] / "done.json", version="0.0.9")
    more = Sweep.grid(TINY, seed=(2,))
    with pytest.raises(RunError) as caught:
        run_sweep(more, there, watcher=NobodyTrains())
    assert str(caught.value).splitlines()[:2] == [
        f"1 of 3 runs of {there} were made otherwise than they would be now:",
        f"  {KEYS[1]}: deepcollapse 0.0.9 then, 0.1.0 now",
    ]
    assert SweepFolder(there).sweep() == SWEEP  # what is refused is not planned either
    assert [outcome.state for outcome in run_sweep(more, there, retrain=True)] == ["done"]
    assert [SweepFolder(there).state(recipe) for recipe in SWEEP.recipes] == ["done", "waiting"]
    assert (there / "old" / f"{KEYS[1]}-1" / "done.json").is_file()


def test_of_many_runs_on_other_data_five_are_named(tmp_path):
    sweep, folder = Sweep.grid(TINY, seed=range(7)), SweepFolder(tmp_path / "s")
    folder.plan(sweep)
    now = Shelf().digests("digits")
    for recipe in sweep.recipes:
        done = {"version": "0.1.0", "data": now | {"train": "0123456789abcdef"}, "afterwards": None}
        folder.run_path(recipe).mkdir(parents=True)
        (folder.run_path(recipe) / "done.json").write_text(json.dumps(done))
    with pytest.raises(RunError) as caught:
        run_sweep(sweep, folder.path)
    first, *named, more, last = str(caught.value).splitlines()
    assert first == f"7 of 7 runs of {folder.path} were made otherwise than they would be now:"
    assert named == [
        f"  {key}: train data 0123456789ab then, {now['train'][:12]} now" for key in list(sweep.named())[:5]
    ]
    assert more == "  and 2 more"
    assert last.startswith("Nothing was trained.")


def test_a_run_that_was_only_begun_by_another_version_or_on_other_data_is_found_too(there):
    run = there / "runs" / KEYS[0]
    for name in ("done.json", "trained.json"):
        (run / name).unlink()
    kept = json.loads((run / "provenance.json").read_text())
    test = kept["data_digest"]["test"]
    altered(
        run / "provenance.json",
        versions=kept["versions"] | {"deepcollapse": "0.2.0"},
        data_digest=kept["data_digest"] | {"test": "not hashed: read by the user's own code"},
    )
    told = (
        f"deepcollapse 0.2.0 then, 0.1.0 now; test data not hashed: read by the user's own code then, {test[:12]} now"
    )
    with pytest.raises(RunError) as caught:
        run_sweep(SWEEP, there, watcher=NobodyTrains())
    assert str(caught.value).splitlines()[1] == f"  {KEYS[0]}: {told}"
    outcome = do(Job(SWEEP.recipes[0], there))  # one run alone, as clusters start them
    assert outcome.error == (
        f"RunError: {run} was made otherwise than it would be now: {told}. Move it away to train it anew, or choose "
        "another folder with --out."
    )


def test_with_retrain_the_old_runs_are_kept_apart_and_new_ones_take_their_place(there, finished):
    done = there / "runs" / KEYS[1] / "done.json"
    for count in (1, 2):
        altered(done, version=f"0.0.{count}")
        assert [outcome.state for outcome in run_sweep(SWEEP, there, retrain=True)] == ["done", "done"]
        assert json.loads((there / "old" / f"{KEYS[1]}-{count}" / "done.json").read_text())["version"] == f"0.0.{count}"
        assert tree(there) == tree(finished)
    assert len(read_records(there)) == len(read_records(finished))  # what was set aside is not read with the others


def test_a_run_at_another_process_is_not_set_aside(there):
    for key in KEYS:
        altered(there / "runs" / key / "done.json", version="0.0.9")
    with lock(there / "locks" / KEYS[1]) as free, pytest.raises(RunError) as caught:
        run_sweep(SWEEP, there, retrain=True)
    assert free
    assert str(caught.value) == (
        f"{there}/runs/{KEYS[1]} cannot be set aside: another process is at it. Wait until that has ended."
    )
    assert all((there / "runs" / key / "done.json").is_file() for key in KEYS)  # not the first alone


def test_runs_elsewhere_are_come_back_to_and_then_told(there):
    (there / "runs" / KEYS[0] / "done.json").unlink()
    with lock(there / "locks" / KEYS[0]):
        first, second = run_sweep(SWEEP, there, patience=0.3)
    assert (first.state, second.state) == ("elsewhere", "done")
    assert first.error == "another process is at it; ask again when that has ended."
    held = lock(there / "locks" / KEYS[0])
    held.__enter__()
    threading.Timer(0.5, held.__exit__, (None, None, None)).start()
    assert [outcome.state for outcome in run_sweep(SWEEP, there, patience=60)] == ["done", "done"]


def test_sweeps_that_are_planned_at_once_all_stand_in_the_plan(tmp_path):
    sweeps = [Sweep.grid(TINY, seed=(seed, 100)) for seed in range(8)]
    threads = [threading.Thread(target=SweepFolder(tmp_path / "s").plan, args=(sweep,)) for sweep in sweeps]
    with lock(tmp_path / "s" / "locks" / "plan", wait=True):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    recipes = SweepFolder(tmp_path / "s").sweep().recipes
    assert sorted(recipe.seed for recipe in recipes) == [*range(8), 100]


def test_the_runs_of_one_data_set_follow_one_another(tmp_path):
    seen = []

    class Engine:
        def run(self, jobs, watcher):
            for job in jobs:
                seen.append((job.recipe.standardise, job.recipe.seed))
                yield Outcome(job.key, job.run_path, "done")

    recipes = Sweep.grid(
        replace(TINY, per_class=None, test_per_class=None), seed=(0, 1), standardise=("none", "pixels")
    )
    outcomes = run_sweep(recipes, tmp_path / "s", engine=Engine())
    assert seen == [("none", 0), ("none", 1), ("pixels", 0), ("pixels", 1)]
    assert [outcome.key for outcome in outcomes] == list(recipes.named())


def test_data_are_hashed_once_and_data_that_only_their_owner_reads_say_that_they_are_not(monkeypatch):
    shelf, hashed = Shelf(), []
    whole = Splits.digests
    monkeypatch.setattr(Splits, "digests", lambda splits: hashed.append(splits.train.name) or whole(splits))
    assert shelf.digests("digits") == shelf.digests("digits")
    assert {len(digest) for digest in shelf.digests("digits").values()} == {64}
    assert shelf.digests("sweep_extras:own_data") == {
        "train": "not hashed: read by the user's own code",
        "test": "not hashed: read by the user's own code",
    }
    assert hashed == ["digits", "sweep_extras:own_data"]


def test_a_folder_of_images_counts_by_its_names_and_sizes(tmp_path):
    pytest.importorskip("PIL")
    from PIL import Image

    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / split / name / "1.png")
    before = Shelf().digests(f"folder:{tmp_path}")
    assert Shelf().digests(f"folder:{tmp_path}") == before
    Image.effect_noise((8, 8), 90).convert("RGB").save(tmp_path / "train" / "b" / "1.png")
    after = Shelf().digests(f"folder:{tmp_path}")
    assert after["train"] != before["train"]
    assert after["test"] == before["test"]


def test_what_is_measured_afterwards_stays_planned_when_runs_are_added_without_naming_it(tmp_path):
    run_sweep(swept(runs=1), tmp_path / "s")
    (added,) = run_sweep(Sweep.grid(TINY, seed=(1,)), tmp_path / "s")
    assert SweepFolder(tmp_path / "s").sweep() == swept(runs=2)
    assert json.loads((added.run / "done.json").read_text())["afterwards"] == "sweep_extras:look_again"
    assert b'"measure": "noisy_loss"' in (added.run / "records.jsonl").read_bytes()
