"""Descent on the deep model finds what the papers found, below collapse and above the bound, and loses nothing."""

import json
import math
import re

import pandas
import pytest

from deepcollapse.errors import OptionError, RunError
from deepcollapse.theory import exploration as exploring
from deepcollapse.theory.exploration import explore, summarise
from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures
from deepcollapse.theory.solvers import GradientDescent

uniform = DeepUnconstrainedFeatures.uniform
QUICK = GradientDescent(rate=0.2, steps=2000, gradient="by hand")
SMALL, SHORT = uniform(3, depth=3, decay=0.01, width=4), GradientDescent(steps=30)


@pytest.fixture(scope="module")
def deep():
    """Four layers and ten classes, at two decays."""
    return explore([uniform(10, depth=4, decay=decay, width=20) for decay in (0.004, 0.008)], QUICK, range(8))


def test_points_of_lower_rank_and_lower_loss_than_collapse_appear(deep):
    for decay in (0.004, 0.008):
        part = deep[deep["feature_decay"] == decay]
        assert (part["loss_ratio"] < 0.985).all()
        assert set(part["kind"]) == {"low-rank"}
        assert part["mean_rank"].between(4.5, 9).all()
    assert deep["loss_ratio"].min() < 0.9


def test_stronger_decay_leaves_lower_rank(deep):
    weak, strong = (deep[deep["feature_decay"] == decay]["mean_rank"].mean() for decay in (0.004, 0.008))
    assert strong < weak


def test_some_seeds_end_at_the_strongly_regular_graph():
    problem = uniform(10, depth=4, decay=0.008, width=20)
    # About one seed in ten; rounding decides which, so there are enough of them on any machine.
    found = explore([problem], GradientDescent(rate=1.0, steps=2000, gradient="by hand"), range(48))
    hits = found[found["kind"] == "strongly regular graph"]
    assert len(hits) > 0
    assert set(hits["ranks"].map(lambda ranks: ranks[:3])) == {(5, 5, 5)}
    least = problem.refined().loss
    assert hits["loss"].between(least, 1.005 * least).all()


@pytest.mark.parametrize(("num_classes", "depth"), [(10, 2), (6, 2), (2, 3), (2, 4)])
def test_two_layers_or_two_classes_end_at_collapse_or_above(num_classes, depth):
    solver = GradientDescent(rate=0.5, steps=2000, gradient="by hand")
    found = explore([uniform(num_classes, depth=depth, decay=0.004, width=12)], solver, range(8))
    assert (found["loss_ratio"] > 1 - 1e-9).all()
    assert (found["loss_ratio"] < 1 + 2e-3).sum() >= 4
    # With two layers the negative entries before the ReLU are free up to a simplex ETF: then rank is K-1 there, and
    # such a point goes as "other".
    assert set(found["kind"]) <= {"collapsed", "other", "dead class", "trivial"}
    if num_classes == 2:
        assert (found["kind"] == "collapsed").sum() >= 4


def test_no_loss_falls_below_the_bound(deep):
    assert (deep["loss"] > deep["lower_bound"]).all()
    assert deep["collapsed_loss"].nunique() == 2
    assert deep["collapsed_loss"].iloc[0] == pytest.approx(0.099179874636, abs=1e-11)


def test_nothing_is_called_solved(deep):
    assert set(deep["outcome"]) == {"step limit"}
    assert deep["words"].str.match(r"Not solved: the limit of steps was reached; .* it may lie \S+ too high\.").all()


def test_rates_that_diverge_are_told_and_the_others_are_as_alone():
    problem = uniform(4, depth=3, decay=0.004, width=6)
    rates = [GradientDescent(rate=rate, steps=300, gradient="by hand") for rate in (0.05, 0.1, 40.0)]
    found = explore([problem], rates, range(3))
    assert found["rate"].tolist() == [0.05] * 3 + [0.1] * 3 + [40.0] * 3
    assert found["seed"].tolist() == [0, 1, 2] * 3
    wild, tame = found[found["rate"] == 40], found[found["rate"] < 1]
    assert set(wild["kind"]) == set(wild["outcome"]) == {"diverged"}
    assert wild[["loss", "loss_ratio", "mean_rank"]].isna().all(axis=None)
    alone = explore([problem], rates[1], range(3))
    assert tame["loss"].tolist()[3:] == pytest.approx(alone["loss"].tolist(), rel=1e-12)
    counts = summarise(found)
    assert counts["diverged"].tolist() == [0, 0, 3]
    assert counts["seeds"].tolist() == [3, 3, 3]
    assert counts["mean_rank"].isna().tolist() == [False, False, True]


