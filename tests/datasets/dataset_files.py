"""Write tiny files in the formats that the loaders read."""

import gzip
import io
import pickle
import struct
from pathlib import Path

import numpy as np


def pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (count, *shape)).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


def write_idx(folder: Path, prefix: str = "train", count: int = 5, suffix: str = "", seed: int = 0) -> np.ndarray:
    images = pixels(count, 28, 28, seed=seed)
    write(folder / f"{prefix}-images-idx3-ubyte{suffix}", idx(images))
    write(folder / f"{prefix}-labels-idx1-ubyte{suffix}", idx(np.arange(count, dtype=np.uint8) % 10))
    return images


def python2_pickle(data: np.ndarray, labels: list[int], key: str) -> bytes:
    """A pickle as Python 2 and the numpy of 2009 wrote CIFAR: protocol 2, every string in bytes."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def whole(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    raw = data.tobytes()
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + whole(0) + whole(1) + b"tR("
    dtype += whole(3) + text(b"|") + b"NNN" + whole(-1) + whole(-1) + whole(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + whole(0) + b"t" + text(b"b") + b"tR("
    array += whole(1) + b"(" + b"".join(map(whole, data.shape)) + b"t" + dtype
    array += b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    items = text(b"data") + array + text(key.encode()) + b"](" + b"".join(map(whole, labels)) + b"e"
    return b"\x80\x02}(" + items + text(b"batch_label") + text(b"batch 1 of 5") + b"u."


def write_cifar_pickle(file: Path, data: np.ndarray, labels: list[int], key: str, protocol: int) -> None:
    write(file, pickle.dumps({"data": data, key: labels}, protocol=protocol))


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    """An encoded image of (height, width) or (height, width, 3)."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def write_parquet(file: Path, images: list[bytes], labels: list[int], image: str = "img", label: str = "label") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.table({image: [{"bytes": each, "path": None} for each in images], label: labels})
    pq.write_table(rows, file)
