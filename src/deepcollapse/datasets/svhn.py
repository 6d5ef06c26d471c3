"""SVHN, cropped digits: MATLAB files (http://ufldl.stanford.edu/housenumbers/); the digit 0 has label 10 in them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.facts import DatasetFacts
from deepcollapse.datasets.files import to_dataset
from deepcollapse.datasets.root import folders
from deepcollapse.errors import DataFileError


def load_svhn(facts: DatasetFacts, split: str, root: Path) -> Dataset | None:
    """The split from SPLIT_32x32.mat, or None where there is no such file. Label 10 becomes 0.

    Raises:
        DataFileError: the file is truncated or does not hold X (32, 32, 3, n) and y (n, 1).
    """
    file = next((f for folder in folders(facts, root) if (f := folder / f"{split}_32x32.mat").is_file()), None)
    if file is None:
        return None
    held = _read(file)
    pixels, labels = held["X"], held["y"].astype(np.int64).reshape(-1)
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)))
    if len(labels) and labels.min() < 1:
        raise DataFileError(f"{file}: the smallest label is {labels.min()}; SVHN has labels 1 to 10. Fetch it again.")
    return to_dataset(facts, split, images, np.where(labels == 10, 0, labels), [file])


def _read(file: Path) -> dict[str, Any]:
    from scipy.io import loadmat, whosmat

    try:
        shapes = {name: (shape, kind) for name, shape, kind in whosmat(file)}
        _hold_to_layout(file, shapes)
        return loadmat(file, variable_names=["X", "y"])
    except DataFileError:
        raise
    except Exception as error:  # scipy tells of damage in many ways: ValueError, TypeError, zlib.error, OSError ...
        raise DataFileError(
            f"{file} ({file.stat().st_size} bytes) is not a readable MATLAB file: {type(error).__name__}: {error}. "
            "It is truncated or damaged: fetch it again."
        ) from error


def _hold_to_layout(file: Path, shapes: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Look at the sizes alone, before memory is taken."""
    pixels, pixel_type = shapes.get("X", ((), "nothing"))
    labels, _ = shapes.get("y", ((), "nothing"))
    if len(pixels) != 4 or pixels[:3] != (32, 32, 3) or pixel_type != "uint8" or labels != (pixels[3], 1):
        held = ", ".join(f"{name} {shape} {kind}" for name, (shape, kind) in shapes.items()) or "nothing"
        raise DataFileError(
            f"{file} ({file.stat().st_size} bytes) should hold X (32, 32, 3, n) uint8 and y (n, 1); it holds {held}. "
            "It is truncated or of another kind: fetch it again."
        )
