"""`deepcollapse reproduce`: what a person sees of a study, and what a program reads."""

import json
from dataclasses import replace

import pytest
from small_study import recipes_of

import deepcollapse.studies
from deepcollapse.cli import main
from deepcollapse.records.study import Judgement
from deepcollapse.studies.judging.claim import Claim
from deepcollapse.studies.study import Computation, Scale, Study
from deepcollapse.training import Recipe

SCALE = Scale("Two tiny runs.", ("digits",), ("mlp",), (0, 1), ("The paper has larger ones.",))
TINY = Recipe(epochs=2, width=8, depth=1, per_class=5, test_per_class=5, measurements=2)
recipes = recipes_of(TINY)


def judge(evidence):
    for run in evidence.runs:
        accuracy = run.last("accuracy", "network", "test")
        yield Judgement(
            f"seed {run.recipe.seed}", "holds" if accuracy >= 0 else "fails", "accuracy told", {"a": accuracy}
        )


def impossible(evidence):
    evidence.table("nothing")
    return ()


CLAIMS = (
    Claim("told", "accuracy is told", "at least 0", judge, paper="0.9"),
    Claim("never", "nothing is computed", "something", impossible, ours=True),
)
SMALL = Study(
    "small", "A small study", "nobody2020", "Small.", {"smoke": SCALE, "laptop": SCALE}, CLAIMS, recipes,
    computations=(Computation("later", lambda task: evidence_of_none(), cost=lambda scale: 12.0),),
)  # fmt: skip


def evidence_of_none():
    from deepcollapse.studies.judging.claim import MissingEvidence

    raise MissingEvidence("nothing")


