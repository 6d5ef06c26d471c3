"""Bytes that may be damaged, or made to do harm, into the parts of a container.

Everything is held against the length of the data before memory is taken: what is declared has to add up to the bytes
that are there, to the byte, and what those unpack to has to fit the limit. All sizes are Python's numbers, which do not
overflow.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from deepcollapse.compression.storage.damage import damaged
from deepcollapse.compression.storage.huffman import CanonicalCode
from deepcollapse.compression.storage.layout import HEADER_BYTES, Header, boundary_bytes, check_bits
from deepcollapse.errors import MemoryBudgetError

Array = np.ndarray

# 268 million float32 entries: more than any dense layer of the networks that are commonly pruned.
MEMORY_LIMIT = 1 << 30


@dataclass(frozen=True)
class Parts:
    """What the bytes of a container hold, checked in itself; the payload is not decoded yet."""

    code: CanonicalCode
    payload: bytes
    boundaries: Int64[Array, " boundaries"] | None
    row_indices: Int64[Array, " q"] | None


# Entries that are decoded at once where a form is read in runs of columns, and the bytes that each takes meanwhile.
RUN_SYMBOLS = 1 << 18
BYTES_A_SYMBOL = 64


def check_length(data: memoryview, expected: int, least: str = "") -> None:
    """Raises ContainerError where there are not as many bytes as the header declares."""
    if len(data) != expected:
        raise damaged(f"the header declares {least}{expected} bytes, but there are {len(data)}")


def check_memory(rows: int, columns: int, needed: int, memory_limit: int) -> None:
    """Raises MemoryBudgetError where decoding would take more than the limit."""
    if needed > memory_limit:
        raise MemoryBudgetError(
            f"a container of {rows} x {columns} entries takes {needed} bytes when decoded, more than the limit of "
            f"{memory_limit}. If it comes from a source you trust, pass a larger memory_limit."
        )


def check_padding(payload: bytes, bits: int, what: str, low_bits_first: bool = False) -> None:
    """Raises ContainerError where the bits of the last byte that nothing stands in are not 0."""
    used = bits % 8
    if used and (payload[-1] >> used if low_bits_first else payload[-1] & (0xFF >> used)):
        raise damaged(f"the last byte of the {what} has to end in {8 - used} zeros, but is {payload[-1]:#04x}")


def working_bytes(symbols: int, rows: int) -> int:
    """What runs of columns take while they are decoded, of so many symbols, at most one a row in each column."""
    return BYTES_A_SYMBOL * min(symbols, RUN_SYMBOLS + rows)


def runs(boundaries: Int64[Array, " boundaries"]) -> Iterator[tuple[int, int]]:
    """Columns first up to last, run after run, that together hold at most `RUN_SYMBOLS`, or one column each.

    >>> list(runs(np.array([0, 3, 5])))
    [(0, 2)]
    """
    first, columns = 0, len(boundaries) - 1
    while first < columns:
        fits = int(np.searchsorted(boundaries, boundaries[first] + RUN_SYMBOLS, side="right")) - 1
        last = min(max(fits, first + 1), columns)
        yield first, last
        first = last


def count_bytes(boundaries: Int64[Array, " boundaries"]) -> int:
    """The least of 1, 2 and 4 bytes that holds how many symbols each column has.

    >>> count_bytes(np.array([0, 256]))
    2
    """
    most = int(np.diff(boundaries).max())
    return 1 if most < 1 << 8 else 2 if most < 1 << 16 else 4


def read_parts(data: memoryview, header: Header, memory_limit: int) -> Parts:
    """The parts of a container with this header. Raises ContainerError, MemoryBudgetError."""
    nonzeros = _check_length(data, header)
    _check_memory(header, nonzeros, memory_limit)
    k, start = header.symbols, HEADER_BYTES + 5 * header.symbols
    symbols = np.frombuffer(data, "<f4", k, HEADER_BYTES).astype(np.float32)
    code = CanonicalCode(symbols, np.frombuffer(data, np.uint8, k, HEADER_BYTES + 4 * k).copy())
    code.check()
    payload = bytes(data[start : start + header.payload_bytes])
    check_padding(payload, header.bits, "payload")
    if header.form == "hac":
        return Parts(code, payload, None, None)
    if (symbols == 0).any():
        raise damaged("sHAC codes non-zeros alone, but 0 is among its symbols")
    return Parts(code, payload, *_places(data[start + header.payload_bytes :], header, nonzeros))


def _check_length(data: memoryview, header: Header) -> int:
    """How many non-zeros were declared (sHAC; else 0), where all that was declared is as long as the data."""
    nonzeros, expected = 0, header.fixed_bytes
    if header.form == "shac" and len(data) >= expected:
        nonzeros = int.from_bytes(data[expected - header.boundary_bytes : expected], "little")
        _check_nonzeros(header, nonzeros)
        expected += nonzeros * header.row_bytes
    check_length(data, expected, "at least " if len(data) < header.fixed_bytes and header.form == "shac" else "")
    return nonzeros


def _check_nonzeros(header: Header, nonzeros: int) -> None:
    if nonzeros > header.rows * header.columns:
        raise damaged(f"{nonzeros} non-zeros were declared for {header.rows} x {header.columns} entries")
    if header.boundary_bytes != boundary_bytes(nonzeros):
        raise damaged(
            f"with {nonzeros} non-zeros a boundary has {boundary_bytes(nonzeros)} bytes, "
            f"but {header.boundary_bytes} were declared"
        )
    if header.symbols > nonzeros or (nonzeros and not header.symbols):
        raise damaged(f"{header.symbols} symbols were declared for {nonzeros} non-zeros")
    check_bits(header.bits, header.symbols, nonzeros)


def _check_memory(header: Header, nonzeros: int, memory_limit: int) -> None:
    boundaries = header.columns + 1 if header.form == "shac" else 0
    needed = 4 * header.rows * header.columns + 8 * (nonzeros + boundaries) + 16 * header.symbols + header.payload_bytes
    check_memory(header.rows, header.columns, needed, memory_limit)


def _places(data: memoryview, header: Header, nonzeros: int) -> tuple[Int64[Array, " boundaries"], Int64[Array, " q"]]:
    width = header.boundary_bytes
    boundaries = np.frombuffer(data, f"<u{width}", header.columns + 1).astype(np.int64)
    rows = np.frombuffer(data, f"<u{header.row_bytes}", nonzeros, (header.columns + 1) * width).astype(np.int64)
    if boundaries[0] or (boundaries[1:] < boundaries[:-1]).any():
        raise damaged(f"the column boundaries do not ascend from 0 to {nonzeros}")
    if nonzeros and rows.max() >= header.rows:
        raise damaged(f"a row index is {rows.max()}, but there are {header.rows} rows")
    first = np.zeros(nonzeros + 1, np.bool_)
    first[boundaries] = True
    if not ((rows[1:] > rows[:-1]) | first[1:-1]).all():
        raise damaged("the row indices do not ascend inside each column")
    return boundaries, rows
