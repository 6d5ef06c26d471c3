"""Any folder of images, one sub-folder a class, decoded when asked for.

PATH/train and PATH/test (or val, valid, validation) are the splits where they are there; otherwise all of PATH
is `train`.
"""

from pathlib import Path

import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.images import SUFFIXES, Fit, ImageFiles
from deepcollapse.errors import DataFileError

DEFAULT_SIZE = 64
_SYNONYMS = {"test": ("test", "val", "valid", "validation")}


def load_folder(path: Path, split: str, size: int = DEFAULT_SIZE) -> Dataset:
    """The images under PATH/SPLIT (or PATH): shorter side resized to `size`, centre cut out, three channels.

    The classes are the sub-folders of the training split in alphabetical order, so that every split numbers them alike;
    images may lie deeper inside them. Hidden files and other kinds of files are passed over.

    Raises:
        DataFileError: no such folder, no class folders, no images, or a class that the training split lacks.
    """
    if not path.is_dir():
        raise DataFileError(f"there is no folder {path}. Give the folder whose sub-folders are the classes.")
    folder, remark = _split_folder(path, split)
    first = _subfolder(path, "train") or folder
    dataset = read_folder(f"folder:{path.name}", split, folder, _class_folders(first), Fit(size, resize=size))
    return dataset.noted(remark) if remark else dataset


def read_folder(
    name: str, split: str, folder: Path, classes: list[str], fit: Fit, class_names: tuple[str, ...] | None = None
) -> Dataset:
    """The images of one split, labelled by the position of their class's folder in `classes`."""
    strangers = sorted(set(_class_folders(folder)) - set(classes))
    if strangers:
        shown = ", ".join(strangers[:3]) + (f" and {len(strangers) - 3} more" if len(strangers) > 3 else "")
        raise DataFileError(f"{folder} has classes that the training split lacks: {shown}. Rename or remove them.")
    files = [(each, label) for label, kind in enumerate(classes) for each in _images(folder, kind)]
    if not files:
        raise DataFileError(f"{folder} holds no images ({', '.join(SUFFIXES)}) in folders of classes.")
    images = ImageFiles(folder, [file for file, _ in files], fit)
    labels = torch.tensor([label for _, label in files])
    return Dataset(name, split, images, labels, class_names or tuple(classes))


def _split_folder(path: Path, split: str) -> tuple[Path, str]:
    """The folder of the split, and a remark where it is not the obvious one."""
    for synonym in _SYNONYMS.get(split, (split,)):
        if found := _subfolder(path, synonym):
            return found, "" if synonym == split else f"the images of {synonym}/"
    if split == "train" and not any(_subfolder(path, name) for name in _SYNONYMS["test"]):
        return path, "all images of the folder: it has no splits"
    raise DataFileError(
        f"{path} has no folder for the split {split!r}. "
        f"Put its classes in {path / split}, with the training classes in {path / 'train'}."
    )


def _subfolder(path: Path, name: str) -> Path | None:
    return path / name if (path / name).is_dir() else None


def _class_folders(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith((".", "__")))


def _images(folder: Path, kind: str) -> list[str]:
    """Paths relative to the folder, with forward slashes on every system, so that digests agree."""
    found = (file for file in (folder / kind).rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return sorted(file.relative_to(folder).as_posix() for file in found if not file.name.startswith("."))
