"""`deepcollapse sweep plan`, `run --index`, `sweep status` and `sweep page`, as people meet them."""

import json
import shutil
from pathlib import Path

import pytest
from swept import GRID, RECIPE

from deepcollapse.sweeps import SweepFolder, key_of

fcntl = pytest.importorskip("fcntl")  # there are no such locks on Windows


def test_a_plan_is_what_an_array_of_slurm_runs(here, call):
    done = call("sweep", "plan", *RECIPE, *GRID, "--data-root", "my data", "--device", "cpu", "--out", "sweep")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "sweep/sweep.json holds 4 runs, index 0 to 3; none of them done.\n"
        "\n"
        "As a Slurm array:\n"
        "\n"
        "  sbatch --array=0-3 --cpus-per-task=1 --wrap \\\n"
        "    'deepcollapse run sweep --device cpu --data-root '\"'\"'my data'\"'\"' --index $SLURM_ARRAY_TASK_ID'\n"
        "\n"
        "One of them, anywhere: the same command with a number. A run that is done is not\n"
        "run again.\n"
    )
    first = SweepFolder(Path("sweep")).sweep().recipes
    more = call("sweep", "plan", *RECIPE, "--grid", "rate=0.2,0.1,0.3", "--out", "sweep", "--json")
    assert more.json == {
        "folder": "sweep",
        "runs": 5,
        "done": 0,
        "last_index": 4,
        "command": "deepcollapse run sweep --index $SLURM_ARRAY_TASK_ID",
    }
    assert SweepFolder(Path("sweep")).sweep().recipes[:4] == first


def test_one_run_of_a_plan_is_run_once(here, call):
    assert call("sweep", "plan", *RECIPE, *GRID, "--out", "sweep", "--json").code == 0
    recipe = SweepFolder(Path("sweep")).sweep().recipes[3]
    run = SweepFolder(Path("sweep")).run_path(recipe)
    first = call("run", "sweep", "--index", "3")
    assert (first.code, first.err) == (0, "")
    assert first.out.startswith("Training mlp on digits: 2 epochs, about ")
    assert first.out.endswith(f"\nRun 3 is done: {run}\n")
    stamp = (run / "records.jsonl").stat().st_mtime_ns
    second = call("run", "sweep", "--index", "3", "--json")
    assert (run / "records.jsonl").stat().st_mtime_ns == stamp
    assert set(second.json) == {"index", "path", "key", "state", "seconds", "error"}
    assert (second.code, second.json["state"], second.json["path"]) == (0, "done", str(run))
    assert call("sweep", "status", "sweep", "--json").json["done"] == 1


def test_one_run_that_fails_or_is_elsewhere(here, call):
    assert call("sweep", "plan", *RECIPE, "--grid", "rate=1e30,0.1", "--out", "sweep", "--json").code == 0
    bad, good = map(key_of, SweepFolder(Path("sweep")).sweep().recipes)
    done = call("run", "sweep", "--index", "0")
    assert (done.code, done.out.splitlines()[-1]) == (1, f"  Traceback: sweep/failures/{bad}.txt")
    assert "\nRun 0 failed: DivergedError: training diverged in epoch 1: the loss is nan." in done.out
    with (here / "sweep/locks" / good).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = call("run", "sweep", "--index", "1")
    assert (done.code, done.out) == (75, f"Run 1 is at another process just now: sweep/runs/{good}\n")


def test_a_traceback_that_could_not_be_kept_is_not_named(here, call):
    assert call("sweep", "plan", *RECIPE, "--grid", "rate=1e30", "--out", "sweep", "--json").code == 0
    (here / "sweep/failures").write_text("")  # a file, where a folder is to be
    done = call("run", "sweep", "--index", "0")
    assert done.code == 1
    assert "\nRun 0 failed: DivergedError: training diverged in epoch 1: the loss is nan." in done.out
    assert "Traceback" not in done.out


