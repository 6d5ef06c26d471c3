import shutil

import pytest

from deepcollapse.sweeps import run_sweep
from sweep_extras import SWEEP


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A sweep of two runs that are done, to be read and not written."""
    folder = tmp_path_factory.mktemp("finished") / "s"
    run_sweep(SWEEP, folder)
    return folder


@pytest.fixture
def there(finished, tmp_path):
    """A sweep of two runs that are done, to be spoilt."""
    return shutil.copytree(finished, tmp_path / "s")
