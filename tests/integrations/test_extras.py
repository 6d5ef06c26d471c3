"""What an integration says without its library, or beside a torchvision that was made for another torch."""

import re
import subprocess
import sys

import pytest

from deepcollapse import errors, integrations

NEEDS = {
    "torchmetrics": ("NeuralCollapse", "torchmetrics", "torchmetrics"),
    "lightning": ("NeuralCollapseCallback", "lightning", "lightning"),
    "transformers.trainer_callback": ("NeuralCollapseTrainerCallback", "transformers", "hf"),
}


@pytest.fixture
def afresh(monkeypatch):
    """The modules of integrations are imported anew, and then again as they were."""
    for name in [name for name in sys.modules if name.startswith("deepcollapse.integrations.")]:
        if not name.endswith("extras"):
            monkeypatch.delitem(sys.modules, name)
    return monkeypatch


@pytest.mark.parametrize("module", NEEDS)
def test_absent_libraries(afresh, module):
    name, package, extra = NEEDS[module]

    class Absent:
        def find_spec(self, wanted, *_):
            if wanted.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == package]:
        afresh.delitem(sys.modules, loaded)
    afresh.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    message = f"{name} needs the package {package}, which is not installed. "
    message += f"Install it with: pip install 'deepcollapse[{extra}]'"
    with pytest.raises(errors.MissingExtraError, match=f"^{re.escape(message)}$"):
        getattr(integrations, name)


def test_a_torchvision_that_does_not_load(afresh):
    class Broken:
        def find_spec(self, wanted, *_):
            if wanted == "torchmetrics":
                try:
                    raise RuntimeError("operator torchvision::nms does not exist")
                except RuntimeError as error:
                    raise ModuleNotFoundError("Could not import module 'Metric'.") from error

    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "torchmetrics"]:
        afresh.delitem(sys.modules, loaded)
    afresh.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    message = (
        "NeuralCollapse needs the package torchmetrics, which is installed but does not load "
        "(RuntimeError: operator torchvision::nms does not exist). Where the message names torchvision, its build does "
        "not fit this torch: uninstall it if you do not use it, or install both anew from one source, for example with "
        "uv pip install --reinstall --torch-backend=auto torch torchvision."
    )
    with pytest.raises(errors.MissingExtraError, match=f"^{re.escape(message)}$"):
        _ = integrations.NeuralCollapse


def test_other_names():
    with pytest.raises(AttributeError, match=r"^module 'deepcollapse\.integrations' has no attribute 'Callback'$"):
        _ = integrations.Callback  # pyright: ignore[reportAttributeAccessIssue]
    assert {"NeuralCollapse", "NeuralCollapseCallback"} <= set(dir(integrations))


def test_importing_integrations_imports_no_library():
    code = "import sys, deepcollapse.integrations; print({'torch', 'lightning', 'torchmetrics'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
