"""A delta-coded layout of our own: each non-zero as one field of fixed width, its gap and its value in one number.

It is no published format. As in :cite:`han2016`, a non-zero is told by how many zeros lie before it in its column and
by the index of its value; but a gap that does not fit takes a field that skips rows, without a weight of zero, and gap
and index share a field as the digits of one number, so that no count of values wastes a part of a bit. All fields being
of one width, the next can be read before the last is understood: products run close to those of compressed sparse
columns, in about a sixth of the bytes.

The byte table, which is normative. Numbers are little-endian; n rows are inputs, m columns outputs.

| offset | type | field |
| --- | --- | --- |
| 0 | 4 bytes | `DLT1` |
| 4, 8, 12 | u32 x 3 | rows n, columns m, symbols k |
| 16 | u8 | w, bits of a field: 1 to 31 with 2^w >= 2 k; 0 where k = 0 |
| 17 | u8 | c, bytes of a count: the least of 1, 2 and 4 that holds every one |
| 18 | u16 | 0 |
| 20 | u64 | F, fields |
| 28 | k x f32 | symbols, ascending: the distinct values that are not 0 |
| 28 + 4k | m x u(8c) | how many fields each column has; they add up to F |
| 28 + 4k + cm | ceil(F w / 8) bytes | field t in bits [t w, (t + 1) w), bit b of byte a being 8a + b; then zeros |

Let G = floor(2^w / k). A field f is below G k and means gap g = floor(f / k) and index i = f mod k. In each column a
place starts at row 0. With g < G - 1 the entry in row (place + g) is symbol i, and the place moves behind it. With
g = G - 1 there is no entry, and the place moves by (G - 1)(i + 1) rows. A column ends with an entry, and only the last
of skips that follow one another has i < k - 1; so equal matrices and equal w give equal bytes.
"""

import struct
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int64

from deepcollapse.compression.storage.damage import damaged
from deepcollapse.compression.storage.entries import Entries
from deepcollapse.compression.storage.fields import WIDEST, packed_fields, unpacked_fields
from deepcollapse.compression.storage.read import (
    MEMORY_LIMIT,
    check_length,
    check_memory,
    check_padding,
    count_bytes,
    runs,
    working_bytes,
)
from deepcollapse.errors import ContainerError

Array = np.ndarray

HEADER_BYTES = 28
MAGIC = b"DLT1"
_HEADER = struct.Struct("<4sIIIBBHQ")


