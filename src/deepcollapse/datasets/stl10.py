"""STL-10, the labelled part: bytes column by column, labels from 1 (https://cs.stanford.edu/~acoates/stl10/)."""

from pathlib import Path

import numpy as np
import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.facts import DatasetFacts
from deepcollapse.datasets.files import read_records, to_dataset
from deepcollapse.datasets.root import folders, missing

_SIDE = 96


def load_stl10(facts: DatasetFacts, split: str, root: Path) -> Dataset | None:
    """The split from SPLIT_X.bin and SPLIT_y.bin, or None where neither is there. Labels 1 to 10 become 0 to 9.

    Raises:
        DataFileError: one of the two is missing, truncated or damaged.
    """
    half = ""
    for folder in folders(facts, root):
        files = [folder / f"{split}_X.bin", folder / f"{split}_y.bin"]
        present = [file for file in files if file.is_file()]
        if len(present) == 2:
            records = read_records(files[0], 3 * _SIDE * _SIDE)
            labels = read_records(files[1], 1)[:, 0].astype(np.int64) - 1
            # Each colour plane is stored column by column.
            images = torch.from_numpy(records.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 1, 3, 2).copy())
            return to_dataset(facts, split, images, labels, files)
        if present:
            half = f"{present[0]} is there, {next(file.name for file in files if file not in present)} is not"
    if half:
        raise missing(facts, split, root, half)
    return None
