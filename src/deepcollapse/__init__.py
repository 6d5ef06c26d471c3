"""The geometry of trained classifiers: neural collapse measured at every layer, beside what theory holds optimal.

Start with `deepcollapse.measure(network, batches)`, or `deepcollapse.Monitor` inside a loop of your own. Names are
imported when first used, so that `import deepcollapse` takes no time.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcollapse.geometry import ClassMoments, collect
    from deepcollapse.measurement import Measurement, Monitor, measure, measure_features, measure_weights
    from deepcollapse.records import read_records

__version__ = "0.1.0"

# Where each public name lives: importing torch takes seconds, and `deepcollapse --help` should not.
_HOMES = {
    "ClassMoments": "deepcollapse.geometry",
    "collect": "deepcollapse.geometry",
    "measure": "deepcollapse.measurement",
    "measure_features": "deepcollapse.measurement",
    "measure_weights": "deepcollapse.measurement",
    "Measurement": "deepcollapse.measurement",
    "Monitor": "deepcollapse.measurement",
    "read_records": "deepcollapse.records",
}

__all__ = [
    "ClassMoments",
    "collect",
    "measure",
    "measure_features",
    "measure_weights",
    "Measurement",
    "Monitor",
    "read_records",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
