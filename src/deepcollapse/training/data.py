"""The data of a recipe: both splits, thinned out, noised and standardised as it says."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from deepcollapse.datasets import (
    class_balanced,
    label_noise,
    load,
    long_tailed,
    repeat_minority,
    standardise_channels,
    standardise_pixels,
    step_imbalance,
)
from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.user import UserData
from deepcollapse.errors import BatchError, DataFileError, OptionError
from deepcollapse.training.recipe import Recipe

Split = Dataset | UserData


@dataclass(frozen=True)
class Splits:
    """Training data, and test data where there is a test split; `untested` is the reason where there is none."""

    train: Split
    test: Split | None
    untested: str | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names. Raises OptionError where the source names none."""
        if self.train.class_names is None:
            raise OptionError(
                f"{self.train.name} does not name its classes; give the data a `classes` attribute, "
                "or return a deepcollapse.datasets.Dataset."
            )
        return self.train.class_names

    def digests(self) -> dict[str, str]:
        """The digest of each split; user data cannot be hashed and says so."""
        splits = {"train": self.train, "test": self.test}
        return {
            name: split.digest or "not hashed: read by the user's own code" for name, split in splits.items() if split
        }


def prepare(recipe: Recipe, root: str | os.PathLike[str] | None = None, download: bool = False) -> Splits:
    """Load and prepare the data of a recipe; all draws follow its seed. Errors are those of `deepcollapse.datasets`."""
    return changed(load_splits(recipe.dataset, root, download), recipe)


def changed(splits: Splits, recipe: Recipe) -> Splits:
    """Data as they were loaded, thinned out, noised and standardised as a recipe says."""
    train, test = splits.train, splits.test
    if not isinstance(train, Dataset):
        _refuse_changes(recipe)
        return splits
    train = _changed(train, recipe)
    if isinstance(test, Dataset) and recipe.test_per_class is not None:
        test = class_balanced(test, recipe.test_per_class, recipe.seed)
    standardise = {"pixels": standardise_pixels, "channels": standardise_channels}.get(recipe.standardise)
    if standardise is not None:
        others = (test,) if isinstance(test, Dataset) else ()
        train, *rest = standardise(train, *others)
        test = rest[0] if rest else test
    if recipe.oversample > 1:  # after standardising: what the network sees of an image does not depend on it
        train = repeat_minority(train, recipe.minority, recipe.oversample)
    return replace(splits, train=train, test=test)


def load_splits(dataset: str, root: str | os.PathLike[str] | None = None, download: bool = False) -> Splits:
    """Both splits as they are; folders, hub data sets and the user's own data may have no test split."""
    train = load(dataset, "train", root=root, download=download)
    try:
        return Splits(train, load(dataset, "test", root=root, download=download))
    except (BatchError, DataFileError, OptionError) as error:
        if ":" not in dataset:
            raise
        return Splits(train, None, untested=str(error))


def _changed(train: Dataset, recipe: Recipe) -> Dataset:
    """The training data thinned out and noised, in this order."""
    if recipe.per_class is not None:
        train = class_balanced(train, recipe.per_class, recipe.seed)
    if recipe.imbalance == "step":
        train = step_imbalance(train, recipe.minority, recipe.ratio, recipe.seed)
    if recipe.imbalance == "long-tailed":
        train = long_tailed(train, recipe.ratio, recipe.seed)
    if recipe.label_noise:
        train = label_noise(train, recipe.label_noise, recipe.seed)
    return train


def _refuse_changes(recipe: Recipe) -> None:
    """Data that only the user's code can read is taken as it comes."""
    changed = (recipe.per_class, recipe.test_per_class, recipe.imbalance != "none", recipe.label_noise)
    if any(changed) or recipe.standardise == "channels":
        raise OptionError(
            f"{recipe.dataset} is read by your own code, so subsets, imbalance, label noise and standardisation "
            "are its own affair; leave those settings out."
        )


def training_batches(
    recipe: Recipe, splits: Splits, network: nn.Module, order: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of one epoch: those of a single sample are left out where batch norm finds no variance in them."""
    alone_too = not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
    for x, y in splits.train.batches(recipe.batch, generator=order):
        if alone_too or len(y) > 1:
            yield x, y
