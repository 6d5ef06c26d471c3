import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from quick import QUICK
from swept import no_sweep_page, sweep, swept  # noqa: F401

import deepcollapse.report
from deepcollapse.cli import main
from shared_fixtures import few_measures, measuring_few, one_thread  # noqa: F401 - taken by this folder's tests


@pytest.fixture
def here(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty current folder, 80 columns wide; modules imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.fixture
def call(capsys):
    """Calls the command in this process: exit code, standard output, standard error, and the output read as JSON."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        read = json.loads(out, parse_constant=_refuse) if "--json" in arguments else None
        return SimpleNamespace(code=code, out=out, err=err, json=read)

    return run


def _refuse(constant):
    raise AssertionError(f"{constant} is not strict JSON")


@pytest.fixture
def no_page(monkeypatch):
    """Pages take a second each, and are tested where they are drawn."""
    monkeypatch.setattr(deepcollapse.report, "write_page", lambda run, out: out)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A run of the command, to be read and not written."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with measuring_few():
        assert main([*QUICK, "--out", str(folder)]) == 0
    return folder
