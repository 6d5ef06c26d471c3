"""Weights come in from every common container, fit or are refused with the names, and never run code."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deepcollapse.errors import WeightsError
from deepcollapse.networks import build, load_network, load_weights


def network(seed: int = 0, **parameters) -> nn.Module:
    torch.manual_seed(seed)
    return build("mlp", num_classes=3, image_shape=(1, 2, 2), **{"width": 4, "depth": 2} | parameters)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def refused(path: Path, into: nn.Module | None = None) -> str:
    """The message, after a check that nothing was written."""
    into = into or network(1)
    before = {name: value.clone() for name, value in into.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(into, path)
    assert all(torch.equal(before[name], value) for name, value in into.state_dict().items())
    return str(caught.value)


@pytest.mark.parametrize("nest", [(), ("state_dict",), ("model_state_dict",), ("model",), ("network", "state_dict")])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_fsdp_wrapped_module."])
def test_checkpoints_are_unwrapped(tmp_path, nest, prefix):
    state = {prefix + name: value for name, value in network().state_dict().items()}
    for key in reversed(nest):
        state = {"epoch": 3, "optimiser": {"lr": 0.1}, key: state}
    torch.save(state, tmp_path / "checkpoint.pt")
    assert same(load_weights(network(1), tmp_path / "checkpoint.pt"), network())


def test_a_format_is_told_by_its_content_and_not_by_its_suffix(tmp_path):
    save_file(network().state_dict(), tmp_path / "a.pt")
    torch.save(network().state_dict(), tmp_path / "b.safetensors")
    torch.save(network().state_dict(), tmp_path / "c", _use_new_zipfile_serialization=False)
    for name in "a.pt", "b.safetensors", "c":
        assert same(load_weights(network(1), tmp_path / name), network())


@pytest.mark.parametrize("file", ["weights.safetensors", "model.safetensors"])
def test_a_folder_is_searched_for_its_weights(tmp_path, file):
    save_file(network().state_dict(), tmp_path / file)
    loaded = load_network("mlp", num_classes=3, image_shape=(1, 2, 2), width=4, depth=2, weights=tmp_path)
    assert same(loaded, network())


def test_inner_wrappers_and_wrapped_networks_fit(tmp_path):
    state = {
        name.replace("blocks.0.", "blocks.0._fsdp_wrapped_module."): v for name, v in network().state_dict().items()
    }
    torch.save(state, tmp_path / "w.pt")
    wrapped = torch.compile(network(1), backend="eager")
    assert same(load_weights(wrapped, tmp_path / "w.pt")._orig_mod, network())


class Holder(nn.Linear):
    """Has both `weight` and `module.weight`."""

    def __init__(self, value: float):
        super().__init__(1, 1)
        self.module = nn.Linear(1, 1)
        nn.init.constant_(self.weight, value)
        nn.init.constant_(self.module.weight, -value)


def test_a_layer_that_is_really_called_module_keeps_its_name(tmp_path):
    torch.save(Holder(3).state_dict(), tmp_path / "w.pt")
    loaded = load_weights(Holder(1), tmp_path / "w.pt")
    assert (loaded.weight.item(), loaded.module.weight.item()) == (3, -3)


def test_tied_tensors_may_be_stored_once_and_batch_counts_be_absent(tmp_path):
    tied = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "norm": nn.BatchNorm1d(2)})
    tied["b"].weight = tied["a"].weight
    state = {k: torch.full_like(v, 2) for k, v in tied.state_dict().items()}
    del state["b.weight"], state["norm.num_batches_tracked"]
    save_file(state, tmp_path / "w.safetensors")
    load_weights(tied, tmp_path / "w.safetensors")
    assert tied["b"].weight.tolist() == [[2, 2], [2, 2]]


def test_weights_are_cast_to_the_networks_type(tmp_path):
    save_file(network().half().state_dict(), tmp_path / "w.safetensors")
    assert load_weights(network(1), tmp_path / "w.safetensors").head.weight.dtype == torch.float32


def test_names_and_shapes_that_do_not_fit_are_listed(tmp_path):
    path = tmp_path / "w.safetensors"
    state = network().state_dict()
    del state["blocks.0.linear.bias"]
    save_file({**state, "fc.bias": torch.zeros(3), "head.weight": torch.zeros(9, 4)}, path)
    assert refused(path) == (
        f"{path} does not fit the network: 1 missing (blocks.0.linear.bias); 1 unexpected (fc.bias); "
        "1 of another shape (head.weight: (9, 4) in the file, (3, 4) in the network). "
        "Make the network with the parameters it was trained with."
    )


def test_long_lists_of_names_are_cut(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(network(depth=1).state_dict(), path)
    assert refused(path, network(1, depth=2)) == (
        f"{path} does not fit the network: 6 missing (blocks.1.linear.weight, blocks.1.linear.bias, "
        "blocks.1.norm.weight, blocks.1.norm.bias, blocks.1.norm.running_mean and 1 more). "
        "Make the network with the parameters it was trained with."
    )


class Intruder:
    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self):
        return Path.touch, (self.witness,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, zipped):
    path, witness = tmp_path / "evil.pt", tmp_path / "ran"
    torch.save({"state_dict": Intruder(witness)}, path, _use_new_zipfile_serialization=zipped)
    assert refused(path) == (
        f"{path} holds more than tensors and plain values, or is damaged; to read it could run code from the file, "
        "so it was not read. Save the weights alone: torch.save(network.state_dict(), path), or safetensors."
    )
    assert not witness.exists()


def test_a_whole_pickled_network_and_a_plain_pickle_are_refused(tmp_path):
    torch.save(network(), tmp_path / "whole.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Intruder(tmp_path / "ran")))
    for name in "whole.pt", "plain.pkl":
        assert "holds more than tensors and plain values" in refused(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_truncated_files_are_refused(tmp_path):
    save_file(network().state_dict(), tmp_path / "w.safetensors")
    torch.save(network().state_dict(), tmp_path / "w.pt")
    for name, kind in (("w.safetensors", "safetensors file"), ("w.pt", "torch checkpoint")):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-50])
        assert refused(path).startswith(f"{path} is not a readable {kind}; it may be truncated. ")
    torch.save(network().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "old.pt").read_bytes()
    for cut in (3, 20, len(whole) // 2, len(whole) - 5):
        (tmp_path / "old.pt").write_bytes(whole[:cut])
        assert "damaged" in (message := refused(tmp_path / "old.pt")) or "truncated" in message
    empty = tmp_path / "empty"
    empty.touch()
    assert refused(empty) == (
        f"{empty} is not a readable safetensors file; it may be truncated. "
        "SafetensorError: Error while deserializing header: header too small"
    )


def test_places_without_weights_are_named(tmp_path):
    assert refused(tmp_path / "no") == f"there is no file or folder of weights at {tmp_path / 'no'}."
    assert refused(tmp_path) == (
        f"the folder {tmp_path} holds no weights: looked for weights.safetensors and model.safetensors."
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"epoch": 1, "losses": [1.0]},
            "holds no weights by name: its keys are epoch, losses. Expected tensors by name, alone or under one of "
            "state_dict, model_state_dict, model, network, module, weights.",
        ),
        ({}, "holds nothing where tensors by name were expected."),
        (torch.zeros(2), "holds a Tensor where tensors by name were expected."),
    ],
)
def test_checkpoints_of_something_else_are_refused(tmp_path, content, expected):
    torch.save(content, tmp_path / "c.pt")
    assert refused(tmp_path / "c.pt") == f"{tmp_path / 'c.pt'} {expected}"


def test_a_safetensors_header_whose_length_begins_as_a_pickle_does_is_no_pickle(tmp_path):
    from safetensors.torch import save

    network = nn.Linear(3, 2)
    for padding in range(0, 640, 8):  # headers are padded to eight bytes
        data = save(dict(network.state_dict()), metadata={"padding": "x" * padding})
        if data[:1] == b"\x80":
            break
    (tmp_path / "weights.safetensors").write_bytes(data)
    assert data[:1] == b"\x80"
    loaded = nn.Linear(3, 2)
    load_weights(loaded, tmp_path / "weights.safetensors")
    assert torch.equal(loaded.weight, network.weight)
