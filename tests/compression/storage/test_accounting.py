import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.compression.storage.accounting import (
    Contents,
    csc_size,
    entropy,
    entropy_bits,
    hac_bound,
    hac_size,
    huffman_bits,
    index_map_size,
    published_hac_size,
    published_shac_size,
    shac_bound,
    shac_size,
)
from deepcollapse.compression.storage.container import Container
from deepcollapse.errors import OptionError

EXAMPLE = Contents.of(0.5 * np.array([[0, 1, 0, 0, 2], [0, 0, -1, 0, 1], [1, 0, 0, 0, 1], [0, 2, 0, 0, -1]]))


def equiprobable(share, k=32, side=4096):
    """A square matrix of which a share takes k values equally often, as near as counts can be, and the rest is 0."""
    each = round(share * side * side / k)
    counts = np.array([side * side - k * each, *[each] * k])
    present = counts > 0
    return Contents(side, side, np.arange(k + 1, dtype=np.float32)[present], counts[present])


@pytest.mark.parametrize(
    ("share", "hac", "shac", "csc", "index_map"),
    [
        (1.0, 0.1562, 0.6565, 1.5002, 0.1562),
        (0.3, 0.0781, 0.1971, 0.4502, 0.1875),
        (0.1, 0.0469, 0.0659, 0.1502, 0.1875),
        (0.05, 0.0391, 0.0331, 0.0752, 0.1875),
        (0.01, 0.0328, 0.0068, 0.0152, 0.1875),
    ],
)
def test_payload_and_indices_of_a_large_layer_are_the_fixed_shares(share, hac, shac, csc, index_map):
    sizes = [size(equiprobable(share)) for size in (hac_size, shac_size, csc_size, index_map_size)]
    shares = [(size.payload + size.indices) / size.dense for size in sizes]
    assert shares == pytest.approx([hac, shac, csc, index_map], abs=5e-5 + 1e-9)


@pytest.mark.parametrize("k", [2, 32, 256])
def test_hac_and_shac_cross_where_a_row_index_costs_what_zeros_do(k):
    # Zero takes 1 bit and a value 1 + log2 k of HAC, log2 k + 16 of sHAC: equal at a share of 1 / 16, whatever k is.
    for share, sparse_wins in ((1 / 16 - 0.001, True), (1 / 16 + 0.001, False)):
        contents = equiprobable(share, k)
        assert (shac_size(contents).bits < hac_size(contents).bits) == sparse_wins


def test_no_share_brings_hac_below_one_bit_an_entry():
    for share in (1e-2, 1e-4, 1e-6):
        assert hac_size(equiprobable(share)).occupancy > 1 / 32
    assert shac_size(equiprobable(1e-3)).occupancy < 0.006


def test_the_worked_example():
    assert entropy(EXAMPLE.counts) == pytest.approx(1.5709505945, rel=1e-10)
    assert entropy_bits(EXAMPLE, "hac") == pytest.approx(20 * 1.5709505945, rel=1e-10)
    assert (huffman_bits(EXAMPLE, "hac"), huffman_bits(EXAMPLE, "shac")) == (32, 12)
    assert (hac_size(EXAMPLE).bits, shac_size(EXAMPLE).bits) == (8 * 52, 8 * 77)
    assert (shac_size(EXAMPLE).header, shac_size(EXAMPLE).dictionary) == (224, 120)
    assert (shac_size(EXAMPLE).payload, shac_size(EXAMPLE).indices) == (16, 8 * (24 + 8))
    assert EXAMPLE.nonzeros == 8


def test_published_sizes_by_hand():
    # Lengths 1 2 3 3 and 1 2 2, each with 13 bytes of its own; 32 and 12 bits fill one word; 8 rows, 5 columns.
    assert published_hac_size(EXAMPLE).bits == 64 + 8 * (9 + 4 * 13)
    assert published_shac_size(EXAMPLE).bits == 64 + 8 * (5 + 3 * 13) + 8 * (8 + 5)
    assert published_hac_size(EXAMPLE).dense == 32 * 20


@pytest.mark.parametrize(("rows", "width"), [(255, 1), (256, 2), (65535, 2), (65536, 4)])
def test_published_indices_grow_one_row_before_ours(rows, width):
    one = Contents(rows, 1, np.array([0, 1], dtype=np.float32), np.array([rows - 1, 1]))
    assert published_shac_size(one).indices == 8 * width * 2


def test_one_value_has_a_code_of_no_bits():
    zeros = Contents.of(np.zeros((3, 2)))
    assert (hac_size(zeros).bits, shac_size(zeros).bits) == (8 * 33, 8 * 40)
    assert (entropy_bits(zeros, "hac"), entropy_bits(zeros, "shac"), huffman_bits(zeros, "shac")) == (0, 0, 0)
    assert str(entropy(zeros.counts)) == "0.0"
    assert index_map_size(zeros).bits == 32
    assert published_hac_size(zeros).bits == 8 * 13
    assert (hac_bound(zeros), shac_bound(zeros)) == (231 + 40 + 6, 231 + 8 * 12)


counts_lists = st.lists(st.integers(0, 1000), min_size=1, max_size=50).filter(any)


@settings(deadline=None)
@given(counts_lists, st.integers(-60, 0))
def test_sizes_lie_between_entropy_and_bounds(counts, smallest):
    values = np.arange(smallest, smallest + len(counts)).astype(np.float32)
    contents = Contents(sum(counts), 1, values, np.array(counts))
    for form, size, bound in (("hac", hac_size, hac_bound), ("shac", shac_size, shac_bound)):
        symbols, occurring = contents.coded(form)
        entries = sum(occurring.tolist())
        bits = huffman_bits(contents, form)
        assert size(contents).bits <= bound(contents)
        assert size(contents).occupancy == size(contents).bits / size(contents).dense
        assert entropy_bits(contents, form) <= bits * (1 + 1e-12) + 1e-9
        assert bits <= entries * (1 + math.log2(max(len(symbols), 1)))
        if len(symbols) > 1:
            assert bits < entropy_bits(contents, form) + entries
        expected = -sum(c * math.log2(c / entries) for c in occurring.tolist())
        assert entropy_bits(contents, form) == pytest.approx(expected, rel=1e-10, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 300), st.integers(1, 5), st.integers(1, 20), st.integers(0, 2**32))
def test_sizes_are_those_of_the_containers(rows, columns, k, seed):
    random = np.random.default_rng(seed)
    matrix = random.integers(0, k, (rows, columns)) * (random.random((rows, columns)) < 0.5)
    contents = Contents.of(matrix)
    assert hac_size(contents).bits == 8 * len(Container.of(matrix, "hac").to_bytes())
    assert shac_size(contents).bits == 8 * len(Container.of(matrix, "shac").to_bytes())
    assert contents.entries == matrix.size


def test_counts_have_to_be_those_of_all_entries():
    with pytest.raises(OptionError) as error:
        Contents(2, 3, np.array([1, 2], dtype=np.float32), np.array([1, 2]))
    assert str(error.value) == (
        "the counts add up to 3, but 2 x 3 entries are 6; give a count for every value, 0 included."
    )
