import copy
import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from deepcollapse.compression import coded_layers
from deepcollapse.compression.checked import check
from deepcollapse.compression.coded_layers import code_layers
from deepcollapse.compression.files import digest, export_network, load_compressed, save_compressed
from deepcollapse.compression.layers import replaced
from deepcollapse.compression.low_rank.truncate import truncate
from deepcollapse.compression.outcome import changes
from deepcollapse.compression.sizes import stored_bytes
from deepcollapse.compression.specs import made, spec_of
from deepcollapse.errors import ContainerError, DeepCollapseError, LayerNameError, WeightsError

KEY = "deepcollapse.compressed"


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.Flatten(), nn.Linear(72, 40, bias=False), nn.Linear(40, 3),
    ).eval()  # fmt: skip


def sparse(original):
    with torch.no_grad():
        for layer in original:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.mul_(torch.rand_like(layer.weight) < 0.1).copy_(layer.weight.sign() * 0.25)
    return original


@pytest.fixture
def compressed():
    """Factors in one layer, codes in others, coded factors in one more."""
    original = sparse(network())
    cut = truncate(original, {"5": 4}).network
    coded = code_layers(cut, ["0", "3", "5.*"])
    cut_again = truncate(original, {"6": 1}).network
    return replaced(coded, {"6": cut_again[6]})


def saved(compressed, path):
    return save_compressed(compressed, [change.name for change in changes(network(), compressed)], path)


def inputs():
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_what_is_read_is_what_was_written(compressed, tmp_path):
    file = saved(compressed, tmp_path / "it.safetensors")
    untrained = network()
    for parameter in untrained.parameters():
        nn.init.zeros_(parameter)
    read = load_compressed(untrained, file)
    assert str(read) == str(compressed)
    assert torch.equal(read(inputs()), compressed(inputs()))


def test_the_network_given_stays_as_it_is(compressed, tmp_path):
    given = network()
    before = str(given), [p.clone() for p in given.parameters()]
    load_compressed(given, saved(compressed, tmp_path / "it.safetensors"))
    assert str(given) == before[0]
    assert all(torch.equal(a, b) for a, b in zip(given.parameters(), before[1], strict=True))


def test_any_flipped_bit_is_found(compressed, tmp_path):
    file = saved(compressed, tmp_path / "it.safetensors")
    data = file.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    generator = torch.Generator().manual_seed(0)
    for place in torch.randint(header, len(data), (40,), generator=generator).tolist():
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        file.write_bytes(flipped)
        with pytest.raises(WeightsError, match=r"is damaged: it is not what was written \(its SHA-256 differs\)"):
            load_compressed(network(), file)
        with pytest.raises(WeightsError, match="is damaged"):
            check(file)


