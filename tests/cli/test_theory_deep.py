"""`deepcollapse theory deep-ufm`: known solutions, and what descent finds."""

import json

import pytest

import deepcollapse.theory.exploration

SEARCH = ["theory", "deep-ufm", "--classes", 3, "--depth", 2, "--search", "--seeds", 2, "--steps", 200]

pytestmark = pytest.mark.usefixtures("here")


def test_known_solutions_to_every_digit(call):
    done = call("theory", "deep-ufm", "--json")
    assert (done.code, done.err) == (0, "")
    assert [*done.json] == ["lower_bound", "best", "optimal", "because", "collapse_wins", "solutions"]
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
        ("--decay 0.5", "with 10 classes and 4 layers all zero is optimal, because"),
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


def test_ctrl_c_says_what_is_kept(call, here, monkeypatch):
    def stopped(*_, path, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(deepcollapse.theory.exploration, "explore", stopped)
    done = call(*SEARCH)
    assert (done.code, done.err) == (130, "deepcollapse: Stopped before any start had ended.\n")
    (here / "deep-ufm.jsonl").write_text("{}\n")
    done = call(*SEARCH)
    words = "Stopped; deep-ufm.jsonl keeps what was found. The same command goes on from there."
    assert (done.code, done.err) == (130, f"deepcollapse: {words}\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--classes 1", "theory compares classes: it needs at least 2 of them; got 1."),
        ("--decay 0", "every decay must be positive and finite, or the deep model has no least loss; got 0."),
        ("--depth 0", "a network has one weight matrix or more; got depth=0."),
        ("--width -1", "width must be 1 or more; got -1."),
        ("--search --seeds 0", "there is nothing to explore: no seed was given. Pass at least one."),
    ],
)
def test_errors(flags, message, call):
    done = call("theory", "deep-ufm", *flags.split(), "--json")
    assert (done.code, done.json["message"]) == (1, message)
