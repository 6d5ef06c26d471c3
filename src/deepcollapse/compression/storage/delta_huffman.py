"""The smaller of two delta-coded layouts of our own: gaps and values of the non-zeros, each with a Huffman code.

It is no published format; as in :cite:`han2016` gaps between non-zeros are coded, here with their own code words. It
comes close to the entropy of gaps and values, in about nine tenths of the bytes of `delta`, and takes longer to read.

The byte table, which is normative. Numbers are little-endian; n rows are inputs, m columns outputs.

| offset | type | field |
| --- | --- | --- |
| 0 | 4 bytes | `DLH1` |
| 4, 8, 12 | u32 x 3 | rows n, columns m, values k |
| 16 | u16 | h, distinct gaps: at most 256 |
| 18 | u16 | c, bytes of a count: the least of 1, 2 and 4 that holds every one |
| 20, 28 | u64 x 2 | F, gaps; Ng, their bits |
| 36, 44 | u64 x 2 | q, non-zeros; Nv, the bits of their values |
| 52 | k x f32, k x u8 | values other than 0 in canonical order, and their code lengths |
| then | h x u8, h x u8 | gaps in canonical order, and their code lengths |
| then | m x u(8c) | how many non-zeros each column has; they add up to q |
| then | ceil(Ng / 8) bytes | gaps, column after column, most significant bit first, zeros at the end |
| then | ceil(Nv / 8) bytes | values, in the same way |

Both codes are canonical Huffman codes as in HAC. A place starts at row 0 in each column. A gap below 255 puts the next
value that many rows below the place, and the place behind it; the gap 255 moves the place by 255 rows and has no value.
"""

import struct
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64, Integer

from deepcollapse.compression.storage.bits import packed
from deepcollapse.compression.storage.damage import damaged
from deepcollapse.compression.storage.decode import symbol_ranks
from deepcollapse.compression.storage.entries import Entries
from deepcollapse.compression.storage.huffman import CanonicalCode
from deepcollapse.compression.storage.read import (
    MEMORY_LIMIT,
    check_length,
    check_memory,
    check_padding,
    count_bytes,
    runs,
    working_bytes,
)

Array = np.ndarray

MAGIC = b"DLH1"
SKIP = 255
PACKED_SYMBOLS = 1 << 18  # that are worked on at once
_HEADER = struct.Struct("<4sIIIHHQQQQ")


@dataclass(frozen=True)
class CodedSymbols:
    """So many symbols in a canonical code: what one of the two payloads holds."""

    code: CanonicalCode
    payload: bytes
    bits: int
    count: int

    @classmethod
    def of(cls, symbols: Array) -> "CodedSymbols":
        """Symbols of float32 in their Huffman code."""
        values, ranks, counts = np.unique(symbols.astype(np.float32), return_inverse=True, return_counts=True)
        code = CanonicalCode.of(values, counts.astype(np.int64))
        order = np.argsort(code.symbols)
        blocks = (order[ranks[at : at + PACKED_SYMBOLS]] for at in range(0, len(ranks), PACKED_SYMBOLS))
        return cls(code, *packed(code, blocks), len(symbols))

    @cached_property
    def ranks(self) -> Integer[Array, " count"]:
        """The ranks of all symbols, decoded once. Raises ContainerError where they do not end with the payload."""
        ranks, seen = np.empty(self.count, np.min_scalar_type(len(self.code))), 0
        for block in symbol_ranks(self.code, self.payload, self.bits, self.count):
            ranks[seen : seen + len(block)] = block
            seen += len(block)
        return ranks

    @cached_property
    def counts(self) -> Int64[Array, " k"]:
        """How often each symbol occurs (k,), in the order of the code."""
        counts = np.zeros(len(self.code), np.int64)
        for at in range(0, self.count, PACKED_SYMBOLS):
            counts += np.bincount(self.ranks[at : at + PACKED_SYMBOLS], minlength=len(counts))
        return counts

    def check(self, what: str) -> None:
        """Raises ContainerError for what an encoder would not have written."""
        check_padding(self.payload, self.bits, what)
        if len(self.ranks) and (self.counts == 0).any():
            raise damaged(f"{int((self.counts == 0).sum())} of {len(self.code)} {what} never occur")