def test_a_truncated_file_is_refused(compressed, tmp_path):
    file = saved(compressed, tmp_path / "it.safetensors")
    data = file.read_bytes()
    for length in (0, 7, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(WeightsError, match="is not a readable safetensors file; it may be truncated"):
            load_compressed(network(), file)


def rewritten(file, change, layers=None):
    """The same file with another description; with `layers` also with a digest that fits them."""
    with safe_open(file, framework="pt") as opened:
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        description = json.loads(opened.metadata()[KEY])
    if layers is not None:
        description["layers"] = layers(description["layers"])
        description["sha256"] = digest(description["layers"], state.items())
    description = change(description)
    save_file(state, file, {KEY: description if isinstance(description, str) else json.dumps(description)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: "{", "is not a readable safetensors file"),
        (lambda d: "[" * 200_000, "is not a readable safetensors file"),
        (lambda d: [], "the header of .* is damaged: it lacks version, layers, sha256"),
        (lambda d: d | {"layers": 3}, "the header of .* is damaged: it lacks version, layers, sha256"),
        (lambda d: d | {"version": 9}, "is of version 9 of compressed files, and this deepcollapse reads version 1"),
        (lambda d: d | {"sha256": "0"}, "is damaged: it is not what was written"),
        (lambda d: d | {"layers": {}}, "is damaged: it is not what was written|holds"),
    ],
)
def test_descriptions_that_lie_are_refused(compressed, tmp_path, change, message):
    file = saved(compressed, tmp_path / "it.safetensors")
    rewritten(file, change)
    with pytest.raises(DeepCollapseError, match=message):
        load_compressed(network(), file)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda d: d | {"nowhere": d["6"]}, "declares nowhere.* and the file holds"),
        (lambda d: d | {"6": {"kind": "pickle"}}, "makes no layer"),
        (lambda d: d | {"6": {"kind": "sequence", "layers": 3}}, "makes no layer"),
        (lambda d: d | {"6": {"kind": "sequence", "layers": []}}, "makes no layer"),
        (lambda d: d | {"6": {"kind": "sequence", "layers": [d["6"]]}}, "makes no layer"),
        (lambda d: d | {"0": d["0"] | {"bytes": 1.5}}, "makes no layer"),
        (lambda d: d | {"0": d["0"] | {"layer": d["0"]}}, "makes no layer"),
        (lambda d: geometry(d, stride=[0, 0]), "makes no layer"),
        (lambda d: geometry(d, stride="ab"), "makes no layer"),
        (lambda d: geometry(d, dilation=[1, 1, 1]), "makes no layer"),
        (lambda d: geometry(d, groups=True), "makes no layer"),
        (lambda d: geometry(d, padding_mode="mirror"), "makes no layer"),
    ],
)
def test_layers_that_no_file_of_ours_describes_are_refused(compressed, tmp_path, layers, message):
    file = saved(compressed, tmp_path / "it.safetensors")
    rewritten(file, lambda d: d, layers)
    with pytest.raises(DeepCollapseError, match=message):
        load_compressed(network(), file)


def geometry(layers, **values):
    """The layers with another geometry of the coded convolution."""
    return layers | {"0": layers["0"] | {"layer": layers["0"]["layer"] | values}}


def test_declared_sizes_take_no_memory(compressed, tmp_path):
    file = saved(compressed, tmp_path / "it.safetensors")
    huge = {"kind": "linear", "bias": False, "in_features": 1 << 30, "out_features": 1 << 30}
    rewritten(file, lambda d: d, lambda layers: layers | {"6": huge})
    with pytest.raises(WeightsError) as raised:
        load_compressed(network(), file)
    assert str(raised.value) == (
        f"the header of {file} declares 6.weight of shape (1073741824, 1073741824) and the file holds none; it is "
        "damaged. Write the file again."
    )


def test_a_file_of_plain_weights_is_no_compressed_network(tmp_path):
    save_file(network().state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError) as raised:
        load_compressed(network(), tmp_path / "weights.safetensors")
    assert str(raised.value) == (
        f"{tmp_path / 'weights.safetensors'} holds no compressed network: its header does not say what stands in place "
        "of which layer. Name a file that `deepcollapse compress` wrote; plain weights are loaded by load_weights."
    )
    with pytest.raises(WeightsError) as raised:
        load_compressed(network(), tmp_path / "gone")
    assert str(raised.value) == f"there is no file at {tmp_path / 'gone'}."


def test_another_network_does_not_fit(compressed, tmp_path):
    file = saved(compressed, tmp_path / "it.safetensors")
    with pytest.raises(LayerNameError, match="does not fit the network"):
        load_compressed(nn.Sequential(nn.Linear(3, 3)), file)


def test_what_cannot_be_written_down_is_not_saved(tmp_path):
    changed = replaced(network(), {"6": nn.Bilinear(2, 2, 2)})
    with pytest.raises(WeightsError) as raised:
        save_compressed(changed, ["6"], tmp_path / "it.safetensors")
    assert str(raised.value) == (
        "a compressed network cannot be saved with a Bilinear in place of a layer; it can with linear and "
        "convolutional layers, coded ones, and sequences of these."
    )
    assert not (tmp_path / "it.safetensors").exists()


def test_layers_are_described_without_their_weights(compressed):
    for name in ("0", "3", "5", "6"):
        layer = compressed.get_submodule(name)
        again = made(json.loads(json.dumps(spec_of(layer))))
        assert all(value.device.type == "meta" for value in again.state_dict().values())
        assert {k: v.shape for k, v in again.state_dict().items()} == {
            k: v.shape for k, v in layer.state_dict().items()
        }


