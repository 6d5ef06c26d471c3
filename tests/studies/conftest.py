from collections.abc import Iterator
from pathlib import Path

import pytest

from shared_fixtures import measuring, one_thread  # noqa: F401 - taken by this folder's tests


@pytest.fixture(autouse=True, scope="module")
def lean(request: pytest.FixtureRequest) -> Iterator[None]:
    """While networks train, what a module of tests names in MEASURES is measured and nothing else."""
    if not hasattr(request.module, "MEASURES"):
        yield
        return
    with measuring(*request.module.MEASURES):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module of tests keeps its healthy study."""
    return tmp_path_factory.mktemp("kept") / "study"
