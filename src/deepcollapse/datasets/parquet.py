"""The Parquet layout of the Hugging Face hub: a column of encoded images {bytes, path} and a column of labels."""

import re
from pathlib import Path

import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.facts import DatasetFacts
from deepcollapse.datasets.files import to_dataset
from deepcollapse.datasets.images import decode
from deepcollapse.datasets.root import bears_name, folders, missing
from deepcollapse.errors import DataFileError, MissingExtraError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label", "labels")  # CIFAR-100 has a coarse label as well


def load_parquet(facts: DatasetFacts, split: str, root: Path) -> Dataset | None:
    """The split from SPLIT*.parquet in a folder named after the set, or None where there is no such file.

    Raises:
        DataFileError: a part is missing or damaged, or does not hold images of the size that the set has.
        MissingExtraError: pyarrow or Pillow is not installed.
    """
    for folder in folders(facts, root):
        files = sorted(folder.glob(f"{split}*.parquet")) if bears_name(facts, folder, root) else []
        if files:
            _refuse_missing_parts(facts, split, root, files)
            parts = [_read(file, facts) for file in files]
            images, labels = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
            dataset = to_dataset(facts, split, images, labels, files)
            lossy = any(part[2] for part in parts)
            return dataset.noted("decoded from JPEG, so not the published pixels") if lossy else dataset
    return None


def _refuse_missing_parts(facts: DatasetFacts, split: str, root: Path, files: list[Path]) -> None:
    """Files named train-00000-of-00002.parquet say how many there should be."""
    names = {file.name for file in files}
    for file in files:
        numbered = re.fullmatch(r"(.*-)\d{5}-of-(\d{5})\.parquet", file.name)
        if numbered:
            total = int(numbered[2])
            lacking = [
                name for i in range(total) if (name := f"{numbered[1]}{i:05d}-of-{total:05d}.parquet") not in names
            ]
            if lacking:
                raise missing(facts, split, root, f"{file.parent} lacks {', '.join(lacking)}")


def _read(file: Path, facts: DatasetFacts) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Images, labels, and whether any image is a JPEG."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("reading Parquet needs pyarrow: pip install 'deepcollapse[parquet]'.") from error
    images, labels, lossy = [], [], False
    try:
        with pq.ParquetFile(file) as table:
            image_column, label_column = _columns(file, table.schema_arrow.names)
            for batch in table.iter_batches(batch_size=4096, columns=[image_column, label_column]):
                encoded = [_bytes(file, row, len(labels) + i) for i, row in enumerate(batch[image_column].to_pylist())]
                images.append(_decode_all(file, encoded, len(labels), facts))
                lossy = lossy or any(each.startswith(b"\xff\xd8") for each in encoded)
                labels += batch[label_column].to_pylist()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(
            f"{file} ({file.stat().st_size} bytes) is not a readable Parquet file: {error}. Fetch it again."
        ) from error
    if not labels or not all(isinstance(label, int) for label in labels):
        raise DataFileError(f"{file}: column {label_column!r} should hold a whole number in each row, of at least one.")
    return torch.cat(images), torch.tensor(labels), lossy


def _columns(file: Path, names: list[str]) -> tuple[str, str]:
    image = next((name for name in IMAGE_COLUMNS if name in names), None)
    label = next((name for name in LABEL_COLUMNS if name in names), None)
    if image is None or label is None:
        raise DataFileError(
            f"{file} has the columns {', '.join(names)}; expected images in one of {', '.join(IMAGE_COLUMNS)} "
            f"and labels in one of {', '.join(LABEL_COLUMNS)}."
        )
    return image, label


def _bytes(file: Path, row: object, position: int) -> bytes:
    held = row.get("bytes") if isinstance(row, dict) else row
    if not isinstance(held, bytes):
        raise DataFileError(f"{file}, row {position}: no encoded image; expected {{bytes, path}}, the bytes filled.")
    return held


def _decode_all(file: Path, encoded: list[bytes], start: int, facts: DatasetFacts) -> torch.Tensor:
    assert facts.shape is not None
    pixels = [decode(each, f"{file}, row {start + i}", facts.shape[0]) for i, each in enumerate(encoded)]
    for i, image in enumerate(pixels):
        if tuple(image.shape) != facts.shape:
            height, width = image.shape[1:]
            raise DataFileError(
                f"{file}, row {start + i}: an image of {height} x {width}; {facts.name} has "
                f"{facts.shape[1]} x {facts.shape[2]}. The file is of another data set."
            )
    return torch.stack(pixels) if pixels else torch.empty(0, *facts.shape, dtype=torch.uint8)
