"""`deepcollapse sweep` and `deepcollapse run`, as people meet them."""

from dataclasses import replace
from pathlib import Path

import pytest
from swept import GRID, RECIPE, again

import deepcollapse.cli.sweep.dry_run
import deepcollapse.report.sweep
from deepcollapse.sweeps import SweepFolder, key_of
from deepcollapse.training import Recipe
from deepcollapse.training.loop import Training


def test_what_is_there_is_shown_and_not_run_again(sweep, call, monkeypatch):
    monkeypatch.setattr(Training, "train_epoch", None)  # whoever trained would fail
    rows = sweep_rows(sweep)
    done = call(*again(*GRID))
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "Folder of the sweep: sweep\n"
        "4 runs; 4 are done already.\n"
        "\n"
        "               accuracy,\n"
        " rate   runs        test    NC1\n"
        " ──────────────────────────────\n"
        f"  0.2      2 {rows[0.2]}\n"
        f"  0.1      2 {rows[0.1]}\n"
        "Medians over the seeds, at the last epoch.\n"
        "\n"
        "Page: sweep/report.html\n"
    )


def sweep_rows(sweep):
    """Accuracy and NC1 by rate, read by pandas."""
    from deepcollapse.report.words import number, percent

    rows = {}
    for rate in (0.2, 0.1):
        runs = [sweep.run_path(recipe) for recipe in sweep.sweep().recipes if recipe.rate == rate]
        tables = [last_epoch(run) for run in runs]
        accuracy, nc1 = ((a + b) / 2 for a, b in zip(*tables, strict=True))
        rows[rate] = f"{percent(accuracy):>11} {number(nc1):>6}"
    return rows


def last_epoch(run):
    from deepcollapse.records import read_records

    rows = read_records(run).query("epoch == 2 and baseline.isna()")
    accuracy = rows.query("measure == 'accuracy' and layer == 'network' and split == 'test'").value.item()
    nc1 = rows.query("measure == 'within_class_variability' and layer == 'head.input' and split == 'train'")
    return accuracy, nc1.value.item()


def test_more_values_run_those_alone_and_json_is_all_it_prints(sweep, call):
    stamps = {file: file.stat().st_mtime_ns for file in sweep.path.rglob("records.jsonl")}
    done = call(*again("--grid", "rate=0.2,1e30", "seed=0", "--json"))
    assert (done.code, done.err) == (1, "")
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    assert set(done.json) == {"folder", "page", "found", "runs"}
    kept, lost = done.json["runs"]
    assert set(kept) == {"key", "path", "settings", "state", "seconds", "error", "traceback"}
    assert (kept["state"], kept["settings"], kept["error"], kept["traceback"]) == ("done", {"rate": 0.2}, None, None)
    assert (lost["state"], lost["settings"]) == ("failed", {"rate": 1e30})
    assert lost["path"] == f"sweep/runs/{lost['key']}"
    assert lost["traceback"] == f"sweep/failures/{lost['key']}.txt"
    assert done.json["found"][1] == {
        "settings": {"rate": 1e30},
        "runs": 1,
        "done": 0,
        "accuracy_test": None,
        "accuracy_train": None,
        "within_class_variability": None,
    }


