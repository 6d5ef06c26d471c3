"""To be imported before the libraries under test: they import torchvision where it is installed, and trip over it."""

import importlib.util
from collections.abc import Iterator

import pytest
import torch

from torchvision_shim import mend_torchvision

if importlib.util.find_spec("torchvision"):
    mend_torchvision()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks run fastest on one thread, most of all where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
