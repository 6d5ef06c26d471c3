"""Handwritten digits inside scikit-learn: 1797 real images of 8 x 8, no download.

From the UCI repository, :cite:`alpaydin1998`. They come without a split, so a fixed fifth of each class is
the test set.
"""

from typing import Any

import numpy as np
import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.known import DATASETS
from deepcollapse.datasets.subsets import train_test

_TEST_SHARE = 0.2
_SPLIT_SEED = 0
_BRIGHTEST = 16  # each pixel counts the dark dots of a 4 x 4 block


def load_digits(split: str) -> Dataset:
    """The training or test digits as float32 in [0, 1].

    >>> len(load_digits("train")), len(load_digits("test"))
    (1438, 359)
    """
    from sklearn.datasets import load_digits as load_bunch

    bunch: Any = load_bunch()
    images = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32) / _BRIGHTEST).unsqueeze(1)
    labels = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    whole = Dataset("digits", "train", images, labels, DATASETS["digits"].class_names)
    train, test = train_test(whole, _TEST_SHARE, seed=_SPLIT_SEED)
    return train if split == "train" else test
