"""Fixtures of several test folders; a folder takes one by importing it into its conftest."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks run fastest on one thread, most of all where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def measuring(*names: str) -> Iterator[None]:
    """Training measures these; all measures together are tested where they live."""
    import deepcollapse.training.loop
    from deepcollapse.measurement import measure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deepcollapse.training.loop, "measure", partial(measure, measures=[*names]))
        yield


def measuring_few() -> AbstractContextManager[None]:
    """Training measures what tests of commands and of training look at."""
    names = ("within_class_variability", "cdnv", "equinorm", "equiangularity", "self_duality", "mean_norm")
    return measuring(*names, "nearest_class_mean_*")


@pytest.fixture(autouse=True, scope="module")
def few_measures() -> Iterator[None]:
    """Few measures in a module of tests, and all again after it; fixtures of a whole session ask for it themselves."""
    with measuring_few():
        yield
