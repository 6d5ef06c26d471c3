"""Kernels as matrices: fixed values, the maps that the unfoldings stand for, and the operator itself, written out."""

import math
import re
from itertools import product

import pytest
import torch
from examples import assert_digits, gaussian
from hypothesis import given, settings
from hypothesis.strategies import integers, tuples
from torch.nn import functional

from deepcollapse.errors import NonFiniteError, ShapeError
from deepcollapse.geometry import channel_unfolding, circular_singular_values, singular_values, spatial_unfolding
from unchecked import shapes_unchecked

KERNEL = torch.sin(0.7 + torch.arange(108, dtype=torch.float64) ** 1.3).reshape(4, 3, 3, 3)


def test_fixed_values():
    assert_digits(
        singular_values(channel_unfolding(KERNEL)), [4.194503492413, 3.751889522701, 3.659875865457, 2.295834231904]
    )
    assert_digits(
        singular_values(spatial_unfolding(KERNEL)),
        [4.051924137857, 3.517571132568, 2.775401052234, 2.301374312016, 2.048392453662, 1.438248812154,
         1.109121156043, 0.952228530359, 0.379670765645],
    )  # fmt: skip
    values = circular_singular_values(KERNEL, 5)
    assert values.shape == (75,)
    assert_digits(values[0], 8.177516796095)
    assert_digits(values[-1], 0.214877833382)
    assert_digits(values.norm(), 35.473962532170)
    assert_digits(KERNEL.norm(), 7.094792506434)


def test_rows_and_columns_are_where_they_are_said_to_be():
    kernel = gaussian(0, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    channel, spatial = channel_unfolding(kernel), spatial_unfolding(kernel)
    for o, i, u, v in product(*map(range, kernel.shape)):
        assert channel[o, (i * 4 + u) * 5 + v] == kernel[o, i, u, v]
        assert spatial[o * 5 + v, i * 4 + u] == kernel[o, i, u, v]


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 5), (3, 2, 2, 2), (3, 2, 2, 2, 2)])
def test_every_kernel_has_a_channel_unfolding_in_its_own_type(shape):
    kernel = torch.zeros(shape, dtype=torch.float16)
    assert channel_unfolding(kernel).shape == (3, math.prod(shape[1:]))
    assert channel_unfolding(kernel).dtype == torch.float16


def test_an_outer_product_of_height_and_width_has_spatial_rank_one():
    down, across = gaussian(1, 3, 4), gaussian(2, 5, 2)  # (inputs, height), (outputs, width)
    kernel = torch.einsum("iu,ov->oiuv", down, across)
    assert torch.linalg.matrix_rank(spatial_unfolding(kernel)) == 1
    assert torch.linalg.matrix_rank(channel_unfolding(kernel)) == 2


@given(shape=tuples(*[integers(1, 3)] * 4), larger=tuples(integers(0, 2), integers(0, 2)))
@settings(derandomize=True, max_examples=12, deadline=None)
def test_against_the_operator_written_out(shape, larger):
    kernel = gaussian(sum(shape), math.prod(shape)).reshape(shape)
    size = (shape[2] + larger[0], shape[3] + larger[1])
    images = torch.eye(shape[1] * math.prod(size), dtype=torch.float64).reshape(-1, shape[1], *size)
    padded = functional.pad(images, (0, shape[3] - 1, 0, shape[2] - 1), mode="circular")
    operator = functional.conv2d(padded, kernel).flatten(1)
    expected = torch.linalg.svdvals(operator)
    assert_digits(circular_singular_values(kernel, size), expected, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 3])
def test_other_numbers_of_axes(axes):
    kernel = gaussian(4, 2 * 3 * 2**axes).reshape(2, 3, *[2] * axes)
    values = circular_singular_values(kernel.float(), 4)
    assert values.shape == (2 * 4**axes,)
    assert values.dtype == torch.float64
    assert_digits(values.norm(), 4 ** (axes / 2) * kernel.norm(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: channel_unfolding(torch.zeros(3)), ShapeError,
         "kernel has shape (3,); expected (outputs, inputs, ...)."),
        (lambda: spatial_unfolding(torch.zeros(3, 2, 5)), ShapeError,
         "kernel has shape (3, 2, 5); the spatial unfolding is of (outputs, inputs, height, width). "
         "Take channel_unfolding for other kernels."),
        (lambda: circular_singular_values(torch.zeros(3, 2, 3, 3), (4, 2)), ShapeError,
         "kernel has shape (3, 2, 3, 3) and the image size (4, 2); expected (outputs, inputs, ...) with one size for "
         "each further axis, none of them smaller than the kernel."),
        (lambda: circular_singular_values(torch.zeros(3, 2), 4), ShapeError,
         "kernel has shape (3, 2) and the image size 4; expected (outputs, inputs, ...) with one size for each "
         "further axis, none of them smaller than the kernel."),
        (lambda: circular_singular_values(torch.full((1, 1, 2), math.nan), 4), NonFiniteError,
         "kernel holds 2 NaN or infinite entries; leave out what they belong to."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
