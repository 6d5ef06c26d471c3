import pytest
import torch
from torch import nn

from deepcollapse.compression.sizes import footprint, latencies, multiply_adds, parameters_in_use, stored_bytes
from deepcollapse.errors import BatchError
from deepcollapse.networks import build


def test_bytes_are_those_of_a_file_of_weights_without_its_header(tmp_path):
    from safetensors.torch import save_file

    network = build("resnet", num_classes=3, image_shape=(1, 8, 8), width=4)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    header = 8 + int.from_bytes((tmp_path / "weights.safetensors").read_bytes()[:8], "little")
    assert stored_bytes(network) == (tmp_path / "weights.safetensors").stat().st_size - header


def test_a_tensor_under_two_names_is_stored_once():
    shared = nn.Linear(3, 3, bias=False)
    assert stored_bytes(nn.Sequential(shared, shared)) == 36
    assert parameters_in_use(nn.Sequential(shared, shared)) == 9


def test_multiply_adds_of_convolutions_count_every_position():
    layer = nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1)
    assert multiply_adds(layer, torch.ones(2, 3, 9, 9)) == 8 * 27 * 25
    grouped = nn.Conv2d(4, 8, 3, groups=2)
    assert multiply_adds(grouped, torch.ones(1, 4, 5, 5)) == 8 * 2 * 9 * 9
    assert multiply_adds(nn.ConvTranspose2d(2, 3, 2, stride=2), torch.ones(1, 2, 4, 4)) == 2 * 3 * 4 * 16


def test_a_layer_called_twice_counts_twice_and_tokens_each():
    shared = nn.Linear(4, 4)
    assert multiply_adds(nn.Sequential(shared, shared), torch.ones(3, 7, 4)) == 2 * 7 * 16


def test_the_network_is_left_as_it_was():
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    state = torch.get_rng_state()
    footprint(network, torch.ones(2, 4))
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert not network[0]._forward_hooks


def test_no_sample_is_no_pass():
    with pytest.raises(BatchError) as raised:
        multiply_adds(nn.Linear(2, 2), torch.ones(0, 2))
    assert str(raised.value) == ("multiply-adds are counted in a forward pass, and there is no sample in these inputs.")


def test_times_are_taken_of_every_network():
    found = latencies({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}, torch.ones(1, 2), rounds=3)
    assert list(found) == ["a", "b"]
    assert all(seconds > 0 for seconds in found.values())
