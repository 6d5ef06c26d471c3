"""Any image data set of the Hugging Face hub, or a local folder in one of its layouts, through `datasets`."""

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Int64
from torch import Tensor

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.images import Fit, LazyImages, decode
from deepcollapse.errors import DataFileError, MissingExtraError

_IN_MEMORY_BYTES = 1 << 30  # up to this much, images of one size are decoded once and kept
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
_SYNONYMS = {"test": ("test", "validation", "valid", "val")}


def load_huggingface(name: str, split: str, root: Path, *, download: bool, size: int | None = None) -> Dataset:
    """The split of the data set NAME or NAME:CONFIGURATION: its image column and its label column.

    Images keep their size where it is one for all; `size` resizes the shorter side to it and cuts the centre out.
    Without `download` only what the Hugging Face cache (in the data root) or a local folder holds is used; a data set
    that needs code of its own to be read is never run.

    Raises:
        MissingExtraError: the `datasets` package is not installed.
        DataFileError: it is not there, or not a data set of labelled images of one size.
    """
    found, taken = _open(name, split, root, download)
    image_column, label_column = _columns(name, found.features)
    encoded = found.select_columns([image_column]).cast_column(image_column, _hub().Image(decode=False))
    labels, class_names = _labels(name, found, label_column)
    channels, height, width = _first_shape(name, encoded, image_column)
    remark = "" if taken == split else f"the split {taken!r} of the source"
    if size is not None:
        images: Tensor | LazyImages = HubImages(encoded, image_column, name, Fit(size, resize=size))
    else:
        images = _decode_all(name, encoded, image_column, (channels, height, width))
    dataset = Dataset(f"hf:{name}", split, images, labels, class_names)
    return dataset.noted(remark) if remark else dataset


@final
class HubImages(LazyImages):
    """The encoded images of one column."""

    def __init__(self, table: Any, column: str, name: str, fit: Fit):
        self.table, self.column, self.name, self.fit = table, column, name, fit

    def __len__(self) -> int:
        return len(self.table)

    def source(self, position: int) -> tuple[bytes | Path, str]:
        """The bytes, or the file where the table only names one."""
        held = self.table[position][self.column]
        where = f"hf:{self.name}, row {position}"
        if held is None:
            raise DataFileError(f"{where}: no image.")
        return held["bytes"] or Path(held["path"]), where

    def fingerprint(self, position: int) -> bytes:
        """The hash of the encoded image."""
        encoded, _ = self.source(position)
        return hashlib.sha256(encoded if isinstance(encoded, bytes) else encoded.read_bytes()).digest()

    def select(self, index: Int64[Tensor, " k"]) -> "HubImages":
        """The rows at these positions."""
        return HubImages(self.table.select(index.tolist()), self.column, self.name, self.fit)


def _open(name: str, split: str, root: Path, download: bool) -> tuple[Any, str]:
    """The table of the split, and the name that the split has there."""
    hub = _hub()
    path, _, configuration = name.partition(":")
    try:
        with nullcontext() if download else _offline(hub):
            splits = hub.load_dataset(path, configuration or None, cache_dir=str(root / "huggingface"))
    except Exception as error:  # the package tells of absence, of no network and of damage in a dozen classes
        advice = "" if download else " Allow the download with download=True (--download)."
        raise DataFileError(f"hf:{name} could not be loaded: {type(error).__name__}: {error}.{advice}") from error
    taken = next((each for each in _SYNONYMS.get(split, (split,)) if each in splits), None)
    if taken is None:
        raise DataFileError(f"hf:{name} has no split {split!r}; it has {', '.join(splits)}.")
    return splits[taken], taken


def _hub() -> Any:
    """The `datasets` package; a folder of that name beside the user's script is importable too, and is not it."""
    cause = None
    try:
        hub = importlib.import_module("datasets")
        if hasattr(hub, "load_dataset"):
            return hub
    except (ImportError, RuntimeError, OSError) as error:
        cause = error
    raise MissingExtraError("hf: data sets need the datasets package: pip install 'deepcollapse[hf]'.") from cause


@contextmanager
def _offline(hub: Any) -> Iterator[None]:
    """Keep the package from asking the network at all; it reads its own switch only once, when it is imported."""
    client: Any = importlib.import_module("huggingface_hub.constants")
    homes = [module for module in (hub.config, client) if hasattr(module, "HF_HUB_OFFLINE")]
    before = [module.HF_HUB_OFFLINE for module in homes]
    try:
        for module in homes:
            module.HF_HUB_OFFLINE = True
        yield
    finally:
        for module, value in zip(homes, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _columns(name: str, features: Any) -> tuple[str, str]:
    """The column of images and the column of labels, by their types and usual names."""
    images = [column for column, feature in features.items() if type(feature).__name__ == "Image"]
    classes = [column for column, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    numbers = [column for column, feature in features.items() if str(getattr(feature, "dtype", "")).startswith("int")]
    image = next((column for column in (*_IMAGE_COLUMNS, *images) if column in images), None)
    label = next((c for c in (*_LABEL_COLUMNS, *classes) if c in classes), None) or next(
        (c for c in _LABEL_COLUMNS if c in numbers), None
    )
    if image is None or label is None:
        held = ", ".join(f"{column} ({type(feature).__name__})" for column, feature in features.items())
        raise DataFileError(
            f"hf:{name} has the columns {held}; expected one of type Image and one of type ClassLabel (or whole "
            "numbers called label). Load other data with a function of your own, package.module:loader."
        )
    return image, label


def _labels(name: str, table: Any, column: str) -> tuple[Tensor, tuple[str, ...]]:
    values = table.with_format(None)[column]
    values = list(values)
    unlabelled = sum(value is None or value < 0 for value in values)
    if unlabelled or not values:
        raise DataFileError(
            f"hf:{name}: {unlabelled} of {len(values)} rows have no label in {column!r}; choose another split."
        )
    names = getattr(table.features[column], "names", None) or [str(i) for i in range(max(values) + 1)]
    return torch.tensor(values), tuple(names)


def _first_shape(name: str, table: Any, column: str) -> tuple[int, int, int]:
    """The shape of the first image: one channel only where it is stored grey."""
    import io

    from PIL import Image

    source, where = HubImages(table, column, name, Fit(1, 1)).source(0)
    colour = decode(source, where, 3)
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        grey = image.mode in ("1", "L")
    return 1 if grey else 3, colour.shape[1], colour.shape[2]


def _decode_all(name: str, table: Any, column: str, shape: tuple[int, int, int]) -> Tensor:
    channels, height, width = shape
    if len(table) * channels * height * width > _IN_MEMORY_BYTES:
        raise DataFileError(
            f"hf:{name} would take {len(table) * channels * height * width / 2**30:.1f} GiB decoded at "
            f"{height} x {width}. "
            f"Say a size, as hf:{name}@{min(height, width)}: images are then decoded when needed."
        )
    lazy = HubImages(table, column, name, Fit(1, 1))
    images = torch.empty(len(table), *shape, dtype=torch.uint8)
    for position in range(len(table)):
        source, where = lazy.source(position)
        pixels = decode(source, where, channels)
        if pixels.shape != images.shape[1:]:
            raise DataFileError(
                f"{where}: an image of {pixels.shape[1]} x {pixels.shape[2]}, the first is {height} x {width}. "
                f"Say one size for all, as hf:{name}@{min(height, width)}."
            )
        images[position] = pixels
    return images
