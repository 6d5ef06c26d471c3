r"""Canonical Huffman codes :cite:`huffman1952` of float32 values: lengths, code words, and tables that decode them.

Lengths come from the two-queue merge of symbols sorted by (count, value), where a leaf goes before an inner node of
the same weight; so the longest code is as short as that of any Huffman code, and equal input gives equal lengths
everywhere. Code words are canonical: in order of (length, value) the first is all zeros and
code_{r+1} = (code_r + 1) << (l_{r+1} - l_r). So symbols and lengths are all that has to be stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt64

from deepcollapse.compression.storage.damage import damaged
from deepcollapse.errors import ContainerError, ShapeError

Array = np.ndarray

# With up to 7 bits before it in its first byte, a code of this length still lies within one read of 64 bits.
LONGEST_CODE = 57

# A table of this many bits fits into the first-level cache of a processor and holds nearly all codes that occur.
TABLE_BITS = 11


def code_lengths(counts: Int64[Array, " k"], values: Float32[Array, " k"]) -> UInt8[Array, " k"]:
    """The lengths in bits of a Huffman code for symbols that occur `counts` times, in the order of the input.

    Ties of counts are broken by value, ties of merged weights by taking the leaf. A single symbol has length 0, for
    nothing needs to be said. Raises ContainerError for a count below 1, and where a code would be longer than 57 bits:
    that takes some 10^12 entries in Fibonacci proportions.

    >>> code_lengths(np.array([1, 1, 2, 2, 4]), np.arange(5, dtype=np.float32))
    array([3, 3, 2, 2, 2], dtype=uint8)
    """
    if len(counts) and counts.min() < 1:
        raise ContainerError(f"a symbol occurs {counts.min()} times; leave out symbols that do not occur.")
    order = np.lexsort((values, counts))
    depths = np.array(_leaf_depths(counts[order].tolist()), dtype=np.int64)
    if len(depths) and depths.max() > LONGEST_CODE:
        raise ContainerError(
            f"the Huffman code has a code of {depths.max()} bits; the container allows {LONGEST_CODE}. "
            "Quantise to fewer values, or cut the matrix into blocks."
        )
    lengths = np.empty(len(counts), dtype=np.uint8)
    lengths[order] = depths
    return lengths


def _leaf_depths(weights: list[int]) -> list[int]:
    """Depths of the leaves in the Huffman tree of ascending weights, by two queues."""
    k = len(weights)
    if k < 2:
        return [0] * k
    parents = [0] * (2 * k - 1)
    merged: list[int] = []
    leaf = inner = 0
    for node in range(k, 2 * k - 1):
        weight = 0
        for _ in range(2):
            if leaf < k and (inner >= len(merged) or weights[leaf] <= merged[inner]):
                weight, parents[leaf], leaf = weight + weights[leaf], node, leaf + 1
            else:
                weight, parents[k + inner], inner = weight + merged[inner], node, inner + 1
        merged.append(weight)
    depths = [0] * (2 * k - 1)
    for node in range(2 * k - 3, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return depths[:k]


@dataclass(frozen=True)
class DecodingTables:
    """What decodes canonical codes: a table of the first `bits` bits of a window, and the first code of each length.

    A window is the next `longest` bits, as a number. `lengths` (2^bits,) is the length of the code that begins with
    the bits of the index, `ranks` (2^bits,) its symbol's place in canonical order; where the code is longer than
    `bits`, the length is 0. For those, `first_codes` (longest + 2,) holds each length's first code as a window (a
    length without codes has that of the next, and the last entry is 2^longest) and `first_ranks` (longest + 2,) its
    symbol's place: the length is the largest l with first_codes[l] <= window, and the place
    first_ranks[l] + ((window - first_codes[l]) >> (longest - l)).
    """

    bits: int
    longest: int
    lengths: UInt8[Array, " entries"]
    ranks: Int64[Array, " entries"]
    first_codes: UInt64[Array, " levels"]
    first_ranks: Int64[Array, " levels"]


@dataclass(frozen=True, eq=False)
class CanonicalCode:
    """A canonical prefix code: symbols (k,) in order of (length, value), and their lengths in bits (k,).

    One symbol has length 0. `check` holds what is not built by `of` to all that a code has to be.

    >>> code = CanonicalCode.of(np.array([0, 1, -1], dtype=np.float32), np.array([5, 1, 1]))
    >>> code.symbols.tolist(), code.lengths.tolist(), code.codes.tolist()
    ([0.0, -1.0, 1.0], [1, 2, 2], [0, 2, 3])
    """

    symbols: Float32[Array, " k"]
    lengths: UInt8[Array, " lengths"]

    @classmethod
    def of(cls, values: Float32[Array, " k"], counts: Int64[Array, " counts"]) -> "CanonicalCode":
        """The Huffman code of distinct values that occur `counts` times. Raises ShapeError, ContainerError."""
        if values.shape != counts.shape:
            raise ShapeError(f"{len(values)} values came with {len(counts)} counts; expected one count a value.")
        lengths = code_lengths(counts, values)
        order = np.lexsort((values, lengths))
        code = cls(values[order], lengths[order])
        code.check()
        return code

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def longest(self) -> int:
        """The longest code in bits; 0 where there are less than two symbols."""
        return int(self.lengths[-1]) if len(self.lengths) else 0

    @cached_property
    def codes(self) -> UInt64[Array, " k"]:
        """The code words (k,) as numbers, each of its own length."""
        return self._windows() >> (self.longest - self.lengths).astype(np.uint64)

    def _windows(self) -> UInt64[Array, " k"]:
        """The code words with zeros after them up to the longest: shares of the unit interval, added up."""
        shares = np.uint64(1) << (self.longest - self.lengths).astype(np.uint64)
        return np.concatenate([np.zeros(1, np.uint64), np.cumsum(shares[:-1], dtype=np.uint64)])[: len(shares)]

    def table(self, bits: int = TABLE_BITS) -> DecodingTables:
        """Tables that decode windows of the longest code, of which up to `bits` bits are looked up at once.

        >>> code = CanonicalCode.of(np.array([0, 1, -1], dtype=np.float32), np.array([5, 1, 1]))
        >>> code.table().lengths.tolist(), code.table().ranks.tolist()
        ([1, 1, 2, 2], [0, 0, 1, 2])
        """
        longest, bits = self.longest, min(self.longest, bits)
        short = int(np.searchsorted(self.lengths, bits, side="right"))
        shares = np.int64(1) << (bits - self.lengths[:short].astype(np.int64))
        lengths, ranks = np.zeros(1 << bits, np.uint8), np.zeros(1 << bits, np.int64)
        filled = int(shares.sum())
        lengths[:filled] = np.repeat(self.lengths[:short], shares)
        ranks[:filled] = np.repeat(np.arange(short), shares)
        first_ranks = np.searchsorted(self.lengths, np.arange(longest + 2)).astype(np.int64)
        windows = np.append(self._windows(), np.uint64(1 << longest))
        return DecodingTables(bits, longest, lengths, ranks, windows[first_ranks], first_ranks)

    def check(self) -> None:
        """Raises ContainerError where this is no canonical, complete prefix code of distinct finite values."""
        for problem in self._problems():
            raise damaged(problem)

    def _problems(self) -> Iterator[str]:
        symbols, lengths = self.symbols, self.lengths
        if symbols.shape != lengths.shape:
            yield f"{len(symbols)} symbols came with {len(lengths)} code lengths"
        if not np.isfinite(symbols).all():
            yield f"{int((~np.isfinite(symbols)).sum())} of {len(symbols)} symbols are NaN or infinite"
        if (np.signbit(symbols) & (symbols == 0)).any():
            yield "the symbols hold -0.0, which is stored as 0.0"
        if len(np.unique(symbols)) < len(symbols):
            yield f"{len(symbols) - len(np.unique(symbols))} of {len(symbols)} symbols are there twice"
        if len(lengths) and lengths.max() > LONGEST_CODE:
            yield f"a code has {lengths.max()} bits, the most is {LONGEST_CODE}"
        if (lengths[1:] < lengths[:-1]).any():
            yield "the code lengths do not ascend"
        if ((lengths[1:] == lengths[:-1]) & (symbols[1:] < symbols[:-1])).any():
            yield "symbols of one code length do not ascend"
        yield from self._kraft_problems()

    def _kraft_problems(self) -> Iterator[str]:
        per_length = np.bincount(self.lengths, minlength=1).tolist()
        total = sum(count << (LONGEST_CODE - length) for length, count in enumerate(per_length))
        if len(self) and total != 1 << LONGEST_CODE:
            what = "more" if total > 1 << LONGEST_CODE else "less"
            yield f"the code lengths are those of no complete prefix code (their shares add up to {what} than 1)"
