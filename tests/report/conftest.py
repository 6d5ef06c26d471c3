import pytest
from sample import make_run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run that collapses; nobody writes to it."""
    return make_run(tmp_path_factory.mktemp("runs") / "steady")


@pytest.fixture(scope="session")
def slow(tmp_path_factory):
    """A run that collapses only in part."""
    return make_run(tmp_path_factory.mktemp("runs") / "slow", collapse=0.4, seed=1)
