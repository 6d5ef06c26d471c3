"""A small sweep that is done, for the tests of what is said about sweeps."""

import shutil
from pathlib import Path

import pytest
from quick import QUICK

import deepcollapse.report.sweep
from deepcollapse.cli import main
from deepcollapse.sweeps import SweepFolder
from shared_fixtures import measuring_few

RECIPE = QUICK[1:]
IN_PROCESS = ["--engine", "in-process"]
GRID = ["--grid", "rate=0.2,0.1", "--seeds", "2"]
WRITE_PAGE = deepcollapse.report.sweep.write_sweep_page


@pytest.fixture
def no_sweep_page(monkeypatch):
    """Its page is tested where it is drawn."""
    monkeypatch.setattr(deepcollapse.report.sweep, "write_sweep_page", lambda folder, out: out)


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A sweep of four runs that is done, to be read and not written."""
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    with pytest.MonkeyPatch.context() as patch, measuring_few():
        patch.setattr(deepcollapse.report.sweep, "write_sweep_page", lambda folder, out: out)
        assert main(["sweep", "run", *RECIPE, *GRID, *IN_PROCESS, "--out", str(folder), "--json"]) == 0
    return folder


@pytest.fixture
def sweep(swept, here, no_sweep_page):
    """A copy of it in the current folder."""
    shutil.copytree(swept, here / "sweep")
    return SweepFolder(Path("sweep"))


def again(*arguments):
    return ["sweep", "run", *RECIPE, *IN_PROCESS, "--out", "sweep", *arguments]
