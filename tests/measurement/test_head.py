"""Which layer is the classifier, and what the network decides."""

import pytest
import torch
from torch import nn
from toy import CLASSES, blobs, mlp, raises

from deepcollapse import measure
from deepcollapse.errors import CaptureError, LayerNameError, NonFiniteError, OptionError

ONLY = {"measures": ["cdnv"]}


def test_the_head_is_the_last_linear_layer_with_so_many_outputs():
    net = nn.Sequential(nn.Linear(4, CLASSES), nn.Linear(CLASSES, 8), nn.ReLU(), nn.Linear(8, 5))
    assert measure(net, [blobs()], **ONLY).moments["head.input"].num_classes == 5
    assert measure(net, [blobs()], num_classes=CLASSES, **ONLY).moments["head.input"].dim == 4
    assert measure(net, [blobs()], head="1", **ONLY).moments["head.input"].num_classes == 8


def test_a_network_that_is_one_linear_layer_is_its_own_head():
    measured = measure(nn.Linear(4, CLASSES), [blobs()])
    assert measured.layers == ("head.input",)
    assert measured["self_duality"] > 0


def test_without_a_head_the_layers_are_measured_and_the_network_s_output_decides():
    net, (x, y) = mlp(), blobs()
    measured = measure(net, [(x, y)], head=None, num_classes=CLASSES)
    assert measured.layers == ("1", "3")
    assert {r.layer for r in measured.records} == {"network", "1", "3", "0", "2", "4"}
    of_weights = {r.layer for r in measured.records if "_weight" in r.measure}
    assert of_weights == {"0", "2", "4"}, "without a head, the last layer is one like the others"
    assert measured["accuracy", "network"] == measure(net, [(x, y)])["accuracy", "network"]
    assert measured["within_class_variability"] == measured["within_class_variability", "3"]
    record = next(r for r in measure(net[:4], [(x, y)], head=None, num_classes=CLASSES).records)
    assert (record.measure, record.value != record.value) == ("accuracy", True)
    assert record.note == "the network's output is no (samples, classes) tensor, or no sample is left"


def test_what_comes_after_the_head_decides():
    class Flipped(nn.Sequential):
        def forward(self, x):
            return -super().forward(x)

    net, (x, y) = Flipped(*mlp()), blobs()
    measured = measure(net, [(x, y)])
    assert measured["accuracy", "network"] == (net(x).argmax(dim=1) == y).double().mean().item()


def test_a_1x1_convolution_is_a_head():
    class Fully(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
            self.score = nn.Conv2d(6, CLASSES, 1)

        def forward(self, x):
            return self.score(self.body(x)).mean(dim=(2, 3))

    net, y = Fully(), torch.arange(30) % CLASSES
    x = torch.randn(30, 1, 6, 6)
    for how in ({"num_classes": CLASSES}, {"head": "score"}):
        measured = measure(net, [(x, y)], **how)
        assert measured.moments["head.input"].dim == 6
        assert measured["accuracy", "network"] == (net(x).argmax(dim=1) == y).double().mean().item()
        # The mean over positions passes through a linear layer unchanged: so must the decisions.
        assert measured["self_duality"] > 0


def test_no_layer_fits_as_a_head():
    net, data = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5)), [blobs()]
    message = (
        "no final linear layer with 3 outputs could be found; the last linear layers are: '0' (4 to 8), '2' (8 to 5). "
        "Name it with head='...', or pass head=None to measure without a classifier."
    )
    with raises(LayerNameError, message):
        measure(net, data, num_classes=3)
    message = (
        "no final linear layer could be found; the last linear layers are: none at all. Name it with head='...', or "
        "pass head=None to measure without a classifier."
    )
    with raises(LayerNameError, message):
        measure(nn.ReLU(), data)
    message = (
        "the head '2' has 5 outputs and num_classes is 3; they must be the same (classes that never occur are left out "
        "by themselves). Leave num_classes out, or name another layer with head=..."
    )
    with raises(OptionError, message):
        measure(net, data, num_classes=3, head="2")
    message = (
        "the head '1' is a ReLU without a weight of shape (classes, dim). Name the final linear layer with head='...', "
        "or pass head=None to measure without a classifier."
    )
    with raises(LayerNameError, message):
        measure(net, data, num_classes=3, head="1")
    message = "the number of classes is read from the head, and '1' does not say. Pass num_classes=..."
    with raises(OptionError, message):
        measure(net, data, head="1")
    message = "the number of classes is read from the head, and none was given (head=None). Pass num_classes=..."
    with raises(OptionError, message):
        measure(net, data, head=None)


@pytest.mark.parametrize("calls", [0, 2])
def test_the_head_must_be_called_once_as_a_module(calls):
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, CLASSES)

        def forward(self, x):
            for _ in range(calls):
                self.head(x)
            return nn.functional.linear(x, self.head.weight)

    message = (
        f"the head 'head' was called {calls} times in one forward pass; it must be called once, as a module. Name the "
        "layer that is with head='...', or pass head=None to measure without a classifier."
    )
    with raises(CaptureError, message):
        measure(Odd(), [blobs()])


def test_a_head_called_by_keyword_and_without_bias():
    class ByKeyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, CLASSES, bias=False)

        def forward(self, x):
            return self.head(input=x)

    measured = measure(ByKeyword(), [blobs()])
    assert measured.moments["head.input"].dim == 4
    assert measured["centre_logit_norm"] > 0  # no bias is a bias of zero


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_networks_are_refused():
    message = (
        "the network is a scripted or traced RecursiveScriptModule, whose layers run no hooks. Measure the eager "
        "network that it was made from."
    )
    with raises(CaptureError, message):
        measure(torch.jit.script(mlp()), [blobs()])


def test_nan_logits_over_finite_features_are_no_decision():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x, y = torch.randn(30, 4), torch.arange(30) % 3
    with torch.no_grad():
        net[2].bias[1] = torch.nan
    message = (
        "the network's output, batch 0: 30 of 30 samples have NaN logits, while their features are finite. Look for "
        "NaN in the head's weights, or leave such samples out with on_nonfinite='skip' (they are counted)."
    )
    with raises(NonFiniteError, message):
        measure(net, [(x, y)])


@pytest.mark.parametrize("length", [3, 5])
def test_logits_with_as_many_positions_as_classes_keep_their_axes(length):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 6, 1), nn.ReLU(), nn.Conv1d(6, 3, 1)).eval()
    x = torch.randn(20, 4, length)
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    assert measure(net, [(x, y)], head="2")["accuracy"] == 1
