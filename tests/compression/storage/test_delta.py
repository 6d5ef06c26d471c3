"""The delta-coded layout: bit-exact both ways, read by a second decoder made from the byte table, and hard to harm."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import taken

from deepcollapse.compression.storage.delta import Delta
from deepcollapse.compression.storage.products import product
from deepcollapse.errors import ContainerError, MemoryBudgetError, NonFiniteError, ShapeError

AFTER = ". The container is damaged, or was written by another program; make it again from the weights."
EXAMPLE = np.array([[0, 0.5], [0, 0.5], [1, 0]])


def by_the_table(data):
    """A decoder that knows the byte table alone, one field at a time."""
    magic, n, m, k, w, c, zero, fields = struct.unpack("<4sIIIBBHQ", data[:28])
    assert (magic, zero) == (b"DLT1", 0)
    symbols = struct.unpack(f"<{k}f", data[28 : 28 + 4 * k])
    counts = [int.from_bytes(data[28 + 4 * k + c * j :][:c], "little") for j in range(m)]
    number, matrix, t = int.from_bytes(data[28 + 4 * k + c * m :], "little"), np.zeros((n, m), np.float32), 0
    for column, count in enumerate(counts):
        row = 0
        for _ in range(count):
            gap, index = divmod((number >> t * w) & ((1 << w) - 1), k)
            t += 1
            if gap == (1 << w) // k - 1:
                row += gap * (index + 1)
            else:
                matrix[row + gap, column] = symbols[index]
                row += gap + 1
    assert t == fields
    return matrix


def matrix(seed, rows, columns, values, share):
    draw = np.random.default_rng(seed)
    kept = draw.random((rows, columns)) < share
    return np.where(kept, draw.normal(size=values)[draw.integers(0, values, (rows, columns))], 0).astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 90), st.integers(1, 12), st.sampled_from([1, 2, 5, 32, 1000]),
       st.sampled_from([0.0, 0.01, 0.1, 0.6, 1.0]))  # fmt: skip
def test_every_matrix_comes_back_bit_for_bit(seed, rows, columns, values, share):
    w = matrix(seed, rows, columns, values, share)
    delta = Delta.of(w)
    data = delta.to_bytes()
    again = Delta.from_bytes(data)
    assert again.matrix().tobytes() == w.tobytes() or (again.matrix() == w).all()
    assert (by_the_table(data) == w).all()
    assert again.to_bytes() == data
    assert (delta.size, delta.nonzeros) == (len(data), np.count_nonzero(w))


def test_the_bytes_of_a_small_matrix():
    # Two symbols, fields of 2 bits: gap 1 skips, so row 2 of column 0 takes a skip over two rows and a field.
    expected = b"DLT1" + struct.pack("<IIIBBHQ2f", 3, 2, 2, 2, 1, 0, 4, 0.5, 1.0) + bytes([2, 2, 0b00000111])
    assert Delta.of(EXAMPLE).to_bytes() == expected


def test_long_gaps_take_as_many_skips_as_they_need():
    w = np.zeros((5000, 3), np.float32)
    w[[0, 1, 4999, 2500], [0, 0, 0, 2]] = [1, 2, 1, 2]
    for width in (2, 3, 7):
        assert (by_the_table(of_width(w, width).to_bytes()) == w).all()
        assert (Delta.from_bytes(of_width(w, width).to_bytes()).matrix() == w).all()
        assert (product(of_width(w, width), np.ones((1, 5000))) == w.sum(axis=0)).all()
    sizes = [of_width(w, width).size for width in range(2, 20)]
    assert Delta.of(w).size == min(sizes)


def of_width(w, width):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepcollapse.compression.storage.delta._best_width", lambda gaps, k: width)
        return Delta.of(w)


def test_a_pruned_and_quantised_layer_takes_a_sixth_of_compressed_sparse_columns():
    for share, most in ((0.05, 0.182), (0.1, 0.166)):
        w = matrix(0, 2048, 256, 32, share)
        q = np.count_nonzero(w)
        assert Delta.of(w).size < most * (8 * q + 4 * 257)


def test_what_cannot_be_coded_is_refused():
    with pytest.raises(NonFiniteError):
        Delta.of(np.array([[np.nan]]))
    with pytest.raises(ShapeError):
        Delta.of(np.zeros((0, 3)))


def changed(position, value):
    data = bytearray(Delta.of(EXAMPLE).to_bytes())
    data[position : position + len(value)] = value
    return bytes(data)


DAMAGED = {
    b"": "a container begins with 28 bytes, but there are 0",
    changed(0, b"DLT2"): "a delta container begins with DLT1 and has 0 in bytes 18 and 19, not b'DLT2' and 0",
    changed(18, b"\x01"): "a delta container begins with DLT1 and has 0 in bytes 18 and 19, not b'DLT1' and 1",
    changed(4, bytes(4)): "0 x 2 entries cannot have 4 fields and 2 symbols",
    changed(20, b"\xff" * 8): f"3 x 2 entries cannot have {2**64 - 1} fields and 2 symbols",
    changed(12, b"\xff" * 4): f"3 x 2 entries cannot have 4 fields and {2**32 - 1} symbols",
    changed(16, b"\x01"): "fields of 2 symbols have 2 to 31 bits and counts 1, 2 or 4 bytes, not 1 and 1",
    changed(17, b"\x03"): "fields of 2 symbols have 2 to 31 bits and counts 1, 2 or 4 bytes, not 2 and 3",
    Delta.of(EXAMPLE).to_bytes()[:-1]: "the header declares 39 bytes, but there are 38",
    Delta.of(EXAMPLE).to_bytes() + b"\0": "the header declares 39 bytes, but there are 40",
    changed(28, struct.pack("<f", np.nan)): "the symbols are not finite, ascending and other than 0",
    changed(28, struct.pack("<f", 1.0)): "the symbols are not finite, ascending and other than 0",
    changed(28, struct.pack("<f", 0.0)): "the symbols are not finite, ascending and other than 0",
    changed(36, b"\x03"): "the columns' counts of 1 bytes add up to 5, the largest being 3; "
    "expected 4 in counts of the least width",
    changed(36, b"\x01\x03"): "a column ends with a skip, or a skip is cut in two",
    changed(38, bytes([0b00001111])): "fields lead to row 3, but there are 3 rows",
    changed(38, bytes([0b00000011])): "1 of 2 symbols never occur",
}


@pytest.mark.parametrize(("data", "problem"), DAMAGED.items())
def test_damage_is_told(data, problem):
    with pytest.raises(ContainerError) as caught:
        Delta.from_bytes(data)
    assert str(caught.value) == problem + AFTER


def test_zeros_at_the_end_are_held_to():
    data = bytearray(Delta.of(np.array([[1.0], [2], [3]])).to_bytes())
    data[-1] |= 0x80
    with pytest.raises(ContainerError) as caught:
        Delta.from_bytes(data)
    assert str(caught.value) == f"the last byte of the payload has to end in 7 zeros, but is {data[-1]:#04x}" + AFTER


def test_a_huge_matrix_is_refused_before_memory_is_taken():
    data = b"DLT1" + struct.pack("<IIIBBHQ", 2**31, 1, 0, 0, 1, 0, 0) + bytes(1)
    with pytest.raises(MemoryBudgetError) as caught:
        Delta.from_bytes(data)
    assert str(caught.value) == (
        f"a container of {2**31} x 1 entries takes {2**33 + 16} bytes when decoded, more than the limit of {2**30}. "
        "If it comes from a source you trust, pass a larger memory_limit."
    )


def test_mutated_containers_are_refused_or_are_what_some_matrix_is_coded_as():
    accepted = 0
    for data, found in taken(Delta, [Delta.of(matrix(seed, 30, 6, 5, 0.2)).to_bytes() for seed in range(10)]):
        accepted += 1
        assert (found.matrix() == by_the_table(data)).all()
        assert of_width(found.matrix(), found.width).to_bytes() == data
    assert 0 < accepted < 750
