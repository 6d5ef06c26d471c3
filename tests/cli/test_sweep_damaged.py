"""What `deepcollapse sweep` says of folders that are damaged, gone or none: the same in every sub-command."""

import pytest
from swept import GRID, RECIPE, WRITE_PAGE, again

import deepcollapse.report.sweep
from deepcollapse.training.loop import Training

ANEW = "Take that file away and run the sweep again, which writes it anew; runs stay as they are."


@pytest.fixture(autouse=True)
def real_page(monkeypatch, request):
    """The page is read from the damaged folder; nothing is to be trained."""
    if "sweep" in request.fixturenames:
        request.getfixturevalue("sweep")
    monkeypatch.setattr(deepcollapse.report.sweep, "write_sweep_page", WRITE_PAGE)
    monkeypatch.setattr(Training, "train_epoch", None)  # whoever trained would fail


PLANS = {
    "{": "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    "[]": "it holds no JSON object",
    '{"schema_version": 1}': "it lacks recipes or afterwards",
    '{"schema_version": 1, "recipes": [{"rate": "a"}], "afterwards": null}': (
        "the recipe's rate is 'a'; it must be a number"
    ),
    '{"schema_version": 1, "recipes": [[]], "afterwards": null}': "a recipe in it is no JSON object",
    '{"schema_version": 1, "recipes": [{}], "afterwards": null, "keys": ["../../elsewhere"]}': (
        "its keys are not one name of a run for each recipe"
    ),
    '{"schema_version": 1, "recipes": [{}], "afterwards": null, "keys": ["0123456789ab"]}': (
        "its keys are not the digests of its recipes"
    ),
}


@pytest.mark.parametrize("plan", PLANS)
def test_a_damaged_plan_is_told_alike_everywhere(sweep, call, plan):
    (sweep.path / "sweep.json").write_text(plan)
    commands = [
        ["sweep", "status", "sweep"],
        ["sweep", "page", "sweep"],
        ["run", "sweep", "--index", "0"],
        again(*GRID),
    ]
    for command in commands:
        done = call(*command, "--json")
        assert done.json == {
            "error": "RunError",
            "message": f"sweep/sweep.json is damaged ({PLANS[plan]}). {ANEW}",
        }


def damaged_done(run):
    (run / "done.json").write_text("{}")
    return (
        f"{run}/done.json is damaged (it lacks version, data or afterwards). Remove that file alone: what comes after "
        "training is then measured again."
    )


def lost_records(run):
    (run / "records.jsonl").unlink()
    return (
        f"{run}/records.jsonl cannot be read (No such file or directory). Put it back, or move {run} away and run the "
        "sweep again, which trains it anew."
    )


def torn_records(run):
    whole = (run / "records.jsonl").read_bytes()
    (run / "records.jsonl").write_bytes(whole[:-9])
    return (
        f"{run}/records.jsonl is damaged (its last line is torn). Put it back, or move {run} away and run the sweep "
        "again, which trains it anew."
    )


@pytest.mark.parametrize("damage", [damaged_done, lost_records, torn_records])
def test_a_done_run_that_is_damaged_counts_as_failed_everywhere(sweep, call, damage):
    run = sweep.run_path(sweep.sweep().recipes[0])
    told = f"RunError: {damage(run)}"
    stood = call("sweep", "status", "sweep", "--json").json
    assert [stood[state] for state in ("done", "running", "failed", "stopped", "waiting")] == [3, 0, 1, 0, 0]
    assert (stood["runs"][0]["error"], stood["runs"][0]["traceback"]) == (told, None)
    assert " ".join(call("sweep", "status", "sweep").out.split()).endswith(f"Failed: run 0: {told}")
    assert call("sweep", "page", "sweep").code == 0
    assert told in (sweep.path / "report.html").read_text(encoding="utf-8")
    again_told = call(*again(*GRID))
    assert (again_told.code, again_told.err) == (1, "")
    assert "\n4 runs; 3 are done already.\n" in again_told.out
    assert f"Failed: seed=0 rate=0.2: {told} Traceback: sweep/failures/" in " ".join(again_told.out.split())
    stood = call("sweep", "status", "sweep", "--json").json
    assert (stood["failed"], stood["runs"][0]["error"]) == (1, told)


def test_records_that_are_garbled_inside_harm_no_other_run(sweep, call):
    recipe = sweep.sweep().recipes[0]
    run = sweep.run_path(recipe)
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(b"".join([lines[0], b"\x00\xff\n", *lines[2:]]))
    told = (
        f"RunError: {run}/records.jsonl is damaged (line 2 is no record). Put it back, or move {run} away and run the "
        "sweep again, which trains it anew."
    )
    done = call(*again(*GRID), "--json")
    assert (done.code, done.err) == (1, "")
    [lost] = [one for one in done.json["runs"] if one["state"] != "done"]
    assert (lost["key"], lost["state"], lost["error"], lost["traceback"]) == (run.name, "failed", told, None)
    assert [(row["settings"], row["runs"], row["done"]) for row in done.json["found"]] == [
        ({"rate": 0.2}, 2, 1),
        ({"rate": 0.1}, 2, 2),
    ]
    shown = call(*again(*GRID))
    assert (shown.code, shown.err) == (1, "")
    assert f"Failed: seed=0 rate=0.2: {told} Page: sweep/report.html" in " ".join(shown.out.split())
    assert call("sweep", "page", "sweep").code == 0
    assert told in (sweep.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [["sweep", "status"], ["sweep", "page"], ["run", "--index", "0"]])
def test_folders_that_are_no_sweep(here, call, command):
    (here / "file").write_text("")
    (here / "empty").mkdir()
    for name, told in {
        "nowhere": "there is no folder nowhere",
        "file": "file is a file, not a folder",
        "empty": "empty is not a sweep: it has no sweep.json",
    }.items():
        done = call(*command, name)
        assert (done.code, done.err) == (1, f"deepcollapse: {told}. Name the folder given to --out.\n")


def test_out_may_not_be_a_file(here, call):
    (here / "file").write_text("")
    for what in ("run", "plan"):
        done = call("sweep", what, *RECIPE, "--out", "file", "--json")
        assert done.json["message"] == "file is a file, not a folder. Choose another place with --out."
