import os
import sys
import tomllib

import pytest
from quick import QUICK

from deepcollapse.cli import main
from deepcollapse.records import Run
from deepcollapse.training import Recipe
from deepcollapse.training.loop import Training


def stop_at(monkeypatch, epoch):
    """Ctrl-C while an epoch is under way."""
    real = Training.train_epoch

    def train(self, number, order):
        if number == epoch:
            raise KeyboardInterrupt
        real(self, number, order)

    monkeypatch.setattr(Training, "train_epoch", train)


def test_it_trains_and_says_what_it_did_in_80_columns(here, call):
    done = call(*QUICK)
    assert done.code == 0
    assert done.err == ""  # no progress bar where there is no terminal
    assert done.out.startswith("Training mlp on digits: 2 epochs, about ")
    assert "Run folder:\nruns/digits-mlp-seed0" in done.out or "Run folder: runs/digits-mlp-seed0" in done.out
    assert "within-class variability" in done.out
    assert done.out.endswith("\nPage: runs/digits-mlp-seed0/report.html\n")
    assert max(map(len, done.out.splitlines())) <= 80
    assert {file.name for file in (here / "runs/digits-mlp-seed0").iterdir()} >= {
        "recipe.toml",
        "records.jsonl",
        "provenance.json",
        "arrays",
        "checkpoints",
        "weights.safetensors",
        "report.html",
    }


@pytest.mark.usefixtures("no_page")
def test_json_is_all_it_prints(here, call):
    done = call(*QUICK, "--out", "a run", "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["run"], done.json["page"]) == ("a run", "a run/report.html")
    nc1 = done.json["measures"][0]
    assert (nc1["measure"], nc1["layer"], nc1["end_epoch"]) == ("within_class_variability", "head.input", 2)
    assert nc1["end"] == pytest.approx(
        Run.open("a run")
        .records()
        .query("measure == 'within_class_variability' and layer == 'head.input' and epoch == 2 and split == 'train'")
        .query("baseline.isna()")
        .value.item()
    )


@pytest.mark.usefixtures("no_page")
def test_a_second_run_gets_a_folder_of_its_own(here, call):
    assert call(*QUICK).code == call(*QUICK).code == 0
    assert {folder.name for folder in (here / "runs").iterdir()} == {"digits-mlp-seed0", "digits-mlp-seed0-2"}


def test_a_folder_is_not_written_over(trained, call):
    done = call(*QUICK, "--out", trained)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"deepcollapse: {trained} holds this run already. Go on with it by --resume, or choose another folder with "
        "--out.\n"
    )


@pytest.mark.usefixtures("no_page")
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(here, call, monkeypatch, trained):
    stop_at(monkeypatch, 2)
    done = call(*QUICK, "--out", "my run", "--device", "cpu")
    assert done.code == 130
    assert done.err == (
        "deepcollapse: Stopped; my run keeps what was measured. Go on with: "
        "deepcollapse train --resume --device cpu --out 'my run'\n"
    )
    monkeypatch.undo()
    assert main(["train", "--resume", "--device", "cpu", "--out", str(here / "my run")]) == 0
    names = [(here / "my run" / "records.jsonl").read_text(), (trained / "records.jsonl").read_text()]
    assert names[0].replace('"my run"', '"run"') == names[1]


