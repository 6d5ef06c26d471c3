import struct

import numpy as np
import pytest

from deepcollapse.compression.storage.container import Container
from deepcollapse.compression.storage.forms import KINDS
from deepcollapse.compression.storage.verify import verify
from deepcollapse.errors import ContainerError, MemoryBudgetError

DAMAGED = "The container is damaged, or was written by another program; make it again from the weights."
EXAMPLE = 0.5 * np.array([[0, 1, 0, 0, 2], [0, 0, -1, 0, 1], [1, 0, 0, 0, 1], [0, 2, 0, 0, -1]])
HAC, SHAC = (Container.of(EXAMPLE, form).to_bytes() for form in ("hac", "shac"))


def edited(data, at, field, value):
    changed = bytearray(data)
    struct.pack_into("<" + field, changed, at, value)
    return bytes(changed)


def refused(data, message):
    # What begins otherwise `verify` tells in words of its own: it reads more forms.
    for read in (Container.from_bytes, verify) if data[:4] in KINDS else (Container.from_bytes,):
        with pytest.raises(ContainerError) as error:
            read(data)
        assert str(error.value) == f"{message}. {DAMAGED}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a container begins with 28 bytes, but there are 0"),
        (HAC[:27], "a container begins with 28 bytes, but there are 27"),
        (b"\x89PNG" + HAC[4:], r"a container begins with HAC1 or SHC1, but the first four bytes are b'\x89PNG'"),
        (edited(HAC, 18, "H", 256), "bytes 18 and 19 have to be 0, but hold 256"),
        (edited(HAC, 4, "I", 0), "a matrix of 0 x 5 has no entries"),
        (edited(SHAC, 8, "I", 0), "a matrix of 4 x 0 has no entries"),
        (edited(HAC, 12, "I", 21), "21 symbols were declared for 4 x 5 entries"),
        (edited(HAC, 12, "I", 0), "no symbols were declared for 4 x 5 entries"),
        (edited(HAC, 20, "Q", 19), "20 entries of 4 symbols take 20 to 60 bits, but 19 were declared"),
        (edited(HAC, 20, "Q", 2**64 - 1), f"20 entries of 4 symbols take 20 to 60 bits, but {2**64 - 1} were declared"),
        (edited(SHAC, 20, "Q", 17), "33554432 non-zeros were declared for 4 x 5 entries"),
        (
            edited(HAC, 16, "B", 1),
            "HAC has no row indices and no boundaries, but 1 and 0 bytes were declared for each",
        ),
        (
            edited(SHAC, 16, "B", 2),
            "sHAC of 4 rows has 1 bytes a row index and 4 or 8 a boundary, but 2 and 4 were declared",
        ),
        (
            edited(SHAC, 17, "B", 0),
            "sHAC of 4 rows has 1 bytes a row index and 4 or 8 a boundary, but 1 and 0 were declared",
        ),
        (
            edited(SHAC, 4, "I", 257),
            "sHAC of 257 rows has 2 bytes a row index and 4 or 8 a boundary, but 1 and 4 were declared",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_headers_that_contradict_themselves(data, message):
    refused(data, message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HAC[:-1], "the header declares 52 bytes, but there are 51"),
        (HAC + b"\0", "the header declares 52 bytes, but there are 53"),
        (SHAC[:-1], "the header declares 77 bytes, but there are 76"),
        (SHAC + b"\0", "the header declares 77 bytes, but there are 78"),
        (SHAC[:60], "the header declares at least 69 bytes, but there are 60"),
        (edited(SHAC, 8, "I", 2**32 - 1), f"the header declares at least {45 + 4 * 2**32} bytes, but there are 77"),
        (edited(SHAC, 65, "I", 21), "21 non-zeros were declared for 4 x 5 entries"),
        (edited(SHAC, 65, "I", 2), "3 symbols were declared for 2 non-zeros"),
        (edited(SHAC, 65, "I", 13), "13 entries of 3 symbols take 13 to 26 bits, but 12 were declared"),
        (edited(SHAC, 65, "I", 9), "the header declares 78 bytes, but there are 77"),
        (
            SHAC[:17] + b"\x08" + SHAC[18:45] + b"".join(struct.pack("<Q", b) for b in (0, 1, 3, 4, 4, 8)) + SHAC[69:],
            "with 8 non-zeros a boundary has 4 bytes, but 8 were declared",
        ),
        (
            edited(Container.of(np.zeros((3, 2)), "shac").to_bytes(), 36, "I", 1) + b"\0",
            "0 symbols were declared for 1 non-zeros",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lengths_that_lie(data, message):
    refused(data, message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (edited(HAC, 28, "f", np.nan), "1 of 4 symbols are NaN or infinite"),
        (edited(HAC, 28, "f", -0.0), "the symbols hold -0.0, which is stored as 0.0"),
        (edited(HAC, 28, "f", 0.5), "1 of 4 symbols are there twice"),
        (edited(HAC, 36, "f", 3.0), "symbols of one code length do not ascend"),
        (edited(HAC, 45, "B", 0), "the code lengths do not ascend"),
        (edited(HAC, 47, "B", 58), "a code has 58 bits, the most is 57"),
        (
            edited(HAC, 47, "B", 4),
            "the code lengths are those of no complete prefix code (their shares add up to less than 1)",
        ),
        (
            edited(HAC, 44, "B", 0),
            "the code lengths are those of no complete prefix code (their shares add up to more than 1)",
        ),
        (edited(SHAC, 28, "f", 0.0), "sHAC codes non-zeros alone, but 0 is among its symbols"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_symbols_and_lengths_that_are_no_code(data, message):
    refused(data, message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (edited(SHAC, 44, "B", 0x21), "the last byte of the payload has to end in 4 zeros, but is 0x21"),
        (edited(SHAC, 43, "B", 0xFF), "the payload of 12 bits codes 7 symbols, but 8 were declared"),
        (edited(SHAC, 43, "B", 0x00), "the payload of 12 bits codes more than the 8 symbols that were declared"),
        (edited(SHAC, 43, "H", 0xF01F), "the payload of 12 bits ends inside a code"),
        (
            edited(edited(HAC, 48, "I", 0), 20, "Q", 20)[:51],
            "3 of 4 symbols never occur",
        ),
        (edited(SHAC, 45, "I", 1), "the column boundaries do not ascend from 0 to 8"),
        (edited(SHAC, 53, "I", 9), "the column boundaries do not ascend from 0 to 8"),
        (edited(SHAC, 69, "B", 4), "a row index is 4, but there are 4 rows"),
        (edited(SHAC, 70, "B", 3), "the row indices do not ascend inside each column"),
        (edited(SHAC, 71, "B", 0), "the row indices do not ascend inside each column"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_payloads_and_places_that_do_not_fit(data, message):
    refused(data, message)


def constant(rows, columns):
    """33 bytes that declare as many entries as one likes: one symbol takes no bits."""
    return struct.pack("<4sIIIBBHQfB", b"HAC1", rows, columns, 1, 0, 0, 0, 0, 0.5, 0)


@pytest.mark.parametrize(
    ("data", "limit", "needed", "shape"),
    [
        (constant(2**32 - 1, 2**32 - 1), 1 << 30, 4 * (2**32 - 1) ** 2 + 16, "4294967295 x 4294967295"),
        (constant(1 << 14, (1 << 14) + 1), 1 << 30, (1 << 30) + (1 << 16) + 16, "16384 x 16385"),
        (HAC, 147, 148, "4 x 5"),
        (SHAC, 241, 242, "4 x 5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_unpacks_to_more_than_the_limit_is_refused_before_memory_is_taken(data, limit, needed, shape):
    for read in (Container.from_bytes, verify):
        with pytest.raises(MemoryBudgetError) as error:
            read(data, memory_limit=limit)
        assert str(error.value) == (
            f"a container of {shape} entries takes {needed} bytes when decoded, more than the limit of {limit}. "
            "If it comes from a source you trust, pass a larger memory_limit."
        )


def test_the_limit_itself_is_allowed():
    assert Container.from_bytes(HAC, memory_limit=148).nonzeros == 8
    assert Container.from_bytes(SHAC, memory_limit=242).nonzeros == 8


@pytest.mark.parametrize("data", [HAC, SHAC], ids=["hac", "shac"])
def test_every_truncation_and_every_flip_of_a_bit_is_refused_or_is_another_container(data):
    for size in range(len(data)):
        with pytest.raises(ContainerError):
            Container.from_bytes(data[:size])
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            container = Container.from_bytes(changed)
        except ContainerError:
            continue
        assert container.to_bytes() == changed