def test_one_run_is_not_mixed_with_those_of_another_version(here, sweep, call):
    assert call("sweep", "plan", *RECIPE, "--grid", "rate=0.5", "--out", "sweep", "--json").code == 0
    first, *_, new = map(key_of, sweep.sweep().recipes)
    done = sweep.path / "runs" / first / "done.json"
    done.write_text(json.dumps(json.loads(done.read_text()) | {"version": "0.0.9"}))
    refused = call("run", "sweep", "--index", "4")
    assert refused.code == 1
    assert refused.err.splitlines()[:2] == [
        "deepcollapse: 1 of 4 runs of sweep were made otherwise than they would be now:",
        f"  {first}: deepcollapse 0.0.9 then, 0.1.0 now",
    ]
    assert not (sweep.path / "runs" / new).exists()


@pytest.mark.parametrize("index", ["-1", "4"])
def test_an_index_that_there_is_not(sweep, call, index):
    done = call("run", "sweep", f"--index={index}")
    assert (done.code, done.err) == (
        1,
        f"deepcollapse: there is no run {index} in sweep: its 4 runs have the indices 0 to 3. Give one of these with "
        "--index.\n",
    )


def test_the_page_is_written_again(sweep, call):
    assert call("sweep", "page", "sweep").out == "Page: sweep/report.html\n"
    assert call("sweep", "page", "sweep", "--json").json == {"page": "sweep/report.html"}


def test_the_status_of_a_sweep_under_way(sweep, call):
    assert call("sweep", "plan", *RECIPE, "--seeds", "8", "--grid", "rate=0.2", "--out", "sweep", "--json").code == 0
    running, stopped = (sweep.sweep().recipes[index] for index in (4, 5))
    for recipe in (running, stopped):
        run = sweep.run_path(recipe)
        shutil.copytree(sweep.run_path(sweep.sweep().recipes[0]), run)
        (run / "done.json").unlink()
    rows = (sweep.run_path(running) / "records.jsonl").read_text().splitlines()
    first = [row for row in rows if json.loads(row)["epoch"] in (0, 1)]
    (sweep.run_path(running) / "records.jsonl").write_text("\n".join(first) + '\n{"torn')
    with (sweep.path / "locks" / key_of(running)).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = call("sweep", "status", "sweep")
    head, _, table = done.out.partition("\n\n")
    assert head.startswith("sweep: 4 done, 1 running, 1 stopped, 4 waiting. About ")
    assert head.endswith(" left.")
    assert table == (
        " index   state     epoch   settings\n"
        " ─────────────────────────────────────────\n"
        "     4   running     1/2   seed=2 rate=0.2\n"
        "     5   stopped     2/2   seed=3 rate=0.2\n"
    )
    found = call("sweep", "status", "sweep", "--json").json
    assert set(found) == {"folder", "done", "running", "failed", "stopped", "waiting", "seconds_left", "runs"}
    assert [found[state] for state in ("done", "running", "stopped", "waiting")] == [4, 0, 2, 4]
    assert found["runs"][4] == {
        "index": 4,
        "key": key_of(running),
        "path": str(sweep.run_path(running)),
        "settings": {"seed": 2, "rate": 0.2},
        "state": "stopped",
        "epoch": 1,
        "epochs": 2,
        "error": None,
        "traceback": None,
    }


def test_more_runs_than_a_sweep_can_have_are_refused_at_once(call, here):
    for flags, runs in (
        (("--seeds", "100000000"), "100,000,000"),
        (("--seeds", "1000", "--grid", "rate=0.1,0.2,0.3", "decay=" + ",".join(f"{i}e-4" for i in range(1, 60))), None),
    ):
        refused = call("sweep", "plan", *flags)
        assert (refused.code, refused.out) == (1, "")
        assert refused.err == (
            f"deepcollapse: the grid has {runs or '177,000'} runs or more; a sweep has at most 100,000. Give fewer "
            "values or seeds, or part it into several sweeps.\n"
        )
    assert not (here / "runs").exists()


def test_what_is_no_number_is_told_in_words(call):
    refused = call("sweep", "plan", "--seeds", "nan", "--json")
    assert (refused.code, refused.json["message"].partition(" ───")[0].partition(" Argument")[0]) == (
        2, "Error parsing --seeds: it must be a whole number; got 'nan'."
    )  # fmt: skip
