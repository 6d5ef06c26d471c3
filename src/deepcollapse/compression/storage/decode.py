"""A string of bits back into symbols, without a compiler: every bit position at once, then a walk in long strides.

In a block of the payload the code that would begin at each bit is looked up, which gives the position after it. That
map applied to itself four times takes sixteen symbols in one stride, so the walk that cannot be vectorised takes one
step of Python for sixteen symbols; the positions between are then filled in for all strides together.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8, UInt64

from deepcollapse.compression.storage.damage import damaged
from deepcollapse.compression.storage.huffman import LONGEST_CODE, CanonicalCode, DecodingTables

Array = np.ndarray

# Measured: blocks whose tables stay in the second-level cache, and strides of 2^4 symbols, are fastest.
BLOCK_BITS = 1 << 15
DOUBLINGS = 4
CONSTANT_BLOCK = 1 << 16

# Wider than what a compiled walk likes: here each code too long for the table costs a search at its every bit.
TABLE_BITS = 16


def symbol_ranks(code: CanonicalCode, payload: bytes, bits: int, count: int) -> Iterator[Int64[Array, " block"]]:
    """The ranks of exactly `count` symbols that are coded in exactly `bits` bits, in blocks.

    Takes time in proportion to `bits` and `count`, and a few MB. Raises ContainerError where codes and symbols do not
    end together with the payload, at the end at the latest. `code` has to have passed its `check`.

    >>> code = CanonicalCode.of(np.array([0, 1, -1], dtype=np.float32), np.array([5, 1, 1]))
    >>> [block.tolist() for block in symbol_ranks(code, bytes([0b01110000]), bits=5, count=3)]
    [[0, 2, 1]]
    """
    if len(code) < 2:
        yield from _constant(code, bits, count)
        return
    tables = code.table(TABLE_BITS)
    position = seen = 0
    while position < bits:
        block = _Block.at(position, payload, bits, tables)
        starts, position = block.walk(position)
        seen += len(starts)
        if seen > count:
            raise damaged(f"the payload of {bits} bits codes more than the {count} symbols that were declared")
        yield block.ranks(starts)
    if position != bits:
        raise damaged(f"the payload of {bits} bits ends inside a code")
    if seen != count:
        raise damaged(f"the payload of {bits} bits codes {seen} symbols, but {count} were declared")


def _constant(code: CanonicalCode, bits: int, count: int) -> Iterator[Int64[Array, " block"]]:
    if bits:
        raise damaged(f"a code of {len(code)} symbols needs no bits, but {bits} were declared")
    if count and not len(code):
        raise damaged(f"{count} symbols were declared for a code of none")
    for start in range(0, count, CONSTANT_BLOCK):
        yield np.zeros(min(CONSTANT_BLOCK, count - start), np.int64)


@dataclass(frozen=True)
class _Block:
    """Some bytes of the payload: what the next bits at each bit of it say."""

    first: int
    data: UInt8[Array, " bytes"]
    windows: Int64[Array, " bits"]
    lengths: Int64[Array, " bits"]
    tables: DecodingTables

    @classmethod
    def at(cls, position: int, payload: bytes, bits: int, tables: DecodingTables) -> "_Block":
        byte = position // 8
        size = min(BLOCK_BITS, bits - 8 * byte)
        data = np.zeros((size + 7) // 8 + 8, np.uint8)
        present = np.frombuffer(payload, np.uint8, min(len(data), len(payload) - byte), byte)
        data[: len(present)] = present
        windows = _short_windows(data, tables.bits)[:size]
        lengths = tables.lengths[windows].astype(np.int64)
        if tables.bits < tables.longest:
            unknown = np.flatnonzero(lengths == 0)
            lengths[unknown] = _long_lengths(_long_windows(data, unknown, tables.longest), tables)
        return cls(8 * byte, data, windows, lengths, tables)

    def walk(self, position: int) -> tuple[Int64[Array, " symbols"], int]:
        """Where the codes begin in this block from a position of the payload on, and the position after the last."""
        size = len(self.lengths)
        following = np.arange(size + LONGEST_CODE + 1)
        following[:size] += self.lengths
        stride = following
        for _ in range(DOUBLINGS):
            stride = stride[stride]
        leaders, place, step = [], position - self.first, stride.data
        while place < size:
            leaders.append(place)
            place = step[place]
        lanes = np.empty((1 << DOUBLINGS, len(leaders)), np.int64)
        lanes[0] = leaders
        for lane in range(1, len(lanes)):
            lanes[lane] = following[lanes[lane - 1]]
        starts = lanes.T.ravel()
        return starts[starts < size], self.first + place

    def ranks(self, starts: Int64[Array, " symbols"]) -> Int64[Array, " symbols"]:
        ranks = self.tables.ranks[self.windows[starts]]
        if self.tables.bits < self.tables.longest:
            long = np.flatnonzero(self.lengths[starts] > self.tables.bits)
            ranks[long] = _long_ranks(
                _long_windows(self.data, starts[long], self.tables.longest), self.lengths[starts[long]], self.tables
            )
        return ranks


def _short_windows(data: UInt8[Array, " bytes"], bits: int) -> Int64[Array, " positions"]:
    """The next `bits` <= 17 bits at each bit of all but the last eight bytes."""
    words = data[:-8].astype(np.int64) << 16 | data[1:-7].astype(np.int64) << 8 | data[2:-6]
    return ((words[:, None] >> (24 - bits - np.arange(8))) & ((1 << bits) - 1)).ravel()


def _long_windows(data: UInt8[Array, " bytes"], places: Int64[Array, " places"], bits: int) -> UInt64[Array, " places"]:
    """The next `bits` <= 57 bits at the places given."""
    windows = np.zeros(len(places), np.uint64)
    for byte in range(8):
        windows = windows << np.uint64(8) | data[places // 8 + byte]
    return (windows << (places % 8).astype(np.uint64)) >> np.uint64(64 - bits)


def _long_lengths(windows: UInt64[Array, " places"], tables: DecodingTables) -> Int64[Array, " places"]:
    return np.searchsorted(tables.first_codes[1 : tables.longest + 1], windows, side="right").astype(np.int64)


def _long_ranks(
    windows: UInt64[Array, " places"], lengths: Int64[Array, " places"], tables: DecodingTables
) -> Int64[Array, " places"]:
    after = (windows - tables.first_codes[lengths]) >> (tables.longest - lengths).astype(np.uint64)
    return tables.first_ranks[lengths] + after.astype(np.int64)
