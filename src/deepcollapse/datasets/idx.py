"""MNIST, Fashion-MNIST and KMNIST: the IDX format, gzip or plain (http://yann.lecun.com/exdb/mnist/)."""

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.facts import DatasetFacts
from deepcollapse.datasets.files import to_dataset
from deepcollapse.datasets.root import folders, missing
from deepcollapse.errors import DataFileError

_PREFIXES = {"train": "train", "test": "t10k"}
_CHUNK = 1 << 20
# Deflate cannot pack tighter than this: a header that claims more than the file could hold is refused unread.
_LARGEST_GZIP_RATIO = 1032


def load_idx(facts: DatasetFacts, split: str, root: Path) -> Dataset | None:
    """The split from its two IDX files, or None where neither is there.

    Raises:
        DataFileError: one of the two is missing, truncated, or not what it should be.
    """
    half = ""
    for folder in folders(facts, root):
        stems = [f"{_PREFIXES[split]}-{part}-ubyte" for part in ("images-idx3", "labels-idx1")]
        found = [_plain_or_gzip(folder, stem) for stem in stems]
        if found[0] and found[1]:
            images = read_idx(found[0], facts.shape and facts.shape[1:])
            labels = read_idx(found[1], ())
            return to_dataset(facts, split, torch.from_numpy(images).unsqueeze(1), labels, (found[0], found[1]))
        if found[0] or found[1]:
            half = f"{found[0] or found[1]} is there, {stems[0] if found[1] else stems[1]} is not"
    if half:
        raise missing(facts, split, root, half)
    return None


def _plain_or_gzip(folder: Path, stem: str) -> Path | None:
    # `train-images.idx3-ubyte` is how some archives spell it.
    spellings = (stem, stem.replace("-idx", ".idx"))
    candidates = (folder / f"{spelling}{suffix}" for spelling in spellings for suffix in ("", ".gz"))
    return next((file for file in candidates if file.is_file()), None)


def read_idx(file: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    """An IDX file of unsigned bytes; `shape` is what one entry must have (`()` for labels).

    Raises:
        DataFileError: truncated, too long, or not such a file.
    """
    packed = file.suffix == ".gz"
    try:
        with gzip.open(file) if packed else file.open("rb") as stream:
            sizes = _sizes(stream, file)
            if shape is not None and sizes[1:] != shape:
                raise DataFileError(f"{file} holds entries of shape {sizes[1:]}; expected {shape}.")
            header, body = 4 + 4 * len(sizes), math.prod(sizes)
            length = file.stat().st_size
            if body > length * (_LARGEST_GZIP_RATIO if packed else 1):
                limit = f"{length} bytes packed" if packed else f"{length} bytes"
                raise _wrong_length(file, header + body, limit)
            data = _read(stream, body + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFileError(
            f"{file} ({file.stat().st_size} bytes) cannot be unpacked: {error}. Fetch it again."
        ) from error
    if len(data) != body:
        longer = len(data) > body
        raise _wrong_length(file, header + body, "more" if longer else f"{header + len(data)} bytes")
    return np.frombuffer(data, dtype=np.uint8).reshape(sizes)


def _sizes(stream: io.BufferedIOBase, file: Path) -> tuple[int, ...]:
    """The sizes that the header names: two zero bytes, type 8 (unsigned byte), number of axes, the axes."""
    start = stream.read(4)
    axes = start[3] if len(start) == 4 else 0
    rest = stream.read(4 * axes)
    if start[:3] != b"\0\0\x08" or not 1 <= axes <= 4 or len(rest) < 4 * axes:
        raise DataFileError(
            f"{file} does not start like an IDX file of unsigned bytes (00 00 08 and the number of axes, then their "
            f"sizes): it starts with {(start + rest)[:8].hex(' ') or 'nothing'}. Fetch it again."
        )
    return tuple(int.from_bytes(rest[at : at + 4], "big") for at in range(0, 4 * axes, 4))


def _read(stream: io.BufferedIOBase, limit: int) -> bytearray:
    """At most `limit` bytes, piece by piece, so that memory is taken only for what is there."""
    data = bytearray()
    while len(data) < limit and (chunk := stream.read(min(_CHUNK, limit - len(data)))):
        data += chunk
    return data


def _wrong_length(file: Path, expected: int, found: str) -> DataFileError:
    return DataFileError(
        f"{file} should hold {expected} bytes unpacked by its own header, and holds {found}. Fetch it again."
    )