def test_failures_are_named_with_their_tracebacks(sweep, call):
    done = call(*again("--grid", "rate=1e30"))
    key = key_of(replace(sweep.sweep().recipes[0], rate=1e30, seed=0))
    assert done.code == 1
    assert done.out.endswith(
        f"\nFailed: run {key}: DivergedError: training diverged in epoch 1: the loss\n"
        "is nan. Lower the learning rate (now 1e+30); the epochs before stand in\n"
        f"sweep/runs/{key}.\n"
        f"  Traceback: sweep/failures/{key}.txt\n"
        "\n"
        "Page: sweep/report.html\n"
    )
    assert (sweep.path / "failures" / f"{key}.txt").read_text().startswith("Traceback (most recent call last):")
    stood = call("sweep", "status", "sweep")
    assert stood.out == (
        "sweep: 4 done, 1 failed.\n"
        "\n"
        " index   state    epoch   settings\n"
        " ─────────────────────────────────────────\n"
        "     4   failed     0/2   seed=0 rate=1e30\n"
        "\n"
        "Failed: run 4: DivergedError: training diverged in epoch 1: the loss is nan.\n"
        "Lower the learning rate (now 1e+30); the epochs before stand in\n"
        f"sweep/runs/{key}.\n"
        f"  Traceback: sweep/failures/{key}.txt\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--grid", "rate"],
            "--grid takes settings with their values, such as rate=0.1,0.01 decay=0,5e-3, without spaces around "
            "commas; got 'rate'.",
        ),
        (["--grid"], "--grid needs SETTING=VALUE, such as rate=0.1,0.01 decay=0,5e-3; got nothing."),
        (["--grid", "rate=0.1,1e-1"], "--grid gives rate the value 0.1 twice. Give each value once."),
        (["--grid", "rate=0.1,x"], "rate is 'x' in --grid; it must be a number."),
        (["--grid", "optimiser=sdg"], "optimiser is 'sdg' in --grid; it must be one of 'sgd', 'adam', 'adamw'."),
        (["--grid", "rate=-1"], "rate must be a positive number; got -1.0."),
        (
            ["--grid", "rate=1", "decay=0", "--grid", "rate=2"],
            "--grid names rate twice. Give all of its values at once: rate=FIRST,SECOND.",
        ),
        (
            ["--grid", "seed=3", "--seeds", "2"],
            "--seeds and --grid seed=... both say which seeds there are; leave one of them out.",
        ),
        (
            ["--seed", "7", "--seeds", "3"],
            "--seed and --seeds both say which seeds there are; leave one of them out.",
        ),
        (["--seeds", "0"], "--seeds must be at least 1; got 0."),
        (["--jobs", "0"], "--jobs must be at least 1; got 0."),
        (
            ["--engine", "in-process", "--jobs", "2"],
            "--engine in-process is one process; got --jobs 2. Leave --jobs out, or use --engine auto or processes.",
        ),
        (
            ["--engine", "stacked", "--jobs", "2"],
            "--engine stacked is one process; got --jobs 2. Leave --jobs out, or use --engine auto or processes.",
        ),
        (
            ["--recipes", "a.toml", "c.toml"],
            "the recipe c.toml is none: the recipe's rate is 'a'; it must be a number.",
        ),
        (
            ["--address", "auto", "--engine", "processes"],
            "--address is that of a Ray cluster and goes with --engine ray; got --engine processes.",
        ),
        (
            ["--gpus-per-run", "0.5", "--engine", "processes"],
            "--cpus-per-run and --gpus-per-run are what Ray sets aside and go with --engine ray; got --engine "
            "processes.",
        ),
        (
            ["--recipes", "a.toml", "--recipe-file", "a.toml"],
            "--recipe-file and --recipes both say where recipes start from; leave one of them out.",
        ),
        (
            ["--recipes", "b.toml"],
            "the recipe b.toml cannot be read: No such file or directory. It is a TOML file like recipe.toml of a run.",
        ),
    ],
)
def test_what_cannot_be_asked(here, call, arguments, message):
    (here / "a.toml").write_text("rate = 0.3\n")
    (here / "c.toml").write_text('rate = "a"\n')
    done = call("sweep", "run", *arguments)
    assert (done.code, done.err) == (1, f"deepcollapse: {message}\n")
    assert not (here / "runs").exists()


def test_the_settings_that_there_are_stand_in_the_message(here, call):
    done = call("sweep", "run", "--grid", "rates=1")
    names = ", ".join(sorted(Recipe.__dataclass_fields__))
    assert done.err == f"deepcollapse: a recipe has no setting 'rates'; it has {names}.\n"


