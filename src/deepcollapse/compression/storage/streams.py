"""Containers laid out for the compiled loops: words, tables, and where each column starts."""

import numpy as np
from jaxtyping import Float32, Int64, UInt16, UInt32

from deepcollapse.compression.storage.container import Container
from deepcollapse.compression.storage.damage import damaged
from deepcollapse.compression.storage.delta import Delta
from deepcollapse.compression.storage.delta_huffman import CodedSymbols, DeltaHuffman
from deepcollapse.compression.storage.huffman import DecodingTables

Array = np.ndarray

# A code's window may reach into the two words behind the one in which it begins.
PADDING = 12


def huffman_stream(container: Container) -> tuple:
    """What `kernels` take for HAC and sHAC. The start of each column is found here, in one pass; it is not stored."""
    boundaries = _boundaries(container)
    coded = CodedSymbols(container.code, container.payload, container.bits, container.count)
    words, starts, (table, *codes) = _started(coded, boundaries)
    symbols = container.code.symbols
    return words, starts, boundaries, table, _runs(container.code.table(), symbols), *codes, symbols, _rows(container)


def paired_stream(delta: DeltaHuffman) -> tuple:
    """What `kernels` take for Huffman-coded gaps and values."""
    words, starts, codes = _started(delta.gaps, delta.gap_boundaries)
    value_words, value_starts, value_codes = _started(delta.values, delta.boundaries)
    gaps = delta.gaps.code.symbols.astype(np.uint64)
    symbols = delta.values.code.symbols
    return words, starts, delta.boundaries, gaps, symbols, codes, value_words, value_starts, value_codes


def _started(coded: CodedSymbols, boundaries: Int64[Array, " boundaries"]) -> tuple[Array, Array, tuple]:
    """Words of the payload, the bit at which each column starts, and what decodes them."""
    from deepcollapse.compression.storage import kernels

    tables, words = coded.code.table(), _words(coded.payload, ">u4")
    bits, longest = np.uint64(tables.bits), np.uint64(tables.longest)
    codes = bits, longest, tables.first_codes, tables.first_ranks.astype(np.uint64)
    looked_up = _packed_table(tables, kernels.LONG), *codes
    starts = np.zeros(len(boundaries), np.uint64)
    if not kernels.column_starts(words, np.uint64(coded.bits), boundaries, *looked_up, starts):
        raise damaged(f"{coded.count} symbols do not end with the payload of {coded.bits} bits")
    return words, starts, looked_up


def field_stream(delta: Delta) -> tuple:
    """What `kernels` take for the delta-coded layout."""
    k = max(len(delta.symbols), 1)
    # floor(f / k) = (f ceil(2^s / k)) >> s for all f below 2^w where s = w + ceil(log2 k) :cite:`granlund1994`.
    shift = delta.width + (k - 1).bit_length()
    constants = (np.uint64(number) for number in (delta.width, -(-(1 << shift) // k), shift, delta.most))
    return _words(delta.payload, "<u4"), delta.boundaries, *constants, delta.symbols


def _words(payload: bytes, kind: str) -> UInt32[Array, " words"]:
    padded = payload + bytes(PADDING + -len(payload) % 4)
    return np.frombuffer(padded, kind).astype(np.uint32)


def _packed_table(tables: DecodingTables, long: int) -> UInt16[Array, " entries"]:
    """Length and rank in one number of 16 bits: up to eleven bits, and so up to eleven for a rank and four a length."""
    unknown = (tables.lengths == 0) & (tables.longest > 0)
    return np.where(unknown, long, tables.ranks << 4 | tables.lengths).astype(np.uint16)


def _runs(tables: DecodingTables, symbols: Float32[Array, " k"]) -> UInt32[Array, " entries"]:
    """For each index of the table the zeros that it begins with and the non-zero after them, as far as it has them.

    In bits: 0 to 3 how many bits they take, 4 to 7 how many zeros, from 8 on the rank of the non-zero and 1, or 0.
    """
    windows = np.arange(1 << tables.bits)
    used, zeros, rank = np.zeros_like(windows), np.zeros_like(windows), np.zeros_like(windows)
    going = np.ones(len(windows), np.bool_)
    for _ in range(tables.bits):
        ahead = (windows << used) & (len(windows) - 1)
        length, found = tables.lengths[ahead].astype(np.int64), tables.ranks[ahead]
        going = going & (length > 0) & (used + length <= tables.bits)
        zero = symbols[found] == 0
        used += np.where(going, length, 0)
        zeros += going & zero
        rank = np.where(going & ~zero, found + 1, rank)
        going = going & zero
    return (rank << 8 | zeros << 4 | used).astype(np.uint32)


def _boundaries(container: Container) -> Int64[Array, " boundaries"]:
    if container.boundaries is None:
        return np.arange(container.columns + 1) * container.rows
    return container.boundaries


def _rows(container: Container) -> UInt16[Array, " q"] | UInt32[Array, " q"]:
    indices = np.zeros(0, np.int64) if container.row_indices is None else container.row_indices
    return indices.astype(np.uint16 if container.rows <= 1 << 16 else np.uint32)
