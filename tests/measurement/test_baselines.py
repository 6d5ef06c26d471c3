"""What no collapse looks like: an untrained copy, and shuffled labels, beside every number."""

import pytest
import torch
from torch import nn
from toy import CLASSES, blobs, cut, hooks_of, mlp, numbers, raises

from deepcollapse import measure
from deepcollapse.errors import BatchError, OptionError

BOTH = ["untrained", "shuffled labels"]


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A network past zero error on separable points."""
    net, (x, y) = mlp(), blobs(seed=3)
    parameters = list(net.parameters())
    for _ in range(300):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), parameters)
        torch._foreach_add_([p.data for p in parameters], gradients, alpha=-0.3)
    return net


@pytest.mark.parametrize("budget", ["1GiB", 0])
def test_baselines_stand_beside_every_number_of_every_layer(trained, budget):
    measured = measure(trained, cut(*blobs(seed=3), 25), baselines=BOTH, memory_budget=budget)
    found = numbers(measured)
    own = {key[:2] for key in found if key[2] is None and key[1] != "network"}
    of_weights = {key for key in own if "_weight" in key[0] and key[1] != "head"}
    assert {key[1] for key in of_weights if key[0] != "weight_budget"} == {"0", "2"}
    of_weights = {key for key in of_weights if key[1] in ("0", "2")}
    for baseline, expected in zip(BOTH, (own, own - of_weights), strict=True):  # labels do not move weights
        assert {key[:2] for key in found if key[2] == baseline} == expected
        nc1 = found["within_class_variability", "head.input", baseline]
        assert nc1 > 10 * found["within_class_variability", "head.input", None]
    assert found["equinorm_classifier", "head", "shuffled labels"] == found["equinorm_classifier", "head", None]
    assert found["equinorm_classifier", "head", "untrained"] != found["equinorm_classifier", "head", None]


def test_shuffled_labels_keep_the_class_counts_and_follow_the_seed(trained):
    x, y = blobs(58)
    one, same, other = (measure(trained, [(x, y)], baselines=BOTH[1:], seed=seed) for seed in (0, 0, 1))
    key = ("within_class_variability", "head.input", "shuffled labels")
    assert numbers(one)[key] == numbers(same)[key] != numbers(other)[key]
    for name in ("smallest_class", "largest_class", "present_classes"):
        assert numbers(one)[name, "1", "shuffled labels"] == numbers(one)[name, "1", None]
    assert measure(trained, [(x, y)])["cdnv"] == one["cdnv"]  # the measurement itself is left alone


def test_baselines_have_numbers_only(trained):
    measured = measure(trained, [blobs()], baselines=BOTH)
    assert all(r.array is None for r in measured.records if r.baseline is not None)


def test_baselines_of_a_test_split_use_its_own_means(trained):
    train, test = measure(trained, [blobs(seed=3)]), blobs(30, seed=4)
    measured = measure(trained, [test], split="test", means_of=train, baselines=BOTH)
    alone = measure(trained, [test], split="test", baselines=BOTH)
    for baseline in BOTH:
        key = ("nearest_class_mean_accuracy", "head.input", baseline)
        assert numbers(measured)[key] == numbers(alone)[key]
    assert measured.notes == ("baselines: nearest class means are those of this split, not of means_of",)


def test_the_untrained_copy_leaves_the_network_alone_and_says_what_it_could_not_draw(trained):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.scale = mlp(), nn.Parameter(torch.ones(CLASSES))

        def forward(self, x):
            return self.body(x) * self.scale

    net = Scaled()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measured = measure(net, [blobs()], baselines=["untrained"])
    assert measured.notes == ("untrained copy: 1 parameters could not be drawn anew, e.g. scale",)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert sum(hooks_of(net)) == 0


def test_baselines_that_cannot_be():
    with raises(OptionError, "baselines may be 'untrained' and 'shuffled labels'; got 'random'."):
        measure(mlp(), [blobs()], baselines=["random"])
    with raises(OptionError, "baselines may be 'untrained' and 'shuffled labels'; got 'shuffled'."):
        measure(mlp(), [blobs()], baselines="shuffled")
    message = (
        "the untrained baseline needs the batches a second time, and they came as an iterator that runs once. Pass a "
        "DataLoader or a list."
    )
    with raises(BatchError, message):
        measure(mlp(), iter([blobs()]), baselines=["untrained"])
    assert measure(mlp(), iter([blobs()]), baselines=["shuffled labels"]).runs == 1
