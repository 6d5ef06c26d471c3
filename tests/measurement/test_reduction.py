"""From feature maps and sequences to one vector a sample: which axis holds the channels, and what is averaged."""

import pytest
import torch
from torch import nn
from toy import CLASSES, raises

from deepcollapse import measure
from deepcollapse.errors import CaptureError, OptionError
from deepcollapse.measurement.capture import Capture
from deepcollapse.measurement.reduction import check_reduction

ONLY = {"measures": ["cdnv"]}


def captured(net: nn.Module, x: torch.Tensor, **how) -> dict[str, torch.Tensor]:
    """Features of one batch."""
    capture = Capture(net.eval(), **how)
    with capture, torch.no_grad():
        capture.expect(torch.arange(len(x)) % capture.num_classes)
        return capture.take(net(x)).features


class Pool(nn.Module):
    """The mean over an axis or several."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.mean(dim=self.axes)


def conv1d() -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Conv1d(6, 8, 3), nn.Tanh(), Pool(2), nn.Linear(8, CLASSES))


def conv2d() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        Pool(2, 3),
        nn.Linear(8, CLASSES),
    )


class NearlyLast(nn.Module):
    """Linear layers over (n, height, width, channels), as Swin transformers keep their maps."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(inputs), nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.linear(self.norm(x))


@pytest.mark.parametrize("length", [12, 8, 10])  # 8 - 2 = 6 = channels: shape alone could not tell
def test_one_dimensional_convolutions_are_averaged_over_their_length(length):
    net, x = conv1d(), torch.randn(5, 2, length)
    found = captured(net, x, layers=["0", "1", "2", "3"])
    for index, name in enumerate("0123"):
        assert torch.equal(found[name], net[: index + 1](x).mean(dim=2)), name
    assert found["1"].shape == (5, 6)


@pytest.mark.parametrize("size", [9, 8, 10])
def test_maps_with_channels_second_are_averaged_over_positions(size):
    net, x = conv2d(), torch.randn(5, 2, size, size)
    found = captured(net, x, layers=["0", "1", "2", "3", "4"])
    for index, name in enumerate("01234"):
        assert torch.allclose(found[name], net.eval()[: index + 1](x).mean(dim=(2, 3)), rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("size", [5, 6, 8])
def test_maps_with_channels_last_are_averaged_over_positions(size):
    net = nn.Sequential(NearlyLast(4, 6), nn.GELU(), NearlyLast(6, 8), nn.GELU(), Pool(1, 2), nn.Linear(8, CLASSES))
    x = torch.randn(5, size, size, 4)
    found = captured(net, x, layers=["0", "1", "2", "3"])
    for index, name in enumerate("0123"):
        assert torch.allclose(found[name], net[: index + 1](x).mean(dim=(1, 2)), rtol=1e-5, atol=1e-6), name


def test_memory_format_is_no_matter():
    net, x = conv2d(), torch.randn(5, 2, 9, 9)
    found = captured(net, x.to(memory_format=torch.channels_last), layers="0")
    assert torch.allclose(found["0"], captured(net, x, layers="0")["0"], rtol=1e-5, atol=1e-6)


def test_squeeze_and_excitation_inside_a_block_does_not_mislead():
    class Excited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.squeeze, self.excite = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 2), nn.Linear(2, 6)

        def forward(self, x):
            x = self.conv(x)
            return x * self.excite(self.squeeze(x.mean(dim=(2, 3)))).sigmoid()[:, :, None, None]

    net, x = nn.Sequential(Excited(), Excited(), Pool(2, 3), nn.Linear(6, CLASSES)), torch.randn(5, 6, 6, 6)
    assert torch.equal(captured(net, x)["1"], net[:2](x).mean(dim=(2, 3)))


class Doubled(nn.Module):
    """Twice the channels, which no module says."""

    def forward(self, x):
        return torch.cat([x, -x], dim=1)


def test_batches_of_another_length_keep_the_axis_of_the_first():
    net = nn.Sequential(nn.Conv1d(2, 6, 3), Doubled(), nn.Conv1d(12, 8, 3), Pool(2), nn.Linear(8, CLASSES))
    capture = Capture(net, layers=["1"])
    with capture, torch.no_grad():
        for length in (20, 10):  # 10 - 2 = 8 are the channels of the layer after
            x = torch.randn(5, 2, length)
            capture.expect(torch.arange(5) % CLASSES)
            assert torch.equal(capture.take(net(x)).features["1"], net[:2](x).mean(dim=2))


