"""`deepcollapse theory phase-diagram`: one page, and the numbers behind it."""

import csv
import math
import re

import pytest

from deepcollapse.cli.theory import tables
from deepcollapse.cli.theory.phase_diagram import PhaseDiagram

SMALL = ["theory", "phase-diagram", "--classes", 6, "--majorities", 3, "--feature-budgets", 1, "--highest-ratio", 10]
SMALL += ["--depths", 3, 4, "--most-classes", 6]

pytestmark = pytest.mark.usefixtures("here", "coarse")


@pytest.fixture
def coarse(monkeypatch):
    """Few points a curve: shapes are checked at every call while tests run."""
    monkeypatch.setattr(tables, "PER_DECADE", 2)
    monkeypatch.setattr(tables, "BUDGETS", 3)
    monkeypatch.setattr(tables, "HALVINGS", 1)


@pytest.fixture
def no_page(monkeypatch):
    """Pages are tested where they are drawn."""
    import deepcollapse.report.theory.page

    monkeypatch.setattr(deepcollapse.report.theory.page, "write_theory_page", lambda diagram, out: out)


def test_the_page_and_its_numbers(call, here):
    done = call(*SMALL, "--csv", "numbers", "--weight-decay", 1e-3, "--feature-decay", 1e-3, "--per-class", 50)
    assert (done.code, done.err) == (0, "")
    assert re.match(r"Solving \d+ deep models; this takes some seconds\.\n", done.out)
    assert done.out.endswith("\nPage: theory.html\nNumbers: numbers\n")
    assert max(map(len, done.out.splitlines())) <= 80
    page = (here / "theory.html").read_text(encoding="utf-8")
    assert "3 majority and 3 minority classes" in page
    assert "unconstrained features" in page
    names = ["angles", "boundaries", "depths", "thresholds"]
    assert sorted(file.stem for file in (here / "numbers").iterdir()) == names
    with (here / "numbers" / "thresholds.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert float(row["collapse_ratio"]) == tables.thresholds(6, [3], 1.0, [1.0])[0]["collapse_ratio"]


@pytest.mark.usefixtures("no_page")
def test_the_numbers_as_json(call):
    done = call(*SMALL, "--json")
    assert [*done.json] == ["page", "settings", "angles", "thresholds", "boundaries", "depths"]
    assert {row["model"] for row in done.json["angles"]} == {"layer-peeled model", "SELI"}
    assert done.json["settings"]["majorities"] == [3]


def test_three_shares_of_majority_classes_where_none_are_named():
    assert [PhaseDiagram(classes=size).shares() for size in (10, 4, 3)] == [[3, 5, 7], [1, 2], [1]]


def test_thresholds_are_those_of_the_model():
    rows = tables.thresholds(10, [3, 5, 7], 1.0, [5.0, 10.0])
    found = [row["collapse_ratio"] for row in rows]
    assert found == pytest.approx([245.49693, 6350.8465, 12.192447, 81.102206, 4.0004667, 13.665857], rel=1e-6)
    assert [row["erasure_ratio"] for row in rows][4:] == pytest.approx([5.7053302, 26.240902], rel=1e-6)
    assert all(math.isinf(row["erasure_ratio"]) for row in rows[:4])


def test_angles_close_at_the_threshold_and_end_at_erasure():
    marks = tables.thresholds(10, [7], 1.0, [5.0])
    rows = [row for row in tables.angles(10, marks, 1.0, 10.0, (), 1) if row["phase"]]
    phases = {phase: [row for row in rows if row["phase"] == phase] for phase in ("full", "collapse", "erased")}
    assert rows[0]["angle"] == pytest.approx(math.degrees(math.acos(-1 / 9)), abs=1e-6)
    assert max(row["ratio"] for row in phases["full"]) < marks[0]["collapse_ratio"]
    assert min(row["ratio"] for row in phases["collapse"]) == marks[0]["collapse_ratio"]
    assert min(row["ratio"] for row in phases["erased"]) == marks[0]["erasure_ratio"]
    assert {row["angle"] for row in phases["collapse"]} == {0.0}
    assert all(math.isnan(row["angle"]) for row in phases["erased"])


def test_unconstrained_features_collapse_where_their_rule_says():
    marks = tables.thresholds(4, [2], 1.0, [1.0])
    rows = tables.angles(4, marks, 1.0, 50.0, (0.01, 0.02), 100)
    own = [row for row in rows if row["model"] == "unconstrained features"]
    for row in own:
        count = 100 / row["ratio"]
        rule = count <= (2 * 100 + 2 * count) ** 2 * 0.01 * 0.02
        assert (row["phase"] == "collapse") == rule
    assert {row["phase"] for row in own} == {"full", "collapse"}


def test_low_rank_is_compared_over_depth_and_classes():
    rows = {(row["classes"], row["depth"]): row for row in tables.depths([2, 6, 10], [1, 3, 4], 0.004)}
    assert rows[10, 3]["kappa_ratio"] == pytest.approx(0.923437, abs=1e-6)
    assert rows[10, 4]["kappa_ratio"] == pytest.approx(0.816808, abs=1e-6)
    assert rows[10, 4]["loss_ratio"] == pytest.approx(0.080911332199 / 0.099179874636, rel=1e-9)
    assert rows[6, 3]["loss_ratio"] > 1
    assert rows[2, 4]["low_rank"] is None
    assert math.isnan(rows[2, 4]["loss_ratio"])
    assert math.isnan(rows[10, 1]["kappa_ratio"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--classes 2",
            "imbalance closes the angle of two minority classes beside a majority: it takes 3 classes or more; "
            "got --classes 2.",
        ),
        (
            "--majorities 0 9",
            "of 10 classes, 1 to 8 can be majority classes, so that two minority classes are left; got "
            "--majorities 0 9.",
        ),
        ("--weight-decay 1e-3", "--weight-decay and --feature-decay go together: give both, or neither."),
        ("--highest-ratio 1", "the largest imbalance must be finite and above 1; got --highest-ratio 1."),
        ("--highest-ratio inf", "the largest imbalance must be finite and above 1; got --highest-ratio inf."),
        ("--per-class 0", "--per-class is a number of samples, 1 or more; got 0."),
        ("--feature-budgets -1", "feature_budget is a mean squared length: it must be finite and above 0; got -1."),
        ("--feature-budgets 5 -1", "feature_budget is a mean squared length: it must be finite and above 0; got -1."),
        ("--feature-budgets nan", "feature_budget is a mean squared length: it must be finite and above 0; got nan."),
        ("--weight-budget -1", "weight_budget is a mean squared length: it must be finite and above 0; got -1."),
        ("--feature-budgets 0", "feature_budget is a mean squared length: it must be finite and above 0; got 0."),
        ("--feature-budgets", "name at least one of the feature budgets, for example --feature-budgets 5."),
        ("--decay 0", "every decay must be positive and finite, or the deep model has no least loss; got 0."),
    ],
)
def test_errors(flags, message, call):
    done = call("theory", "phase-diagram", *flags.split(), "--json")
    assert (done.code, done.json["message"]) == (1, message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--csv", "file/numbers"], "the numbers cannot be written to file/numbers: Not a directory."),
        (["--csv", "file"], "the numbers cannot be written to file: File exists."),
        (["--out", "folder"], "the page cannot be written to folder: it is a folder. Name a file."),
        (["--out", "file/page.html"], "the page cannot be written to file/page.html: File exists."),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(flags, message, call, here, monkeypatch):
    monkeypatch.setattr(PhaseDiagram, "diagram", lambda _: pytest.fail("worked first"))
    (here / "file").write_text("")
    (here / "folder").mkdir()
    done = call(*SMALL, *flags)
    assert (done.code, done.out, done.err) == (1, "", f"deepcollapse: {message}\n")
