"""HAC and sHAC: a matrix of few distinct values as a Huffman code of its entries :cite:`marino2021`.

HAC codes every entry, column after column. sHAC codes the non-zeros alone, and keeps row indices and column boundaries
as compressed sparse columns do. A code word takes at least one bit, so HAC takes at least 1/32 of dense float32; below
that only sHAC goes. `layout` has the byte table. What is stored is told by the matrix alone: equal matrices give equal
bytes.

A container that was read has passed every check: it is what some matrix is coded as. Whether it is the matrix that was
meant cannot be told, for the byte table has no checksum: a flipped bit in symbols or payload may give another valid
container. `verify` finds those that our encoder would not have written; `digest`, kept elsewhere, finds all.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int64

from deepcollapse.compression.storage.bits import packed
from deepcollapse.compression.storage.damage import damaged
from deepcollapse.compression.storage.decode import symbol_ranks
from deepcollapse.compression.storage.entries import Entries
from deepcollapse.compression.storage.huffman import CanonicalCode
from deepcollapse.compression.storage.layout import Form, Header, boundary_bytes, container_bytes, row_index_bytes
from deepcollapse.compression.storage.read import MEMORY_LIMIT, read_parts
from deepcollapse.errors import OptionError

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Container:
    """A matrix (rows, columns) of float32 in the form "hac" or "shac".

    `payload` holds the code words of all entries (HAC) or of the non-zeros (sHAC), column after column, in `bits` bits.
    Of sHAC, the entries of column j are those from boundaries[j] up to boundaries[j + 1], in rows `row_indices`;
    of HAC both are None.

    >>> container = Container.of(np.array([[0, 0.5], [0, 0.5], [1, 0]]), "hac")
    >>> container.size, container.bits, container.nonzeros
    (45, 9, 3)
    >>> Container.from_bytes(container.to_bytes()).matrix().tolist()
    [[0.0, 0.5], [0.0, 0.5], [1.0, 0.0]]
    """

    form: Form
    rows: int
    columns: int
    code: CanonicalCode
    payload: bytes
    bits: int
    boundaries: Int64[Array, " boundaries"] | None = None
    row_indices: Int64[Array, " q"] | None = None

    @classmethod
    def of(cls, matrix: Array, form: Form) -> "Container":
        """Code a matrix (n, m) of real numbers, taken as float32 with -0.0 as 0.0.

        Raises ShapeError where it is no matrix or is empty, NonFiniteError for NaN and infinity (also of numbers too
        large for float32), OptionError for another form, ContainerError where a code would take more than 57 bits.
        """
        if form not in ("hac", "shac"):
            raise OptionError(f"there is no form {form!r}; choose 'hac' or 'shac'.")
        entries = Entries.of(matrix)
        return cls._coded(entries, form, entries.code(form))

    @classmethod
    def _coded(cls, entries: Entries, form: Form, code: CanonicalCode) -> "Container":
        places = entries.places() if form == "shac" else (None, None)
        return cls(form, *entries.shape, code, *packed(code, entries.ranks(code)), *places)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, memory_limit: int = MEMORY_LIMIT) -> "Container":
        """Read a container that may be damaged or made to do harm; nothing in it is believed before it was checked.

        The whole payload is decoded once, so `matrix` and products from the code cannot fail afterwards. Raises
        ContainerError for whatever no encoder writes, and MemoryBudgetError before memory is taken where the dense
        matrix and its indices would take more than `memory_limit` bytes.
        """
        view = memoryview(data).cast("B")
        header = Header.from_bytes(view)
        parts = read_parts(view, header, memory_limit)
        places = parts.boundaries, parts.row_indices
        container = cls(header.form, header.rows, header.columns, parts.code, parts.payload, header.bits, *places)
        never = int((container.counts == 0).sum())
        if never:
            raise damaged(f"{never} of {len(parts.code)} symbols never occur")
        return container

    def to_bytes(self) -> bytes:
        """The container byte for byte as `layout` has it."""
        rows, columns, k = self.rows, self.columns, len(self.code)
        code = self.code.symbols.astype("<f4").tobytes() + self.code.lengths.tobytes()
        if self.boundaries is None or self.row_indices is None:
            return Header("hac", rows, columns, k, 0, 0, self.bits).to_bytes() + code + self.payload
        widths = row_index_bytes(rows), boundary_bytes(self.count)
        places = (
            self.boundaries.astype(f"<u{widths[1]}").tobytes() + self.row_indices.astype(f"<u{widths[0]}").tobytes()
        )
        return Header("shac", rows, columns, k, *widths, self.bits).to_bytes() + code + self.payload + places

    def matrix(self) -> Float32[Array, "n m"]:
        """The matrix (n, m), exact to the bit (0.0 where there was -0.0); its columns lie contiguous in memory."""
        columns = np.zeros(self.rows * self.columns, np.float32)
        seen = 0
        for ranks in symbol_ranks(self.code, self.payload, self.bits, self.count):
            columns[self._places(seen, seen + len(ranks))] = self.code.symbols[ranks]
            seen += len(ranks)
        return columns.reshape(self.columns, self.rows).T

    def _places(self, start: int, stop: int) -> slice | Int64[Array, " block"]:
        """Where symbols `start` up to `stop` of the payload stand among all entries, column after column."""
        if self.boundaries is None or self.row_indices is None:
            return slice(start, stop)
        columns = np.searchsorted(self.boundaries, np.arange(start, stop), side="right") - 1
        return columns * self.rows + self.row_indices[start:stop]

    @property
    def count(self) -> int:
        """How many symbols the payload holds: n m for HAC, the non-zeros for sHAC."""
        return self.rows * self.columns if self.row_indices is None else len(self.row_indices)

    @cached_property
    def counts(self) -> Int64[Array, " k"]:
        """How often each symbol occurs (k,), in the order of the code; decodes the payload once."""
        if len(self.code) < 2:
            return np.full(len(self.code), self.count, np.int64)
        counts = np.zeros(len(self.code), np.int64)
        for ranks in symbol_ranks(self.code, self.payload, self.bits, self.count):
            counts += np.bincount(ranks, minlength=len(counts))
        return counts

    @property
    def nonzeros(self) -> int:
        """How many entries are not 0; of HAC this decodes the payload once."""
        return int(self.counts[self.code.symbols != 0].sum()) if self.form == "hac" else self.count

    @property
    def size(self) -> int:
        """The size in bytes."""
        nonzeros = self.count if self.form == "shac" else 0
        return container_bytes(self.form, self.rows, self.columns, len(self.code), self.bits, nonzeros)


def smaller(matrix: Array) -> Container:
    """Of HAC and sHAC the one that takes fewer bytes for a matrix (n, m), HAC if they take the same; errors as `of`.

    >>> smaller(np.eye(2)).form, smaller(np.eye(40)).form
    ('hac', 'shac')
    """
    entries = Entries.of(matrix)
    codes: dict[Form, CanonicalCode] = {"hac": entries.code("hac"), "shac": entries.code("shac")}
    form = min(codes, key=lambda form: entries.size(form, codes[form]))
    return Container._coded(entries, form, codes[form])


def digest(data: bytes | bytearray | memoryview) -> str:
    """The SHA-256 of a container's bytes in hexadecimal; kept beside it, it tells any change there can be.

    >>> digest(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()
