from pathlib import Path

import pytest
from small import SMALL, Stop

from deepcollapse.training import train
from shared_fixtures import few_measures, measuring_few, one_thread  # noqa: F401 - taken by this folder's tests


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """The small recipe trained from start to end without a break; nobody writes to it."""
    with measuring_few():
        return train(SMALL, tmp_path_factory.mktemp("whole") / "run", threads=1).path


@pytest.fixture
def broken_off(tmp_path):
    """Makes a run that was stopped by Ctrl-C at the end of an epoch."""

    def make(epoch, recipe=SMALL):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", threads=1, watcher=Stop(epoch))
        return tmp_path / "run"

    return make