@dataclass(frozen=True, eq=False)
class Delta:
    """A matrix (rows, columns) of float32 as gaps and indices in fields of `width` bits.

    The fields of column j are those from boundaries[j] up to boundaries[j + 1]; symbols (k,) ascend.

    >>> delta = Delta.of(np.array([[0, 0.5], [0, 0.5], [1, 0]]))
    >>> delta.size, delta.width, delta.nonzeros
    (39, 2, 3)
    >>> Delta.from_bytes(delta.to_bytes()).matrix().tolist()
    [[0.0, 0.5], [0.0, 0.5], [1.0, 0.0]]
    """

    rows: int
    columns: int
    symbols: Float32[Array, " k"]
    width: int
    boundaries: Int64[Array, " boundaries"]
    payload: bytes

    form = "delta"

    @classmethod
    def of(cls, matrix: Array) -> "Delta":
        """Code a matrix (n, m) of real numbers, taken as float32 with -0.0 as 0.0, in the width that takes least.

        Raises ShapeError where it is no matrix or is empty, NonFiniteError for NaN and infinity, and ContainerError for
        more than 2^30 distinct values.
        """
        return cls.of_entries(Entries.of(matrix))

    @classmethod
    def of_entries(cls, entries: Entries) -> "Delta":
        """The same of entries that were gathered already."""
        boundaries, gaps = entries.gaps()
        symbols = entries.values[entries.values != 0]
        k, width = len(symbols), _best_width(gaps, len(symbols))
        flat = entries.columns.reshape(-1)
        ranks = np.searchsorted(symbols, flat[flat != 0])
        skips = _skips(gaps, k, width)
        ends = np.append(0, np.cumsum(skips + 1))  # the field behind each entry
        fields = _fields(gaps, ranks, skips, k, width)
        return cls(*entries.shape, symbols, width, ends[boundaries], packed_fields(fields, width))

    @property
    def size(self) -> int:
        """The size in bytes."""
        counts = self.columns * count_bytes(self.boundaries)
        return HEADER_BYTES + 4 * len(self.symbols) + counts + len(self.payload)

    @property
    def nonzeros(self) -> int:
        """How many entries are not 0."""
        return int(self.counts.sum())

    def to_bytes(self) -> bytes:
        """The container byte for byte as the table above has it."""
        wide, fields = count_bytes(self.boundaries), int(self.boundaries[-1])
        header = _HEADER.pack(MAGIC, self.rows, self.columns, len(self.symbols), self.width, wide, 0, fields)
        counts = np.diff(self.boundaries).astype(f"<u{wide}")
        return header + self.symbols.astype("<f4").tobytes() + counts.tobytes() + self.payload

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, memory_limit: int = MEMORY_LIMIT) -> "Delta":
        """Read bytes that may be damaged or made to do harm; nothing in them is believed before it was checked.

        All fields are decoded once, in runs of columns, so `matrix` and products cannot fail afterwards. Raises
        ContainerError for whatever no encoder writes, and MemoryBudgetError before memory is taken where the dense
        matrix and what decodes it would take more than `memory_limit` bytes.
        """
        view = memoryview(data).cast("B")
        rows, columns, k, width, wide, fields = _checked_header(view, memory_limit)
        symbols = np.frombuffer(view, "<f4", k, HEADER_BYTES).astype(np.float32)
        _check_symbols(symbols)
        counts = np.frombuffer(view, f"<u{wide}", columns, HEADER_BYTES + 4 * k).astype(np.int64)
        boundaries = np.append(0, np.cumsum(counts))
        if boundaries[-1] != fields or count_bytes(boundaries) != wide:
            raise damaged(
                f"the columns' counts of {wide} bytes add up to {boundaries[-1]}, the largest being {counts.max()}; "
                f"expected {fields} in counts of the least width"
            )
        delta = cls(rows, columns, symbols, width, boundaries, bytes(view[HEADER_BYTES + 4 * k + wide * columns :]))
        delta._check_fields()
        return delta

    def matrix(self) -> Float32[Array, "n m"]:
        """The matrix (n, m), exact to the bit (0.0 where there was -0.0); its columns lie contiguous in memory."""
        out = np.zeros((self.columns, self.rows), np.float32)
        for first, last in runs(self.boundaries):
            gaps, ranks, skipping = self._digits(first, last)
            rows = self._rows(first, last, gaps, ranks, skipping)
            columns = np.repeat(np.arange(first, last), np.diff(self.boundaries[first : last + 1]))
            out[columns[~skipping], rows[~skipping]] = self.symbols[ranks[~skipping]]
        return out.T

    def _digits(self, first: int, last: int) -> tuple[Array, Array, Array]:
        """Gap, rank and whether it skips of each field in columns `first` up to `last`."""
        start, stop = int(self.boundaries[first]), int(self.boundaries[last])
        fields = unpacked_fields(self.payload, self.width, stop - start, start)
        gaps, ranks = np.divmod(fields, max(len(self.symbols), 1))
        return gaps, ranks, gaps == self.most

    @cached_property
    def most(self) -> int:
        """The gap that stands for a skip, G - 1."""
        return (1 << self.width) // max(len(self.symbols), 1) - 1

    def _rows(self, first: int, last: int, gaps: Array, ranks: Array, skipping: Array) -> Array:
        """Of an entry its row, of a skip the last row that it passes over."""
        passed = np.cumsum(np.where(skipping, self.most * (ranks + 1), gaps + 1))
        boundaries = self.boundaries[first : last + 1] - self.boundaries[first]
        before = np.append(0, passed)[boundaries[:-1]]
        return passed - np.repeat(before, np.diff(boundaries)) - 1

    def _check_fields(self) -> None:
        check_padding(self.payload, int(self.boundaries[-1]) * self.width, "payload", low_bits_first=True)
        if (most := int(np.diff(self.boundaries).max())) > self.rows:
            raise damaged(f"a column has {most} fields, but there are {self.rows} rows")
        never = int((self.counts == 0).sum())
        if never:
            raise damaged(f"{never} of {len(self.symbols)} symbols never occur")

    @cached_property
    def counts(self) -> Int64[Array, " k"]:
        """How often each symbol occurs (k,); decodes all fields, and raises ContainerError where they are damaged."""
        counts = np.zeros(len(self.symbols), np.int64)
        for first, last in runs(self.boundaries):
            gaps, ranks, skipping = self._digits(first, last)
            self._check_run(first, last, gaps, ranks, skipping)
            counts += np.bincount(ranks[~skipping], minlength=len(counts))
        return counts

    def _check_run(self, first: int, last: int, gaps: Array, ranks: Array, skipping: Array) -> None:
        if (gaps > self.most).any():
            raise damaged(f"{int((gaps > self.most).sum())} fields are beyond all gaps and symbols")
        rows = self._rows(first, last, gaps, ranks, skipping)
        if len(rows) and rows.max() >= self.rows:
            raise damaged(f"fields lead to row {rows.max()}, but there are {self.rows} rows")
        ends = np.zeros(len(gaps) + 1, np.bool_)
        ends[self.boundaries[first : last + 1] - self.boundaries[first]] = True  # behind a column's last field
        partial = ranks != len(self.symbols) - 1
        if (skipping & ends[1:]).any() or (skipping[:-1] & skipping[1:] & partial[:-1] & ~ends[1:-1]).any():
            raise damaged("a column ends with a skip, or a skip is cut in two")


