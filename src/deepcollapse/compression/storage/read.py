"""Bytes that may be damaged, or made to do harm, into the parts of a container.

Everything is held against the length of the data before memory is taken: what is declared has to add up to the bytes
that are there, to the byte, and what those unpack to has to fit the limit. All sizes are Python's numbers, which do not
overflow.
"""

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


def read_parts(data: memoryview, header: Header, memory_limit: int) -> Parts:
    """The parts of a container with this header. Raises ContainerError, MemoryBudgetError."""
    nonzeros = _check_length(data, header)
    _check_memory(header, nonzeros, memory_limit)
    k, start = header.symbols, HEADER_BYTES + 5 * header.symbols
    symbols = np.frombuffer(data, "<f4", k, HEADER_BYTES).astype(np.float32)
    code = CanonicalCode(symbols, np.frombuffer(data, np.uint8, k, HEADER_BYTES + 4 * k).copy())
    code.check()
    payload = bytes(data[start : start + header.payload_bytes])
    if header.bits % 8 and payload[-1] & (0xFF >> header.bits % 8):
        raise damaged(f"the last byte of the payload has to end in {-header.bits % 8} zeros, but is {payload[-1]:#04x}")
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
    if len(data) != expected:
        least = "at least " if len(data) < header.fixed_bytes and header.form == "shac" else ""
        raise damaged(f"the header declares {least}{expected} bytes, but there are {len(data)}")
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
    if needed > memory_limit:
        raise MemoryBudgetError(
            f"a container of {header.rows} x {header.columns} entries takes {needed} bytes when decoded, more than the "
            f"limit of {memory_limit}. If it comes from a source you trust, pass a larger memory_limit."
        )


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
