"""What a coded matrix costs in bits, part by part: by our byte table, as published, and in formats to compare with.

Every function takes `Contents`, the shape of a matrix and how often each of its values occurs, since no size depends
on more; so sizes are known before anything is coded, and for matrices that are never made. The payload of a Huffman
code of N_s symbols with entropy H takes N bits, N_s H <= N < N_s (H + 1) and N <= N_s (1 + log2 k); 0 where k = 1.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from deepcollapse.compression.storage.entries import Entries
from deepcollapse.compression.storage.huffman import code_lengths
from deepcollapse.compression.storage.layout import HEADER_BYTES, Form, boundary_bytes, row_index_bytes
from deepcollapse.errors import OptionError

Array = np.ndarray

FLOAT_BITS = 32


@dataclass(frozen=True, eq=False)
class Contents:
    """Shape (rows n, columns m), distinct values (k,), and how many entries have each (k,), n m in all.

    Raises OptionError where the counts do not add up to n m.

    >>> Contents.of(np.array([[0.0, 2.0], [0.0, 1.0]])).counts.tolist()
    [2, 1, 1]
    """

    rows: int
    columns: int
    values: Float32[Array, " k"]
    counts: Int64[Array, " k"]

    def __post_init__(self):
        if int(self.counts.sum()) != self.rows * self.columns:
            raise OptionError(
                f"the counts add up to {self.counts.sum()}, but {self.rows} x {self.columns} entries are "
                f"{self.rows * self.columns}; give a count for every value, 0 included."
            )

    @classmethod
    def of(cls, matrix: Array) -> "Contents":
        """Contents of a matrix (n, m). Raises ShapeError, NonFiniteError."""
        entries = Entries.of(matrix)
        return cls(*entries.shape, entries.values, entries.counts)

    @property
    def entries(self) -> int:
        """n m."""
        return self.rows * self.columns

    @property
    def nonzeros(self) -> int:
        """How many entries are not 0."""
        return int(self.counts[self.values != 0].sum())

    def coded(self, form: Form) -> tuple[Float32[Array, " s"], Int64[Array, " s"]]:
        """Values and counts of the symbols in the payload: of all entries, or for "shac" of the non-zeros."""
        kept = (self.counts > 0) & ((self.values != 0) if form == "shac" else True)
        return self.values[kept], self.counts[kept]


@dataclass(frozen=True)
class Size:
    """Bits of each part of a stored matrix, and `dense`, those of the same matrix as float32.

    `dictionary` is what tells the symbols and their codes, `indices` what tells where entries stand.
    """

    dense: int
    payload: int
    dictionary: int = 0
    indices: int = 0
    header: int = 0

    @property
    def bits(self) -> int:
        """All parts together."""
        return self.payload + self.dictionary + self.indices + self.header

    @property
    def occupancy(self) -> float:
        """psi, the share that this takes of dense float32; smaller is better."""
        return self.bits / self.dense


def entropy(counts: Int64[Array, " k"]) -> float:
    """H = -sum_i p_i log2 p_i of symbols that occur `counts` times, in bits a symbol; in [0, log2 k].

    0 of a single symbol, or of none. Zero counts add nothing.

    >>> entropy(np.array([2, 1, 1]))
    1.5
    """
    counts = counts[counts > 0]
    total = int(counts.sum())
    shares = counts / max(total, 1)
    return abs(float(-(shares * np.log2(shares)).sum()))


def entropy_bits(contents: Contents, form: Form) -> float:
    """N_s H: the fewest bits that any code takes which writes the payload's symbols one by one.

    >>> entropy_bits(Contents.of(np.array([[0.0, 2.0], [0.0, 1.0]])), "hac")
    6.0
    """
    counts = contents.coded(form)[1]
    return int(counts.sum()) * entropy(counts)


def huffman_bits(contents: Contents, form: Form) -> int:
    """N = sum_i f_i l_i: the fewest bits that a prefix code takes for the payload. Raises ContainerError.

    >>> huffman_bits(Contents.of(np.array([[0.0, 2.0], [0.0, 1.0]])), "hac")
    6
    """
    values, counts = contents.coded(form)
    return int((counts * code_lengths(counts, values)).sum())


def hac_size(contents: Contents) -> Size:
    """HAC by our byte table: 224 bits of header, 40 a symbol, and the payload in whole bytes.

    >>> hac_size(Contents.of(np.eye(2))).bits / 8
    39.0
    """
    return _container_size(contents, "hac", 0)


def shac_size(contents: Contents) -> Size:
    """sHAC by our byte table: as HAC for the non-zeros, and m + 1 column boundaries and q row indices.

    >>> shac_size(Contents.of(np.eye(2))).bits / 8
    47.0
    """
    return _container_size(contents, "shac", _index_bits(contents))


def _container_size(contents: Contents, form: Form, indices: int) -> Size:
    payload = 8 * math.ceil(huffman_bits(contents, form) / 8)
    dictionary = 40 * len(contents.coded(form)[0])
    return Size(_dense_bits(contents), payload, dictionary, indices, 8 * HEADER_BYTES)


def _dense_bits(contents: Contents) -> int:
    return FLOAT_BITS * contents.entries


def _index_bits(contents: Contents) -> int:
    boundaries = boundary_bytes(contents.nonzeros) * (contents.columns + 1)
    return 8 * (boundaries + row_index_bytes(contents.rows) * contents.nonzeros)


def published_hac_size(contents: Contents) -> Size:
    """HAC as the published code counts it :cite:`marino2021`: whole 64-bit words, and bytes of a hash table of texts.

    A symbol is charged with the bytes of its code as text, its terminator, a float32, and 8 of overhead.

    >>> published_hac_size(Contents.of(np.eye(2))).bits / 8
    36.0
    """
    return _published_size(contents, "hac", 0)


def published_shac_size(contents: Contents) -> Size:
    """sHAC as the published code counts it: as HAC for the non-zeros, with q row indices and m counts of columns.

    Each of those takes 1 byte where n < 2^8, 2 where n < 2^16, else 4: at n = 256 and 65536 more than in our table.

    >>> published_shac_size(Contents.of(np.eye(2))).bits / 8
    17.0
    """
    width = 1 if contents.rows < 1 << 8 else 2 if contents.rows < 1 << 16 else 4
    return _published_size(contents, "shac", 8 * width * (contents.nonzeros + contents.columns))


def _published_size(contents: Contents, form: Form, indices: int) -> Size:
    values, counts = contents.coded(form)
    lengths = code_lengths(counts, values).astype(np.int64)
    payload = 64 * math.ceil(int((counts * lengths).sum()) / 64)
    return Size(_dense_bits(contents), payload, 8 * int((lengths + 13).sum()), indices)


def csc_size(contents: Contents) -> Size:
    """Compressed sparse columns: a float32 a non-zero, with row indices and boundaries as narrow as those of sHAC.

    >>> csc_size(Contents.of(np.eye(2))).bits / 8
    22.0
    """
    return Size(_dense_bits(contents), FLOAT_BITS * contents.nonzeros, indices=_index_bits(contents))


def index_map_size(contents: Contents) -> Size:
    """A table of k float32 values, and of each entry its number in ceil(log2 k) bits.

    >>> index_map_size(Contents.of(np.eye(2))).bits
    68
    """
    k = len(contents.coded("hac")[0])
    return Size(_dense_bits(contents), (k - 1).bit_length() * contents.entries, FLOAT_BITS * k)


def hac_bound(contents: Contents) -> float:
    """What `hac_size` cannot exceed, in bits, by shape and number of values alone: 231 + 40 k + n m (1 + log2 k).

    >>> hac_bound(Contents.of(np.eye(2)))
    319.0
    """
    return _bound(contents, "hac")


def shac_bound(contents: Contents) -> float:
    """What `shac_size` cannot exceed, in bits: 231 + 40 k + q (1 + log2 k + b_I) + b_c (m + 1).

    b_I and b_c are the bits of a row index and of a boundary.

    >>> shac_bound(Contents.of(np.eye(2)))
    385.0
    """
    return _bound(contents, "shac") + _index_bits(contents)


def _bound(contents: Contents, form: Form) -> float:
    counts = contents.coded(form)[1]
    k = len(counts)
    # A last byte that is not full adds up to 7 bits; one value needs none, and the bound is loose.
    return 8 * HEADER_BYTES + 7 + 40 * k + int(counts.sum()) * (1 + math.log2(max(k, 1)))
