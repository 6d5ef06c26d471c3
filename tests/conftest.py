import importlib.util
import sys
from pathlib import Path

import pytest

# What several test folders use.
sys.path.insert(0, str(Path(__file__).parent / "support"))


@pytest.fixture(scope="session")
def vision() -> None:
    """timm and torchvision can be imported, with the shim where they need it."""
    for package in ("timm", "torchvision"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    from torchvision_shim import mend_torchvision

    mend_torchvision()
