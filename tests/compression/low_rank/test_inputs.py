"""What enters layers, streamed: against all rows at once, with torch's own patches, and what is left as it was."""

import re
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers
from matrices import close, draw
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from deepcollapse.compression.low_rank import inputs
from deepcollapse.compression.low_rank.inputs import InputMoments, LayerInputs, patches
from deepcollapse.errors import BatchError, CaptureError, LayerNameError, MemoryBudgetError, MergeError, NonFiniteError


def assert_moments_of(found: InputMoments, rows, rtol=1e-9) -> None:
    """Of rows (g, N, n), by definition."""
    rows = rows.double()
    n = rows.shape[1]
    assert found.count == n
    close(found.mean, rows.mean(dim=1), rtol, atol=1e-12)
    close(found.second_moment, rows.mT @ rows / n, rtol, atol=1e-12)
    close(found.covariance, torch.stack([torch.cov(one.T, correction=0) for one in rows]), rtol, atol=1e-12)
    close(found.magnitude, rows.abs().mean(dim=1), rtol, atol=1e-12)


@given(integers(0, 2**16), integers(1, 29))
@settings(deadline=None, max_examples=30)
def test_any_cut_gives_the_whole(seed, cut):
    rows = draw(2, 30, 3, seed=seed) + 1e4  # far from 0, where sums of squares lose digits
    merged = InputMoments.of(rows[:, :cut]).merge(InputMoments.of(rows[:, cut:]))
    whole = InputMoments.of(rows)
    assert merged.count == 30
    close(merged.mean, whole.mean)
    close(merged.covariance, whole.covariance, rtol=1e-7, atol=1e-9)
    close(merged.magnitude, whole.magnitude)


def test_linear_layers_see_rows_of_all_positions_and_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(3, 3)

        def forward(self, x):
            return self.map(torch.relu(self.map(x)))

    net, x = Twice().double(), draw(4, 5, 3)
    second = torch.relu(net.map(x)).detach()
    found = LayerInputs.collect(net, [x[:2], x[2:]])["map"]
    assert_moments_of(found, torch.cat([x.reshape(-1, 3), second.reshape(-1, 3)])[None])


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_patches_are_torchs_own(mode):
    for stride, padding, dilation, groups in product((1, 2), (0, 2), (1, 2), (1, 2)):
        layer = nn.Conv2d(
            4, 6, (3, 2), stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=mode
        ).double()
        x = draw(2, 4, 7, 6)
        seen = functional.pad(x, (padding,) * 4, mode="constant" if mode == "zeros" else mode)
        expected = functional.unfold(seen, (3, 2), dilation=dilation, stride=stride)  # (N, I k k, positions)
        expected = expected.unflatten(1, (groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)
        assert patches(layer, x).equal(expected)
        # And the layer is what its weight makes of them.
        made = torch.einsum("gpn,gmn->gmp", expected, layer.weight.flatten(1).unflatten(0, (groups, -1)))
        made = made.flatten(0, 1).unflatten(1, (2, -1)).transpose(0, 1) + layer.bias[:, None]
        close(made.detach(), layer(x).flatten(2).detach(), rtol=0, atol=1e-12)


def test_chunks_change_nothing(monkeypatch):
    net = nn.Sequential(nn.Conv1d(2, 4, 3, padding="same", groups=2), nn.Flatten(), nn.Linear(20, 3)).double()
    x = draw(7, 2, 5)
    whole = LayerInputs.collect(net, [x])
    monkeypatch.setattr(inputs, "CHUNK", 40)
    parts = LayerInputs.collect(net, [x])
    for name in ("0", "2"):
        close(parts[name].scatter, whole[name].scatter, rtol=1e-12, atol=1e-12)
    assert_moments_of(parts["0"], patches(net[0], x))


def test_pictures_without_a_batch_axis_and_batches_of_every_kind():
    net = nn.Conv2d(2, 3, 3).double()
    x = draw(3, 2, 5, 5)
    one = LayerInputs.collect(net, [x[0]])[""]
    assert_moments_of(one, patches(net, x[:1]))
    kinds = ([x], [(x, torch.zeros(3))], [{"x": x, "labels": torch.zeros(3)}], iter([x[:1], x[1:]]))
    for batches in kinds:
        assert_moments_of(LayerInputs.collect(net, batches)[""], patches(net, x))


def test_everything_is_afterwards_as_it_was():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 2)).train()
    net[1].eval()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    loader = DataLoader(TensorDataset(torch.randn(8, 3), torch.zeros(8)), batch_size=4, shuffle=True)
    before = torch.get_rng_state()
    LayerInputs.collect(net, loader)
    assert torch.get_rng_state().equal(before)
    assert [module.training for module in net] == [True, False, True, True]
    assert all(value.equal(state[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_pre_hooks for module in net)


def test_passes_merge():
    net, x = nn.Linear(3, 2).double(), draw(9, 3)
    whole = LayerInputs.collect(net, [x])
    merged = LayerInputs.collect(net, [x[:4]]).merge(LayerInputs.collect(net, [x[4:]]))
    close(merged[""].scatter, whole[""].scatter, rtol=1e-12)
    assert (list(merged), len(merged)) == ([""], 1)


def test_an_empty_batch_adds_nothing():
    found = LayerInputs.collect(nn.Linear(3, 2).double(), [draw(4, 3), draw(0, 3)])[""]
    assert_moments_of(found, draw(4, 3)[None])


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.used(x) @ self.unused.weight


X = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: LayerInputs.collect(Unused(), [X]),
            CaptureError,
            "layer 'unused' was never called as a module, so nothing is known of its inputs. "
            "Leave it out, or truncate by weights alone.",
        ),
        (
            lambda: LayerInputs.collect(Unused(), [X * torch.inf], ["used"]),
            NonFiniteError,
            "what enters layer 'used' holds 6 NaN or infinite entries. "
            "Look for a diverged network, half-precision overflow or NaN in the data.",
        ),
        (
            lambda: LayerInputs.collect(Unused(), []),
            BatchError,
            "there were no batches to run the network on; pass at least one.",
        ),
        (
            lambda: LayerInputs.collect(Unused(), [X], ["head"]),
            LayerNameError,
            "no linear or convolutional layer matches 'head'; there are used, unused.",
        ),
        (
            lambda: LayerInputs.collect(nn.Sequential(nn.Linear(30, 2), nn.Linear(2, 1)), [X], memory_limit=20_000),
            MemoryBudgetError,
            "second moments of the inputs of 2 layers take 2.16e-05 GB, and 2e-05 GB are allowed; the largest is of "
            "'0', 30 x 30. Name fewer layers, or truncate by weights alone.",
        ),
        (
            lambda: InputMoments.of(draw(1, 4, 3)).merge(InputMoments.of(draw(1, 4, 2))),
            MergeError,
            "moments of (1, 3) and (1, 2) (groups, inputs) cannot be merged; take both from the same layer.",
        ),
        (
            lambda: LayerInputs.collect(Unused(), [X], ["used"]).merge(LayerInputs({})),
            MergeError,
            "inputs of the layers used and none cannot be merged; collect both for the same layers.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
