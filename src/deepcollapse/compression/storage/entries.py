"""What is to be coded: the entries of a matrix column after column, its distinct values, and how often each occurs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from deepcollapse.compression.storage.bits import BLOCK_SYMBOLS
from deepcollapse.compression.storage.huffman import CanonicalCode
from deepcollapse.compression.storage.layout import LARGEST_COUNT, Form, container_bytes
from deepcollapse.errors import NonFiniteError, ShapeError

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Entries:
    """A matrix (n, m) as its columns (m, n), with the distinct values (k,) ascending and their counts (k,).

    >>> entries = Entries.of(np.array([[0.0, 2.0, -0.0], [1.0, 0.0, 1.0]]))
    >>> entries.columns.tolist(), entries.values.tolist(), entries.counts.tolist()
    ([[0.0, 1.0], [2.0, 0.0], [0.0, 1.0]], [0.0, 1.0, 2.0], [3, 2, 1])
    """

    columns: Float32[Array, "m n"]
    values: Float32[Array, " k"]
    counts: Int64[Array, " k"]

    @classmethod
    def of(cls, matrix: Array) -> "Entries":
        """Take in a matrix of real numbers as float32. Raises ShapeError, NonFiniteError."""
        if matrix.ndim != 2 or 0 in matrix.shape or max(matrix.shape) > LARGEST_COUNT:
            raise ShapeError(
                f"a container holds a matrix (inputs, outputs) with 1 to {LARGEST_COUNT} of each; "
                f"got shape {matrix.shape}. Flatten the other axes, and leave out layers that are empty."
            )
        if matrix.dtype.kind not in "fiub":
            raise ShapeError(f"a container holds real numbers; got an array of {matrix.dtype}. Convert it to float32.")
        with np.errstate(over="ignore"):
            columns = np.array(matrix.T, dtype=np.float32, order="C")
        bad = columns.size - np.count_nonzero(np.isfinite(columns))
        if bad:
            raise NonFiniteError(
                f"{bad} of {columns.size} entries are NaN, infinite, or too large for float32; "
                "code the weights of a network that trained without diverging."
            )
        columns += 0.0  # -0.0 becomes 0.0, so that zero is one symbol
        return cls(columns, *_counted(columns))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the matrix."""
        return self.columns.shape[1], self.columns.shape[0]

    @property
    def nonzeros(self) -> int:
        """How many entries are not 0."""
        return int(self.counts[self.values != 0].sum())

    def code(self, form: Form) -> CanonicalCode:
        """The Huffman code of all entries, or for "shac" of the non-zeros."""
        kept = self.values != 0 if form == "shac" else slice(None)
        return CanonicalCode.of(self.values[kept], self.counts[kept])

    def bits(self, code: CanonicalCode) -> int:
        """How many bits the payload takes, before it is made."""
        counts = self.counts[np.searchsorted(self.values, code.symbols)]
        return int((counts * code.lengths).sum())

    def size(self, form: Form, code: CanonicalCode) -> int:
        """How many bytes the container takes, before it is made."""
        return container_bytes(form, *self.shape, len(code), self.bits(code), self.nonzeros if form == "shac" else 0)

    def ranks(self, code: CanonicalCode) -> Iterator[Int64[Array, " block"]]:
        """The ranks in `code` of the entries that it has symbols for, column after column, in blocks."""
        order = np.argsort(code.symbols)
        ascending, sparse = code.symbols[order], len(code) < len(self.values)
        flat = self.columns.reshape(-1)
        for start in range(0, len(flat), BLOCK_SYMBOLS):
            block = flat[start : start + BLOCK_SYMBOLS]
            kept = block[block != 0] if sparse else block
            yield order[np.searchsorted(ascending, kept)]

    def places(self) -> tuple[Int64[Array, " boundaries"], Int64[Array, " q"]]:
        """Column boundaries (m + 1,) and row indices (q,) of the non-zeros, as compressed sparse columns have them."""
        boundaries = np.zeros(len(self.columns) + 1, np.int64)
        np.cumsum(np.count_nonzero(self.columns, axis=1), out=boundaries[1:])
        return boundaries, np.flatnonzero(self.columns) % self.columns.shape[1]

    def gaps(self) -> tuple[Int64[Array, " boundaries"], Int64[Array, " q"]]:
        """Column boundaries (m + 1,), and how many zeros lie before each non-zero (q,) in its column."""
        boundaries, rows = self.places()
        gaps = np.diff(rows, prepend=-1) - 1
        starts = boundaries[:-1][np.diff(boundaries) > 0]
        gaps[starts] = rows[starts]
        return boundaries, gaps


def _counted(columns: Float32[Array, "m n"]) -> tuple[Float32[Array, " k"], Int64[Array, " k"]]:
    values, counts = np.unique(columns, return_counts=True)
    return values, counts.astype(np.int64)
