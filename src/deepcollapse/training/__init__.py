"""Training: a recipe as one frozen value, and a plain loop that measures as it goes."""

import importlib

from deepcollapse.training.recipe import Recipe
from deepcollapse.training.watch import EpochReport, Watcher

# torch is imported with the first of these that is used: the command line reads recipes without it.
_HOMES = {"train": "loop", "prepare": "data"}

__all__ = ["Recipe", "train", "prepare", "EpochReport", "Watcher"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"deepcollapse.training.{_HOMES[name]}"), name)
