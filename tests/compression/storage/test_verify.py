import dataclasses
import math
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.compression.storage.bits import packed
from deepcollapse.compression.storage.container import Container
from deepcollapse.compression.storage.delta import Delta
from deepcollapse.compression.storage.forms import coded
from deepcollapse.compression.storage.huffman import CanonicalCode
from deepcollapse.compression.storage.verify import Verified, verify
from deepcollapse.errors import ContainerError, MemoryBudgetError

EXAMPLE = 0.5 * np.array([[0, 1, 0, 0, 2], [0, 0, -1, 0, 1], [1, 0, 0, 0, 1], [0, 2, 0, 0, -1]])


def coded_with(matrix, lengths):
    """A container of the matrix by another code than the best one: lengths (k,) of its values in ascending order."""
    values, ranks = np.unique(matrix.T.astype(np.float32), return_inverse=True)
    order = np.lexsort((values, lengths))
    code = CanonicalCode(values[order], np.array(lengths, dtype=np.uint8)[order])
    code.check()
    payload, bits = packed(code, [np.argsort(order)[ranks.ravel()]])
    return Container("hac", *matrix.shape, code, payload, bits)


def test_the_worked_example():
    found = verify(Container.of(EXAMPLE, "hac").to_bytes())
    assert dataclasses.replace(found, entropy_bits=0.0, matrix_entropy_bits=0.0) == Verified(
        form="hac",
        shape=(4, 5),
        symbols=4,
        nonzeros=8,
        bits=32,
        entropy_bits=0.0,
        matrix_entropy_bits=0.0,
        size=52,
        huffman_size=52,
        deterministic=True,
    )
    assert found.entropy_bits == found.matrix_entropy_bits == pytest.approx(20 * 1.5709505945, rel=1e-10)
    assert found.over_entropy == pytest.approx(52 - 20 * 1.5709505945 / 8, rel=1e-10)
    assert found.over_huffman == 0
    assert found.occupancy == 52 / 80


def test_of_shac_the_entropy_is_that_of_the_non_zeros():
    found = verify(Container.of(EXAMPLE, "shac").to_bytes())
    assert (found.form, found.shape, found.symbols, found.nonzeros, found.bits) == ("shac", (4, 5), 3, 8, 12)
    assert found.entropy_bits == 12.0  # counts 4 2 2
    assert found.matrix_entropy_bits == pytest.approx(20 * 1.5709505945, rel=1e-10)
    assert (found.size, found.huffman_size, found.deterministic) == (77, 77, True)


@pytest.mark.parametrize("form", ["hac", "shac"])
@pytest.mark.parametrize("matrix", [np.zeros((3, 2)), np.full((3, 2), 0.5)], ids=["zeros", "halves"])
def test_one_value_has_no_entropy(matrix, form):
    found = verify(Container.of(matrix, form).to_bytes())
    assert (found.entropy_bits, found.matrix_entropy_bits, found.bits) == (0, 0, 0)
    assert found.deterministic
    assert found.over_entropy == found.size == found.huffman_size


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 30), st.sampled_from(["hac", "shac"]), st.integers(0, 99))
def test_what_we_write_is_deterministic_and_as_short_as_huffman_codes_are(rows, columns, k, form, seed):
    random = np.random.default_rng(seed)
    matrix = (random.geometric(1 / k, (rows, columns)) - 1) * (random.random((rows, columns)) < 0.7)
    found = verify(Container.of(matrix, form).to_bytes())
    assert found.deterministic
    assert found.over_huffman == 0
    assert found.nonzeros == np.count_nonzero(matrix)
    shares = np.unique(matrix, return_counts=True)[1] / matrix.size
    assert found.matrix_entropy_bits == pytest.approx(-matrix.size * (shares * np.log2(shares)).sum(), abs=1e-9)
    assert found.entropy_bits <= found.bits + 1e-9


