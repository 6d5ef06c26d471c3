"""The byte table of a container: a header of 28 bytes, the code, the payload, and for sHAC where its entries stand.

| offset | type | field |
| --- | --- | --- |
| 0 | 4 bytes | `HAC1` or `SHC1` |
| 4, 8, 12 | u32 x 3 | rows n, columns m, symbols k |
| 16 | u8 | bytes of a row index: 0 for HAC; 1 if n <= 256, 2 if n <= 65536, else 4 |
| 17 | u8 | bytes of a boundary: 0 for HAC; 4 if q < 2^32, else 8 |
| 18 | u16 | 0 |
| 20 | u64 | N, bits of the payload |
| 28 | k x f32 | symbols in canonical order |
| 28 + 4k | k x u8 | code lengths, not descending |
| 28 + 5k | ceil(N / 8) bytes | payload, most significant bit first, zeros at the end |
| then, sHAC | (m + 1) boundaries | where each column's entries begin, and q |
| then, sHAC | q row indices | ascending inside a column |

Numbers are little-endian. n rows are inputs, m columns outputs; entries stand column after column. q counts non-zeros.
"""

import struct
from dataclasses import dataclass
from typing import Literal

from deepcollapse.compression.storage.damage import damaged

Form = Literal["hac", "shac"]

HEADER_BYTES = 28
MAGIC: dict[Form, bytes] = {"hac": b"HAC1", "shac": b"SHC1"}
LARGEST_COUNT = 2**32 - 1
_HEADER = struct.Struct("<4sIIIBBHQ")


def row_index_bytes(rows: int) -> int:
    """Bytes of a row index in a matrix of so many rows.

    >>> [row_index_bytes(rows) for rows in (1, 256, 257, 65536, 65537)]
    [1, 1, 2, 2, 4]
    """
    return 1 if rows <= 1 << 8 else 2 if rows <= 1 << 16 else 4


def boundary_bytes(nonzeros: int) -> int:
    """Bytes of a column boundary where there are so many non-zeros.

    >>> boundary_bytes(2**32 - 1), boundary_bytes(2**32)
    (4, 8)
    """
    return 4 if nonzeros < 1 << 32 else 8


def container_bytes(form: Form, rows: int, columns: int, symbols: int, bits: int, nonzeros: int) -> int:
    """The whole size of a container in bytes.

    >>> container_bytes("hac", rows=4, columns=5, symbols=4, bits=32, nonzeros=8)
    52
    """
    size = HEADER_BYTES + 5 * symbols + (bits + 7) // 8
    if form == "shac":
        size += (columns + 1) * boundary_bytes(nonzeros) + nonzeros * row_index_bytes(rows)
    return size


@dataclass(frozen=True)
class Header:
    """The first 28 bytes: what a container declares of itself."""

    form: Form
    rows: int
    columns: int
    symbols: int
    row_bytes: int
    boundary_bytes: int
    bits: int

    @property
    def fixed_bytes(self) -> int:
        """How many bytes the container has at least: all but the row indices."""
        boundaries = (self.columns + 1) * self.boundary_bytes if self.form == "shac" else 0
        return HEADER_BYTES + 5 * self.symbols + self.payload_bytes + boundaries

    @property
    def payload_bytes(self) -> int:
        """Bytes of the payload, the last one filled up with zeros."""
        return (self.bits + 7) // 8

    def to_bytes(self) -> bytes:
        """The header as it is stored."""
        widths = (self.row_bytes, self.boundary_bytes, 0)
        return _HEADER.pack(MAGIC[self.form], self.rows, self.columns, self.symbols, *widths, self.bits)

    @classmethod
    def from_bytes(cls, data: memoryview) -> "Header":
        """The header of a container, held to all that can be told from it alone. Raises ContainerError."""
        if len(data) < HEADER_BYTES:
            raise damaged(f"a container begins with {HEADER_BYTES} bytes, but there are {len(data)}")
        magic, rows, columns, symbols, row_bytes, boundary, reserved, bits = _HEADER.unpack(data[:HEADER_BYTES])
        forms: dict[bytes, Form] = {stored: form for form, stored in MAGIC.items()}
        if magic not in forms:
            raise damaged(f"a container begins with HAC1 or SHC1, but the first four bytes are {magic!r}")
        if reserved:
            raise damaged(f"bytes 18 and 19 have to be 0, but hold {reserved}")
        header = cls(forms[magic], rows, columns, symbols, row_bytes, boundary, bits)
        header._check()
        return header

    def _check(self) -> None:
        entries = self.rows * self.columns
        if not entries:
            raise damaged(f"a matrix of {self.rows} x {self.columns} has no entries")
        if self.symbols > entries:
            raise damaged(f"{self.symbols} symbols were declared for {self.rows} x {self.columns} entries")
        if self.form == "hac":
            self._check_dense(entries)
        elif self.row_bytes != row_index_bytes(self.rows) or self.boundary_bytes not in (4, 8):
            raise damaged(
                f"sHAC of {self.rows} rows has {row_index_bytes(self.rows)} bytes a row index and 4 or 8 a boundary, "
                f"but {self.row_bytes} and {self.boundary_bytes} were declared"
            )

    def _check_dense(self, entries: int) -> None:
        if self.row_bytes or self.boundary_bytes:
            raise damaged(
                "HAC has no row indices and no boundaries, "
                f"but {self.row_bytes} and {self.boundary_bytes} bytes were declared for each"
            )
        if not self.symbols:
            raise damaged(f"no symbols were declared for {self.rows} x {self.columns} entries")
        check_bits(self.bits, self.symbols, entries)


def check_bits(bits: int, symbols: int, count: int) -> None:
    """Raises ContainerError where no code of so many symbols could say `count` of them in so many bits."""
    least, most = (count, count * min(symbols - 1, 57)) if symbols > 1 else (0, 0)
    if not least <= bits <= most:
        raise damaged(f"{count} entries of {symbols} symbols take {least} to {most} bits, but {bits} were declared")
