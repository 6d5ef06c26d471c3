import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from quick import QUICK

import deepcollapse.report
import deepcollapse.training.loop
from deepcollapse.cli import main
from deepcollapse.measurement import measure


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks run fastest on one thread, most of all where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.fixture(autouse=True, scope="session")
def few_measures() -> Iterator[None]:
    """Training measures what these tests look at; all measures together are tested where they live."""
    names = ["within_class_variability", "cdnv", "equinorm", "equiangularity", "self_duality", "mean_norm"]
    with pytest.MonkeyPatch.context() as patch:
        how = {"measures": [*names, "nearest_class_mean_*"]}
        patch.setattr(deepcollapse.training.loop, "measure", partial(measure, **how))
        yield


@pytest.fixture
def no_page(monkeypatch):
    """Pages take a second each, and are tested where they are drawn."""
    monkeypatch.setattr(deepcollapse.report, "write_page", lambda run, out: out)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A run of the command, to be read and not written."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main([*QUICK, "--out", str(folder)]) == 0
    return folder
