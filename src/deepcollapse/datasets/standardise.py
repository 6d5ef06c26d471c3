"""Standardisation: subtract the mean over the training images, divide by their standard deviation."""

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.errors import OptionError, ShapeError

_CHUNK = 1024


@final
@dataclass(frozen=True, eq=False)
class Standardise:
    """(images - mean) / std, with mean and std that broadcast against one image."""

    mean: Float32[Tensor, "..."]
    std: Float32[Tensor, "..."]

    def __call__(self, images: Float32[Tensor, "..."]) -> Float32[Tensor, "..."]:
        """The images standardised, in memory of their own."""
        return (images - self.mean.to(images.device)) / self.std.to(images.device)


def standardise_pixels(train: Dataset, *others: Dataset) -> tuple[Dataset, ...]:
    """Every pixel with mean 0 and standard deviation 1 over the training images; others by the same numbers.

    Each position and channel has its own mean and (population) standard deviation, after uint8 is scaled to [0, 1]; a
    pixel that never varies is only centred. The data sets come back, in the order given, with this as `transform`; no
    pixel is changed in memory. A pixel that varies in a handful of images only (the rim of MNIST) becomes very large in
    those: `standardise_channels` does not have this.

    >>> from deepcollapse.datasets import load
    >>> train, test = standardise_pixels(load("digits", "train"), load("digits", "test"))
    >>> images, labels = next(iter(train.batches(len(train))))
    >>> bool(images.mean(0).abs().max() < 1e-5)
    True

    Raises:
        OptionError: a data set that has a transform already, or no training images.
        ShapeError: images of different shapes.
    """
    _hold_together(train, others)
    mean, square = _moments(train)
    return _with(Standardise(mean.float(), _safe_root(square).float()), train, *others)


def standardise_channels(train: Dataset, *others: Dataset) -> tuple[Dataset, ...]:
    """Every channel with mean 0 and standard deviation 1 over the training images and all their pixels.

    Otherwise as `standardise_pixels`; the released notebook of :cite:`papyan2020` has these numbers for MNIST (0.1307,
    0.3081).

    >>> from deepcollapse.datasets import load
    >>> (train,) = standardise_channels(load("digits", "train"))
    >>> train.transform.mean.shape
    torch.Size([1, 1, 1])

    Raises:
        OptionError: a data set that has a transform already, or no training images.
        ShapeError: images of different shapes.
    """
    _hold_together(train, others)
    mean, square = _moments(train)
    flat_mean, flat_square = mean.flatten(1), square.flatten(1)
    centre = flat_mean.mean(1)
    # Over all pixels: the variance within a pixel, and the variance of the pixels' means.
    spread = (flat_square + (flat_mean - centre[:, None]).square()).mean(1)
    shape = (len(centre),) + (1,) * (mean.ndim - 1)
    return _with(Standardise(centre.reshape(shape).float(), _safe_root(spread).reshape(shape).float()), train, *others)


def _moments(train: Dataset) -> tuple[Float64[Tensor, "..."], Float64[Tensor, "..."]]:
    """Mean and population variance of each pixel, merged batch by batch about the running mean."""
    count, mean, total = 0, torch.zeros(train.image_shape).double(), torch.zeros(train.image_shape).double()
    for images, _ in train.batches(_CHUNK):
        pixels = images.cpu().double()
        new, shift = len(pixels), pixels.mean(0) - mean
        total += (pixels - pixels.mean(0)).square().sum(0) + shift.square() * (count * new / (count + new))
        mean += shift * (new / (count + new))
        count += new
    return mean, total / count


def _safe_root(variance: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    # A pixel that never varies has a variance of zero but for rounding; float32 pixels differ by 6e-8 at least.
    constant = variance < 1e-16
    return torch.where(constant, 1.0, variance.clamp(min=0).sqrt())


def _hold_together(train: Dataset, others: tuple[Dataset, ...]) -> None:
    for dataset in (train, *others):
        if dataset.transform is not None:
            raise OptionError(
                f"{dataset.name} ({dataset.split}) has a transform already; standardise the data it came from."
            )
        if dataset.image_shape != train.image_shape:
            raise ShapeError(
                f"{dataset.name} ({dataset.split}) has images of shape {dataset.image_shape}, the training images are "
                f"{train.image_shape}; both must be the same."
            )
    if not len(train):
        raise OptionError(f"{train.name} ({train.split}) has no images to take mean and standard deviation of.")


def _with(transform: Standardise, *datasets: Dataset) -> tuple[Dataset, ...]:
    return tuple(replace(dataset, transform=transform) for dataset in datasets)
