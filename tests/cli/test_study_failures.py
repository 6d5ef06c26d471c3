"""What is told of a study's runs that failed: each error once, and where its traceback is."""

import pytest

from deepcollapse.cli.failures import show_failures
from deepcollapse.records.study import Failure


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_an_error_is_told_once_with_how_many_runs_met_it(capsys, tmp_path):
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / "aaa.txt").write_text("Traceback ...")
    many = [
        Failure("aaa", "rate=0.1 seed=0", "OptionError: no such thing\nand more"),
        Failure("bbb", "rate=0.1 seed=1", "DivergedError: it diverged; see runs/bbb"),
        Failure("eee", "rate=0.1 seed=2", "DivergedError: it diverged; see runs/eee"),
        Failure("ccc", "rate=0.2 seed=0", "OptionError: no such thing"),
        Failure("ddd", "rate=0.2 seed=1", "OptionError: no such thing"),
    ]
    show_failures(many, tmp_path)
    assert capsys.readouterr().out == (
        "\nFailed: rate=0.1 seed=0 and 2 others: OptionError: no such thing\n"
        f"  Traceback: {tmp_path}/failures/aaa.txt\n"
        "\nFailed: rate=0.1 seed=1 and 1 other: DivergedError: it diverged; see runs/bbb\n"
    )


def test_of_many_errors_the_first_few_are_told(capsys, tmp_path):
    show_failures([Failure(f"run{i}", "", f"Error: {i}") for i in range(9)], tmp_path)
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line] == [
        *(f"Failed: run run{i}: Error: {i}" for i in range(5)),
        f"9 runs failed; the tracebacks of the others lie in {tmp_path}/failures.",
    ]


def test_without_failures_nothing_is_told(capsys, tmp_path):
    show_failures([], tmp_path)
    assert capsys.readouterr().out == ""
