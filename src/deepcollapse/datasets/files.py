"""What every reader of binary files shares: exact sizes checked before memory is taken, labels checked after."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.facts import DatasetFacts
from deepcollapse.errors import DataFileError


def read_records(file: Path, record_bytes: int) -> UInt8[np.ndarray, "records bytes"]:
    """A file of records of one size, one a row.

    Raises:
        DataFileError: the file is empty, or does not hold a whole number of records.
    """
    found = file.stat().st_size
    if found == 0 or found % record_bytes:
        raise DataFileError(
            f"{file} holds {found} bytes; expected a whole number of records of {record_bytes} bytes "
            f"({found // record_bytes} records and {found % record_bytes} bytes were found). "
            "The file is truncated or of another format: fetch it again."
        )
    return np.fromfile(file, dtype=np.uint8).reshape(-1, record_bytes)


def to_dataset(
    facts: DatasetFacts, split: str, images: Tensor, labels: np.ndarray | Tensor, files: Iterable[Path]
) -> Dataset:
    """The data set that was read from these files, with its labels held to the classes it is known to have.

    Raises:
        DataFileError: there is not one label for each image, or a label out of range.
    """
    where = ", ".join(str(file) for file in files)
    numbers = torch.as_tensor(labels).to(torch.int64)
    if len(images) != len(numbers):
        raise DataFileError(
            f"{where}: {len(images)} images and {len(numbers)} labels. "
            "The files do not belong together: fetch them again."
        )
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < facts.num_classes):
        raise DataFileError(
            f"{where}: labels {int(numbers.min())} to {int(numbers.max())}; {facts.name} has labels 0 to "
            f"{facts.num_classes - 1}. The file is of another data set, or damaged: fetch it again."
        )
    dataset = Dataset(facts.name, split, images, numbers, facts.class_names)
    if len(dataset) != facts.sizes[split]:
        dataset = dataset.noted(f"{len(dataset)} samples in the files; {facts.sizes[split]} were published")
    return dataset
