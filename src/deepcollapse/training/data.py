"""The data of a recipe: both splits, thinned out, noised and standardised as it says."""

import os
from dataclasses import dataclass

from deepcollapse.datasets import (
    class_balanced,
    label_noise,
    load,
    long_tailed,
    standardise_channels,
    standardise_pixels,
    step_imbalance,
)
from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.user import UserData
from deepcollapse.errors import DataFileError, OptionError, UnknownNameError
from deepcollapse.training.recipe import Recipe

Split = Dataset | UserData


@dataclass(frozen=True)
class Splits:
    """Training data, and test data where there is a test split."""

    train: Split
    test: Split | None

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
    train = load(recipe.dataset, "train", root=root, download=download)
    test = _test_split(recipe, root, download)
    if not isinstance(train, Dataset):
        changed = (recipe.per_class, recipe.test_per_class, recipe.imbalance != "none", recipe.label_noise)
        if any(changed) or recipe.standardise == "channels":
            raise OptionError(
                f"{recipe.dataset} is read by your own code, so subsets, imbalance, label noise and standardisation "
                "are its own affair; leave those settings out."
            )
        return Splits(train, test)
    if recipe.per_class is not None:
        train = class_balanced(train, recipe.per_class, recipe.seed)
    if recipe.imbalance == "step":
        train = step_imbalance(train, recipe.minority, recipe.ratio, recipe.seed)
    if recipe.imbalance == "long-tailed":
        train = long_tailed(train, recipe.ratio, recipe.seed)
    if recipe.label_noise:
        train = label_noise(train, recipe.label_noise, recipe.seed)
    if isinstance(test, Dataset) and recipe.test_per_class is not None:
        test = class_balanced(test, recipe.test_per_class, recipe.seed)
    standardise = {"pixels": standardise_pixels, "channels": standardise_channels}.get(recipe.standardise)
    if standardise is not None:
        others = (test,) if isinstance(test, Dataset) else ()
        train, *rest = standardise(train, *others)
        test = rest[0] if rest else test
    return Splits(train, test)


def _test_split(recipe: Recipe, root: str | os.PathLike[str] | None, download: bool) -> Split | None:
    """The test split; data of the user's own may have none."""
    try:
        return load(recipe.dataset, "test", root=root, download=download)
    except (DataFileError, UnknownNameError, OptionError):
        if ":" not in recipe.dataset:
            raise
        return None
