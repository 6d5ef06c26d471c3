"""Iris inside scikit-learn: 150 flowers, four lengths each, no download.

Fisher's measurements :cite:`fisher1936`, in rows of one by four in place of images. They come without a split, so a
fixed fifth of each class is the test set.
"""

from typing import Any

import numpy as np
import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.known import DATASETS
from deepcollapse.datasets.subsets import train_test

_TEST_SHARE = 0.2
_SPLIT_SEED = 0


def load_iris(split: str) -> Dataset:
    """The training or test flowers: sepal length and width, petal length and width, in centimetres.

    >>> len(load_iris("train")), len(load_iris("test")), load_iris("test").image_shape
    (120, 30, (1, 1, 4))
    """
    from sklearn.datasets import load_iris as load_bunch

    bunch: Any = load_bunch()
    lengths = torch.from_numpy(np.asarray(bunch.data, dtype=np.float32)).reshape(-1, 1, 1, 4)
    labels = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    whole = Dataset("iris", "train", lengths, labels, DATASETS["iris"].class_names)
    train, test = train_test(whole, _TEST_SHARE, seed=_SPLIT_SEED)
    return train if split == "train" else test
