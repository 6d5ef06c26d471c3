"""A container held to everything that can be told of it, and what it costs beside what it could cost."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64

from deepcollapse.compression.storage.accounting import FLOAT_BITS, entropy
from deepcollapse.compression.storage.bits import packed
from deepcollapse.compression.storage.container import Container
from deepcollapse.compression.storage.decode import symbol_ranks
from deepcollapse.compression.storage.delta import Delta
from deepcollapse.compression.storage.delta_huffman import DeltaHuffman
from deepcollapse.compression.storage.forms import KINDS, Coded, read_coded
from deepcollapse.compression.storage.huffman import CanonicalCode
from deepcollapse.compression.storage.layout import HEADER_BYTES
from deepcollapse.compression.storage.read import MEMORY_LIMIT
from deepcollapse.errors import ContainerError, MemoryBudgetError


@dataclass(frozen=True)
class Verified:
    """What a sound container holds.

    `symbols` k and `nonzeros` q are those of the container, zeros being symbols of "hac" alone, and `bits` N those of
    all its payloads. `entropy_bits` is N_s H, the fewest bits for its values written symbol by symbol, and
    `matrix_entropy_bits` the same for all entries, zeros included (of HAC they are one). `huffman_size` is the size in
    bytes with the best code there is; None of the delta forms, whose gaps no one code says. `deterministic` tells
    whether coding the decoded matrix again gives the same bytes; if not, another program wrote it, or it was damaged.
    """

    form: Literal["hac", "shac", "delta", "delta-huffman"]
    shape: tuple[int, int]
    symbols: int
    nonzeros: int
    bits: int
    entropy_bits: float
    matrix_entropy_bits: float
    size: int
    huffman_size: int | None
    deterministic: bool

    @property
    def over_entropy(self) -> float:
        """Bytes over the entropy bound of the payload: header, code, indices, and what whole bits cost."""
        return self.size - self.entropy_bits / 8

    @property
    def over_huffman(self) -> int | None:
        """Bytes over the Huffman optimum with the same header, code and indices; 0 for what our encoder wrote.

        None of the delta forms.
        """
        return None if self.huffman_size is None else self.size - self.huffman_size

    @property
    def occupancy(self) -> float:
        """psi, the share that the container takes of the same matrix as dense float32."""
        return 8 * self.size / (FLOAT_BITS * self.shape[0] * self.shape[1])


def verify(source: str | Path | bytes | bytearray | memoryview, memory_limit: int = MEMORY_LIMIT) -> Verified:
    """Read a container of any form from a file or from bytes, hold it to every check, and code it again.

    Whatever would not decode to one matrix is refused: anything that contradicts the byte table, the length of the data
    or itself, to the last bit of padding. What is left undetected is damage that makes another sound container: in the
    symbols, the row indices or the payload. Where that changes how often symbols occur so much that another code is
    best, `deterministic` is False; a digest kept elsewhere (`container.digest`) finds all of it.

    Takes time in proportion to payload and entries, and makes the dense matrix of the delta forms alone. Raises
    ContainerError, also where there is no file to be read or no form's first four bytes, and MemoryBudgetError as
    `read_coded` does.

    >>> verified = verify(Container.of(np.eye(4), "shac").to_bytes())
    >>> verified.shape, verified.nonzeros, verified.size, verified.deterministic
    ((4, 4), 4, 57, True)
    """
    data = _bytes_of(source, memory_limit) if isinstance(source, str | Path) else bytes(source)
    if data[:4] not in KINDS:
        raise ContainerError(
            f"a container begins with HAC1, SHC1, DLT1 or DLH1, but the first four bytes are {data[:4]!r}; "
            "name a file of coded weights."
        )
    found = read_coded(data, memory_limit)
    return _of_container(found, data) if isinstance(found, Container) else _of_delta(found, data)


def _of_container(container: Container, data: bytes) -> Verified:
    best = _coded_again(container)
    return Verified(
        form=container.form,
        shape=(container.rows, container.columns),
        symbols=len(container.code),
        nonzeros=container.nonzeros,
        bits=container.bits,
        entropy_bits=container.count * entropy(container.counts),
        matrix_entropy_bits=_matrix_entropy_bits(container, container.counts),
        size=len(data),
        huffman_size=best.size,
        deterministic=best.to_bytes() == data,
    )


def _of_delta(found: Delta | DeltaHuffman, data: bytes) -> Verified:
    fields = isinstance(found, Delta)
    counts = found.counts if fields else found.values.counts
    return Verified(
        form="delta" if fields else "delta-huffman",
        shape=(found.rows, found.columns),
        symbols=len(counts),
        nonzeros=found.nonzeros,
        bits=int(found.boundaries[-1]) * found.width if fields else found.gaps.bits + found.values.bits,
        entropy_bits=found.nonzeros * entropy(counts),
        matrix_entropy_bits=_matrix_entropy_bits(found, counts),
        size=len(data),
        huffman_size=None,
        deterministic=type(found).of(found.matrix()).to_bytes() == data,
    )


def _matrix_entropy_bits(found: Coded, counts: Int64[np.ndarray, " k"]) -> float:
    entries = found.rows * found.columns
    zeros = entries - int(counts.sum())  # that all forms but HAC leave out
    return entries * entropy(np.append(counts, zeros))


def _bytes_of(path: str | Path, memory_limit: int) -> bytes:
    try:
        size = Path(path).stat().st_size
        # What a container unpacks to is never smaller than the container, so this one would be refused in any case.
        if size > memory_limit + HEADER_BYTES:
            raise MemoryBudgetError(
                f"{path} has {size} bytes, more than the limit of {memory_limit}. "
                "If it comes from a source you trust, pass a larger memory_limit."
            )
        return Path(path).read_bytes()
    except OSError as error:
        raise ContainerError(
            f"{path} cannot be read ({error.strerror}); name a file that holds a container."
        ) from error


def _coded_again(container: Container) -> Container:
    """The container that our encoder writes for the same matrix, made from the decoded symbols block by block."""
    code = CanonicalCode.of(container.code.symbols, container.counts)
    if len(code) < 2:  # a few bytes that stand for any number of entries: nothing to go through
        return replace(container, code=code, payload=b"", bits=0)
    rank = np.empty(len(code), np.int64)
    rank[np.argsort(container.code.symbols)] = np.argsort(code.symbols)
    decoded = symbol_ranks(container.code, container.payload, container.bits, container.count)
    payload, bits = packed(code, (rank[block] for block in decoded))
    return replace(container, code=code, payload=payload, bits=bits)
