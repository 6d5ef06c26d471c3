"""Layers made of factors against the dense layer with the truncated weight: equal, borders included."""

import copy
import math
import re
from itertools import product

import pytest
import torch
from matrices import close, draw, tail, the_kernel
from torch import nn

from deepcollapse.compression.low_rank.convolution import folded, spatial_kernels, tucker
from deepcollapse.compression.low_rank.decomposed import DecomposedLayer
from deepcollapse.compression.low_rank.factors import Factors
from deepcollapse.compression.low_rank.modules import channel_pair, linear_pair, tucker_triple
from deepcollapse.compression.low_rank.truncation import truncated
from deepcollapse.errors import NonFiniteError, OptionError, ShapeError
from deepcollapse.geometry.unfolding import channel_unfolding, spatial_unfolding

KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def with_weight(layer, weight):
    """The same layer, dense, with another weight."""
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.copy_(weight)
    return twin


def assert_equal_to_dense(layer, form, rank, size):
    cut = DecomposedLayer(layer, form, "weights").cut(rank)
    assert all(type(part) is type(layer) for part in cut.module)
    x = draw(2, layer.in_channels, *size, seed=9)
    close(cut.module(x).detach(), with_weight(layer, cut.weight)(x).detach(), rtol=0, atol=1e-12)
    assert (cut.module[-1].bias is None) == (layer.bias is None)
    assert all(part.bias is None for part in cut.module[:-1])
    return cut


GEOMETRIES = list(product((1, 2), (0, 1, 2), (1, 2), (1, 2)))


@pytest.mark.parametrize("form", ["channel", "spatial", "tucker"])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_convolutions_equal_the_dense_truncated_layer(form, mode):
    for stride, padding, dilation, groups in GEOMETRIES:
        layer = nn.Conv2d(
            4, 6, (3, 2), stride=(stride, 1), padding=(padding, 1), dilation=(1, dilation),
            groups=groups, padding_mode=mode, bias=groups == 1, dtype=torch.float64,
        )  # fmt: skip
        assert_equal_to_dense(layer, form, 2, (8, 7))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own, of the dense layer too
@pytest.mark.parametrize("form", ["channel", "spatial", "tucker"])
@pytest.mark.parametrize(("padding", "kernel"), [("same", (4, 3)), ("valid", (4, 3)), ((2, 0), 5)])
def test_padding_in_words_and_along_one_axis(form, padding, kernel):
    for mode in ("zeros", "circular"):
        layer = nn.Conv2d(3, 5, kernel, padding=padding, dilation=1, padding_mode=mode).double()
        assert_equal_to_dense(layer, form, 3, (9, 8))


@pytest.mark.parametrize("form", ["channel", "tucker"])
@pytest.mark.parametrize("axes", [1, 3])
def test_one_and_three_axes(form, axes):
    for mode, groups in product(("zeros", "circular"), (1, 2)):
        layer = KINDS[axes](4, 6, 3, stride=2, padding=1, dilation=1, groups=groups, padding_mode=mode).double()
        assert_equal_to_dense(layer, form, 2, (7, 6, 5)[:axes])


@pytest.mark.parametrize("form", ["channel", "spatial", "tucker"])
def test_exact_at_full_rank_and_zero_at_rank_zero(form):
    layer = nn.Conv2d(4, 6, 3, padding=1, groups=2).double()
    full = assert_equal_to_dense(layer, form, 18, (5, 5))
    close(full.weight, layer.weight.detach(), rtol=0, atol=1e-12)
    if form != "tucker":
        nothing = assert_equal_to_dense(layer, form, 0, (5, 5))
        assert nothing.weight.eq(0).all()
        out = nothing.module(draw(2, 4, 5, 5))
        close(out.detach(), layer.bias.detach()[:, None, None].expand(2, 6, 5, 5))


def test_linear_pairs_equal_the_dense_truncated_layer():
    for bias, rank in product((True, False), (0, 1, 3)):
        layer = nn.Linear(7, 5, bias=bias).double()
        factors = truncated(layer.weight, rank)
        pair, x = linear_pair(layer, factors), draw(3, 2, 7)
        close(pair(x).detach(), with_weight(layer, factors.matrix())(x).detach(), rtol=0, atol=1e-13)
        assert (pair[-1].bias is None) == (not bias)
    changed = Factors(factors.left, factors.right, torch.arange(5).double())
    for layer in (nn.Linear(7, 5).double(), nn.Linear(7, 5, bias=False).double()):
        before = 0 if layer.bias is None else layer.bias.detach()
        close(linear_pair(layer, changed)[-1].bias.detach(), before + torch.arange(5))


def test_a_change_of_the_bias_reaches_every_group():
    layer = nn.Conv1d(4, 6, 3, groups=2).double()
    parts = [truncated(half.flatten(1), 2) for half in layer.weight.detach().chunk(2)]
    parts = [Factors(one.left, one.right, torch.full((3,), 1.0 + g).double()) for g, one in enumerate(parts)]
    change = channel_pair(layer, parts)[-1].bias.detach() - layer.bias.detach()
    close(change, [1, 1, 1, 2, 2, 2])


def test_what_is_made_is_like_the_layer_and_draws_nothing():
    layer = nn.Linear(7, 5, dtype=torch.bfloat16).eval().requires_grad_(False)
    before = torch.get_rng_state()
    pair = linear_pair(layer, truncated(layer.weight, 2))
    assert torch.get_rng_state().equal(before)
    assert {p.dtype for p in pair.parameters()} == {torch.bfloat16}
    assert not pair.training
    assert not any(part.training for part in pair)
    assert not any(p.requires_grad for p in pair.parameters())
    assert all(p.requires_grad for p in linear_pair(nn.Linear(7, 5), truncated(layer.weight, 2)).parameters())