def test_recipes_from_files_are_swept_and_changed_by_flags(here, call):
    (here / "a.toml").write_text("epochs = 3\nrate = 0.3\n")
    (here / "b.toml").write_text('epochs = 4\nloss = "mse"\n')
    done = call("sweep", "plan", "--recipes", "a.toml", "b.toml", "--width", "7", "--seeds", "2", "--json")
    assert done.code == 0, done.err
    assert SweepFolder(Path("runs/sweep-digits-mlp")).sweep().recipes == tuple(
        replace(base, width=7, seed=seed)
        for base in (Recipe(epochs=3, rate=0.3), Recipe(epochs=4, loss="mse"))
        for seed in (0, 1)
    )
    one = call("sweep", "plan", "--recipe-file", "b.toml", "--grid", "network=mlp,vgg11", "--epochs", "9", "--json")
    assert one.json["folder"] == "runs/sweep-digits-mlp-vgg11"
    assert SweepFolder(Path(one.json["folder"])).sweep().recipes == (
        Recipe(epochs=9, loss="mse"),
        Recipe(epochs=9, loss="mse", network="vgg11"),
    )


def test_a_dry_run_trains_nothing(sweep, call, monkeypatch):
    monkeypatch.setattr(deepcollapse.cli.sweep.dry_run, "seconds_of_run", lambda recipe, asked: 100.0)
    before = sorted(sweep.path.rglob("*"))
    arguments = again("--grid", "rate=0.2,0.1", "width=16,none", "--seeds", "2", "--dry-run")
    done = call(*arguments)
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "8 runs in sweep, 4 of them done.\n"
        "  width: 16, none\n"
        "  seed: 0, 1\n"
        "  rate: 0.2, 0.1\n"
        "One run (width=none seed=0 rate=0.2) takes about 2 min here, so the 4 that are\n"
        "left about 7 min one after another. Small networks that differ only in seed,\n"
        "rate or decay are stacked into one program, which takes less. Nothing was\n"
        "trained.\n"
    )
    assert call(*arguments, "--json").json == {
        "folder": "sweep",
        "runs": 8,
        "done": 4,
        "settings": {"width": [16, None], "seed": [0, 1], "rate": [0.2, 0.1]},
        "seconds_a_run": 100.0,
        "seconds_left": 400.0,
    }
    assert sorted(sweep.path.rglob("*")) == before


def test_the_time_of_one_run_is_estimated_from_the_run_itself(here, call):
    done = call("sweep", "run", *RECIPE, "--dry-run", "--json")
    assert done.code == 0, done.err
    assert 0 < done.json["seconds_left"] == done.json["seconds_a_run"] < 60
    assert list(here.iterdir()) == []


def test_ctrl_c_says_what_is_kept(sweep, call, monkeypatch):
    real = Training.train_epoch

    def train(self, epoch, order):
        if epoch == 2 and self.recipe.seed == 1:
            raise KeyboardInterrupt
        real(self, epoch, order)

    arguments = again("--grid", "rate=0.3", "--seeds", "2")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "train_epoch", train)
        done = call(*arguments)
    assert done.code == 130
    assert done.err == (
        "deepcollapse: Stopped with 1 of 2 runs done; sweep keeps them, and of those that were begun what was trained "
        "up to the last checkpoint. The same command goes on with them.\n"
    )
    stood = call("sweep", "status", "sweep", "--json").json
    assert [stood[state] for state in ("done", "running", "failed", "stopped", "waiting")] == [5, 0, 0, 1, 0]
    assert call(*arguments).code == 0
    assert call("sweep", "status", "sweep").out == "sweep: 6 done.\n"


def test_ctrl_c_before_any_run_is_done(here, call, monkeypatch):
    def train(self, epoch, order):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "train_epoch", train)
    done = call(*again("--seeds", "2"))
    assert (done.code, done.err) == (
        130,
        "deepcollapse: Stopped with none of 2 runs done; sweep keeps of those that were begun what was trained up to "
        "the last checkpoint. The same command goes on with them.\n",
    )


@pytest.mark.parametrize(
    "command", ["sweep", "sweep run", "sweep plan", "sweep status", "sweep page", "run", "decay-sweep", ""]
)
def test_help_fits_80_columns(here, call, command):
    done = call(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    for rubbish in ("None", "default: )", "bases"):
        assert rubbish not in done.out
