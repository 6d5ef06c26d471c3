import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared_fixtures import one_thread  # noqa: F401 - taken by this folder's tests


@pytest.fixture
def here(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty current folder; modules imported from it and its place on the path are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