# --- kernels ---------------------------------------------------------------------------------------------------------


def test_fixed_values_of_a_kernel():
    kernel = the_kernel()
    close(float(kernel.norm()), 7.094792506434)
    channel = [4.194503492413, 3.751889522701, 3.659875865457, 2.295834231904]
    spatial = [4.051924137857, 3.517571132568, 2.775401052234, 2.301374312016, 2.048392453662, 1.438248812154]
    close(torch.linalg.svdvals(channel_unfolding(kernel)), channel)
    close(torch.linalg.svdvals(spatial_unfolding(kernel))[:6], spatial)
    layer = with_weight(nn.Conv2d(3, 4, 3).double(), kernel)
    for form, values in (("channel", channel), ("spatial", spatial)):
        whole = DecomposedLayer(layer, form, "weights")
        close(whole.singular_values[: len(values)], values)
        error = float((whole.cut(2).weight - kernel).norm())
        close(error, tail(channel_unfolding(kernel) if form == "channel" else spatial_unfolding(kernel), 2))


def test_fixed_values_of_tucker():
    kernel = the_kernel()
    error = [float((kernel - tucker(kernel, (2, 2), sweeps=sweeps).kernel()).norm()) for sweeps in (0, 1, 3, 200)]
    close([error[0], error[-1]], [4.699376204017, 4.654152317438])
    assert error == sorted(error, reverse=True)


def test_fixed_counts_of_parameters():
    layer = nn.Conv2d(64, 64, 3)
    counts = {form: DecomposedLayer(layer, form, "weights").parameters(16) for form in ("channel", "spatial", "tucker")}
    assert counts == {"channel": 10240, "spatial": 6144, "tucker": 4352}
    made = DecomposedLayer(layer, "tucker", "weights").cut((5, 3)).module
    assert sum(p.numel() for p in made.parameters()) == 3 * 64 + 5 * 3 * 9 + 5 * 64 + 64


def test_tucker_is_orthonormal_and_exact_at_full_ranks():
    kernel = draw(5, 4, 3)
    found = tucker(kernel, (9, 9))
    close(found.kernel(), kernel, rtol=0, atol=1e-12)
    assert found.parameters == 25 + 16 + 60
    close(found.outputs.T @ found.outputs, torch.eye(5), rtol=0, atol=1e-12)
    assert tucker(draw(6, 5, 1, 1), (4, 1)).core.shape == (4, 1, 1, 1)  # more output ranks than there are directions
    assert tucker(torch.zeros(3, 2, 2), (1, 1)).kernel().eq(0).all()


def test_folding_undoes_unfolding():
    kernel = draw(4, 3, 5, 2)
    assert folded(channel_unfolding(kernel), (4, 3, 5, 2), "channel").equal(kernel)
    assert folded(spatial_unfolding(kernel), (4, 3, 5, 2), "spatial").equal(kernel)
    first, second = spatial_kernels(truncated(spatial_unfolding(kernel), 8), (5, 2))
    close(torch.einsum("riu,orv->oiuv", first[..., 0], second[:, :, 0]), kernel, rtol=0, atol=1e-12)


LINEAR, GROUPED = nn.Linear(3, 4), nn.Conv2d(4, 6, 3, groups=2)
WRONG = Factors(torch.zeros(4, 1).double(), torch.zeros(1, 5).double())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: linear_pair(LINEAR, WRONG),
            ShapeError,
            "factors of a 4 x 5 matrix do not fit a layer whose weight (4, 3) unfolds to 4 x 3.",
        ),
        (
            lambda: channel_pair(GROUPED, [WRONG]),
            OptionError,
            "the layer has 2 groups and factors came for 1; pass one a group.",
        ),
        (
            lambda: tucker_triple(nn.Conv2d(3, 4, 3), [tucker(torch.zeros(4, 3, 2, 2), (1, 1))]),
            ShapeError,
            "Tucker factors are those of another kernel than the layer's, (4, 3, 3, 3).",
        ),
        (
            lambda: spatial_kernels(WRONG, (3, 2)),
            ShapeError,
            "factors of a 4 x 5 matrix are none of a spatial unfolding for a kernel of size 3 x 2.",
        ),
        (
            lambda: folded(torch.zeros(4, 5).double(), (4, 5), "diagonal"),
            OptionError,
            "a diagonal unfolding of shape (4, 5) is none of a kernel of shape (4, 5).",
        ),
        (
            lambda: tucker(torch.full((2, 2, 2), math.nan), (1, 1)),
            NonFiniteError,
            "the kernel holds 8 NaN or infinite entries; leave out what they belong to.",
        ),
        (lambda: tucker(torch.zeros(2, 2), (1, -1)), OptionError, "a rank is at least 0; got -1."),
        (
            lambda: DecomposedLayer(nn.Conv2d(3, 4, 3), "tucker", "weights").singular_values,
            OptionError,
            "Tucker's form has two ranks and no single spectrum; give its ranks as a pair, by hand.",
        ),
        (
            lambda: DecomposedLayer(LINEAR, "linear", "activations").cut(1),
            OptionError,
            "nothing is known of the inputs of a layer to be cut by activations; collect them too.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
