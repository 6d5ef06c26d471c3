from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from small import SMALL, Stop

import deepcollapse.training.loop
from deepcollapse.measurement import measure
from deepcollapse.training import train


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks run fastest on one thread, most of all where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def few_measures() -> Iterator[None]:
    """Training measures what these tests look at; all measures together are tested where they live."""
    names = ["within_class_variability", "cdnv", "equinorm", "equiangularity", "self_duality", "mean_norm"]
    with pytest.MonkeyPatch.context() as patch:
        how = {"measures": [*names, "nearest_class_mean_*"]}
        patch.setattr(deepcollapse.training.loop, "measure", partial(measure, **how))
        yield


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """The small recipe trained from start to end without a break; nobody writes to it."""
    return train(SMALL, tmp_path_factory.mktemp("whole") / "run", threads=1).path


@pytest.fixture
def broken_off(tmp_path):
    """Makes a run that was stopped by Ctrl-C at the end of an epoch."""

    def make(epoch, recipe=SMALL):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", threads=1, watcher=Stop(epoch))
        return tmp_path / "run"

    return make
