"""Fine-tuning: gradients of clusters, what stays put, what comes back, and that it helps."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from deepcollapse.compression.few_values import prune, quantise
from deepcollapse.compression.fine_tuning import Descent, Epoch, fine_tune
from deepcollapse.compression.quantisation.codebook import Quantised
from deepcollapse.compression.shared_parameters import cluster_gradient
from deepcollapse.errors import BatchError, DivergedError, LayerNameError, OptionError


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blobs(seed=0, n=120, classes=3):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    return 2 * torch.eye(classes)[y] @ torch.ones(classes, 8).tril() + torch.randn(n, 8, generator=generator), y


def batches(seed=0):
    x, y = blobs(seed)
    return [(x[i : i + 30], y[i : i + 30]) for i in range(0, len(x), 30)]


@pytest.fixture
def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def mean_loss(network):
    x, y = blobs()
    with torch.no_grad():
        return float(functional.cross_entropy(copy.deepcopy(network).eval()(x), y))


def test_the_gradient_of_a_codebook_is_that_of_its_weights_summed():
    """Loss sum (x W - t)^2, W = c[idx]: worked out by hand, by autograd, and from the gradient of W alone."""
    idx, x, t = torch.tensor([[0, 1], [1, 2], [2, 0]]), torch.tensor([1.0, 2, -1]), torch.tensor([0.5, -0.5])
    c = torch.tensor([-0.5, 0.25, 1.0], requires_grad=True)
    loss = (x @ c[idx] - t).square().sum()
    loss.backward()
    assert loss.item() == 12.8125
    assert c.grad is not None
    assert c.grad.tolist() == [-9.5, 0.5, 16.0]
    w = c.detach()[idx].requires_grad_()
    (x @ w - t).square().sum().backward()
    assert w.grad is not None
    assert cluster_gradient(w.grad, idx, 3).tolist() == [-9.5, 0.5, 16.0]


@pytest.mark.parametrize("summed", [False, True])
def test_a_step_of_a_layer_is_the_step_of_its_codebook(summed):
    idx, x, t = np.array([[0, 1, 2], [1, 2, 0]], np.int32), torch.tensor([[1.0, 2, -1]]), torch.tensor([[0.5, -0.5]])
    book = Quantised(np.array([-0.5, 0.25, 1.0], np.float32), idx)
    layer = nn.Linear(3, 2, bias=False)
    rates = Descent(epochs=2, rate=0.01, momentum=0.5, summed=summed)
    tuned = fine_tune(layer, [(x, t)], codebooks={"": book}, descent=rates, loss=lambda z, y: (z - y).square().sum())
    # The same two steps with autograd through the codebook.
    c = torch.tensor([-0.5, 0.25, 1.0], requires_grad=True)
    step = torch.zeros(3)
    losses = []
    for _ in range(2):
        loss = (x @ c[torch.tensor(idx).long()].T - t).square().sum()
        (gradient,) = torch.autograd.grad(loss, c)
        losses.append(loss.item())
        step = 0.5 * step + (gradient if summed else gradient / 2)  # each value has two weights
        c = (c - 0.01 * step).detach().requires_grad_()
    assert losses[0] == 12.8125
    assert tuned.losses == pytest.approx(losses, rel=1e-6)
    np.testing.assert_allclose(tuned.codebooks[""].values, c.detach().numpy(), rtol=1e-6)


def test_decay_of_a_value_is_that_of_its_weights():
    book = Quantised(np.array([1.0], np.float32), np.array([[0, 0, -1]], np.int32))
    for summed, expected in ((False, 1 - 0.1 * 0.3), (True, 1 - 0.1 * 2 * 0.3)):
        rates = Descent(rate=0.1, momentum=0, decay=0.3, summed=summed)
        tuned = fine_tune(nn.Linear(3, 1, bias=False), [(torch.zeros(1, 3), torch.zeros(1, 1))],
                          codebooks={"": book}, descent=rates, loss=functional.mse_loss)  # fmt: skip
        assert tuned.codebooks[""].values.tolist() == pytest.approx([expected])


def test_pruned_weights_stay_zero_and_the_rest_learns(network):
    pruned = prune(network, 60)
    tuned = fine_tune(pruned.network, batches(), masks=pruned.masks, descent=Descent(epochs=6, rate=0.05, decay=1e-3))
    for name, mask in pruned.masks.items():
        weight, before = (n.get_submodule(name).weight.detach().numpy() for n in (tuned.network, pruned.network))
        assert (weight[~mask] == 0).all()
        assert (weight[mask] != before[mask]).all()
    assert tuned.codebooks == {}
    assert mean_loss(tuned.network) < 0.8 * mean_loss(pruned.network)


@pytest.mark.parametrize("scope", ["layer", "network"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_are_exactly_their_codebooks_afterwards(network, scope, dtype):
    pruned = prune(network.to(dtype), 40)
    few = quantise(pruned.network, 4, masks=pruned.masks, scope=scope)
    tuned = fine_tune(few.network, batches(), codebooks=few.codebooks, descent=Descent(epochs=3))
    for name, book in tuned.codebooks.items():
        weight = tuned.network.get_submodule(name).weight
        assert weight.dtype == dtype
        np.testing.assert_array_equal(weight.detach().float().numpy(), book.array())
        np.testing.assert_array_equal(book.indices, few.codebooks[name].indices)
        assert (book.array()[~pruned.masks[name]] == 0).all()
        assert (book.values != few.codebooks[name].values).any()
    shared = tuned.codebooks["0"].values is tuned.codebooks["4"].values
    assert shared == (scope == "network")
    assert tuned.losses[-1] < tuned.losses[0]


def test_the_network_given_its_mode_and_all_generators_are_as_they_were(network):
    network[1].eval()
    few = quantise(network, 3)
    states = {name: t.clone() for name, t in few.network.state_dict().items()}
    # Python's own generator is drawn from by the checks of annotations under which tests run.
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    tuned = fine_tune(few.network, batches(), codebooks=few.codebooks)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    for name, tensor in few.network.state_dict().items():
        assert torch.equal(tensor, states[name])
    assert [m.training for m in tuned.network.modules()] == [m.training for m in network.modules()]
    assert not torch.equal(tuned.network[1].running_mean, network[1].running_mean), "statistics adapt"
    assert [type(m) for m in tuned.network.modules()] == [type(m) for m in network.modules()]
    assert tuned.network.state_dict().keys() == network.state_dict().keys()
    assert all(p.grad is None for p in tuned.network.parameters())


def test_equal_seeds_give_equal_networks_and_others_do_not(network):
    few = quantise(network, 4)
    one, same, other = (
        fine_tune(few.network, batches(), codebooks=few.codebooks, seed=seed).network.state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one), "dropout draws by the seed"


def test_frozen_parameters_stay(network):
    network[4].weight.requires_grad_(False)
    few = quantise(network, 3)
    tuned = fine_tune(few.network, batches(), codebooks=few.codebooks, descent=Descent(decay=0.1))
    assert torch.equal(tuned.network[4].weight, few.network[4].weight)
    assert not torch.equal(tuned.network[0].weight, few.network[0].weight)
    assert not tuned.network[4].weight.requires_grad
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    message = "every parameter of the network is frozen; let some require a gradient before fine-tuning."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        fine_tune(network, batches())


def test_a_layer_pruned_altogether_stays_zero(network):
    masks = {"0": np.zeros((16, 8), bool), "4": np.ones((3, 16), bool)}
    few = quantise(network, 3, masks=masks)
    tuned = fine_tune(network, batches(), masks=masks, codebooks=few.codebooks)
    assert not tuned.network[0].weight.any()
    assert tuned.codebooks["0"].array().any() == False  # noqa: E712 - numpy's own False
    assert len(tuned.network[4].weight.unique()) == 3


def test_progress_is_told_after_each_epoch_and_no_epoch_changes_nothing(network):
    heard = []
    tuned = fine_tune(network, batches(), descent=Descent(epochs=2), progress=heard.append)
    assert heard == [Epoch(1, 2, tuned.losses[0]), Epoch(2, 2, tuned.losses[1])]
    none = fine_tune(network, batches(), descent=Descent(epochs=0))
    assert none.losses == ()
    for name, tensor in none.network.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])


def test_batches_of_another_kind_are_read(network):
    x, y = blobs()
    plain = fine_tune(network, [(x, y)])
    named = fine_tune(network, [{"x": x, "labels": y}])
    own = fine_tune(network, [(y, "note", x)], read=lambda batch: ((batch[2],), {}, batch[0]))
    assert plain.losses == named.losses == own.losses


def test_what_cannot_be_trained_is_refused(network):
    few = quantise(network, 3)
    mask = np.ones((16, 8), bool)
    mask[0, :5] = False
    cases = [
        (lambda: fine_tune(network, iter(batches()), descent=Descent(epochs=2)), BatchError,
         "the batches came as a list_iterator, which can be gone through once. Pass a list or a data loader, or train "
         "for one epoch."),
        (lambda: fine_tune(network, []), BatchError,
         "epoch 1 of fine-tuning had no batch. Pass batches that can be gone through again."),
        (lambda: fine_tune(network, [(torch.full((4, 8), torch.inf), torch.zeros(4).long())]), DivergedError,
         "fine-tuning diverged in epoch 1, batch 1: the loss is nan. Lower the rate, or prune and quantise less."),
        (lambda: fine_tune(network, batches(), masks={"0": mask}, codebooks=few.codebooks), OptionError,
         "layer '0': its codebook gives values to 5 weights that its mask prunes. Quantise with the same masks."),
        (lambda: fine_tune(network, batches(), codebooks={"9": few.codebooks["0"]}), LayerNameError,
         "there is a mask or codebook for '9', which is none of the layers here: 0, 4."),
    ]  # fmt: skip
    for call, error, message in cases:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            call()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": -1}, "epochs must be at least 0; got -1."),
        ({"rate": 0}, "rate must be positive and finite; got 0."),
        ({"momentum": 1}, "momentum must lie in [0, 1); got 1."),
        ({"nesterov": True, "momentum": 0}, "nesterov needs momentum above 0; got 0."),
        ({"decay": -1}, "decay must be at least 0 and finite; got -1."),
    ],
)
def test_settings_outside_their_range_are_refused(setting, message):
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        Descent(**setting)


def test_a_fading_rate_ends_at_nothing():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2))
    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1])) for _ in range(3)]
    seen = []

    def loss(logits, labels):
        seen.append(logits.detach().clone())
        return nn.functional.cross_entropy(logits, labels)

    tuned = fine_tune(network, batches, descent=Descent(epochs=2, rate=0.3, momentum=0.0, fading=True), loss=loss)
    by_hand = copy.deepcopy(network)
    for step, (x, y) in enumerate(batches * 2):
        by_hand.zero_grad()
        nn.functional.cross_entropy(by_hand(x), y).backward()
        with torch.no_grad():
            for parameter in by_hand.parameters():
                parameter -= 0.3 * (1 - step / 6) * parameter.grad
    torch.testing.assert_close(tuned.network[0].weight, by_hand[0].weight)


def test_a_fading_rate_needs_to_know_when_it_ends():
    batch = torch.eye(2), torch.tensor([0, 1])
    with pytest.raises(OptionError) as raised:
        fine_tune(nn.Sequential(nn.Linear(2, 2)), (batch for _ in range(2)), descent=Descent(fading=True))
    assert str(raised.value) == (
        "a fading rate needs to know how many batches an epoch has, and a generator does not tell. Pass a list or a "
        "data loader, or fading=False."
    )
