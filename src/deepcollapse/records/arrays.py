"""Arrays that lie beside the records, in safetensors, and the references by which rows name them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcollapse.errors import OptionError, RunError
from deepcollapse.records.files import atomic_write

if TYPE_CHECKING:
    import numpy

_REFERENCE = re.compile(r"arrays/(?P<file>[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors)#(?P<key>.+)", re.DOTALL)
_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def write_arrays(folder: Path, stem: str, arrays: Mapping[str, Any]) -> dict[str, str]:
    """Write arrays (numpy, or torch on any device) to `folder`/arrays/`stem`.safetensors; returns key -> reference."""
    import safetensors.numpy

    if not _STEM.fullmatch(stem):
        raise OptionError(f"{stem!r} cannot name a file of arrays; use letters, digits, '_', '-' and '.'.")
    name = f"arrays/{stem}.safetensors"
    data = safetensors.numpy.save({key: _plain(array) for key, array in arrays.items()})
    atomic_write(folder / name, data)
    return {key: f"{name}#{key}" for key in arrays}


def read_array(folder: Path, reference: str) -> "numpy.ndarray":
    """Read the array that `reference` names. Only files in the run's own `arrays` folder are opened."""
    import safetensors

    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise RunError(f"{reference!r} refers to no array; expected 'arrays/FILE.safetensors#KEY'.")
    path, key = folder / "arrays" / found["file"], found["key"]
    if not path.is_file():
        raise RunError(f"{path} is missing, and a record refers to its array {key!r}; restore the run's arrays folder.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            keys = list(file.keys())
            if key in keys:
                return file.get_tensor(key)
    except (safetensors.SafetensorError, OSError) as error:
        raise RunError(f"{path} is not a readable safetensors file ({error}); restore or measure it again.") from error
    raise RunError(f"{path} holds no array {key!r}; it holds {sorted(keys)}.")


def _plain(array: Any) -> "numpy.ndarray":
    """The array as numpy holds it on the CPU, row by row: safetensors writes a strided view's buffer as it lies."""
    import numpy

    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    return numpy.array(array, order="C", copy=True)
