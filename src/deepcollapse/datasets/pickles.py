"""Read a pickle that may hold plain values and numpy arrays, and nothing that runs."""

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from deepcollapse.errors import DataFileError


def read_pickle(file: Path) -> Any:
    """What the pickle holds: dicts, lists, strings, bytes, numbers and numpy arrays of numbers.

    Strings written by Python 2 come as bytes. Anything else that a pickle can name, functions above all, is refused
    before it is imported.

    Raises:
        DataFileError: the pickle names something else, or is truncated.
    """
    try:
        with file.open("rb") as stream:
            return _PlainUnpickler(stream, encoding="bytes").load()
    except DataFileError:
        raise
    except Exception as error:  # a damaged pickle fails in any way at all
        raise DataFileError(
            f"{file} ({file.stat().st_size} bytes) is not a readable pickle: {type(error).__name__}: {error}. "
            "The file is truncated or damaged: fetch it again."
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, stream, *, encoding: str):
        super().__init__(stream, encoding=encoding)
        self._file = stream.name

    def find_class(self, module_name: str, global_name: str) -> Any:
        """One of the few functions that rebuild arrays; never an import."""
        plain = module_name.replace("numpy._core", "numpy.core")
        if (plain, global_name) in _ALLOWED:
            return _ALLOWED[plain, global_name]
        raise DataFileError(
            f"{self._file} asks for {module_name}.{global_name}: a data file may hold arrays and plain values only, "
            "and this one could run code. It was not read; fetch the data from its source."
        )


class _ArrayType:
    """Stands for numpy.ndarray, which a pickle names but never needs to call."""


def _reconstruct(subtype: object, shape: tuple[int, ...], type_code: object) -> np.ndarray:
    # numpy itself always asks for an empty array here and fills it later; any other shape would only take memory.
    if subtype is not _ARRAY_TYPE or tuple(shape) != (0,):
        raise ValueError("an array is rebuilt in an unusual way")
    return np.ndarray((0,), dtype=np.int8)


def _dtype(code: str | bytes, *_: object) -> np.dtype:
    # Pickles of old give 0 and 1 for `align` and `copy`, which numpy 2.4 warns of.
    dtype = np.dtype(code.decode("latin1") if isinstance(code, bytes) else code)
    if dtype.kind not in "biufc":
        raise ValueError(f"an array of {dtype}")
    return dtype


def _encode(text: str, encoding: str | bytes = "latin1") -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return codecs.latin_1_encode(text)[0]


def _frombuffer(buffer: bytes | bytearray, dtype: np.dtype, shape: tuple[int, ...], order: str | bytes) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order in ("F", b"F") else "C")


_ARRAY_TYPE = _ArrayType()
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): _ARRAY_TYPE,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}
