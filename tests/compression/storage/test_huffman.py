import heapq
import math
from itertools import pairwise

import numpy as np
import pytest
from bitarray.util import canonical_huffman
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.compression.storage import decode
from deepcollapse.compression.storage.bits import packed
from deepcollapse.compression.storage.decode import symbol_ranks
from deepcollapse.compression.storage.huffman import CanonicalCode, code_lengths
from deepcollapse.errors import ContainerError, ShapeError

counts_lists = st.lists(st.integers(1, 60) | st.integers(1, 10**9), min_size=2, max_size=80)

DAMAGED = "The container is damaged, or was written by another program; make it again from the weights."


def floats(*values):
    return np.array(values, dtype=np.float32)


def lengths_of(counts):
    return code_lengths(np.array(counts, dtype=np.int64), np.arange(len(counts), dtype=np.float32))


def fibonacci(k):
    numbers = [1, 1]
    while len(numbers) < k:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[:k]


def lengths_by_a_heap(counts):
    """The same tree by a heap: equal weights leave leaves first, and within a kind in the order they came."""
    heap = [(count, 0, i, [i]) for i, count in enumerate(counts)]
    heap.sort()
    heap = [(count, 0, place, leaves) for place, (count, _, _, leaves) in enumerate(heap)]
    lengths, made = [0] * len(counts), 0
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        leaves = first[3] + second[3]
        for leaf in leaves:
            lengths[leaf] += 1
        heapq.heappush(heap, (first[0] + second[0], 1, made, leaves))
        made += 1
    return lengths


def random_code(counts):
    return CanonicalCode.of(np.arange(len(counts), dtype=np.float32) - 3, np.array(counts, dtype=np.int64))


@pytest.mark.parametrize(
    ("counts", "lengths"),
    [
        ([1, 1, 2, 2, 4], [3, 3, 2, 2, 2]),
        ([1, 1, 2, 3, 5, 8, 13], [6, 6, 5, 4, 3, 2, 1]),
        ([12, 4, 2, 2], [1, 2, 3, 3]),
        ([7], [0]),
        ([], []),
        ([1, 1], [1, 1]),
    ],
)
def test_lengths_are_the_fixed_ones(counts, lengths):
    assert lengths_of(counts).tolist() == lengths


@settings(deadline=None)
@given(counts_lists)
def test_lengths_are_those_of_a_heap_with_the_same_ties(counts):
    assert lengths_of(counts).tolist() == lengths_by_a_heap(counts)


@settings(deadline=None)
@given(counts_lists)
def test_a_code_is_as_short_as_that_of_bitarray_and_within_the_entropy_bounds(counts):
    lengths = lengths_of(counts).tolist()
    bits = sum(c * length for c, length in zip(counts, lengths, strict=True))
    codes = canonical_huffman(dict(enumerate(counts)))[0]
    assert bits == sum(counts[i] * len(code) for i, code in codes.items())
    assert max(lengths) <= max(len(code) for code in codes.values())
    total = sum(counts)
    entropy = -sum(c / total * math.log2(c / total) for c in counts)
    assert total * entropy * (1 - 1e-12) <= bits < total * (entropy + 1)
    assert bits <= total * (1 + math.log2(len(counts)))
    assert sum(2.0**-length for length in lengths) == 1.0


@settings(deadline=None)
@given(counts_lists, st.randoms())
def test_the_order_of_the_input_does_not_matter(counts, random):
    shuffled = list(range(len(counts)))
    random.shuffle(shuffled)
    values = np.arange(len(counts), dtype=np.float32)
    again = CanonicalCode.of(values[shuffled], np.array(counts, dtype=np.int64)[shuffled])
    code = CanonicalCode.of(values, np.array(counts, dtype=np.int64))
    assert again.symbols.tolist() == code.symbols.tolist()
    assert again.lengths.tolist() == code.lengths.tolist()


@settings(deadline=None)
@given(counts_lists)
def test_code_words_are_canonical_and_no_one_begins_another(counts):
    code = random_code(counts)
    words = [format(c, f"0{n}b") for c, n in zip(code.codes.tolist(), code.lengths.tolist(), strict=True)]
    assert words == sorted(words)
    assert not any(b.startswith(a) for a, b in pairwise(words))
    assert list(zip(code.lengths, code.symbols, strict=True)) == sorted(zip(code.lengths, code.symbols, strict=True))
    assert set(words[0]) == {"0"}
    assert set(words[-1]) == {"1"}
    assert code.longest == len(words[-1])


def rank_by_tables(tables, window):
    length = int(tables.lengths[window >> (tables.longest - tables.bits)])
    if length:
        return length, int(tables.ranks[window >> (tables.longest - tables.bits)])
    length = tables.bits + 1
    while window >= int(tables.first_codes[length + 1]):
        length += 1
    return length, int(tables.first_ranks[length]) + (
        (window - int(tables.first_codes[length])) >> (tables.longest - length)
    )


@settings(deadline=None)
@given(counts_lists | st.just(fibonacci(58)), st.sampled_from([1, 2, 4, 11]), st.integers(0, 2**57 - 1))
def test_tables_of_any_width_find_every_code_whatever_follows(counts, bits, noise):
    code = random_code(counts)
    tables = code.table(bits)
    for rank, (word, length) in enumerate(zip(code.codes.tolist(), code.lengths.tolist(), strict=True)):
        free = code.longest - length
        assert rank_by_tables(tables, (word << free) | (noise & ((1 << free) - 1))) == (length, rank)