def test_ctrl_c_before_anything_was_written(here, call, monkeypatch):
    monkeypatch.setattr("deepcollapse.training.loop.prepare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    done = call(*QUICK, "--json")
    assert done.code == 130
    assert done.json == {"error": "Interrupted", "message": "Stopped before training began."}
    assert not (here / "runs").exists()


@pytest.mark.usefixtures("no_page")
def test_resume_takes_the_latest_run_and_its_recipe(here, call, monkeypatch):
    stop_at(monkeypatch, 1)
    for seed in (3, 4, 5):
        assert call(*QUICK, "--seed", seed).code == 130
    os.utime("runs/digits-mlp-seed4/provenance.json", ns=(2**62, 2**62))
    monkeypatch.undo()
    monkeypatch.chdir(here)
    done = call("train", "--resume")
    assert done.code == 0, done.err
    assert done.out.startswith("Training mlp on digits: 2 epochs, about ")
    assert done.out.endswith("\nPage: runs/digits-mlp-seed4/report.html\n")
    assert not (here / "runs/digits-mlp-seed5/weights.safetensors").exists()


@pytest.mark.usefixtures("here")
def test_there_may_be_nothing_to_resume(call):
    done = call("train", "--resume")
    assert done.code == 1
    assert done.err == (
        "deepcollapse: there is no run to resume in the folder runs. Name the folder of a run with --out, or leave "
        "--resume out.\n"
    )
    done = call("train", "--resume", "--out", "nowhere", "--json")
    assert done.json["message"].startswith("there is no run to resume in nowhere. ")


@pytest.mark.usefixtures("no_page")
def test_a_recipe_file_is_where_flags_start_from(here, call):
    (here / "mine.toml").write_text('network = "mlp"\nwidth = 12\ndepth = 1\nepochs = 1\nper_class = 12\nrate = 1\n')
    done = call("train", "--recipe-file", "mine.toml", "--out", "run", "--rate", "0.5", "--test-per-class", "5")
    assert done.code == 0, done.err
    recipe = Recipe.from_mapping(tomllib.loads((here / "run" / "recipe.toml").read_text()))
    assert recipe == Recipe(width=12, depth=1, epochs=1, per_class=12, rate=0.5, test_per_class=5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the recipe mine.toml cannot be read: No such file or directory. It is a TOML file like "),
        (b"epochs = ", "the recipe mine.toml cannot be read: Invalid value (at end of document). It is a TOML file "),
        (b"\xff\xfe", "the recipe mine.toml cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: "),
        (b"epoch = 3", "the recipe mine.toml is none: a recipe has no setting 'epoch'; it has batch, "),
        (b'epochs = "3"', "the recipe mine.toml is none: the recipe's epochs is '3'; it must be a whole number."),
        (b"rate = -1", "the recipe mine.toml is none: rate must be a positive number; got -1.0."),
    ],
)
def test_a_recipe_file_that_cannot_be_used(here, call, content, message):
    if content is not None:
        (here / "mine.toml").write_bytes(content)
    done = call("train", "--recipe-file=mine.toml")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"deepcollapse: {message}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--dataset digit", "no data set is called 'digit'. Did you mean 'digits'"),
        ("--network mpl", "no network is called 'mpl'. Did you mean mlp"),
        ("--device tpu", "there is no device 'tpu' here ("),
        ("--threads 0", "threads must be at least 1; got 0."),
        ("--layers nope", "no layer matches 'nope'. Close names: "),
        ("--dataset mnist --data-root .", ""),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_cannot_be_trained_is_explained(flags, message, call, here):
    done = call("train", *flags.split())
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"deepcollapse: {message}")
    assert not (here / "runs").exists()
    assert call("train", *flags.split(), "--json").json["message"] in done.err


@pytest.mark.usefixtures("no_page")
def test_a_loader_in_the_current_folder_is_found(here, call):
    (here / "mine.py").write_text(
        "import torch\n"
        "def load(split):\n"
        "    if split == 'test': return None\n"
        "    y = torch.arange(40) % 2\n"
        "    return torch.randn(40, 1, 2, 2) + 3 * y[:, None, None, None], y, ['cat', 'dog']\n"
    )
    done = call("train", "--dataset", "mine:load", "--epochs", 1, "--width", 8, "--out", "run")
    assert done.code == 0, done.err
    assert "There is no test split: mine:load returned NoneType; expected " in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert Run.open("run").provenance["class_names"] == ["cat", "dog"]


def test_a_fault_in_the_users_code_is_shown_in_full(here, call, capsys):
    (here / "faulty.py").write_text("def load(split): return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        call("train", "--dataset", "faulty:load")
    done = call("train", "--dataset", "faulty:load", "--json")
    assert (done.code, done.json) == (1, {"error": "ZeroDivisionError", "message": "division by zero"})
    assert 'faulty.py", line 1, in load' in done.err


@pytest.mark.usefixtures("no_page")
def test_a_progress_bar_is_drawn_on_terminals(here, call, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = call(*QUICK, "--out", "a").err
    assert "epoch 2/2" in shown
    assert "NC1 " in shown
    assert "TPT since " in shown
    assert call(*QUICK, "--out", "b", "--json").err == ""
