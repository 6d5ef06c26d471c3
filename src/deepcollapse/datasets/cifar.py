"""CIFAR-10 and CIFAR-100: the binary records and the Python pickles (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from pathlib import Path

import numpy as np
import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.facts import DatasetFacts
from deepcollapse.datasets.files import read_records, to_dataset
from deepcollapse.datasets.pickles import read_pickle
from deepcollapse.datasets.root import folders, missing
from deepcollapse.errors import DataFileError

_PIXELS = 3 * 32 * 32
_PARTS = {
    ("cifar10", "train"): tuple(f"data_batch_{i}" for i in range(1, 6)),
    ("cifar10", "test"): ("test_batch",),
    ("cifar100", "train"): ("train",),
    ("cifar100", "test"): ("test",),
}
# Where the label lies: in the binary records CIFAR-100 has the coarse label first, then the fine one.
_LABEL_BYTES = {"cifar10": 1, "cifar100": 2}
_LABEL_KEY = {"cifar10": "labels", "cifar100": "fine_labels"}


def load_cifar_binary(facts: DatasetFacts, split: str, root: Path) -> Dataset | None:
    """The split from its .bin files, or None where none is there.

    Raises:
        DataFileError: some of the files are missing, truncated or damaged.
    """
    files = _find(facts, split, root, ".bin")
    if files is None:
        return None
    labels = _LABEL_BYTES[facts.name]
    records = np.concatenate([read_records(file, labels + _PIXELS) for file in files])
    images = torch.from_numpy(records[:, labels:].reshape(-1, 3, 32, 32).copy())
    return to_dataset(facts, split, images, records[:, labels - 1], files)


def load_cifar_pickle(facts: DatasetFacts, split: str, root: Path) -> Dataset | None:
    """The split from its pickles, read without running anything, or None where none is there.

    Raises:
        DataFileError: some of the files are missing, truncated, damaged, or hold more than arrays and plain values.
    """
    files = _find(facts, split, root, "")
    if files is None:
        return None
    parts = [_read_part(file, _LABEL_KEY[facts.name]) for file in files]
    images = torch.from_numpy(np.concatenate([images for images, _ in parts])).reshape(-1, 3, 32, 32)
    return to_dataset(facts, split, images, np.concatenate([labels for _, labels in parts]), files)


def _find(facts: DatasetFacts, split: str, root: Path, suffix: str) -> tuple[Path, ...] | None:
    """All files of the split in one folder; None where no folder has any of them."""
    absent = ""
    for folder in folders(facts, root):
        files = tuple(folder / f"{part}{suffix}" for part in _PARTS[facts.name, split])
        lacking = [file.name for file in files if not file.is_file()]
        if not lacking:
            return files
        if len(lacking) < len(files):
            absent = f"{folder} lacks {', '.join(lacking)}"
    if absent:
        raise missing(facts, split, root, absent)
    return None


def _read_part(file: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    held = read_pickle(file)
    # Python 2 wrote the keys as bytes, and so they come back; pickles written since then have strings.
    entries = {_text(name): value for name, value in held.items()} if isinstance(held, dict) else {}
    pixels, labels = entries.get("data"), entries.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        pixels = None
    if pixels is None or not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise DataFileError(
            f"{file} does not hold 'data' (uint8, images x {_PIXELS}) and {key!r} (a list of whole numbers); "
            f"it holds {', '.join(sorted(map(str, entries))) or type(held).__name__}. Fetch it again."
        )
    return pixels, np.asarray(labels, dtype=np.int64)


def _text(name: object) -> object:
    return name.decode("latin1") if isinstance(name, bytes) else name