@pytest.fixture(params=[64, 1 << 15])
def block_bits(request, monkeypatch):
    """Blocks so short that codes often lie across their ends, and those in use."""
    monkeypatch.setattr(decode, "BLOCK_BITS", request.param)


@pytest.mark.usefixtures("block_bits")
@pytest.mark.parametrize("table_bits", [3, 16])
@pytest.mark.parametrize("counts", [[1, 1], [3] * 7, fibonacci(58), [2**i for i in range(40)], [1] * 300])
def test_bits_are_those_of_text_and_decode_to_the_same_symbols(counts, table_bits, monkeypatch):
    monkeypatch.setattr(decode, "TABLE_BITS", table_bits)
    code = random_code(counts)
    ranks = np.random.default_rng(0).integers(0, len(code), 999)
    payload, bits = packed(code, [ranks[:5], ranks[5:5], ranks[5:600], ranks[600:]])
    words = [format(c, f"0{n}b") for c, n in zip(code.codes.tolist(), code.lengths.tolist(), strict=True)]
    text = "".join(words[rank] for rank in ranks)
    assert bits == len(text)
    assert payload == int(text.ljust(8 * len(payload), "0"), 2).to_bytes(len(payload), "big")
    assert len(payload) == -(-bits // 8)
    assert np.concatenate(list(symbol_ranks(code, payload, bits, 999))).tolist() == ranks.tolist()


@pytest.mark.usefixtures("block_bits")
@pytest.mark.parametrize(
    ("bits", "count", "message"),
    [
        (400, 199, "the payload of 400 bits codes more than the 199 symbols that were declared"),
        (400, 201, "the payload of 400 bits codes 200 symbols, but 201 were declared"),
        (399, 200, "the payload of 399 bits ends inside a code"),
    ],
)
def test_symbols_have_to_end_with_the_payload(bits, count, message):
    code = CanonicalCode.of(floats(1, 2, 3, 4), np.array([1, 1, 1, 1]))
    payload = bytes(50)
    with pytest.raises(ContainerError) as error:
        list(symbol_ranks(code, payload, bits, count))
    assert str(error.value) == f"{message}. {DAMAGED}"


def test_one_symbol_takes_no_bits():
    code = CanonicalCode.of(floats(5), np.array([9]))
    assert (code.longest, code.codes.tolist()) == (0, [0])
    assert packed(code, [np.zeros(9, dtype=np.int64)]) == (b"", 0)
    assert [block.tolist() for block in symbol_ranks(code, b"", 0, 3)] == [[0, 0, 0]]
    with pytest.raises(ContainerError) as error:
        list(symbol_ranks(code, b"\0", 3, 3))
    assert str(error.value) == f"a code of 1 symbols needs no bits, but 3 were declared. {DAMAGED}"


def test_no_symbols_code_nothing():
    code = CanonicalCode.of(floats(), np.zeros(0, dtype=np.int64))
    assert (len(code), code.longest, code.codes.tolist()) == (0, 0, [])
    assert list(symbol_ranks(code, b"", 0, 0)) == []
    with pytest.raises(ContainerError) as error:
        list(symbol_ranks(code, b"", 0, 3))
    assert str(error.value) == f"3 symbols were declared for a code of none. {DAMAGED}"


def test_a_code_of_57_bits_is_the_longest():
    assert lengths_of(fibonacci(58)).max() == 57
    with pytest.raises(ContainerError) as error:
        lengths_of(fibonacci(59))
    assert str(error.value) == (
        "the Huffman code has a code of 58 bits; the container allows 57. "
        "Quantise to fewer values, or cut the matrix into blocks."
    )


def test_counts_have_to_be_positive_and_one_a_value():
    with pytest.raises(ContainerError) as error:
        lengths_of([3, 0])
    assert str(error.value) == "a symbol occurs 0 times; leave out symbols that do not occur."
    with pytest.raises(ShapeError) as error:
        CanonicalCode.of(floats(1, 2), np.array([1]))
    assert str(error.value) == "2 values came with 1 counts; expected one count a value."


@pytest.mark.parametrize(
    ("symbols", "lengths", "problem"),
    [
        ([1, 2], [1], "2 symbols came with 1 code lengths"),
        ([1, np.nan, np.inf], [1, 2, 2], "2 of 3 symbols are NaN or infinite"),
        ([1, -0.0], [1, 1], "the symbols hold -0.0, which is stored as 0.0"),
        ([1, 2, 1], [1, 2, 2], "1 of 3 symbols are there twice"),
        ([1, 2], [1, 58], "a code has 58 bits, the most is 57"),
        ([1, 2, 3], [2, 1, 2], "the code lengths do not ascend"),
        ([1, 3, 2], [1, 2, 2], "symbols of one code length do not ascend"),
        ([1], [1], "the code lengths are those of no complete prefix code (their shares add up to less than 1)"),
        ([1, 2], [1, 2], "the code lengths are those of no complete prefix code (their shares add up to less than 1)"),
        ([1, 2], [0, 1], "the code lengths are those of no complete prefix code (their shares add up to more than 1)"),
    ],
)
def test_what_is_no_code_is_refused(symbols, lengths, problem):
    with pytest.raises(ContainerError) as error:
        CanonicalCode(floats(*symbols), np.array(lengths, dtype=np.uint8)).check()
    assert str(error.value) == f"{problem}. {DAMAGED}"