@pytest.mark.parametrize("length", [5, 8])
def test_transformers_are_averaged_over_their_positions(length):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(nn.Linear(3, 8), nn.TransformerEncoder(layer, 2), Pool(1), nn.Linear(8, CLASSES))
    x = torch.randn(6, length, 3)
    found = captured(net, x)
    assert list(found) == ["1.layers.0", "1.layers.1", "head.input"]
    assert torch.allclose(found["1.layers.1"], net[:2](x).mean(dim=1), rtol=1e-5, atol=1e-6)


def test_a_sequence_first_transformer_is_told_apart():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=False)
    net = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), Pool(0), nn.Linear(8, CLASSES))
    message = (
        "layer '0.layers.0' gave features of shape (7, 5, 8) for 5 labels; the first axis must be the samples. Set "
        "batch_first=True in sequence models, or choose another layer."
    )
    with raises(CaptureError, message):
        measure(net, [(torch.randn(7, 5, 8), torch.arange(5) % CLASSES)])


def test_flatten_keeps_every_number_and_records_say_what_was_done():
    net, x, y = conv2d(), torch.randn(30, 2, 8, 8), torch.arange(30) % CLASSES
    flat = measure(net, [(x, y)], layers="2", reduction="flatten", **ONLY)
    assert flat.moments["2"].dim == 6 * 6 * 6
    reductions = {r.layer: r.reduction for r in flat.records if r.measure == "cdnv"}
    assert reductions == {"2": "flatten", "head.input": "none"}
    pooled = measure(net, [(x, y)], layers="2", **ONLY)
    assert {r.reduction for r in pooled.records if r.measure == "cdnv" and r.layer == "2"} == {"mean"}


def test_cls_takes_the_first_position_of_sequences_only():
    class FirstToken(nn.Module):
        def forward(self, x):
            return x[:, 0]

    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(nn.TransformerEncoder(layer, 2), FirstToken(), nn.Linear(8, CLASSES))
    found = captured(net, torch.randn(6, 5, 8), reduction="cls")
    assert torch.equal(found["0.layers.1"], found["head.input"])
    for net, shape in ((conv2d(), (5, 6, 6, 6)), (conv1d(), (5, 6, 8))):
        message = (
            f"layer '0' gave features of shape {shape}; reduction='cls' takes the first position of (samples, length, "
            "channels). Use reduction='mean'."
        )
        x = torch.randn(5, 2, 8, 8) if len(shape) == 4 else torch.randn(5, 2, 10)
        with raises(CaptureError, message):
            captured(net, x, layers="0", reduction="cls")


def test_an_unknown_reduction():
    with raises(OptionError, "reduction must be one of 'mean', 'flatten', 'cls'; got 'max'."):
        check_reduction("max")


def test_labels_of_every_pixel():
    net = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, CLASSES, 1))
    x, y = torch.randn(4, 2, 5, 5), torch.randint(CLASSES, (4, 5, 5), generator=torch.Generator().manual_seed(0))
    y[0, 0, :2] = -100
    measured = measure(net, [(x, y)], num_classes=CLASSES)
    kept = y != -100
    assert measured.moments["1"].num_samples == 98
    assert measured.notes == ("2 samples without a label (ignore_index) are left out",)
    expected = net[:2](x).movedim(1, -1)[kept][y[kept] == 2].double().mean(dim=0)
    assert torch.allclose(measured.moments["head.input"].mean[2], expected, rtol=1e-6)
    assert measured["accuracy", "network"] == (net(x).argmax(dim=1) == y)[kept].double().mean().item()
    assert {r.reduction for r in measured.records if r.measure == "cdnv"} == {"positions"}


def test_labels_of_every_position_on_pooled_features():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    message = (
        "layer '1' gave features of shape (6, 8) for labels of shape (6, 3); position by position they must be "
        "(*labels, channels) or (samples, channels, *positions). Choose layers that keep all positions, or turn "
        "one-hot labels into class indices with .argmax(1)."
    )
    with raises(CaptureError, message):
        measure(net, [(torch.randn(6, 4), nn.functional.one_hot(torch.arange(6) % CLASSES))])