@dataclass(frozen=True, eq=False)
class DeltaHuffman:
    """A matrix (rows, columns) of float32 as Huffman-coded gaps and values; column j has boundaries[j] up to [j + 1].

    >>> delta = DeltaHuffman.of(np.array([[0, 0.5], [0, 0.5], [1, 0]]))
    >>> delta.size, delta.nonzeros
    (70, 3)
    >>> DeltaHuffman.from_bytes(delta.to_bytes()).matrix().tolist()
    [[0.0, 0.5], [0.0, 0.5], [1.0, 0.0]]
    """

    rows: int
    columns: int
    boundaries: Int64[Array, " boundaries"]
    gaps: CodedSymbols
    values: CodedSymbols

    form = "delta-huffman"

    @classmethod
    def of(cls, matrix: Array) -> "DeltaHuffman":
        """Code a matrix (n, m) of real numbers, taken as float32 with -0.0 as 0.0.

        Raises ShapeError where it is no matrix or is empty, NonFiniteError for NaN and infinity, ContainerError where a
        code would take more than 57 bits.
        """
        entries = Entries.of(matrix)
        boundaries, before = entries.gaps()
        ends = np.cumsum(before // SKIP + 1)
        gaps = np.full(int(ends[-1]) if len(ends) else 0, SKIP)
        gaps[ends - 1] = before % SKIP
        flat = entries.columns.reshape(-1)
        return cls(*entries.shape, boundaries, CodedSymbols.of(gaps), CodedSymbols.of(flat[flat != 0]))

    @property
    def size(self) -> int:
        """The size in bytes."""
        codes = 5 * len(self.values.code) + 2 * len(self.gaps.code)
        payloads = len(self.gaps.payload) + len(self.values.payload)
        return _HEADER.size + codes + self.columns * count_bytes(self.boundaries) + payloads

    @property
    def nonzeros(self) -> int:
        """How many entries are not 0."""
        return self.values.count

    def to_bytes(self) -> bytes:
        """The container byte for byte as the table above has it."""
        gaps, values, wide = self.gaps, self.values, count_bytes(self.boundaries)
        sizes = gaps.count, gaps.bits, values.count, values.bits
        header = _HEADER.pack(MAGIC, self.rows, self.columns, len(values.code), len(gaps.code), wide, *sizes)
        codes = values.code.symbols.astype("<f4").tobytes() + values.code.lengths.tobytes()
        codes += gaps.code.symbols.astype(np.uint8).tobytes() + gaps.code.lengths.tobytes()
        return header + codes + np.diff(self.boundaries).astype(f"<u{wide}").tobytes() + gaps.payload + values.payload

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, memory_limit: int = MEMORY_LIMIT) -> "DeltaHuffman":
        """Read bytes that may be damaged or made to do harm; nothing in them is believed before it was checked.

        All is decoded once, so `matrix` and products cannot fail afterwards. Raises ContainerError for whatever no
        encoder writes, and MemoryBudgetError before memory is taken where the dense matrix and the decoded gaps and
        values would take more than `memory_limit` bytes.
        """
        view = memoryview(data).cast("B")
        rows, columns, k, h, wide, fields, gap_bits, q, value_bits = _checked_header(view, memory_limit)
        kinds = ("<f4", k), ("u1", k), ("u1", h), ("u1", h), (f"<u{wide}", columns)
        parts, at = [], _HEADER.size
        for kind, count in kinds:
            parts.append(np.frombuffer(view, kind, count, at))
            at += parts[-1].nbytes
        middle = at + (gap_bits + 7) // 8
        values = CanonicalCode(parts[0].astype(np.float32), parts[1].copy())
        gaps = CanonicalCode(parts[2].astype(np.float32), parts[3].copy())
        values.check()
        gaps.check()
        delta = cls(
            *(rows, columns, np.append(0, np.cumsum(parts[4].astype(np.int64)))),
            CodedSymbols(gaps, bytes(view[at:middle]), gap_bits, fields),
            CodedSymbols(values, bytes(view[middle:]), value_bits, q),
        )
        delta._check(wide)
        return delta

    def _check(self, wide: int) -> None:
        q = self.values.count
        if self.boundaries[-1] != q or count_bytes(self.boundaries) != wide:
            raise damaged(f"counts of {wide} bytes add up to {self.boundaries[-1]}, expected {q} in the least")
        if (self.values.code.symbols == 0).any():
            raise damaged("values other than 0 alone are coded, but 0 is among them")
        self.gaps.check("gaps")
        self.values.check("values")
        leading = int(self.gaps.counts[self.gaps.code.symbols != SKIP].sum())
        if leading != q or (len(self.gaps.ranks) and self.gaps.code.symbols[self.gaps.ranks[-1]] == SKIP):
            raise damaged(f"the gaps do not lead to {q} values")
        if (most := int(np.diff(self.gap_boundaries).max())) > self.rows:
            raise damaged(f"a column has {most} gaps, but there are {self.rows} rows")
        for first, last in runs(self.gap_boundaries):
            rows = self._rows(first, last)
            if len(rows) and rows.max() >= self.rows:
                raise damaged(f"gaps lead to row {rows.max()}, but there are {self.rows} rows")

    def _gap_symbols(self, start: int, stop: int) -> Int64[Array, " gaps"]:
        """Gaps `start` up to `stop`, skips among them."""
        return self.gaps.code.symbols[self.gaps.ranks[start:stop]].astype(np.int64)

    @cached_property
    def gap_boundaries(self) -> Int64[Array, " boundaries"]:
        """How many gaps there are up to each column."""
        found, values = np.zeros(self.columns + 1, np.int64), 0
        for start in range(0, self.gaps.count, PACKED_SYMBOLS):
            ends = start + 1 + np.flatnonzero(self._gap_symbols(start, start + PACKED_SYMBOLS) != SKIP)
            here = slice(*np.searchsorted(self.boundaries, [values, values + len(ends)], side="right"))
            found[here] = ends[self.boundaries[here] - values - 1]
            values += len(ends)
        return found

    def _rows(self, first: int, last: int) -> Int64[Array, " values"]:
        """The row of each value in columns `first` up to `last`."""
        gaps = self._gap_symbols(*self.gap_boundaries[[first, last]].tolist())
        passed = np.append(0, np.cumsum(gaps + (gaps != SKIP))[gaps != SKIP])
        boundaries = self.boundaries[first : last + 1] - self.boundaries[first]
        return passed[1:] - np.repeat(passed[boundaries[:-1]], np.diff(boundaries)) - 1

    def matrix(self) -> Array:
        """The matrix (n, m), exact to the bit (0.0 where there was -0.0); its columns lie contiguous in memory."""
        out = np.zeros((self.columns, self.rows), np.float32)
        for first, last in runs(self.gap_boundaries):
            columns = np.repeat(np.arange(first, last), np.diff(self.boundaries[first : last + 1]))
            ranks = self.values.ranks[self.boundaries[first] : self.boundaries[last]]
            out[columns, self._rows(first, last)] = self.values.code.symbols[ranks]
        return out.T


