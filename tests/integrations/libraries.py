"""To be imported before the libraries under test: they import torchvision where it is installed, and trip over it."""

import importlib.util

from shared_fixtures import one_thread  # noqa: F401 - taken by this folder's tests
from torchvision_shim import mend_torchvision

if importlib.util.find_spec("torchvision"):
    mend_torchvision()
