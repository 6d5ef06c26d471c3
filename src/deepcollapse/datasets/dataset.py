"""One split of a data set: images, labels, class names, and the batches that networks and measures are given."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor

from deepcollapse.datasets.images import LazyImages
from deepcollapse.errors import LabelError, OptionError, ShapeError

_CHUNK = 4096  # samples held at once while hashing


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels of one split, in a fixed order.

    `images` is a uint8 or floating tensor of shape (samples, channels, height, width) (data of the user's own may have
    any shape (samples, ...)), or a `LazyImages` that decodes when asked. `labels` are int64 in 0 ... num_classes - 1.
    `transform` is applied to each batch after uint8 is scaled to [0, 1]; `note` says what a reader of results ought to
    know about the data.

    >>> data = Dataset("two", "train", torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), ("a", "b"))
    >>> len(data), data.num_classes, data.image_shape, data.class_counts().tolist()
    (2, 2, (1, 4, 4), [1, 1])

    Raises:
        ShapeError: images that are no such tensor, or not one label for each image.
        LabelError: a label out of range.
    """

    name: str
    split: str
    images: Tensor | LazyImages
    labels: Int64[Tensor, " samples"]
    class_names: tuple[str, ...]
    note: str | None = None
    transform: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        """Hold images, labels and class names to one another."""
        if isinstance(self.images, Tensor) and not _is_image_type(self.images):
            raise ShapeError(
                f"images of {self.name} are {self.images.dtype} of shape {tuple(self.images.shape)}; expected uint8 "
                "(0 to 255) or a floating type, of shape (samples, channels, height, width)."
            )
        if len(self.images) != len(self.labels):
            raise ShapeError(
                f"{self.name} has {len(self.images)} images and {len(self.labels)} labels; every image needs one label."
            )
        wrong = ((self.labels < 0) | (self.labels >= self.num_classes)).nonzero().flatten()
        if len(wrong):
            first = int(wrong[0])
            raise LabelError(
                f"{len(wrong)} of {len(self)} labels of {self.name} lie outside 0 to {self.num_classes - 1} (the first "
                f"is {int(self.labels[first])}, of sample {first}). Give one class name for each class, and labels "
                "that count from 0."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        known = f"{len(self)} samples of shape {self.image_shape}, {self.num_classes} classes"
        return f"Dataset({self.name}, {self.split}: {known}{f'; {self.note}' if self.note else ''})"

    @property
    def num_classes(self) -> int:
        """The number of classes, those without samples included."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image: (channels, height, width)."""
        return tuple(self.images.shape[1:])

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of labels and images: the same data give the same digest on every machine.

        Images that are decoded when asked for enter with their relative paths and file sizes instead of their pixels.
        The transform is not part of it.
        """
        if isinstance(self.images, LazyImages):
            digest = hashlib.sha256(f"lazy {tuple(self.images.shape)}".encode())
            for position in range(len(self)):
                digest.update(self.images.fingerprint(position) + b"\0")
        else:
            digest = hashlib.sha256(f"{self.images.dtype} {tuple(self.images.shape)}".encode())
            for part in self.images.split(_CHUNK):
                digest.update(part.contiguous().cpu().view(torch.uint8).numpy().data)
        digest.update(self.labels.contiguous().cpu().numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def class_counts(self) -> Int64[Tensor, " classes"]:
        """The number of samples in each class; 0 for a class without any."""
        return torch.bincount(self.labels, minlength=self.num_classes)

    def select(self, indices: Tensor | Sequence[int]) -> "Dataset":
        """The samples at these positions, in the order given.

        >>> data = Dataset("two", "train", torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), ("a", "b"))
        >>> data.select([1]).labels.tolist()
        [1]

        Raises:
            OptionError: a position out of range.
        """
        index = torch.as_tensor(indices, dtype=torch.int64)
        if len(index) and not (index.min() >= 0 and index.max() < len(self)):
            raise OptionError(
                f"positions {int(index.min())} to {int(index.max())} were selected from the {len(self)} samples of "
                f"{self.name} ({self.split}); expected 0 to {len(self) - 1}."
            )
        images = self.images.select(index) if isinstance(self.images, LazyImages) else self.images[index]
        return replace(self, images=images, labels=self.labels[index])

    def noted(self, remark: str) -> "Dataset":
        """The same data with a remark added to its note."""
        return replace(self, note=f"{self.note}; {remark}" if self.note else remark)

    def batches(
        self, batch_size: int, *, generator: torch.Generator | None = None, drop_last: bool = False
    ) -> "Batches":
        """The samples in batches of (float32 images, int64 labels): uint8 is scaled to [0, 1], then transformed.

        In the order of the data, or in a new random order on each pass where a generator is given. The result can be
        iterated any number of times; its length is the number of batches.

        Raises:
            OptionError: a batch size below 1, or one that leaves no batch at all.
        """
        return Batches(self, batch_size, generator, drop_last)


def _is_image_type(images: Tensor) -> bool:
    return images.ndim >= 2 and (images.dtype == torch.uint8 or images.is_floating_point())


class Batches:
    """The batches of a data set; made by `Dataset.batches`."""

    def __init__(self, dataset: Dataset, batch_size: int, generator: torch.Generator | None, drop_last: bool):
        self.dataset, self.batch_size, self.generator, self.drop_last = dataset, batch_size, generator, drop_last
        if batch_size < 1:
            raise OptionError(f"batch_size is {batch_size}; expected at least 1.")
        if len(self) == 0:
            raise OptionError(
                f"{dataset.name} ({dataset.split}) has {len(dataset)} samples, which gives no batch of {batch_size}. "
                "Choose a smaller batch_size, or leave drop_last off."
            )

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        data = self.dataset
        order = None if self.generator is None else torch.randperm(len(data), generator=self.generator)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            stop = min(start + self.batch_size, len(data))
            images, labels = _take(data, order, start, stop)
            yield (images if data.transform is None else data.transform(images)), labels


def _take(data: Dataset, order: Tensor | None, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Samples start ... stop - 1 in that order, as float32 in memory of their own (a network may write into it)."""
    if order is not None or isinstance(data.images, LazyImages):
        index = torch.arange(start, stop) if order is None else order[start:stop]
        images, labels = data.images[index], data.labels[index]
    else:
        images, labels = data.images[start:stop], data.labels[start:stop].clone()
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(255), labels
    return images.to(torch.float32, copy=order is None), labels
