"""Data sets, one source a file: known ones by name, folders of images, the Hugging Face hub, and your own.

`load(name, split)` gives a `Dataset`; `DATASETS` has the facts of the known ones without importing torch.
"""

import importlib

from deepcollapse.datasets.facts import DatasetFacts
from deepcollapse.datasets.known import DATASETS, PREFIXES, find_facts
from deepcollapse.datasets.root import data_root

# torch is imported with the first of these that is used: lists and help must not wait for it.
_HOMES = {
    "load": "loading",
    "Dataset": "dataset",
    "UserData": "user",
    "as_dataset": "own",
    "class_balanced": "subsets",
    "step_imbalance": "subsets",
    "repeat_minority": "subsets",
    "long_tailed": "subsets",
    "label_noise": "subsets",
    "train_test": "subsets",
    "standardise_pixels": "standardise",
    "standardise_channels": "standardise",
}

__all__ = ["DATASETS", "PREFIXES", "DatasetFacts", "find_facts", "data_root", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse.datasets' has no attribute {name!r}")
    return getattr(importlib.import_module(f"deepcollapse.datasets.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
