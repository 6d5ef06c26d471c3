"""Huffman-coded gaps and values: bit-exact, read by a second decoder from the byte table, and hard to harm."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import taken

from deepcollapse.compression.storage.delta import Delta
from deepcollapse.compression.storage.delta_huffman import DeltaHuffman
from deepcollapse.errors import ContainerError, MemoryBudgetError

AFTER = ". The container is damaged, or was written by another program; make it again from the weights."
EXAMPLE = np.array([[0, 0.5], [0, 0.5], [1, 0]])
HEADER = struct.Struct("<4sIIIHHQQQQ")


def words(symbols, lengths):
    """Canonical code words as text."""
    code, found = 0, {}
    for number, (symbol, length) in enumerate(zip(symbols, lengths, strict=True)):
        if number:
            code = (code + 1) << (length - lengths[number - 1])
        found[f"{code:0{length}b}" if length else ""] = symbol
    return found


def symbols_of(bits, code, count):
    place = 0
    for _ in range(count):
        end = place
        while bits[place:end] not in code:
            end += 1
        yield code[bits[place:end]]
        place = end
    assert place == len(bits)


def by_the_table(data):
    """A decoder that knows the byte table alone."""
    magic, n, m, k, h, c, fields, gap_bits, q, value_bits = HEADER.unpack(data[:52])
    assert magic == b"DLH1"
    at = 52 + 5 * k
    values = words(struct.unpack(f"<{k}f", data[52 : 52 + 4 * k]), data[52 + 4 * k : at])
    gaps = words(data[at : at + h], data[at + h : at + 2 * h])
    at += 2 * h
    counts = [int.from_bytes(data[at + c * j :][:c], "little") for j in range(m)]
    at += c * m
    middle = at + (gap_bits + 7) // 8
    text = ["".join(f"{byte:08b}" for byte in part) for part in (data[at:middle], data[middle:])]
    gap, value = symbols_of(text[0][:gap_bits], gaps, fields), symbols_of(text[1][:value_bits], values, q)
    matrix = np.zeros((n, m), np.float32)
    for column, count in enumerate(counts):
        row = 0
        for _ in range(count):
            while (step := next(gap)) == 255:
                row += 255
            matrix[row + step, column] = next(value)
            row += step + 1
    assert next(gap, None) is None
    assert next(value, None) is None
    return matrix


def matrix(seed, rows, columns, values, share):
    draw = np.random.default_rng(seed)
    kept = draw.random((rows, columns)) < share
    return np.where(kept, draw.normal(size=values)[draw.integers(0, values, (rows, columns))], 0).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([1, 2, 30, 700]), st.integers(1, 8), st.sampled_from([1, 2, 5, 300]),
       st.sampled_from([0.0, 0.003, 0.1, 0.6, 1.0]))  # fmt: skip
def test_every_matrix_comes_back_bit_for_bit(seed, rows, columns, values, share):
    w = matrix(seed, rows, columns, values, share)
    delta = DeltaHuffman.of(w)
    data = delta.to_bytes()
    again = DeltaHuffman.from_bytes(data)
    assert again.matrix().tobytes() == w.tobytes()
    assert (by_the_table(data) == w).all()
    assert again.to_bytes() == data
    assert (delta.size, delta.nonzeros) == (len(data), np.count_nonzero(w))


def test_gaps_of_255_and_more_are_passed_in_steps():
    w = np.zeros((1300, 3), np.float32)
    w[[254, 255, 511, 1299, 0, 1022], [0, 1, 1, 1, 2, 2]] = [1, 2, 3, 4, 5, 6]
    data = DeltaHuffman.of(w).to_bytes()
    assert (by_the_table(data) == w).all()
    assert (DeltaHuffman.from_bytes(data).matrix() == w).all()


def test_it_is_close_to_the_entropy_and_smaller_than_fields():
    w = matrix(0, 2048, 256, 32, 0.1)
    q, n = np.count_nonzero(w), w.size
    entropy = n * np.log2(n) - q * np.log2(q) - (n - q) * np.log2(n - q) + q * 5  # of the pattern, and of 32 values
    assert entropy < 8 * DeltaHuffman.of(w).size < 1.02 * entropy
    assert DeltaHuffman.of(w).size < 0.155 * (8 * q + 4 * 257)
    assert DeltaHuffman.of(w).size < 0.95 * Delta.of(w).size


ORIGINAL = DeltaHuffman.of(EXAMPLE).to_bytes()


def changed(position, value):
    return ORIGINAL[:position] + value + ORIGINAL[position + len(value) :]


DAMAGED = {
    b"": "a container begins with 52 bytes, but there are 0",
    changed(0, b"DLH2"): "the first four bytes are b'DLH2', not DLH1",
    changed(4, bytes(4)): "0 x 2 entries cannot have 3 gaps, 2 distinct, and 3 values, 2 distinct",
    changed(16, b"\x04"): "3 x 2 entries cannot have 3 gaps, 4 distinct, and 3 values, 2 distinct",
    changed(20, b"\xff" * 8): f"3 x 2 entries cannot have {2**64 - 1} gaps, 2 distinct, and 3 values, 2 distinct",
    ORIGINAL[:-1]: "the header declares 70 bytes, but there are 69",
    changed(28, b"\xff" * 8): f"the header declares {70 - 1 + (2**64 + 6) // 8} bytes, but there are 70",
    changed(52, struct.pack("<f", 0.0)): "values other than 0 alone are coded, but 0 is among them",
    changed(66, b"\x02"): "counts of 1 bytes add up to 4, expected 3 in the least",
    changed(66, b"\x02\x01"): "gaps lead to row 3, but there are 3 rows",
    changed(68, b"\x41"): "the last byte of the gaps has to end in 5 zeros, but is 0x41",
    changed(69, b"\x00"): "1 of 2 values never occur",
    changed(69, b"\x01"): "the last byte of the values has to end in 5 zeros, but is 0x01",
}


@pytest.mark.parametrize(("data", "problem"), DAMAGED.items())
def test_damage_is_told(data, problem):
    with pytest.raises(ContainerError) as caught:
        DeltaHuffman.from_bytes(data)
    assert str(caught.value) == problem + AFTER


def test_a_huge_matrix_is_refused_before_memory_is_taken():
    data = HEADER.pack(b"DLH1", 2**31, 1, 0, 0, 1, 0, 0, 0, 0) + bytes(1)
    with pytest.raises(MemoryBudgetError) as caught:
        DeltaHuffman.from_bytes(data)
    assert str(caught.value) == (
        f"a container of {2**31} x 1 entries takes {2**33 + 16} bytes when decoded, more than the limit of {2**30}. "
        "If it comes from a source you trust, pass a larger memory_limit."
    )


def test_mutated_containers_are_refused_or_are_what_their_bytes_say():
    accepted = 0
    originals = [DeltaHuffman.of(matrix(seed, 30, 6, 5, 0.2)).to_bytes() for seed in range(10)]
    for data, found in taken(DeltaHuffman, originals):
        accepted += 1
        assert (found.matrix() == by_the_table(data)).all()
    assert 0 < accepted < 750
