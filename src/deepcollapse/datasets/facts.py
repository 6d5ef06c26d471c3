"""What a data set says about itself before any file of it is opened. Imports no torch."""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Archive:
    """One public file: where it is fetched from, its published MD5, and what is taken out of it.

    `urls` are tried in order. `members` maps a tar member to its exact size in bytes; where it is empty the file is
    kept as it came.
    """

    filename: str
    urls: tuple[str, ...]
    md5: str
    members: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetFacts:
    """The facts of one data set.

    `shape` is (channels, height, width), None where it depends on the user's choice; `sizes` the published number of
    samples in each split; `files` what each split is read from, in words; `folders` the names (lower case, letters and
    digits only) that a folder of it may have; `inside` where the public archives put the files within that folder;
    `shares_names` tells that another data set has files of the same names; `extra` the optional dependency.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    shape: tuple[int, int, int] | None
    sizes: dict[str, int]
    source: str
    licence: str | None
    files: dict[str, str]
    folders: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()
    shares_names: bool = False
    extra: str | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes.

        >>> from deepcollapse.datasets import DATASETS
        >>> DATASETS["cifar100"].num_classes
        100
        """
        return len(self.class_names)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits.

        >>> from deepcollapse.datasets import DATASETS
        >>> DATASETS["svhn"].splits
        ('train', 'test', 'extra')
        """
        return tuple(self.sizes)


def plain(name: str) -> str:
    """A name in lower case, letters and digits only: how names of sets and folders are compared.

    >>> plain("CIFAR-10_jpeg")
    'cifar10jpeg'
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())