def test_summary_counts_kinds_and_takes_ratios(deep):
    counts = summarise(deep)
    assert counts["feature_decay"].tolist() == [0.004, 0.008]
    assert counts["below"].tolist() == [8, 8]
    assert counts[["collapsed", "at_collapse"]].to_numpy().tolist() == [[0, 0], [0, 0]]
    first = deep[deep["feature_decay"] == 0.004]["loss_ratio"]
    assert counts.loc[0, ["best", "median"]].tolist() == pytest.approx([first.min(), first.median()])


def test_rows_are_kept_as_they_come_and_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "found.jsonl"
    problems = [SMALL, uniform(3, depth=3, decay=0.01, width=5)]
    solvers = [SHORT, GradientDescent(steps=30, rate=1e9)]
    whole = explore(problems, solvers, range(2))
    stopped = []

    def stop(share):
        stopped.append(share)
        if share == 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(problems, solvers, range(2), path=path, progress=stop)
    with path.open("a") as file:
        file.write('{"num_classes": 3, "torn')
    assert stopped == sorted(stopped)
    computed = []
    monkeypatch.setattr(exploring, "_row", lambda solution: computed.append(solution) or row_of(solution))
    resumed = explore(problems, solvers, range(2), path=path)
    assert [solution.problem.width for solution in computed] == [5] * 4
    pandas.testing.assert_frame_equal(resumed, whole)
    pandas.testing.assert_frame_equal(explore(problems, solvers, range(2), path=path), whole)
    assert len(computed) == 4
    lines = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert len(lines) == 8


row_of = exploring._row


def test_seeds_of_one_program_are_kept_as_they_come(tmp_path, monkeypatch):
    """A search of one width, decay and rate loses one small batch, not all."""
    path, seeds = tmp_path / "found.jsonl", range(5)
    monkeypatch.setattr(exploring, "KEPT_TOGETHER", 2)

    def stop(share):
        if share > 0.8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore([SMALL], SHORT, seeds, path=path, progress=stop)
    assert exploring.kept([SMALL], [SHORT], seeds, path) == 4
    resumed = explore([SMALL], SHORT, seeds, path=path)
    whole = explore([SMALL], SHORT, seeds)
    assert resumed["loss"].tolist() == pytest.approx(whole["loss"].tolist(), rel=1e-12)


def test_what_is_asked_for_twice_is_computed_once(monkeypatch):
    computed = []
    monkeypatch.setattr(exploring, "_row", lambda solution: computed.append(solution) or row_of(solution))
    found = explore([SMALL, SMALL], SHORT, [0])
    assert (len(found), len(computed)) == (2, 1)


def test_a_path_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(exploring, "_batches", lambda *_: pytest.fail("computed"))
    message = f"what is found cannot be written to {tmp_path}: Is a directory. Name another file."
    with pytest.raises(RunError, match=f"^{re.escape(message)}$"):
        explore([SMALL], SHORT, [0], path=tmp_path)


def test_rows_hold_what_was_asked_and_what_was_found():
    row = explore([SMALL], SHORT, [5]).iloc[0]
    settings = {"num_classes": 3, "per_class": 1, "depth": 3, "width": 4, "feature_decay": 0.01, "rate": 0.1}
    assert {name: row[name] for name in settings} == settings
    assert (row["max_steps"], row["steps"], row["seed"], row["gradient"]) == (30, 30, 5, "autograd")
    assert row["weight_decays"] == (0.01, 0.01, 0.01)
    assert len(row["ranks"]) == 3
    assert row["loss_ratio"] == pytest.approx(row["loss"] / row["collapsed_loss"])
    assert math.isfinite(row["lower_bound"])


@pytest.mark.parametrize("missing", ["problem", "solver", "seed"])
def test_nothing_to_explore_is_refused(missing):
    asked = [[] if missing == name else one for name, one in (("problem", [SMALL]), ("solver", [SHORT]), ("seed", [0]))]
    message = f"there is nothing to explore: no {missing} was given. Pass at least one."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        explore(*asked)


@pytest.mark.parametrize("content", ["no rows\n", '{"seed": 1}\n', "[1]\n"])
def test_another_file_is_left_alone(tmp_path, content):
    path = tmp_path / "other.txt"
    path.write_text(content)
    message = f"{path} holds no rows of an exploration. Name a file that is not there yet."
    with pytest.raises(RunError, match=f"^{re.escape(message)}$"):
        explore([SMALL], SHORT, [0], path=path)
    assert path.read_text() == content
