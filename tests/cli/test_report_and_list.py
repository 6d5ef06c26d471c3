import shutil

import pytest

from deepcollapse.cli import main
from deepcollapse.cli.terminal import duration, unboxed


def test_the_page_of_one_run_lies_in_its_folder(trained, call, here):
    shutil.copytree(trained, "run")
    (here / "run" / "report.html").unlink()
    done = call("report", "run")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("\nPage: run/report.html\n")
    assert (here / "run" / "report.html").is_file()


def test_without_a_name_the_latest_run_is_taken(trained, call, here):
    done = call("report")
    assert (done.code, done.err) == (
        1,
        "deepcollapse: there is no run in the folder runs. Name the folder of a run, or train one first.\n",
    )
    shutil.copytree(trained, "runs/mine")
    assert call("report").out.endswith("\nPage: runs/mine/report.html\n")


def test_several_runs_share_a_page(trained, call, here):
    for name in ("one", "two"):
        shutil.copytree(trained, f"runs/{name}")
    done = call("report", "runs/one", "runs/t*", "--svg", "curves.svg")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("\nPage: report.html\nPicture: curves.svg\n")
    assert (here / "curves.svg").read_text().startswith(("<svg", "<?xml"))


@pytest.mark.usefixtures("here")
def test_the_reading_as_json(trained, call):
    done = call("report", trained, "--json", "--out", "page.html")
    assert (done.code, done.json["page"], done.json["svg"]) == (0, "page.html", None)
    assert {"run", "measure", "text", "verdict"} == set(done.json["reading"][0])


@pytest.mark.usefixtures("here")
def test_a_folder_without_records(call):
    message = "no records at 'nowhere'; name a run folder, a folder of runs, a records.jsonl, or a pattern."
    assert call("report", "nowhere", "--json").json == {"error": "RunError", "message": message}
    done = call("report", "nowhere")
    assert (done.code, done.out, done.err) == (1, "", f"deepcollapse: {message}\n")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("what", "name"),
    [("measures", "within_class_variability"), ("networks", "resnet18"), ("datasets", "fashion-mnist")],
)
def test_lists_name_everything_in_80_columns(what, name, call):
    done = call("list", what)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    facts = call("list", what, "--json").json
    assert name in {each["name"] for each in facts}
    first_words = {line.split()[0] for line in done.out.splitlines() if line.strip()}
    assert {each["name"] for each in facts} <= first_words  # whole, not cut off or folded


@pytest.mark.usefixtures("here")
def test_measures_are_listed_with_their_facts(call):
    nc1 = next(m for m in call("list", "measures", "--json").json if m["name"] == "within_class_variability")
    assert (nc1["symbol"], nc1["collapsed"], nc1["range"]) == ("NC1", 0.0, [0.0, None])
    assert nc1["source"]
    assert nc1["definition"].endswith(".")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("list measurs", "invalid choice 'measurs' for argument 'what'. "),
        ("train --epochs many", "Error parsing --epochs: it must be a whole number; got 'many'. "),
        ("train --width None", "Error parsing --width: "),
        ("train --no-such-flag", "Unrecognized options: --no-such-flag "),
        ("train --epochs 0", "epochs must be a positive number; got 0."),
        ("train --drops 2", "drops are shares of the epochs between 0 and 1; got 2."),
    ],
)
@pytest.mark.usefixtures("here")
def test_wrong_usage_exits_with_2(arguments, message, call):
    words = arguments.split()
    done = call(*words)
    assert (done.code, done.out) == (2, "")
    assert message in (done.err if done.err.startswith("deepcollapse: ") else unboxed(done.err))
    done = call(*words, "--json")
    assert (done.code, done.err, done.json["error"]) == (2, "", "OptionError")
    assert message in done.json["message"]


def test_a_setting_out_of_range_is_told_without_what_tyro_calls_it(call):
    assert call("train", "--epochs", "0").err == "deepcollapse: epochs must be a positive number; got 0.\n"


def test_a_command_is_needed(call):
    done = call()
    assert (done.code, done.out) == (2, "")
    assert unboxed(done.err).startswith(
        "Expected one of {train, measure, compress, reproduce, sweep, run, decay-sweep, report, theory, list}."
    )


def test_nobody_reads_on(monkeypatch, capsys):
    def closed(*_):
        raise BrokenPipeError

    monkeypatch.setattr("deepcollapse.cli.list.show_table", closed)
    assert main(["list", "networks"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", ["20", "40", "60"])
def test_however_narrow_the_terminal_no_number_or_heading_is_cut(columns, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    lines = call("list", "datasets").out.splitlines()
    assert lines[0].split() == ["data", "set", "title", "classes", "shape", "train", "+", "test"]
    [imagenet] = [line for line in lines if line.startswith(" imagenet ")]
    assert imagenet.split()[-5:] == ["1000", "3x224x224", "1281167", "+", "50000"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89.0, "89 s"), (91.0, "2 min"), (5399.0, "90 min"), (5400.0, "1.5 h")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words
