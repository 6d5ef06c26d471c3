"""Code words into a string of bits, the most significant first, a block of symbols at a time."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int64, UInt8, UInt64

from deepcollapse.compression.storage.huffman import CanonicalCode

Array = np.ndarray

# A block of symbols takes some twenty bytes each while it is encoded: a few MB, whatever the size of the matrix.
BLOCK_SYMBOLS = 1 << 16


def packed(code: CanonicalCode, ranks: Iterable[Int64[Array, " _"]]) -> tuple[bytes, int]:
    """The code words of symbols by rank, blocks one after the other, as bytes (zeros at the end) and how many bits.

    >>> code = CanonicalCode.of(np.array([0, 1, -1], dtype=np.float32), np.array([5, 1, 1]))
    >>> payload, bits = packed(code, [np.array([0, 2, 1])])
    >>> format(payload[0], "08b"), bits
    ('01110000', 5)
    """
    windows = _left_justified(code)
    payload, rest, bits = bytearray(), np.zeros(0, np.uint8), 0
    for block in ranks:
        fresh = _bits(windows[block], code.lengths[block])
        bits += len(fresh)
        waiting = np.concatenate([rest, fresh])
        whole = len(waiting) // 8 * 8
        payload += np.packbits(waiting[:whole]).tobytes()
        rest = waiting[whole:]
    return bytes(payload + np.packbits(rest).tobytes()), bits


def _left_justified(code: CanonicalCode) -> UInt64[Array, " k"]:
    # A code of 0 bits has none to be shifted to the top, and a shift by 64 is undefined.
    return code.codes << (64 - np.maximum(code.lengths, 1)).astype(np.uint64)


def _bits(windows: UInt64[Array, " block"], lengths: UInt8[Array, " block"]) -> UInt8[Array, " bits"]:
    """The first `lengths` bits of each window, one after another, each in a byte of its own."""
    ends = np.cumsum(lengths, dtype=np.int64)
    bits = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    places, left = ends - lengths, lengths
    while True:
        longer = np.flatnonzero(left)
        if len(longer) == 0:
            return bits
        if len(longer) < len(left):
            places, left, windows = places[longer], left[longer], windows[longer]
        bits[places] = windows >> np.uint64(63)
        places, left, windows = places + 1, left - np.uint8(1), windows << np.uint64(1)
