"""Products from every form equal the dense ones, and a walk in plain Python over the bytes, whatever the matrix."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.compression.storage import products
from deepcollapse.compression.storage.container import Container
from deepcollapse.compression.storage.delta import Delta
from deepcollapse.compression.storage.forms import coded, read_coded
from deepcollapse.compression.storage.huffman import CanonicalCode
from deepcollapse.compression.storage.products import Product, product
from deepcollapse.compression.storage.streams import huffman_stream
from deepcollapse.errors import ContainerError, OptionError, ShapeError
from unchecked import shapes_unchecked

FORMS = ("hac", "shac", "delta", "delta-huffman")


@pytest.fixture(autouse=True)
def _threads_for_small_work(monkeypatch):
    monkeypatch.setattr(products, "WORTH_A_THREAD", 1)


def matrix(seed, rows, columns, values, share):
    """Few distinct values in random places, all of float32 exactly."""
    draw = np.random.default_rng(seed)
    alphabet = draw.normal(size=values)
    kept = draw.random((rows, columns)) < share
    return np.where(kept, alphabet[draw.integers(0, values, (rows, columns))], 0).astype(np.float32)


def walked(container, x):
    """The slow twin: bits as text, code words in a dictionary, one symbol after another."""
    bits = "".join(f"{byte:08b}" for byte in container.payload)[: container.bits]
    code = container.code
    words = {f"{int(word):0{n}b}" if n else "": s for word, n, s in zip(code.codes, code.lengths, code.symbols)}  # noqa: B905
    y, place = np.zeros((len(x), container.columns)), 0
    for column in range(container.columns):
        if container.boundaries is None:
            rows = range(container.rows)
        else:
            rows = container.row_indices[container.boundaries[column] : container.boundaries[column + 1]]
        for row in rows:
            end = place
            while bits[place:end] not in words:
                end += 1
            y[:, column] += float(words[bits[place:end]]) * x[:, row]
            place = end
    return y


shapes = st.tuples(st.integers(1, 40), st.integers(1, 20))
alphabets = st.sampled_from([1, 2, 3, 7, 32, 300])
shares = st.sampled_from([0.0, 0.03, 0.2, 0.7, 1.0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), shapes, alphabets, shares, st.sampled_from([0, 1, 2, 8, 11, 33]), st.sampled_from([1, 3]))
def test_every_form_multiplies_as_the_dense_matrix(seed, shape, values, share, batch, threads):
    w = matrix(seed, *shape, values, share)
    x = np.random.default_rng(seed).normal(size=(batch, shape[0]))
    for form in FORMS:
        by = Product.of(coded(w, form))
        for way in (by, by._straight, by._by_blocks):
            np.testing.assert_allclose(way(x, threads), x @ w.astype(np.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["hac", "shac"])
@pytest.mark.parametrize("values", [1, 2, 30])
def test_products_are_those_of_a_plain_walk_over_the_bits(form, values):
    container = Container.of(matrix(0, 17, 9, values, 0.4), form)
    x = np.random.default_rng(1).normal(size=(3, 17))
    np.testing.assert_allclose(product(container, x), walked(container, x), rtol=1e-12, atol=1e-12)


def test_the_worked_example():
    w = 0.5 * np.array([[0, 1, 0, 0, 2], [0, 0, -1, 0, 1], [1, 0, 0, 0, 1], [0, 2, 0, 0, -1]])
    for form in FORMS:
        y = product(coded(w, form), np.array([[1, -1, 2, 0.5]], np.float32))
        assert y.dtype == np.float32
        assert y.tolist() == [[1, 1, 0.5, 0, 1.25]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("w", [np.zeros((1, 1)), np.ones((1, 1)), np.zeros((3, 2)), np.full((3, 2), 0.5), np.eye(3, 7)])
def test_the_smallest_matrices(form, w):
    x = np.arange(2.0 * len(w)).reshape(2, -1)
    assert product(coded(w, form), x).tolist() == (x @ w).tolist()


def fibonacci(longest):
    """A matrix with codes of up to `longest` bits: counts 1, 1, 2, 3, 5, ..."""
    counts = [1, 1]
    while len(counts) <= longest:
        counts.append(counts[-1] + counts[-2])
    return np.repeat(np.arange(1, len(counts) + 1, dtype=np.float32), counts), counts


@pytest.mark.parametrize("form", ["hac", "shac", "delta-huffman"])
def test_codes_longer_than_the_table(form):
    entries, counts = fibonacci(22)
    w = np.random.default_rng(0).permutation(entries)[: len(entries) // 7 * 7].reshape(-1, 7)
    container = read_coded(coded(w, form).to_bytes())
    assert (container.values.code if form == "delta-huffman" else container.code).longest > 16
    x = np.random.default_rng(1).normal(size=(2, len(w)))
    by = Product.of(container)
    np.testing.assert_allclose(by._straight(x, 1), x @ w, rtol=1e-10)
    np.testing.assert_allclose(by._by_blocks(x, 1), x @ w, rtol=1e-10)
    assert sum(counts) == len(entries)


def test_codes_of_thirty_bits_and_more():
    # Such counts take a million entries and more; a code needs no counts, and each of its words is read once.
    longest = 50
    lengths = np.array([*range(1, longest), longest, longest], np.uint8)
    symbols = np.arange(1, longest + 2, dtype=np.float32)
    code = CanonicalCode(symbols, lengths)
    code.check()
    order = np.random.default_rng(0).permutation(longest + 1)
    bits = "".join(f"{int(code.codes[rank]):0{lengths[rank]}b}" for rank in order)
    payload = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    container = Container("hac", longest + 1, 1, code, payload, len(bits))
    y = Product.of(container)._straight(np.eye(longest + 1), 1)
    assert y[:, 0].tolist() == symbols[order].tolist()


@pytest.mark.parametrize("form", FORMS)
def test_threads_do_not_change_a_bit(form):
    by = Product.of(coded(matrix(3, 50, 31, 9, 0.3), form))
    x = np.random.default_rng(3).normal(size=(5, 50))
    for threads in (2, 3, 40):
        assert (by._straight(x, threads) == by._straight(x, 1)).all()


def test_little_work_is_not_shared(monkeypatch):
    monkeypatch.undo()
    by, asked = Product.of(coded(matrix(3, 50, 31, 9, 0.3), "delta")), []
    monkeypatch.setattr(Product, "_share", lambda self, threads, work: asked.append(threads))
    by._straight(np.ones((1, 50)), 4)
    by._straight(np.ones((8 * products.WORTH_A_THREAD // 400, 50)), 4)
    assert asked == [1, 2]


def test_few_rows_go_straight_and_many_by_blocks():
    by = Product.of(coded(matrix(0, 64, 64, 32, 0.4), "delta"))
    chosen = [by.from_the_code(batch) for batch in (1, 4, 64, 1000)]
    assert chosen == [True, True, False, False]
    sparse = Product.of(coded(matrix(0, 64, 64, 32, 0.02), "delta"))
    assert sparse.from_the_code(1000)


def test_what_is_held_is_about_the_code():
    container = Delta.of(matrix(0, 500, 40, 32, 0.1))
    held = Product.of(container).bytes
    assert len(container.payload) < held < container.size + 8 * 41 + 64


def test_codes_that_run_past_their_bits_are_found_before_any_product():
    whole = Container.of(matrix(0, 20, 5, 7, 0.9), "hac")
    cut = Container("hac", 20, 5, whole.code, whole.payload, whole.bits - 1)
    message = (
        f"100 symbols do not end with the payload of {whole.bits - 1} bits. The container is damaged, or "
        "was written by another program; make it again from the weights."
    )
    with pytest.raises(ContainerError) as caught:
        huffman_stream(cut)
    assert str(caught.value) == message


def test_what_does_not_fit_is_refused():
    by = Product.of(coded(np.eye(3)))
    for x, got in ((np.ones((2, 4)), "(2, 4) of float64"), (np.ones(3), "(3,) of float64"),
                   (np.ones((2, 3), np.float16), "(2, 3) of float16")):  # fmt: skip
        with pytest.raises(ShapeError) as caught:
            by(x)
        expected = f"a matrix of 3 inputs multiplies rows (B, 3) of float32 or float64; got shape {got}."
        assert str(caught.value) == expected
    with pytest.raises(OptionError) as caught:
        by(np.ones((1, 3)), threads=0)
    assert str(caught.value) == "0 threads cannot do anything; ask for 1 or more."


def test_the_smallest_form_is_taken():
    for seed, share in ((0, 0.02), (1, 0.1), (2, 0.6), (3, 1.0)):
        w = matrix(seed, 200, 30, 16, share)
        sizes = {form: coded(w, form).size for form in FORMS}
        chosen = coded(w)
        assert chosen.size == min(sizes.values()) == sizes[chosen.form] == len(chosen.to_bytes())
    with shapes_unchecked(), pytest.raises(OptionError) as caught:
        coded(np.eye(2), "zip")
    assert str(caught.value) == "there is no form 'zip'; choose 'smallest', 'hac', 'shac', 'delta' or 'delta-huffman'."


def test_the_matrix_of_fibonacci_counts_is_what_it_says():
    entries, counts = fibonacci(5)
    assert sorted(Counter(entries.tolist()).values()) == counts


def test_zeros_meet_no_infinity_from_the_code_as_is_told():
    x = np.array([[1.0, np.inf]])
    assert product(Delta.of(np.array([[3.0, 0], [0, 0]])), x).tolist() == [[3.0, 0.0]]
    assert "0 * inf" in str(product.__doc__)
