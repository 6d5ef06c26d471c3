"""The forms in which a matrix of few values is stored, the smallest of them, and reading whichever it is."""

from typing import Literal

import numpy as np

from deepcollapse.compression.storage import delta_huffman
from deepcollapse.compression.storage.container import Container, smaller
from deepcollapse.compression.storage.delta import MAGIC, Delta
from deepcollapse.compression.storage.delta_huffman import DeltaHuffman
from deepcollapse.compression.storage.read import MEMORY_LIMIT
from deepcollapse.errors import OptionError

Array = np.ndarray
Coded = Container | Delta | DeltaHuffman
Form = Literal["smallest", "hac", "shac", "delta", "delta-huffman"]

# The first four bytes of every form, and what reads it.
KINDS: dict[bytes, type[Coded]] = {
    b"HAC1": Container, b"SHC1": Container, MAGIC: Delta, delta_huffman.MAGIC: DeltaHuffman,
}  # fmt: skip


def coded(matrix: Array, form: Form = "smallest") -> Coded:
    """A matrix (n, m) of real numbers as HAC, as sHAC, in one of our own layouts, or in what takes the fewest bytes.

    Raises ShapeError where it is no matrix or is empty, NonFiniteError, OptionError for another form, and
    ContainerError where a matrix cannot be coded.

    >>> coded(np.eye(2)).form, coded(np.eye(2), "shac").form
    ('delta', 'shac')
    """
    if form == "smallest":
        return min(smaller(matrix), Delta.of(matrix), DeltaHuffman.of(matrix), key=lambda found: found.size)
    if form == "delta":
        return Delta.of(matrix)
    if form == "delta-huffman":
        return DeltaHuffman.of(matrix)
    if form not in ("hac", "shac"):
        raise OptionError(f"there is no form {form!r}; choose 'smallest', 'hac', 'shac', 'delta' or 'delta-huffman'.")
    return Container.of(matrix, form)


def read_coded(data: bytes | bytearray | memoryview, memory_limit: int = MEMORY_LIMIT) -> Coded:
    """What `to_bytes` of any form gave, checked in all that it declares. Raises ContainerError, MemoryBudgetError.

    >>> read_coded(coded(np.eye(40)).to_bytes()).form
    'delta'
    """
    view = memoryview(data).cast("B")
    return KINDS.get(bytes(view[:4]), Container).from_bytes(view, memory_limit)
