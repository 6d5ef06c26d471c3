"""Which layers are captured, under which names, and what is said where one cannot be."""

import itertools

import pytest
import torch
from torch import nn
from toy import CLASSES, blobs, hooks_of, mlp, raises

from deepcollapse import measure
from deepcollapse.errors import CaptureError, LayerNameError
from deepcollapse.measurement import default_layers

ONLY = {"measures": ["cdnv"]}


class Shared(nn.Module):
    """One ReLU that runs twice, under two names; a dropout that never runs."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.first, self.relu = nn.Linear(4, 8), nn.ReLU(inplace)
        self.second = nn.Linear(8, 8)
        self.again, self.unused, self.head = self.relu, nn.Dropout(), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.again(self.second(self.relu(self.first(x)))))


def test_a_module_that_runs_twice_is_captured_as_two_layers():
    net, (x, y) = Shared(), blobs()
    measured = measure(net, [(x, y)], layers="relu", **ONLY)
    assert measured.layers == ("relu#1", "relu#2", "head.input")
    assert torch.equal(measured.moments["relu#2"].mean, measured.moments["head.input"].mean)
    assert not torch.equal(measured.moments["relu#1"].mean, measured.moments["relu#2"].mean)
    assert measure(net, [(x, y)], layers="relu#2", **ONLY).layers == ("relu#2", "head.input")
    message = (
        "layer 'relu#3' was never called in a forward pass, or not that often. Layers that were called: relu#1, "
        "relu#2, head.input."
    )
    with raises(CaptureError, message):
        measure(net, [(x, y)], layers="relu#3", **ONLY)


def test_a_module_with_two_names_is_one_layer_by_default_and_by_pattern():
    net, data = Shared(), [blobs()]
    assert default_layers(net, "head") == ["relu"]
    everything = measure(net, data, layers="*", **ONLY).layers
    assert everything == ("first", "relu#1", "second", "relu#2", "head.input", "head")
    assert measure(net, data, layers="again", **ONLY).layers == ("again#1", "again#2", "head.input")


@pytest.mark.parametrize("layers", ["first", "second"])
def test_a_later_in_place_activation_leaves_captured_features_alone(layers):
    data = [blobs()]
    plain, overwriting = Shared(), Shared(inplace=True)
    overwriting.load_state_dict(plain.state_dict())
    expected = measure(plain, data, layers=layers, **ONLY).moments[layers].mean
    assert (expected < 0).any()
    assert torch.equal(measure(overwriting, data, layers=layers, **ONLY).moments[layers].mean, expected)


def test_an_unused_module_is_an_error_by_name_and_a_note_by_pattern():
    net, data = Shared(), [blobs()]
    message = (
        "layer 'unused' was never called in a forward pass, or not that often. Layers that were called: head.input."
    )
    with raises(CaptureError, message):
        measure(net, data, layers="unused", **ONLY)
    measured = measure(net, data, layers=["un*", "first"], **ONLY)
    assert measured.layers == ("first", "head.input")
    assert measured.notes == ("layer 'unused' was chosen by default or pattern and never called; it is left out",)


def test_nothing_that_was_chosen_is_called():
    net = Shared()
    message = (
        "none of the chosen layers was called in a forward pass: unused. Name layers that are called as modules with "
        "layers=[...], or 'input' for the raw input."
    )
    with raises(CaptureError, message):
        measure(net, [blobs()], layers="unus*", head=None, num_classes=CLASSES)


class Varying(nn.Module):
    """Its ReLU runs once on the first batch and twice on those after it; `skips` leaves it out instead."""

    def __init__(self, later: int) -> None:
        super().__init__()
        self.relu, self.head, self.calls, self.later = nn.ReLU(), nn.Linear(4, CLASSES), 0, later

    def forward(self, x):
        for _ in range(self.later if self.calls else 1):
            x = self.relu(x)
        self.calls += 1
        return self.head(x)


@pytest.mark.parametrize("later", [0, 2])
def test_a_layer_that_runs_less_or_more_often_in_a_later_batch(later):
    net = Varying(later)
    message = (
        f"layer 'relu' was called {later} times in this forward pass and 1 times in the first one. Choose layers that "
        "run equally often in every pass."
    )
    with raises(CaptureError, message):
        measure(net, [blobs(), blobs()], layers="relu", **ONLY)
    assert sum(hooks_of(net)) == 0


class Giving(nn.Module):
    """A layer whose output `give` makes, before a head."""

    def __init__(self, give) -> None:
        super().__init__()
        self.layer, self.head = nn.Identity(), nn.Linear(4, CLASSES)
        self.layer.forward = give

    def forward(self, x):
        self.layer(x)
        return self.head(x)


@pytest.mark.parametrize(
    "give",
    [
        lambda x: (x.long(), x, -x),
        lambda x: [x, (x, x)],
        lambda x: {"labels": torch.arange(3), "states": x},
        lambda x: {"states": -x, "last_hidden_state": x},
    ],
)
def test_of_tuples_lists_and_mappings_the_first_features_are_taken(give):
    x, y = blobs()
    measured = measure(Giving(give), [(x, y)], layers="layer", **ONLY)
    assert torch.equal(measured.moments["layer"].mean, measured.moments["head.input"].mean)


@pytest.mark.parametrize(
    ("give", "given"),
    [(lambda x: x.long(), "a tensor of torch.int64"), (lambda x: "x", "str"), (lambda x: (None, x.long()), "tuple")],
)
def test_a_layer_that_gives_no_features(give, given):
    message = f"layer 'layer' gave {given}, which holds no floating-point tensor to measure. Choose a layer that does."
    with raises(CaptureError, message):
        measure(Giving(give), [blobs()], layers="layer")


def test_the_raw_input_can_be_measured_too():
    x, y = blobs()
    net = nn.Sequential(nn.Flatten(), *mlp(inputs=4))
    measured = measure(net, [(x.reshape(-1, 1, 2, 2), y)], layers="input", **ONLY)
    assert measured.layers == ("input", "head.input")
    assert torch.allclose(measured.moments["input"].mean[1], x[y == 1].double().mean(dim=0), rtol=1e-12)
    assert {r.reduction for r in measured.records if r.layer == "input"} == {"flatten"}


def test_a_misspelt_layer_or_head_suggests_close_ones():
    message = (
        "no layer matches 'frist'. Close names: first. The network has 6: [name for name, _ in "
        "network.named_modules()] lists them; patterns may use *, ** and ?."
    )
    for how in ({"layers": "frist"}, {"head": "frist"}):
        with raises(LayerNameError, message):
            measure(Shared(), [blobs()], **how)


def test_default_layers_are_blocks_else_activations_else_linear_layers():
    block = lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU())  # noqa: E731
    blocks = nn.Sequential(nn.Sequential(block(), block()), nn.Sequential(block(), block()), nn.Linear(4, 2))
    assert default_layers(blocks, "2") == ["0.0", "0.1", "1.0", "1.1"]
    assert default_layers(mlp(), "4") == ["1", "3"]
    assert default_layers(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), "1") == ["0"]
    assert default_layers(nn.Linear(4, 2), "head") == []


def test_many_blocks_are_thinned_evenly_and_the_measurement_says_so():
    net = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(40)), nn.Linear(4, CLASSES))
    chosen = default_layers(net, "40")
    assert (len(chosen), chosen[0], chosen[-1]) == (16, "0", "39")
    gaps = {int(b) - int(a) for a, b in itertools.pairwise(chosen)}
    assert gaps == {2, 3}
    measured = measure(net, [blobs()], **ONLY)
    assert measured.layers == (*chosen, "head.input")
    assert measured.notes == ("16 of 40 layers are measured, evenly spread from 0 to 39; layers=[...] names others",)
    assert len(measure(net, [blobs()], layers="??", **ONLY).layers) == 32  # patterns are taken at their word
