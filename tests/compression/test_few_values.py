"""Networks pruned and quantised: which layers, under which codebook, and the network that is given untouched."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

from deepcollapse.compression.few_values import FewValues, prune, quantise
from deepcollapse.compression.pruning import global_percentile_masks, percentile_mask
from deepcollapse.compression.quantisation.weight_sharing import share_weights
from deepcollapse.errors import LayerNameError, NonFiniteError, OptionError, ShapeError, UnknownNameError


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 3, 2),
        nn.Flatten(),
        nn.Linear(27, 6),
        nn.Linear(6, 3),
    )


def weights(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def same(one, other, but=()):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one if name not in but)


WEIGHT_NAMES = ("0.weight", "3.weight", "5.weight", "6.weight")


def test_pruning_zeroes_weights_and_nothing_else(network):
    before = weights(network)
    pruned = prune(network, 70)
    assert same(weights(network), before), "the network given is left as it is"
    after = weights(pruned.network)
    assert same(after, before, but=WEIGHT_NAMES)
    for name, mask in pruned.masks.items():
        dense = before[f"{name}.weight"].numpy()
        np.testing.assert_array_equal(mask, percentile_mask(dense, 70))
        np.testing.assert_array_equal(after[f"{name}.weight"].numpy(), dense * mask)


def test_one_threshold_for_all_layers(network):
    pruned = prune(network, 70, scope="network")
    expected = global_percentile_masks({n: network.get_submodule(n).weight.detach().numpy() for n in "0356"}, 70)
    assert pruned.masks.keys() == expected.keys()
    for name, mask in expected.items():
        np.testing.assert_array_equal(pruned.masks[name], mask)


@pytest.mark.parametrize("how", ["shared", "drawn", "rounded", "entropy"])
@pytest.mark.parametrize("scope", ["layer", "kind", "network"])
def test_every_weight_is_what_its_codebook_says(network, how, scope):
    pruned = prune(network, 50)
    few = quantise(pruned.network, 5, how=how, masks=pruned.masks, scope=scope)
    assert list(few.codebooks) == ["0", "3", "5", "6"]
    assert same(weights(few.network), weights(pruned.network), but=WEIGHT_NAMES)
    for name, book in few.codebooks.items():
        np.testing.assert_array_equal(few.network.get_submodule(name).weight.detach().numpy(), book.array())
        np.testing.assert_array_equal(book.mask, pruned.masks[name])
        assert len(book.values) <= 5
    holders = {name: id(book.values) for name, book in few.codebooks.items()}
    expected = {"layer": 4, "kind": 2, "network": 1}[scope]
    assert len(set(holders.values())) == expected
    if scope == "kind":
        assert holders["0"] == holders["3"] != holders["5"] == holders["6"]


def test_one_codebook_over_layers_is_that_of_their_survivors_end_to_end(network):
    pruned = prune(network, 50)
    few = quantise(pruned.network, 4, masks=pruned.masks, scope="network")
    survivors = np.concatenate(
        [network.get_submodule(n).weight.detach().numpy()[mask] for n, mask in pruned.masks.items()]
    )
    alone = share_weights(survivors, 4)
    np.testing.assert_array_equal(few.codebooks["0"].values, alone.values)
    after = [few.network.get_submodule(n).weight.detach().numpy()[mask] for n, mask in pruned.masks.items()]
    np.testing.assert_array_equal(np.concatenate(after), alone.array())


def test_entropy_is_the_mean_by_weights(network):
    few = quantise(network, 3, names=["5", "6"])
    assert list(few.codebooks) == ["5", "6"]
    by_hand = (162 * few.codebooks["5"].entropy + 18 * few.codebooks["6"].entropy) / 180
    assert few.entropy == pytest.approx(by_hand, rel=1e-12)
    assert np.isnan(quantise(nn.ReLU(), 3).entropy)


def test_a_module_used_twice_is_quantised_once_and_stays_one(network):
    layer = nn.Linear(4, 4)
    few = quantise(nn.Sequential(layer, nn.ReLU(), layer), 2)
    assert list(few.codebooks) == ["0"]
    assert few.network[0] is few.network[2]
    assert len(few.network[2].weight.unique()) == 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_values_are_exact_in_the_layers_own_type(network, dtype):
    few = quantise(copy.deepcopy(network).to(dtype), 4, scope="network")
    for name, book in few.codebooks.items():
        weight = few.network.get_submodule(name).weight
        assert weight.dtype == dtype
        np.testing.assert_array_equal(weight.detach().float().numpy(), book.array())


def test_draws_go_by_the_seed(network):
    one, same_seed, other = (quantise(network, 3, how="drawn", seed=seed) for seed in (1, 1, 2))
    assert same(weights(one.network), weights(same_seed.network))
    assert not same(weights(one.network), weights(other.network))


def test_a_quantiser_of_ones_own(network):
    few = quantise(network, 3, how=lambda w, k, mask: share_weights(w, k - 1, mask=mask))
    assert isinstance(few, FewValues)
    assert {book.distinct for book in few.codebooks.values()} == {2}


def test_what_does_not_fit_is_refused(network):
    cases = [
        (lambda: quantise(network, 3, how="kmeans"), UnknownNameError,
         "how must be one of 'shared', 'drawn', 'rounded', 'entropy'; got 'kmeans'."),
        (lambda: prune(network, 101), OptionError,
         "percent must lie in [0, 100]; got 101. It is the share of weights that go, in %."),
        (lambda: quantise(network, 3, masks={"1": np.ones(4, bool)}), LayerNameError,
         "there is a mask or codebook for '1', which is none of the layers here: 0, 3, 5, 6."),
        (lambda: quantise(network, 3, masks={"6": np.ones((3, 5), bool)}), ShapeError,
         "the weight of '6': shape (3, 6), but the mask has shape (3, 5); both must be the same."),
        (lambda: quantise(network, 0), OptionError, "k, the number of values, must be at least 1; got 0."),
    ]  # fmt: skip
    for call, error, message in cases:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            call()
    with torch.no_grad():
        network[5].weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"^the weight of layer '5' holds 1 NaN or infinite entries"):
        prune(network, 50)
