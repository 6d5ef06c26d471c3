"""`load(name, split)`: every data set by its name, from files that are there or, only when asked, from its source."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from deepcollapse.datasets.cifar import load_cifar_binary, load_cifar_pickle
from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.digits import load_digits
from deepcollapse.datasets.download import download as fetch
from deepcollapse.datasets.facts import DatasetFacts
from deepcollapse.datasets.folder import DEFAULT_SIZE, load_folder
from deepcollapse.datasets.huggingface import load_huggingface
from deepcollapse.datasets.idx import load_idx
from deepcollapse.datasets.imagenet import load_imagenet
from deepcollapse.datasets.iris import load_iris
from deepcollapse.datasets.known import find_facts
from deepcollapse.datasets.mnist1d import load_mnist1d
from deepcollapse.datasets.parquet import load_parquet
from deepcollapse.datasets.root import MissingFilesError, data_root, missing
from deepcollapse.datasets.stl10 import load_stl10
from deepcollapse.datasets.svhn import load_svhn
from deepcollapse.datasets.user import UserData, load_user_data
from deepcollapse.errors import OptionError

# Those that need no files.
_EMBEDDED: dict[str, Callable[[str], Dataset]] = {"digits": load_digits, "iris": load_iris, "mnist1d": load_mnist1d}
# How the files of each set may be laid out: the first layout that is found is read.
_LAYOUTS: dict[str, tuple[Callable[[DatasetFacts, str, Path], Dataset | None], ...]] = {
    "mnist": (load_idx, load_parquet),
    "fashion-mnist": (load_idx, load_parquet),
    "kmnist": (load_idx, load_parquet),
    "cifar10": (load_cifar_binary, load_cifar_pickle, load_parquet),
    "cifar100": (load_cifar_binary, load_cifar_pickle, load_parquet),
    "svhn": (load_svhn, load_parquet),
    "stl10": (load_stl10, load_parquet),
}


def load(
    name: str, split: str = "train", *, root: str | os.PathLike[str] | None = None, download: bool = False
) -> Dataset | UserData:
    """One split of a data set.

    `name` is one of `DATASETS`, or `folder:PATH`, `hf:NAME`, or `package.module:loader`, a function of your own.
    `imagenet@SIZE`, `folder:PATH@SIZE` and `hf:NAME@SIZE` say to what size images are brought. `root` is the data root
    (see `data_root`); nothing is downloaded unless `download` is true.

    >>> load("digits", "test")
    Dataset(digits, test: 359 samples of shape (1, 8, 8), 10 classes)

    Raises:
        UnknownNameError: no data set goes by this name.
        OptionError: the set has no such split, or a size was given for a set of fixed size.
        DataFileError: files are missing, truncated or of another format; the message says which, and what to do.
        MissingExtraError: an optional package is needed.
    """
    name, size = _split_size(name)
    place = data_root(root)
    if name.startswith("folder:"):
        return load_folder(Path(name.removeprefix("folder:")).expanduser(), split, size or DEFAULT_SIZE)
    if name.startswith("hf:"):
        return load_huggingface(name.removeprefix("hf:"), split, place, download=download, size=size)
    if ":" in name:
        return load_user_data(name, split)
    facts = find_facts(name)
    if split not in facts.splits:
        raise OptionError(f"{facts.name} has no split {split!r}; it has {', '.join(facts.splits)}.")
    if size is not None and facts.name != "imagenet":
        raise OptionError(f"{facts.name} has images of one size, {facts.shape}; leave @{size} out.")
    return _load_known(facts, split, place, download, size)


def _load_known(facts: DatasetFacts, split: str, root: Path, download: bool, size: int | None) -> Dataset:
    if facts.name in _EMBEDDED:
        return _EMBEDDED[facts.name](split)
    if facts.name == "imagenet":
        return load_imagenet(facts, split, root, **({} if size is None else {"size": size}))
    try:
        return _read(facts, split, root)
    except MissingFilesError:
        if not download:
            raise
    # SVHN has a file a split, the largest 1.3 GB; the others come whole.
    fetch(facts, root, wanted=split if facts.name == "svhn" else "")
    return _read(facts, split, root)


def _read(facts: DatasetFacts, split: str, root: Path) -> Dataset:
    for read in _LAYOUTS[facts.name]:
        dataset = read(facts, split, root)
        if dataset is not None:
            return dataset
    raise missing(facts, split, root)


def _split_size(name: str) -> tuple[str, int | None]:
    """`imagenet@64` is the name and the size."""
    stated = re.fullmatch(r"(.+)@(\d+)", name)
    if stated is None:
        return name, None
    if int(stated[2]) < 1:
        raise OptionError(f"the size in {name!r} is {stated[2]}; expected at least 1 pixel.")
    return stated[1], int(stated[2])
