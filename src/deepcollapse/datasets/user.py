"""Data that a function of the user's own returns: `package.module:loader` is called with the name of the split."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, default_collate

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.own import as_dataset
from deepcollapse.errors import BatchError, OptionError, UnknownNameError


@final
@dataclass(frozen=True, eq=False)
class UserData:
    """Data that only its owner's code can read: a torch data set, or an iterable of batches such as a DataLoader.

    It has the name, split, class names, note and `batches` of a `Dataset`, and what can be told without reading it
    all: `class_names` and `num_classes` are None where the source has no `classes`; `digest` is always None.
    """

    name: str
    split: str
    source: Any
    class_names: tuple[str, ...] | None
    note: str | None = "read by the user's own code: not hashed"
    digest: None = None

    @property
    def num_classes(self) -> int | None:
        """The number of classes, where the source names them."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of the first image.

        Raises:
            BatchError: there is no batch, or the first is not (images, labels).
        """
        first = next(iter(self.batches(1)), None)
        if not isinstance(first, tuple | list) or len(first) != 2 or not hasattr(first[0], "shape"):
            given = "no batch at all" if first is None else f"a first batch of type {type(first).__name__}"
            raise BatchError(f"{self.name} ({self.split}) gave {given}; expected batches of (images, labels).")
        return tuple(first[0].shape[1:])

    def batches(
        self, batch_size: int, *, generator: torch.Generator | None = None, drop_last: bool = False
    ) -> Iterable[Any]:
        """Batches of (images, labels) that can be iterated any number of times.

        A torch data set is batched as asked, in a new random order on each pass where a generator is given. An iterable
        of batches is handed on as it is: size and order are its owner's.

        Raises:
            OptionError: a batch size below 1, or one that leaves no batch.
        """
        if not _is_map_style(self.source):
            return self.source
        return SampleBatches(self.source, batch_size, generator, drop_last, self.name)


@final
class SampleBatches:
    """The samples of a torch data set, collated into batches."""

    def __init__(self, source: Any, batch_size: int, generator: torch.Generator | None, drop_last: bool, name: str):
        self.source, self.batch_size, self.generator, self.drop_last = source, batch_size, generator, drop_last
        if batch_size < 1:
            raise OptionError(f"batch_size is {batch_size}; expected at least 1.")
        if len(self) == 0:
            raise OptionError(
                f"{name} has {len(source)} samples, which gives no batch of {batch_size}. "
                "Choose a smaller batch_size, or leave drop_last off."
            )

    def __len__(self) -> int:
        whole, rest = divmod(len(self.source), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        size = len(self.source)
        order = range(size) if self.generator is None else torch.randperm(size, generator=self.generator).tolist()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            samples = [self.source[position] for position in order[start : start + self.batch_size]]
            images, labels = default_collate([_pair(sample) for sample in samples])
            yield images, labels.to(torch.int64)


def load_user_data(name: str, split: str) -> Dataset | UserData:
    """Call the function named `package.module:loader` with the split and take what it returns.

    That may be a `Dataset`; (images, labels) or (images, labels, class names) as tensors or arrays; a torch data set of
    (image, label) samples, with the user's own transforms; or an iterable of batches that can be iterated again.

    Raises:
        UnknownNameError: there is no such module or function.
        BatchError: the function returned something else.
    """
    function = _function(name)
    try:
        inspect.signature(function).bind(split)
    except TypeError as error:
        raise BatchError(
            f"{name} cannot be called with the name of a split ({error}). Write it as a function of one argument, "
            "loader(split), that returns (images, labels), a torch data set or a DataLoader for 'train' and 'test'."
        ) from error
    except ValueError:  # a callable without a signature: it will tell itself
        pass
    returned = function(split)
    if isinstance(returned, Dataset | UserData):
        return returned
    if isinstance(returned, tuple) and len(returned) in (2, 3) and _are_arrays(returned[:2]):
        images, labels, *class_names = returned
        return as_dataset(images, labels, *class_names, name=name, split=split)
    _refuse_unusable(name, returned)
    classes = getattr(returned, "classes", None) or getattr(getattr(returned, "dataset", None), "classes", None)
    return UserData(name, split, returned, None if classes is None else tuple(str(each) for each in classes))


def _function(name: str) -> Callable[[str], Any]:
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        # An installed command does not look in the folder it is called from, where the user's module most likely is.
        sys.path.append("")
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise UnknownNameError(
            f"there is no module {module_name!r} to load data from ({name}). "
            "Install it, or run from the folder that it lies in."
        ) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UnknownNameError(
            f"{module_name} has no function {attribute!r}; {name} should name a function of a split."
        )
    return found


def _are_arrays(parts: tuple[Any, ...]) -> bool:
    return all(isinstance(part, Tensor | np.ndarray) for part in parts)


def _is_map_style(source: Any) -> bool:
    if isinstance(source, TorchDataset):
        return not isinstance(source, IterableDataset)
    return False


def _refuse_unusable(name: str, returned: Any) -> None:
    if isinstance(returned, Iterator):
        raise BatchError(
            f"{name} returned {type(returned).__name__}, which can be iterated only once; measuring may need a second "
            "pass. Return a DataLoader, a list of batches, or an object whose __iter__ starts anew."
        )
    usable = _is_map_style(returned) and hasattr(returned, "__len__")
    if not usable and (isinstance(returned, str | dict) or not isinstance(returned, Iterable)):
        raise BatchError(
            f"{name} returned {type(returned).__name__}; expected a Dataset, (images, labels), a torch data set with a "
            "length, or an iterable of batches."
        )


def _pair(sample: Any) -> tuple[Any, Any]:
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise BatchError(
            f"a sample is {type(sample).__name__}; expected (image, label). Return an iterable of batches instead."
        )
    return sample[0], sample[1]
