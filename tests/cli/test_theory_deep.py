"""`deepcollapse theory deep-ufm`: known solutions, and what descent finds."""

import json
import re

import pytest

import deepcollapse.theory.exploration
from deepcollapse.cli.theory import search

SEARCH = ["theory", "deep-ufm", "--classes", 3, "--depth", 2, "--search", "--seeds", 2, "--steps", 200]

pytestmark = pytest.mark.usefixtures("here")


def test_known_solutions_to_every_digit(call):
    done = call("theory", "deep-ufm", "--json")
    assert (done.code, done.err) == (0, "")
    assert [*done.json] == [
        "lower_bound",
        "best",
        "optimal",
        "because",
        "collapse_wins",
        "solutions",
        "model",
        "settings",
    ]
    assert (done.json["model"], done.json["settings"]["feature_decay"]) == ("deep-ufm", 4e-3)
    losses = {one["name"]: one["loss"] for one in done.json["solutions"]}
    graph = "strongly regular graph, subsets of 3"
    assert losses["collapsed"] == pytest.approx(0.099179874636, abs=1e-11)
    assert losses[graph] == pytest.approx(0.081136188992, abs=1e-11)
    assert losses[f"{graph}, refined"] == pytest.approx(0.080911332199, abs=1e-11)
    assert done.json["solutions"][1]["loss_ratio"] == pytest.approx(0.081136188992 / 0.099179874636, rel=1e-10)
    assert done.json["lower_bound"] == pytest.approx(0.025068080, abs=1e-9)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("", "deep neural collapse is not optimal: the solution"),
        ("--classes 2", "with 2 classes and 4 layers deep neural collapse is optimal: "),
        ("--depth 1", "with 10 classes and 1 layer deep neural collapse is optimal: "),
        ("--classes 4 --depth 2", "none of these solutions is below deep neural collapse. No loss lies below"),
        ("--classes 4 --depth 2", "What to do: --search looks for lower points by gradient descent."),
        (
            "--decay 0.5",
            "and 4 layers all zero is optimal, because a lower bound on every loss is 1/2, which",
        ),
        ("--decay 0.03", "nothing better than all zero is known."),
        ("--width 8", "deep neural collapse needs more width; the solution"),
        ("--width 8", "Left out: the solution 'collapsed' needs layers of width 10; got 8."),
    ],
)
def test_the_verdict(flags, said, call):
    done = call("theory", "deep-ufm", *flags.split())
    assert (done.code, done.err) == (0, "")
    assert said in " ".join(done.out.split())
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_search_shows_where_descent_ends_and_keeps_it(call, here):
    done = call(*SEARCH, "--rates", 0.1, 0.2)
    assert (done.code, done.err) == (0, "")
    said = "Searching from 4 random starts, 200 steps each. Ends are written to deep-ufm.jsonl"
    assert said in " ".join(done.out.split())
    assert "of 4 starts ended below deep neural collapse." in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    kept = [json.loads(line) for line in (here / "deep-ufm.jsonl").read_text().splitlines()]
    assert [(row["rate"], row["seed"]) for row in kept] == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]


def test_a_search_as_json_goes_on_where_it_stopped(call, here):
    first = call(*SEARCH, "--json", "--out", "found.jsonl").json["search"]
    before = (here / "found.jsonl").read_text()
    assert call(*SEARCH, "--json", "--out", "found.jsonl").json["search"] == first
    assert (here / "found.jsonl").read_text() == before
    assert [row["seed"] for row in first] == [0, 1]


def test_ctrl_c_says_truly_what_is_kept(call, here, monkeypatch):
    explore = deepcollapse.theory.exploration.explore

    def stopped(problems, solvers, seeds, *, path, progress):
        explore(problems, solvers, [seed for seed in seeds if seed in done_first], path=path)
        raise KeyboardInterrupt

    monkeypatch.setattr(deepcollapse.theory.exploration, "explore", stopped)
    done_first = [1]
    done = call(*SEARCH)
    words = "Stopped; deep-ufm.jsonl keeps 1 of 2 starts. The same command goes on from there."
    assert (done.code, done.err) == (130, f"deepcollapse: {words}\n")
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert "from 2 random starts, of which deep-ufm.jsonl has 1 already" in " ".join(call(*SEARCH).out.split())


def test_ctrl_c_before_any_start_was_written(call, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(deepcollapse.theory.exploration, "explore", stopped)
    done = call(*SEARCH)
    assert (done.code, done.err) == (
        130,
        "deepcollapse: Stopped before any start was written; nothing is kept.\n",
    )


def test_a_folder_that_is_missing_is_made(call, here):
    assert call(*SEARCH, "--out", "s/new/e.jsonl").code == 0
    assert len((here / "s/new/e.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(("out", "why"), [("folder", "Is a directory"), ("file/e.jsonl", "File exists")])
def test_a_path_that_cannot_be_written_is_refused_first(out, why, call, here):
    (here / "folder").mkdir()
    (here / "file").write_text("")
    done = call(*SEARCH, "--out", out)
    message = f"deepcollapse: what is found cannot be written to {out}: {why}. Name another file.\n"
    assert (done.code, done.out, done.err) == (1, "", message)


def test_what_is_named_twice_is_searched_once(call, here):
    done = call(*SEARCH, "--widths", 6, 6, "--rates", 0.1, 0.1, "--decays", 0.01, 0.01)
    assert "Searching from 2 random starts" in done.out
    assert "of 2 starts ended below" in done.out
    assert len((here / "deep-ufm.jsonl").read_text().splitlines()) == 2


def test_progress_off_a_terminal_is_a_line_now_and_then(call, monkeypatch):
    monkeypatch.setattr(search, "EVERY", 0.0)
    lines = call(*SEARCH, "--json").err.splitlines()
    assert lines
    assert all(re.fullmatch(r"Searching: \d+% done, about \d+ s to go\.", line) for line in lines)


@pytest.mark.parametrize("flags", ["--widths 20", "--decays 0.1", "--rates 0.1", "--seeds 3", "--steps 5", "--out e"])
def test_flags_of_the_search_go_with_it(flags, call):
    done = call("theory", "deep-ufm", *flags.split())
    assert (done.code, done.out, done.err) == (1, "", f"deepcollapse: {flags.split()[0]} goes with --search.\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--classes 1", "theory compares classes: it needs at least 2 of them; got 1."),
        ("--decay 0", "every decay must be positive and finite, or the deep model has no least loss; got 0."),
        ("--depth 0", "a network has one weight matrix or more; got depth=0."),
        ("--width 0", "width must be 1 or more; got 0."),
        ("--width -1", "width must be 1 or more; got -1."),
        ("--search --seeds 0", "there is nothing to explore: no seed was given. Pass at least one."),
    ],
)
def test_errors(flags, message, call):
    done = call("theory", "deep-ufm", *flags.split(), "--json")
    assert (done.code, done.json["message"]) == (1, message)