def test_many_entries_of_one_value_are_verified_without_going_through_them():
    data = struct.pack("<4sIIIBBHQfB", b"HAC1", 16000, 16000, 1, 0, 0, 0, 0, 0.5, 0)
    tracemalloc.start()
    found = verify(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e5
    assert (found.size, found.nonzeros, found.deterministic) == (33, 16000**2, True)


def test_another_code_than_the_best_is_told():
    # Counts 12 of 0, 4 of 1/2, 2 of -1/2 and 1: all in two bits is a sound code, but a longer one.
    container = coded_with(EXAMPLE, [2, 2, 2, 2])
    assert Container.from_bytes(container.to_bytes()).matrix().tolist() == EXAMPLE.tolist()
    found = verify(container.to_bytes())
    assert not found.deterministic
    assert (found.bits, found.size, found.huffman_size, found.over_huffman) == (40, 53, 52, 1)


def test_other_ties_of_the_best_code_are_told_though_they_are_as_short():
    # Counts 2 2 2 1 1: lengths 2 2 2 3 3 either way, but the two that get 3 bits are told by value.
    matrix = np.array([[0, 0, 1, 1, 2, 2, 3, 3]], dtype=np.float32)
    best = verify(Container.of(matrix[:, :6], "hac").to_bytes())
    assert best.bits == 10
    other = verify(coded_with(matrix[:, :6], [2, 1, 2]).to_bytes())
    assert (other.bits, other.over_huffman, other.deterministic) == (10, 0, False)


def test_what_is_found_of_a_flipped_bit_and_what_is_not():
    """The table has no checksum: of the flips in a payload of equal code lengths none can be told."""
    matrix = np.arange(64, dtype=np.float32).reshape(8, 8) % 4
    data = bytearray(Container.of(matrix, "hac").to_bytes())
    data[-1] ^= 1
    found = verify(data)
    assert found.deterministic
    assert Container.from_bytes(data).matrix().tolist() != matrix.tolist()


def test_files_are_read(tmp_path):
    path = tmp_path / "layer.hac"
    path.write_bytes(Container.of(EXAMPLE, "hac").to_bytes())
    assert verify(path) == verify(str(path)) == verify(path.read_bytes()) == verify(bytearray(path.read_bytes()))


def test_files_that_are_missing_or_too_large_are_told(tmp_path):
    with pytest.raises(ContainerError) as error:
        verify(tmp_path / "none")
    assert str(error.value) == (
        f"{tmp_path / 'none'} cannot be read (No such file or directory); name a file that holds a container."
    )
    path = tmp_path / "large"
    path.write_bytes(bytes(1029))
    with pytest.raises(MemoryBudgetError) as error:
        verify(path, memory_limit=1000)
    assert str(error.value) == (
        f"{path} has 1029 bytes, more than the limit of 1000. "
        "If it comes from a source you trust, pass a larger memory_limit."
    )


def test_containers_stay_within_one_percent_of_the_huffman_optimum_and_near_the_entropy():
    random = np.random.default_rng(0)
    matrix = np.round(random.standard_normal((200, 300)), 1)
    found = verify(Container.of(matrix, "hac").to_bytes())
    header = 28 + 5 * found.symbols
    assert found.size == header + math.ceil(found.bits / 8)
    assert found.bits < 1.01 * found.entropy_bits


@pytest.mark.parametrize(("form", "bits", "size"), [("delta", 8 * 4, 49), ("delta-huffman", 11 + 12, 82)])
def test_delta_forms_are_verified_too(form, bits, size, tmp_path):
    data = coded(EXAMPLE, form).to_bytes()
    found = verify(data)
    assert (found.form, found.shape, found.symbols, found.nonzeros) == (form, (4, 5), 3, 8)
    assert (found.bits, found.size) == (bits, len(data)) == (bits, size)
    assert found.entropy_bits == 12.0
    assert found.matrix_entropy_bits == pytest.approx(20 * 1.5709505945, rel=1e-10)
    assert found.occupancy == size / 80
    assert (found.huffman_size, found.over_huffman, found.deterministic) == (None, None, True)
    path = tmp_path / "layer"
    path.write_bytes(data)
    assert verify(path) == found
    with pytest.raises(MemoryBudgetError, match=r"^a container of 4 x 5 entries takes "):
        verify(data, memory_limit=80)


def test_delta_fields_of_another_width_are_told(monkeypatch):
    monkeypatch.setattr("deepcollapse.compression.storage.delta._best_width", lambda gaps, k: 5)
    data = Delta.of(EXAMPLE).to_bytes()
    monkeypatch.undo()
    assert (verify(data).bits, verify(data).deterministic) == (8 * 5, False)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and more"])
def test_what_is_no_container_is_told_what_one_begins_with(data):
    with pytest.raises(ContainerError) as error:
        verify(data)
    assert str(error.value) == (
        f"a container begins with HAC1, SHC1, DLT1 or DLH1, but the first four bytes are {data[:4]!r}; "
        "name a file of coded weights."
    )
