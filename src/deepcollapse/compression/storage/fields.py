"""Numbers in fields of one width, packed with the least significant bit first."""

import numpy as np
from jaxtyping import Int64

Array = np.ndarray

# Up to 7 bits into its first byte, a field of this width lies within 32 bits and 6 more; and the product with the
# reciprocal that divides it stays below 2^63.
WIDEST = 31

# Multiples of eight fields end with a byte; a block takes a few MB while it is worked on.
BLOCK_FIELDS = 1 << 15


def packed_fields(fields: Int64[Array, " fields"], width: int) -> bytes:
    """The fields one after another, zeros at the end.

    >>> packed_fields(np.array([1, 2, 3]), width=3).hex()
    'd100'
    """
    bits = np.arange(width)
    blocks = (fields[start : start + BLOCK_FIELDS, None] >> bits for start in range(0, len(fields), BLOCK_FIELDS))
    return b"".join(np.packbits((block & 1).astype(np.uint8).ravel(), bitorder="little").tobytes() for block in blocks)


def unpacked_fields(payload: bytes, width: int, count: int, first: int = 0) -> Int64[Array, " fields"]:
    """The `count` fields from `first` on of a payload that holds them.

    >>> unpacked_fields(bytes.fromhex("d100"), width=3, count=3).tolist()
    [1, 2, 3]
    """
    byte = first * width >> 3
    data = np.frombuffer(payload[byte : ((first + count) * width + 7) // 8] + bytes(8), np.uint8)
    offset = first * width - 8 * byte
    fields = np.empty(count, np.int64)
    for start in range(0, count, BLOCK_FIELDS):
        block = fields[start : start + BLOCK_FIELDS]
        at = np.arange(start, start + len(block)) * width + offset
        block[:] = 0
        for byte in range(5):
            block |= data[(at >> 3) + byte].astype(np.int64) << 8 * byte
        block >>= at & 7
        block &= (1 << width) - 1
    return fields
