import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from by_the_table import decode
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.compression.storage.container import Container, digest, smaller
from deepcollapse.compression.storage.layout import boundary_bytes, container_bytes
from deepcollapse.errors import NonFiniteError, OptionError, ShapeError
from unchecked import shapes_unchecked

FORMS = ["hac", "shac"]
EXAMPLE = 0.5 * np.array([[0, 1, 0, 0, 2], [0, 0, -1, 0, 1], [1, 0, 0, 0, 1], [0, 2, 0, 0, -1]])
EXAMPLE_BYTES = {
    "hac": "48414331040000000500000004000000000000002000000000000000000000000000003f000000bf0000803f01020303247603d6",
    "shac": "53484331040000000500000003000000010400000c00000000000000"
    "0000003f000000bf0000803f0102023b2000000000010000000300000004000000"
    "04000000080000000200030100010203",
}


@st.composite
def matrices(draw):
    """Matrices of 1 to 9 rows and columns, of 1 to 40 values, of any sparsity."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    alphabet = draw(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kept = random.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    return (random.choice(np.array(alphabet, dtype=np.float32), shape) * kept).astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
def test_the_worked_example_is_exact_to_the_byte(form):
    container = Container.of(EXAMPLE, form)
    assert container.to_bytes().hex() == EXAMPLE_BYTES[form]
    assert container.size == {"hac": 52, "shac": 77}[form]
    assert (container.rows, container.columns, container.nonzeros) == (4, 5, 8)
    assert container.bits == {"hac": 32, "shac": 12}[form]
    text = "".join(format(byte, "08b") for byte in container.payload)[: container.bits]
    assert text == {"hac": "00100100011101100000001111010110", "shac": "001110110010"}[form]
    again = Container.from_bytes(bytes.fromhex(EXAMPLE_BYTES[form]))
    assert again.matrix().tolist() == EXAMPLE.tolist()
    assert (np.array([1, -1, 2, 0.5]) @ again.matrix()).tolist() == [1, 1, 0.5, 0, 1.25]


@pytest.mark.parametrize(
    ("matrix", "hac", "shac"),
    [(np.zeros((3, 2)), 33, 40), (np.full((3, 2), 0.5), 33, 51), (np.ones((1, 1)), 33, 42)],
)
def test_matrices_of_one_value(matrix, hac, shac):
    for form, size in (("hac", hac), ("shac", shac)):
        container = Container.of(matrix, form)
        assert container.size == len(container.to_bytes()) == size
        assert container.bits == 0
        again = Container.from_bytes(container.to_bytes())
        assert again.matrix().tolist() == matrix.tolist() == decode(container.to_bytes())
        assert again.nonzeros == np.count_nonzero(matrix)


@settings(deadline=None)
@given(matrices(), st.sampled_from(FORMS))
def test_bytes_decode_to_the_matrix_also_by_the_table_alone(matrix, form):
    container = Container.of(matrix, form)
    data = container.to_bytes()
    assert len(data) == container.size
    assert decode(data) == matrix.tolist()
    again = Container.from_bytes(data)
    decoded = again.matrix()
    assert decoded.dtype == np.float32
    assert decoded.tobytes() == (matrix + 0.0).tobytes()
    assert decoded.T.flags.c_contiguous
    assert again.to_bytes() == data
    assert again.nonzeros == container.nonzeros == np.count_nonzero(matrix)
    assert again.counts.sum() == again.count
    k = len(container.code)
    index_bits = 8 * (4 * (matrix.shape[1] + 1) + again.nonzeros) if form == "shac" else 0
    assert 8 * len(data) <= 224 + 40 * k + 7 + again.count * (1 + np.log2(max(k, 1))) + index_bits


@settings(deadline=None, max_examples=50)
@given(matrices())
def test_shac_has_the_places_of_compressed_sparse_columns(matrix):
    container, columns = Container.of(matrix, "shac"), scipy.sparse.csc_matrix(matrix)
    assert container.boundaries is not None
    assert container.row_indices is not None
    assert container.boundaries.tolist() == columns.indptr.tolist()
    assert container.row_indices.tolist() == columns.indices.tolist()


@settings(deadline=None, max_examples=50)
@given(matrices())
def test_the_smaller_form_is_taken(matrix):
    sizes = {form: Container.of(matrix, form).size for form in FORMS}
    chosen = smaller(matrix)
    assert chosen.size == min(sizes.values())
    assert chosen.to_bytes() == Container.of(matrix, chosen.form).to_bytes()


@settings(deadline=None, max_examples=20)
@given(matrices(), st.sampled_from(FORMS))
def test_equal_matrices_give_equal_bytes_however_they_lie_in_memory(matrix, form):
    data = Container.of(matrix, form).to_bytes()
    wide = np.zeros((2 * matrix.shape[0], 3 * matrix.shape[1]), dtype=np.float64)
    wide[::2, ::3] = matrix
    assert Container.of(np.asfortranarray(matrix), form).to_bytes() == data
    assert Container.of(wide[::2, ::3], form).to_bytes() == data


@pytest.mark.parametrize("form", FORMS)
def test_minus_zero_is_zero(form):
    matrix = np.array([[0.0, -0.0], [1.0, -0.0]])
    container = Container.of(matrix, form)
    assert container.to_bytes() == Container.of(np.abs(matrix), form).to_bytes()
    assert not np.signbit(container.matrix()).any()


@pytest.mark.parametrize("form", FORMS)
def test_matrices_of_many_blocks_and_of_values_that_are_all_distinct(form):
    random = np.random.default_rng(0)
    few = random.geometric(0.3, (700, 300)) * (random.random((700, 300)) < 0.5)
    for matrix in (few, random.standard_normal((300, 400)).astype(np.float32)):
        again = Container.from_bytes(Container.of(matrix, form).to_bytes())
        assert np.array_equal(again.matrix(), matrix)


@pytest.mark.parametrize(("rows", "width"), [(256, 1), (257, 2), (65536, 2), (65537, 4)])
def test_row_indices_are_as_wide_as_the_rows_ask_for(rows, width):
    matrix = np.zeros((rows, 2), dtype=np.float32)
    matrix[[0, rows - 1], 1] = 3
    data = Container.of(matrix, "shac").to_bytes()
    assert (data[16], data[17], len(data)) == (width, 4, 28 + 5 + 12 + 2 * width)
    assert np.array_equal(Container.from_bytes(data).matrix(), matrix)


def test_boundaries_are_wider_where_four_bytes_cannot_count_the_non_zeros():
    assert (boundary_bytes(2**32 - 1), boundary_bytes(2**32)) == (4, 8)
    narrow = container_bytes("shac", 1 << 17, 1 << 15, 1, 0, 2**32 - 1)
    wide = container_bytes("shac", 1 << 17, 1 << 15, 1, 0, 2**32)
    assert wide - narrow == 4 * (2**15 + 1) + 4


def test_reading_takes_memory_in_blocks_never_that_of_the_dense_matrix():
    matrix = (np.random.default_rng(0).random((1200, 1200)) < 0.1).astype(np.float32)
    data = Container.of(matrix, "hac").to_bytes()
    tracemalloc.start()
    Container.from_bytes(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6 < matrix.nbytes


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (
            np.array([[1.0, np.nan], [np.inf, -np.inf]]),
            NonFiniteError,
            "3 of 4 entries are NaN, infinite, or too large for float32; "
            "code the weights of a network that trained without diverging.",
        ),
        (
            np.array([[1e39, 1.0]]),
            NonFiniteError,
            "1 of 2 entries are NaN, infinite, or too large for float32; "
            "code the weights of a network that trained without diverging.",
        ),
        (
            np.array([[1j]]),
            ShapeError,
            "a container holds real numbers; got an array of complex128. Convert it to float32.",
        ),
    ],
)
def test_what_is_no_number_is_refused(matrix, error, message):
    for code in (smaller, lambda m: Container.of(m, "hac"), lambda m: Container.of(m, "shac")):
        with pytest.raises(error) as raised:
            code(matrix)
        assert str(raised.value) == message


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3), np.zeros((2, 2, 2)), np.broadcast_to(np.float32(0), (2**32, 1))],
)
def test_what_is_no_matrix_is_refused(matrix):
    with pytest.raises(ShapeError) as raised:
        Container.of(matrix, "hac")
    assert str(raised.value) == (
        "a container holds a matrix (inputs, outputs) with 1 to 4294967295 of each; "
        f"got shape {matrix.shape}. Flatten the other axes, and leave out layers that are empty."
    )


def test_digests_tell_any_change():
    data = bytearray(Container.of(EXAMPLE, "hac").to_bytes())
    before = digest(data)
    assert before == digest(bytes(data))
    data[-1] ^= 1
    assert digest(data) != before


def test_unknown_forms_are_refused():
    with shapes_unchecked(), pytest.raises(OptionError) as raised:
        Container.of(EXAMPLE, "csc")  # pyright: ignore[reportArgumentType]
    assert str(raised.value) == "there is no form 'csc'; choose 'hac' or 'shac'."