def test_checking_lists_every_container(compressed, tmp_path):
    file = saved(compressed, tmp_path / "it.safetensors")
    found = check(file)
    assert set(found) == {name for name in compressed.state_dict() if name.endswith(".code")}
    assert all(one.deterministic for one in found.values())
    for name, one in found.items():
        layer = compressed.get_submodule(name.removesuffix(".code"))
        assert (one.size, one.nonzeros) == (layer.code.numel(), layer.weights_used)
        assert one.entropy_bits <= 8 * one.size


def test_a_container_alone_can_be_checked(compressed, tmp_path):
    file = tmp_path / "layer.bin"
    file.write_bytes(compressed[0].code.numpy().tobytes())
    assert {name: one.shape for name, one in check(file).items()} == {"layer.bin": (9, 8)}
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ContainerError):
        check(file)
    with pytest.raises(ContainerError) as raised:
        check(tmp_path / "gone")
    assert str(raised.value) == (
        f"{tmp_path / 'gone'} cannot be read (No such file or directory); name a file of coded weights."
    )


def test_the_exported_network_runs_where_nothing_of_ours_was_imported(compressed, tmp_path):
    x = inputs()
    export_network(compressed, x, tmp_path / "it.pt2")
    torch.save({"x": x, "y": compressed(x)}, tmp_path / "expected.pt")
    code = (
        "import sys, torch; e = torch.load('expected.pt'); n = torch.export.load('it.pt2').module(); "
        "assert torch.allclose(n(e['x']), e['y'], atol=1e-6); assert n(e['x'][:1]).shape == (1, 3); "
        "assert not any(m.startswith('deepcollapse') for m in sys.modules); print('fine')"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "fine", done.stderr


def test_a_digest_tells_types_and_shapes_and_names_apart():
    one = torch.tensor([1.0])
    others = [("a", one.double()), ("a", one.view(1, 1)), ("b", one), ("a", one + 1)]
    assert len({digest({}, [pair]) for pair in [("a", one), *others]}) == 5
    assert digest({}, [("a", one)]) != digest({"a": {}}, [("a", one)])
    assert digest({}, [("a", one), ("b", one)]) == digest({}, [("b", one), ("a", one)])


def test_shared_tensors_are_written_once_and_tied_again(tmp_path):
    def tied():
        network = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 6), nn.Linear(6, 10, bias=False))
        network[2].weight = network[0].weight
        return network

    compressed = truncate(tied(), {"1": 1}).network
    file = save_compressed(compressed, ["1"], tmp_path / "it")
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    assert file.stat().st_size - header == stored_bytes(compressed)
    read = load_compressed(tied(), file)
    assert read[2].weight is read[0].weight
    assert torch.equal(read[0].weight, compressed[0].weight)


def test_a_flipped_bit_of_the_description_is_found(compressed, tmp_path):
    file = saved(compressed, tmp_path / "it.safetensors")
    data = file.read_bytes()
    flipped = data.replace(rb"\"stride\": [1, 1]", rb"\"stride\": [3, 1]", 1)
    assert flipped != data
    file.write_bytes(flipped)
    with pytest.raises(WeightsError, match="is damaged: it is not what was written"):
        load_compressed(network(), file)


def test_a_code_may_take_what_the_weight_in_its_place_took(compressed, tmp_path, monkeypatch):
    file = saved(compressed, tmp_path / "it.safetensors")
    monkeypatch.setattr(coded_layers, "MEMORY_LIMIT", 64)
    assert torch.equal(load_compressed(network(), file)(inputs()), compressed(inputs()))
    monkeypatch.setattr(coded_layers, "OF_DENSE", 0)
    with pytest.raises(WeightsError, match=r"holds a code that cannot be read: 0\.code: .* pass a larger memory_limit"):
        load_compressed(network(), file)


def test_a_code_that_is_not_sound_is_refused_though_its_digest_fits(compressed, tmp_path):
    broken = copy.deepcopy(compressed)
    broken[0].code[0] ^= 1
    file = save_compressed(broken, [change.name for change in changes(network(), compressed)], tmp_path / "it")
    with pytest.raises(WeightsError, match=r"holds a code that cannot be read: 0\.code: "):
        load_compressed(network(), file)
