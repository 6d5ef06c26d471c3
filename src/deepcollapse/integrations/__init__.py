"""Measuring inside other libraries: torchmetrics, Lightning and the Trainer of transformers, each an extra."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcollapse.integrations.lightning import NeuralCollapseCallback
    from deepcollapse.integrations.torchmetrics import NeuralCollapse
    from deepcollapse.integrations.transformers import NeuralCollapseTrainerCallback

# Where each name lives: a library is imported when its name is first used.
_HOMES = {
    "NeuralCollapse": "deepcollapse.integrations.torchmetrics",
    "NeuralCollapseCallback": "deepcollapse.integrations.lightning",
    "NeuralCollapseTrainerCallback": "deepcollapse.integrations.transformers",
}

__all__ = ["NeuralCollapse", "NeuralCollapseCallback", "NeuralCollapseTrainerCallback"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse.integrations' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
