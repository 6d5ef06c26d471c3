"""The data of a sweep's recipes, read once where several recipes share them."""

import os
from functools import lru_cache

from deepcollapse.training.data import Splits, changed, load_splits
from deepcollapse.training.recipe import Recipe

# The settings that decide the data; the seed only does where something is drawn.
DATA = (
    "dataset", "standardise", "per_class", "test_per_class", "imbalance", "ratio", "minority", "oversample",
    "label_noise",
)  # fmt: skip


class Shelf:
    """Data that were read before. Raw data of two sets are kept, and the last that were made ready from them.

    Data that only the user's own code can read have no digest: whether they are still the same is for their owner to
    see to. Images that are decoded when asked for count by their names and sizes.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, download: bool = False):
        self.root, self.download = root, download
        self.raw = lru_cache(maxsize=2)(self._raw)
        self._key: tuple[object, ...] = ()
        self._ready: Splits | None = None
        self._digests: dict[str, dict[str, str]] = {}

    def of(self, recipe: Recipe) -> Splits:
        """The data of a recipe, ready to train on; errors are those of `prepare`."""
        key = data_key(recipe)
        if self._ready is None or key != self._key:
            self._ready, self._key = changed(self.raw(recipe.dataset), recipe), key
        return self._ready

    def digests(self, dataset: str) -> dict[str, str]:
        """The digests of a data set's splits as they were read, before any recipe changed them; worked out once."""
        if dataset not in self._digests:
            self._digests[dataset] = self.raw(dataset).digests()
        return self._digests[dataset]

    def _raw(self, dataset: str) -> Splits:
        return load_splits(dataset, self.root, self.download)


def data_key(recipe: Recipe) -> tuple[object, ...]:
    """What two recipes must share to be trained on the very same data.

    >>> data_key(Recipe(seed=1)) == data_key(Recipe(seed=2)), data_key(Recipe(per_class=9)) == data_key(Recipe())
    (True, False)
    """
    drawn = recipe.per_class or recipe.test_per_class or recipe.label_noise or recipe.imbalance != "none"
    return (*(getattr(recipe, name) for name in DATA), recipe.seed if drawn else None)