def _checked_header(view: memoryview, memory_limit: int) -> tuple[int, ...]:
    """All that the header declares, where it adds up to the data and fits the limit."""
    if len(view) < _HEADER.size:
        raise damaged(f"a container begins with {_HEADER.size} bytes, but there are {len(view)}")
    magic, rows, columns, k, h, wide, *sizes = _HEADER.unpack(view[: _HEADER.size])
    fields, gap_bits, q, value_bits = sizes
    if magic != MAGIC:
        raise damaged(f"the first four bytes are {magic!r}, not DLH1")
    if (
        not rows * columns
        or not q <= fields <= rows * columns
        or k > q
        or h > min(fields, 256)
        or wide not in (1, 2, 4)
    ):
        raise damaged(
            f"{rows} x {columns} entries cannot have {fields} gaps, {h} distinct, and {q} values, {k} distinct"
        )
    expected = _HEADER.size + 5 * k + 2 * h + wide * columns + (gap_bits + 7) // 8 + (value_bits + 7) // 8
    check_length(view, expected)
    kept = fields * np.min_scalar_type(h).itemsize + q * np.min_scalar_type(k).itemsize
    payloads = (gap_bits + 7) // 8 + (value_bits + 7) // 8
    needed = 4 * rows * columns + kept + payloads + working_bytes(fields + q, rows) + 16 * (columns + k)
    check_memory(rows, columns, needed, memory_limit)
    return rows, columns, k, h, wide, fields, gap_bits, q, value_bits
