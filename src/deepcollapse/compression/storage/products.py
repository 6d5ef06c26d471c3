"""Products Y = X W with W as it is stored: its columns are decoded as they are needed, none of them kept."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from deepcollapse.compression.extras import required
from deepcollapse.compression.storage.delta import Delta
from deepcollapse.compression.storage.delta_huffman import DeltaHuffman
from deepcollapse.compression.storage.forms import Coded
from deepcollapse.errors import OptionError, ShapeError

Array = np.ndarray

# Measured: a multiply-add from the code costs as much as some 6 of a dense product (more of short rows, less of long
# ones), and an entry of a block that is filled with zeros and decoded as much as some 8.
MULTIPLY_ADD = 6
BLOCK_ENTRY = 8

# Codes: handing less than this to another thread takes longer than decoding it.
WORTH_A_THREAD = 1 << 17

# Entries of a decoded block: 2 MB, which stay in the second-level cache.
BLOCK_ENTRIES = 1 << 19


def product(coded: Coded, x: Array, threads: int = 1) -> Array:
    """Y (B, m) = X (B, n) W (n, m) for rows X of float32 or float64, in their dtype, without making W as a whole.

    For small B every column is decoded and multiplied at once, by compiled loops. For larger B, of W that is not very
    sparse, blocks of columns are decoded and multiplied by BLAS: see `Product` for which. A zero weight is never
    multiplied while it is decoded: 0 * inf and 0 * NaN are then 0, where a dense product has NaN; blocks for BLAS do as
    dense products do, so give finite X. With `threads` above 1, columns are shared among up to so many. For many
    products with one W make a `Product`, which finds the start of each column but once. Raises ShapeError, OptionError;
    and MissingExtraError where numba is not installed.

    >>> coded = Delta.of(np.array([[0, 1, 0], [2, 0, 0]]))
    >>> product(coded, np.array([[1.0, 10.0]])).tolist()
    [[20.0, 1.0, 0.0]]
    """
    return Product.of(coded)(x, threads)


@dataclass(frozen=True, eq=False)
class Product:
    """A coded matrix W (rows, columns), ready for products with many X; `stream` is all that it keeps of the code.

    >>> by = Product.of(Delta.of(np.eye(2)))
    >>> by(np.array([[3.0, 4.0]])).tolist(), by.nonzeros
    ([[3.0, 4.0]], 2)
    """

    rows: int
    columns: int
    nonzeros: int
    boundaries: Int64[Array, " boundaries"]
    stream: tuple[Any, ...]
    multiply: Any
    decode: Any

    @classmethod
    def of(cls, coded: Coded) -> "Product":
        """Find the start of each column in a container that was checked. Raises MissingExtraError without numba."""
        from deepcollapse.compression.storage import kernels
        from deepcollapse.compression.storage.streams import field_stream, huffman_stream, paired_stream

        shape = coded.rows, coded.columns, coded.nonzeros
        if isinstance(coded, Delta):
            return cls(*shape, coded.boundaries, field_stream(coded), kernels.field_product, kernels.field_columns)
        if isinstance(coded, DeltaHuffman):
            stream = paired_stream(coded)
            return cls(*shape, coded.boundaries, stream, kernels.paired_product, kernels.paired_columns)
        stream = huffman_stream(coded)
        return cls(*shape, stream[2], stream, kernels.coded_product, kernels.coded_columns)

    @property
    def bytes(self) -> int:
        """What it holds in memory."""
        return _bytes(self.stream)

    def from_the_code(self, batch: int) -> bool:
        """Whether so many rows are multiplied straight from the code: else blocks of W are decoded for BLAS.

        >>> by = Product.of(Delta.of(np.eye(4)))
        >>> by.from_the_code(batch=1), by.from_the_code(batch=64)
        (True, False)
        """
        return batch * self.nonzeros * MULTIPLY_ADD <= (batch + BLOCK_ENTRY) * self.rows * self.columns

    def __call__(self, x: Array, threads: int = 1) -> Array:
        """Y (B, m) of X (B, n), as `product` has it."""
        self._check(x, threads)
        return self._straight(x, threads) if self.from_the_code(len(x)) else self._by_blocks(x, threads)

    def _straight(self, x: Array, threads: int) -> Array:
        # Rows of W meet rows of X laid out as (n, B), B being a whole number of the loops' eight lanes.
        width = len(x) if len(x) < 2 else -(-len(x) // 8) * 8
        sources, sums = np.zeros((x.shape[1], width), x.dtype), np.zeros((self.columns, width), x.dtype)
        sources[:, : len(x)] = x.T
        work = int(self.boundaries[-1]) * (1 + len(x) // 8)
        threads = min(threads, 1 + work // WORTH_A_THREAD)
        self._share(threads, lambda first, last: self.multiply(self.stream, first, last, sources, sums))
        return sums[:, : len(x)].T.copy()

    def _by_blocks(self, x: Array, threads: int) -> Array:
        y = np.empty((len(x), self.columns), x.dtype)

        def multiply(first: int, last: int) -> None:
            for start, block in self.blocks(first, last):
                y[:, start : start + len(block)] = x @ block.T

        # One thread of BLAS for each of ours: two pools would wait for each other's cores.
        with _pools().limit(limits=1, user_api="blas"):
            self._share(threads, multiply)
        return y

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, Float32[Array, "columns n"]]]:
        """Columns `first` up to `last` of W, decoded, as rows of blocks with the number of their first column."""
        step = max(BLOCK_ENTRIES // self.rows, 1)
        for start in range(first, last, step):
            block = np.zeros((min(step, last - start), self.rows), np.float32)
            self.decode(self.stream, start, start + len(block), block)
            yield start, block

    def _share(self, threads: int, work: Callable[[int, int], None]) -> None:
        """Does `work(first, last)` on runs of columns that hold about equally many codes, one run a thread."""
        bounds = self._bounds(threads)
        others = [_workers(threads).submit(work, *run) for run in pairwise(bounds[1:])]
        work(*bounds[:2])
        for other in others:
            other.result()

    def _bounds(self, threads: int) -> list[int]:
        inner = np.searchsorted(self.boundaries, np.arange(1, threads) * self.boundaries[-1] // threads)
        return sorted({0, *inner.tolist(), self.columns})

    def _check(self, x: Float[Array, "..."], threads: int) -> None:
        rows = self.rows
        if x.ndim != 2 or x.shape[1] != rows or x.dtype not in (np.float32, np.float64):
            raise ShapeError(
                f"a matrix of {rows} inputs multiplies rows (B, {rows}) of float32 or float64; "
                f"got shape {x.shape} of {x.dtype}."
            )
        if threads < 1:
            raise OptionError(f"{threads} threads cannot do anything; ask for 1 or more.")


def _bytes(stream: tuple) -> int:
    return sum(_bytes(part) if isinstance(part, tuple) else part.nbytes for part in stream)


@cache
def _pools() -> Any:
    return required("threadpoolctl", "products with coded weights").ThreadpoolController()


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="deepcollapse-product")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.cache_clear)  # threads do not live on in a forked process