def _best_width(gaps: Int64[Array, " q"], k: int) -> int:
    """The width with which all fields together take the fewest bits, the least one of equals."""
    if not k:
        return 0
    if 2 * k > 1 << WIDEST:
        raise ContainerError(f"{k} distinct values do not fit fields of {WIDEST} bits. Quantise to fewer values.")
    distinct, counts = np.unique(gaps, return_counts=True)
    widths = range((2 * k - 1).bit_length(), WIDEST + 1)
    return min(widths, key=lambda width: int((counts * (_skips(distinct, k, width) + 1)).sum()) * width)


def _skips(gaps: Int64[Array, " q"], k: int, width: int) -> Int64[Array, " q"]:
    """How many skips come before each entry."""
    if not k:
        return gaps
    return -(-(gaps // ((1 << width) // k - 1)) // k)


def _fields(gaps: Array, ranks: Array, skips: Array, k: int, width: int) -> Int64[Array, " fields"]:
    if not k:
        return gaps
    most = (1 << width) // k - 1
    times, rest = np.divmod(gaps, most)
    places = np.cumsum(skips + 1) - 1
    fields = np.full(len(gaps) + int(skips.sum()), most * k + k - 1)
    fields[(places - 1)[skips > 0]] = (most * k + (times - 1) % k)[skips > 0]
    fields[places] = rest * k + ranks
    return fields


def _checked_header(view: memoryview, memory_limit: int) -> tuple[int, int, int, int, int, int]:
    """Rows, columns, k, width, bytes of a count and fields, that add up to the data and fit the limit."""
    if len(view) < HEADER_BYTES:
        raise damaged(f"a container begins with {HEADER_BYTES} bytes, but there are {len(view)}")
    magic, rows, columns, k, width, wide, reserved, fields = _HEADER.unpack(view[:HEADER_BYTES])
    if magic != MAGIC or reserved:
        raise damaged(f"a delta container begins with DLT1 and has 0 in bytes 18 and 19, not {magic!r} and {reserved}")
    if not rows * columns or not k <= fields or (k == 0 and fields) or fields > rows * columns:
        raise damaged(f"{rows} x {columns} entries cannot have {fields} fields and {k} symbols")
    least, most = ((2 * k - 1).bit_length(), WIDEST) if k else (0, 0)
    if not least <= width <= most or wide not in (1, 2, 4):
        raise damaged(
            f"fields of {k} symbols have {least} to {most} bits and counts 1, 2 or 4 bytes, not {width} and {wide}"
        )
    expected = HEADER_BYTES + 4 * k + wide * columns + (fields * width + 7) // 8
    check_length(view, expected)
    payload = (fields * width + 7) // 8
    needed = 4 * rows * columns + payload + working_bytes(fields, rows) + 16 * columns
    check_memory(rows, columns, needed, memory_limit)
    return rows, columns, k, width, wide, fields


def _check_symbols(symbols: Float32[Array, " k"]) -> None:
    if not np.isfinite(symbols).all() or (symbols == 0).any() or (symbols[1:] <= symbols[:-1]).any():
        raise damaged("the symbols are not finite, ascending and other than 0")