@pytest.fixture(autouse=True)
def small_study(monkeypatch, tmp_path):
    monkeypatch.setattr(deepcollapse.studies, "find", lambda name: SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def test_a_study_is_run_judged_and_shown(capsys):
    assert main(["reproduce", "small", "--scale", "smoke", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("A small study: Two tiny runs. Folder: runs/small-smoke\n2 runs.\n")
    assert " claim   verdict        measured" in out
    assert " told    ✓ holds        seed 0: accuracy told" in out
    assert " never   - not tested   nothing was computed for 'nothing' at this scale" in out
    assert out.endswith("\nPage: runs/small-smoke/report.html\n")
    assert max(map(len, out.splitlines())) <= 80


def test_the_same_as_json_and_again_from_its_records(capsys):
    assert main(["reproduce", "small", "--scale", "smoke", "--threads", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [*told] == [
        "page", "folder", "study", "title", "scale", "words", "scaled_down", "left_out", "seconds", "runs", "failures",
        "claims",
    ]  # fmt: skip
    assert [(claim["id"], claim["verdict"]) for claim in told["claims"]] == [("told", "holds"), ("never", "not tested")]
    assert (told["runs"], told["scaled_down"]) == (2, ["The paper has larger ones."])
    assert main(["report", "runs/small-smoke", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == told


def test_flags_make_a_study_of_ones_own_in_a_folder_of_its_own(capsys):
    arguments = ["--datasets", "iris", "--seeds", "1", "--threads", "1", "--json"]
    assert main(["reproduce", "small", "--scale", "smoke", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["words"] == "Two tiny runs. Here on iris in place of digits; with 1 seed in place of 2."
    assert (told["folder"], told["runs"], told["scale"]) == ("runs/small-smoke-iris-1-seed", 1, "smoke")


def test_too_few_seeds_for_a_verdict_are_told_before_the_run(capsys, monkeypatch):
    three = replace(SMALL, scales={"smoke": replace(SCALE, seeds=(0, 1, 2))})
    monkeypatch.setattr(deepcollapse.studies, "find", lambda name: three)
    arguments = ["reproduce", "small", "--scale", "smoke", "--threads", "1", "--seeds"]
    assert main([*arguments, "1"]) == 0
    assert capsys.readouterr().out.startswith(
        "A small study: Two tiny runs. Here with 1 seed in place of 3. Folder:\nruns/small-smoke-1-seed\n"
        "Verdicts need at least 3 seeds; with 1 seed most claims are not tested.\n1 run.\n"
    )
    assert main([*arguments, "3"]) == 0
    assert "Verdicts need" not in capsys.readouterr().out


def test_what_is_not_here_is_told_and_runs_that_fail_are_an_exit_code(capsys, tmp_path, monkeypatch):
    where = ["--data-root", str(tmp_path / "empty"), "--threads", "1", "--scale", "smoke"]
    assert main(["reproduce", "small", "--datasets", "digits", "cifar10", *where]) == 0
    out = capsys.readouterr().out
    assert out.startswith("A small study: Two tiny runs. Here on digits, cifar10 in place of digits.\nFolder: ")
    assert "cifar10 was left out: " in out
    diverging = replace(SMALL, recipes=lambda scale: [replace(r, rate=1e30) for r in recipes(scale)])
    monkeypatch.setattr(deepcollapse.studies, "find", lambda name: diverging)
    assert main(["reproduce", "small", "--out", "d", *where]) == 1
    out = capsys.readouterr().out
    assert "digits, mlp: none of 2 runs came to its end." in out
    assert "\n\nFailed: seed=0 and 1 other: DivergedError: training diverged in epoch 1" in out
    assert "\n  Traceback: d/sweep/failures/" in out
    assert main(["report", "d"]) == 0
    assert "\n\nFailed: seed=0 and 1 other: DivergedError: training" in capsys.readouterr().out


def test_without_any_data_nothing_is_run(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(deepcollapse.studies, "find", lambda name: replace(SMALL, computations=()))
    where = ["--data-root", str(tmp_path / "empty"), "--scale", "smoke", "--datasets", "cifar10"]
    assert main(["reproduce", "small", *where]) == 1
    assert capsys.readouterr().err.startswith("deepcollapse: cifar10 ")


def test_the_seconds_of_all_calls_add_up(capsys):
    seconds = []
    for _ in range(2):
        main(["reproduce", "small", "--scale", "smoke", "--threads", "1", "--json"])
        seconds.append(json.loads(capsys.readouterr().out)["seconds"])
    assert seconds[1] > seconds[0] > 0


def test_a_dry_run_trains_nothing_and_tells_the_cost(capsys, tmp_path):
    assert main(["reproduce", "small", "--dry-run", "--threads", "1", "--scale", "laptop"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("A small study, at the scale laptop: Two tiny runs.\n")
    assert " digits   mlp width=8 depth=1          626      2" in out
    assert "later" in out
    assert "nothing was trained." in out
    assert not (tmp_path / "runs").exists()


def test_rows_of_a_dry_run_say_in_what_they_differ(capsys, monkeypatch):
    batches = replace(SMALL, recipes=lambda scale: [replace(r, batch=b) for b in (5, 10) for r in recipes(scale)])
    monkeypatch.setattr(deepcollapse.studies, "find", lambda name: batches)
    assert main(["reproduce", "small", "--dry-run", "--threads", "1", "--scale", "laptop", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert [f"batch={batch}" in out for batch in (5, 10)] == [True, True]
    assert "on cpu, one run after another." in " ".join(out.split())


def test_a_dry_run_needs_no_data(capsys, tmp_path, monkeypatch):
    where = ["--data-root", str(tmp_path / "empty")]
    arguments = ["--datasets", "cifar10", "--networks", "resnet", "--json", *where]
    narrow = replace(SMALL, recipes=lambda scale: [replace(r, width=4, depth=None) for r in recipes(scale)])
    monkeypatch.setattr(deepcollapse.studies, "find", lambda name: narrow)
    assert main(["reproduce", "small", "--dry-run", "--scale", "laptop", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(cost["dataset"], cost["runs"], cost["note"]) for cost in told["costs"]] == [
        ("cifar10", 2, "data not here: see --data-root, --download")
    ]
    assert told["seconds"] > 12.0
    assert told["computations"] == {"later": 12.0}


def test_flags_that_contradict_one_another_are_told(capsys):
    assert main(["reproduce", "small", "--jobs", "0"]) == 1
    assert capsys.readouterr().err == "deepcollapse: --jobs must be at least 1; got 0.\n"
    assert main(["reproduce", "small", "--address", "x"]) == 1
    assert capsys.readouterr().err == (
        "deepcollapse: --address is that of a Ray cluster and goes with --engine ray; got --engine auto.\n"
    )
    assert main(["reproduce", "small", "--seeds", "0"]) == 1
    assert capsys.readouterr().err == "deepcollapse: a study needs at least 1 seed; got 0.\n"


def test_svg_is_of_runs_alone(capsys):
    main(["reproduce", "small", "--scale", "smoke", "--threads", "1", "--json"])
    capsys.readouterr()
    assert main(["report", "runs/small-smoke", "--svg", "x.svg"]) == 1
    assert capsys.readouterr().err == (
        "deepcollapse: --svg draws the curves of runs; a study's charts are on its page alone. Leave it out.\n"
    )
