"""A data set from tensors or arrays of the user's own."""

from collections.abc import Sequence
from typing import Any

import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.errors import LabelError, NonFiniteError, OptionError, ShapeError


def as_dataset(
    images: Any, labels: Any, class_names: Sequence[str] | None = None, name: str = "data", *, split: str = "train"
) -> Dataset:
    """A `Dataset` of the caller's own tensors (or anything `torch.as_tensor` takes), checked before it is used.

    Images are uint8 (0 to 255) or floating, of shape (samples, channels, height, width) or any other (samples, ...)
    that the network takes; they are not copied. Without class names the classes are called "0", "1", ... up to the
    largest label.

    >>> as_dataset(torch.rand(3, 1, 8, 8), [0, 2, 1], ["cat", "dog", "fox"]).class_counts().tolist()
    [1, 1, 1]

    Raises:
        ShapeError: no samples, or images and labels of shapes or types that do not fit.
        LabelError: labels that are no whole numbers, or out of range.
        NonFiniteError: NaN or infinity in the images.
        OptionError: two classes of one name.
    """
    pixels, numbers = torch.as_tensor(images).detach(), torch.as_tensor(labels).detach()
    if numbers.ndim != 1 or not len(numbers):
        raise ShapeError(f"labels of {name} have shape {tuple(numbers.shape)}; expected (samples,), at least one.")
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise LabelError(f"labels of {name} are {numbers.dtype}; expected whole numbers that count classes from 0.")
    numbers = numbers.to("cpu", torch.int64)  # images may stay on another device; the order of the data is ours
    names = [str(i) for i in range(max(0, int(numbers.max())) + 1)] if class_names is None else list(class_names)
    if len(set(names)) < len(names):
        twice = sorted({each for each in names if names.count(each) > 1})
        raise OptionError(f"class names of {name} occur more than once: {', '.join(twice)}. Give each class its own.")
    dataset = Dataset(name, split, pixels, numbers, tuple(names))
    _refuse_non_finite(name, pixels)
    return dataset


def _refuse_non_finite(name: str, images: torch.Tensor) -> None:
    for start, part in zip(range(0, len(images), 4096), images.split(4096), strict=True):
        bad = ~part.isfinite().flatten(1).all(1)
        if bad.any():
            raise NonFiniteError(
                f"sample {start + int(bad.nonzero()[0])} of {name} holds NaN or infinity. "
                "Remove such samples, or replace those values, before making a data set of them."
            )
