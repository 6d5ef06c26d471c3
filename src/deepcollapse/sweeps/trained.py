"""A run that is trained, with its network and data at hand, for whatever is measured of it afterwards."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from deepcollapse.errors import OptionError
from deepcollapse.networks import load_weights
from deepcollapse.records import Record, Run
from deepcollapse.training.data import Split, Splits
from deepcollapse.training.loop import build_network
from deepcollapse.training.place import OnDevice, Place
from deepcollapse.training.recipe import Recipe

AT_THE_END, AT_ONSET = "weights.safetensors", "weights-tpt-onset.safetensors"


@dataclass(frozen=True)
class Trained:
    """A trained run: its recipe, folder, data, and the device it was trained on."""

    recipe: Recipe
    run: Run
    splits: Splits
    place: Place

    def network(self, weights: str = AT_THE_END) -> nn.Module:
        """The network in eval mode with its weights at the end of training, or those of another file of the run."""
        network = load_weights(build_network(self.recipe, self.splits), self.run.path / weights)
        return self.place.settle(network).eval()

    def network_at_onset(self) -> nn.Module | None:
        """The network as it was at the onset of the terminal phase; None where that was never reached."""
        return self.network(AT_ONSET) if (self.run.path / AT_ONSET).is_file() else None

    def batches(self, split: Split, size: int | None = None) -> OnDevice:
        """The batches of a split on the device."""
        return self.place.batches(split.batches(size or self.place.evaluation_batch))


def afterwards(name: str) -> Callable[[Trained], Iterable[Record]]:
    """The function that a name package.module:function stands for. Raises OptionError where there is none."""
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f"there is no function {name!r} ({error}). Write package.module:function.") from error
    return found
