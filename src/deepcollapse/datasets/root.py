"""Where data files lie: one data root, and the folders of it in which a set's files are looked for. No torch."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from deepcollapse.datasets.facts import DatasetFacts, plain
from deepcollapse.datasets.known import DATASETS
from deepcollapse.errors import DataFileError

VARIABLE = "DEEPCOLLAPSE_DATA"


class MissingFilesError(DataFileError):
    """Files are missing: a download may bring them."""


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds all data: the argument, else the variable DEEPCOLLAPSE_DATA, else the user's cache folder.

    It need not exist. The cache folder is ~/.cache (or XDG_CACHE_HOME), ~/Library/Caches on macOS, LOCALAPPDATA on
    Windows.

    >>> data_root("some/folder").name
    'folder'
    """
    chosen = os.fspath(root) if root is not None else os.environ.get(VARIABLE, "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "deepcollapse" / "data"


def folders(facts: DatasetFacts, root: Path) -> list[Path]:
    """Every folder under the root in which the set's files may lie, the likeliest first.

    These are the folders of the root that bear the set's name (in any spelling: cifar10, CIFAR-10, cifar-10-jpeg ...),
    then the root itself, each with the sub-folders that the public archives unpack to.
    """
    return [
        folder
        for base in _bases(facts, root)
        for folder in (base, *(base / inside for inside in facts.inside))
        if folder.is_dir()
    ]


def _bases(facts: DatasetFacts, root: Path) -> Iterator[Path]:
    if root.is_dir():
        yield from (child for child in sorted(root.iterdir()) if child.is_dir() and plain(child.name) in facts.folders)
    if _may_lie_bare(facts, root):
        yield root


def _may_lie_bare(facts: DatasetFacts, root: Path) -> bool:
    # MNIST, Fashion-MNIST and KMNIST have files of the same names: a folder of one must not be read as another.
    bearer = {
        other.name for other in DATASETS.values() if {plain(root.name), plain(root.parent.name)} & {*other.folders}
    }
    return facts.name in bearer or (not bearer and (facts.name == "mnist" or not facts.shares_names))


def bears_name(facts: DatasetFacts, folder: Path, root: Path) -> bool:
    """Whether the folder, or one above it up to the root, is named after the set.

    Files whose names say nothing (train.parquet) are taken only from such folders.
    """
    up_to_root = [folder, *(parent for parent in folder.parents if parent.is_relative_to(root)), root.parent]
    return any(plain(path.name) in facts.folders for path in up_to_root)


def missing(facts: DatasetFacts, split: str, root: Path, found: str = "") -> MissingFilesError:
    """The error that says which files to put where; `found` names what is there but incomplete."""
    there = found or ("it holds none of them" if root.is_dir() else "that folder does not exist")
    fetch = (
        f", or have them fetched from {facts.archives[0].urls[0].rsplit('/', 1)[0]}/ with download=True (--download)"
        if facts.archives
        else f"; they can be had from {facts.source}"
    )
    return MissingFilesError(
        f"{facts.name} ({split}) is read from {facts.files[split]}; looked under the data root {root}: {there}. "
        f"Put them in {root / facts.name}, set another data root (root=..., --data-root or {VARIABLE}){fetch}."
    )
