"""Coded layers give what dense ones give, hold nothing but the code, and pass through all that modules pass through."""

import copy
import io
import pickle
import tracemalloc

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from deepcollapse.compression import coded_layers
from deepcollapse.compression.coded_layers import CodedConv, CodedLinear, code_layers, coded_layer, decoded
from deepcollapse.compression.sizes import multiply_adds
from deepcollapse.compression.storage.forms import coded, read_coded
from deepcollapse.compression.storage.read import MEMORY_LIMIT
from deepcollapse.errors import ContainerError, LayerNameError, MemoryBudgetError, OptionError, ShapeError
from unchecked import shapes_unchecked


def sparsely(layer, seed=0, share=0.2, values=8):
    """The layer with most weights 0 and the others of a few values."""
    draw = torch.Generator().manual_seed(seed)
    alphabet = torch.randn(values, generator=draw)
    weight = alphabet[torch.randint(values, layer.weight.shape, generator=draw)]
    kept = torch.rand(layer.weight.shape, generator=draw) < share
    with torch.no_grad():
        layer.weight.copy_(weight * kept)
    return layer


LAYERS = {
    "linear": (lambda: nn.Linear(30, 12), (5, 30)),
    "tokens": (lambda: nn.Linear(30, 12, bias=False), (2, 7, 30)),
    "one": (lambda: nn.Linear(1, 1), (3, 1)),
    "conv1": (lambda: nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 9)),
    "conv2": (lambda: nn.Conv2d(4, 6, (3, 2), stride=2, dilation=2, groups=2), (2, 4, 9, 8)),
    "same": (lambda: nn.Conv2d(3, 5, 3, padding="same", padding_mode="reflect", bias=False), (2, 3, 6, 6)),
    "conv3": (lambda: nn.Conv3d(2, 3, 2, padding=(0, 1, 1), padding_mode="replicate"), (1, 2, 4, 4, 4)),
}


@pytest.fixture(params=LAYERS)
def pair(request):
    make, shape = LAYERS[request.param]
    return sparsely(make()), torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", ["smallest", "hac", "shac", "delta"])
def test_outputs_are_those_of_the_dense_layer(pair, form):
    layer, x = pair
    made = coded_layer(layer, form=form)
    assert torch.equal(made.weight, layer.weight)
    assert torch.equal(made(x), layer(x))
    assert made.weights_used == int(layer.weight.count_nonzero())
    dense = made.dense()
    assert repr(dense) == repr(layer)
    assert torch.equal(dense(x), layer(x))


def test_gradients_reach_inputs_and_bias_and_leave_the_weights_alone(pair):
    layer, x = pair
    made, given, same = coded_layer(layer), x.clone().requires_grad_(), x.clone().requires_grad_()
    made(given).square().sum().backward()
    layer(same).square().sum().backward()
    assert torch.equal(given.grad, same.grad)
    assert [name for name, _ in made.named_parameters()] == ([] if layer.bias is None else ["bias"])
    if layer.bias is not None:
        assert torch.equal(made.bias.grad, layer.bias.grad)
    assert not made.weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_converted_layer_works_in_its_new_dtype(pair, dtype):
    layer, x = pair
    made = coded_layer(layer)
    made(x)
    made, layer = made.to(dtype), layer.to(dtype)
    assert made.code.dtype == torch.uint8
    assert torch.equal(made(x.to(dtype)), layer(x.to(dtype)))


def test_the_state_is_the_code_and_the_bias():
    made = coded_layer(sparsely(nn.Linear(300, 100)), form="delta")
    made(torch.ones(1, 300))
    state = made.state_dict()
    assert set(state) == {"code", "bias"}
    assert state["code"].numpy().tobytes() == made.container.to_bytes()
    assert sum(value.nbytes for value in state.values()) < 0.12 * 4 * 300 * 100
    assert len(pickle.dumps(made)) < 0.2 * 4 * 300 * 100  # what was decoded is left out


def test_states_pass_through_safetensors_into_another_network():
    source = code_layers(nn.Sequential(sparsely(nn.Conv2d(3, 8, 3)), nn.Flatten(), sparsely(nn.Linear(128, 10), 1)))
    target = code_layers(nn.Sequential(sparsely(nn.Conv2d(3, 8, 3), 2), nn.Flatten(), sparsely(nn.Linear(128, 10), 3)))
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    before = target(x)
    target.load_state_dict(safetensors.torch.load(safetensors.torch.save(source.state_dict())))
    assert torch.equal(target(x), source(x))
    assert not torch.equal(target(x), before)


def test_a_code_of_the_same_length_is_noticed_too():
    layer, made = nn.Linear(2, 2), coded_layer(nn.Linear(2, 2), form="hac")
    made.weight  # noqa: B018
    made.load_state_dict(coded_layer(layer, form="hac").state_dict())
    assert torch.equal(made.weight, layer.weight)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (torch.zeros(3), "a code is a vector of uint8; got shape (3,) of torch.float32."),
        (
            torch.zeros(3, dtype=torch.uint8),
            "a container begins with 28 bytes, but there are 3. The container is damaged, or was written by another "
            "program; make it again from the weights.",
        ),
        (
            coded_layer(nn.Linear(2, 3)).code,
            "the code is that of 2 inputs and 3 outputs; a weight of shape (3, 4) has 4 and 3.",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_changed(code, problem):
    made = nn.Sequential(coded_layer(nn.Linear(4, 3)))
    before = made[0].code.clone()
    with pytest.raises(RuntimeError) as caught:
        made.load_state_dict({"0.code": code, "0.bias": torch.zeros(3)})
    assert str(caught.value) == f"Error(s) in loading state_dict for Sequential:\n\t0.code: {problem}"
    assert torch.equal(made[0].code, before)
    with pytest.raises((ContainerError, ShapeError)) as refused:
        coded_layer(nn.Linear(4, 3), code)
    assert str(refused.value) == problem


def test_copies_and_pickles_are_whole(pair):
    layer, x = pair
    made = coded_layer(layer).eval()
    made(x)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(other(x), made(x))
        assert other.code.data_ptr() != made.code.data_ptr()
        assert not other.training
    saved = io.BytesIO()
    torch.save(made.state_dict(), saved)
    saved.seek(0)
    made.load_state_dict(torch.load(saved, weights_only=True))


def test_a_layer_that_moves_or_is_given_another_code_decodes_again():
    made, other = coded_layer(nn.Linear(4, 3)), coded_layer(nn.Linear(4, 3))
    first = made.weight
    assert made.weight is first
    made.code = other.code
    assert torch.equal(made.weight, other.weight)
    assert made.to("meta")(torch.ones(5, 4, device="meta")).shape == (5, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_layer_works_on_a_gpu(pair):
    layer, x = pair
    made = coded_layer(layer, product="coded")
    made(x)
    torch.testing.assert_close(made.cuda()(x.cuda()).cpu(), layer(x), rtol=1e-3, atol=1e-3)
    assert made.state_dict()["code"].is_cuda
    assert torch.equal(coded_layer(layer.cuda()).weight, layer.weight)


@pytest.mark.parametrize("form", ["hac", "shac", "delta"])
def test_products_from_the_code(form):
    layer = sparsely(nn.Linear(60, 20))
    made = coded_layer(layer, form=form, product="coded")
    for shape in ((60,), (1, 60), (2, 3, 60), (0, 60), (100, 60)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(made(x), layer(x))
    assert "weight" not in made._kept
    half = x.bfloat16()
    torch.testing.assert_close(made.bfloat16()(half), layer.bfloat16()(half), rtol=0.02, atol=0.05)


def test_products_from_the_code_give_way_where_gradients_are_wanted():
    layer = sparsely(nn.Linear(60, 20))
    made = coded_layer(layer, product="coded")
    x = torch.randn(3, 60, requires_grad=True)
    made(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(3, 60))
    with torch.no_grad():
        torch.testing.assert_close(made(x), layer(x))
    with shapes_unchecked(), pytest.raises(OptionError) as caught:
        coded_layer(layer, product="fast")
    assert str(caught.value) == "there is no product 'fast'; choose 'dense' or 'coded'."


def test_a_layer_stays_dense_where_its_code_is_larger():
    network = nn.Sequential(
        sparsely(nn.Linear(50, 40)), nn.Linear(40, 30), nn.Linear(3, 2), sparsely(nn.Conv2d(9, 9, 3))
    )
    made = code_layers(network)
    assert [type(layer) for layer in made] == [CodedLinear, nn.Linear, nn.Linear, CodedConv]
    assert made[1] is not network[1]
    assert isinstance(network[0], nn.Linear)
    for found, layer in ((made[0], network[0]), (made[3], network[3])):
        assert len(found.code) < layer.weight.nbytes
    with pytest.raises(LayerNameError):
        code_layers(network, ["head"])


def test_shared_layers_stay_shared():
    layer = sparsely(nn.Linear(40, 40))
    network = nn.Sequential(layer, nn.ReLU(), layer)
    made = code_layers(network)
    assert made[0] is made[2]
    back = decoded(made)
    assert back[0] is back[2]
    x = torch.randn(3, 40)
    assert torch.equal(made(x), network(x))


def test_a_decoded_network_exports():
    network = nn.Sequential(
        sparsely(nn.Conv2d(3, 8, 3, padding=1)), nn.ReLU(), nn.Flatten(), sparsely(nn.Linear(128, 10))
    )
    made, x = code_layers(network).eval(), torch.randn(2, 3, 4, 4)
    exported = torch.export.export(decoded(made), (x,))
    torch.testing.assert_close(exported.module()(x), network(x))
    assert not any(isinstance(layer, CodedLinear | CodedConv) for layer in decoded(made).modules())


def test_weights_of_other_dtypes_are_coded_as_float32():
    layer = nn.Linear(3, 2, dtype=torch.float64)
    made = coded_layer(layer)
    assert made.weight.dtype == torch.float64
    assert torch.equal(made.weight, layer.weight.float().double())
    double = nn.init.constant_(nn.Linear(2, 2, dtype=torch.float64).weight, 0.1)
    layer.weight = nn.Parameter(double.detach()[:, [0, 0, 0]])
    assert (coded_layer(layer).container.matrix() == np.float32(0.1)).all()


def test_multiply_adds_are_those_of_the_weights_in_use(pair):
    layer, x = pair
    placed = layer(x).numel() // len(x) // layer.weight.shape[0]
    assert multiply_adds(coded_layer(layer), x) == placed * int(layer.weight.count_nonzero())


def test_modules_tell_what_they_are():
    conv = coded_layer(
        sparsely(nn.Conv2d(4, 4, 3, padding=1, dilation=2, groups=2, padding_mode="reflect", bias=False))
    )
    assert repr(conv) == (
        "CodedConv(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(2, 2), groups=2, "
        f"padding_mode='reflect', bias=False, form={conv.container.form!r}, bytes={len(conv.code)})"
    )


@pytest.mark.parametrize("form", ["hac", "shac", "delta", "delta-huffman"])
def test_what_was_coded_here_is_read_whatever_the_limit_for_codes_of_others(form, monkeypatch):
    monkeypatch.setattr(coded_layers, "MEMORY_LIMIT", 1000)
    layer = nn.Linear(40, 30)  # every weight a value of its own, the worst that there is
    made = coded_layer(layer, form=form)
    assert torch.equal(made.weight, layer.weight)
    other = coded_layer(nn.Linear(40, 30), form=form)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.weight, layer.weight)


def test_limits_are_handed_down_and_hold():
    layer = sparsely(nn.Linear(40, 30))
    made = code_layers(nn.Sequential(layer), form="delta", memory_limit=1 << 20)
    assert made[0].memory_limit == copy.deepcopy(made)[0].memory_limit == 1 << 20
    with pytest.raises(MemoryBudgetError) as caught:
        coded_layer(nn.Linear(40, 30), made[0].code, memory_limit=100)
    taken = str(caught.value).split("takes ")[1].split()[0]
    assert str(caught.value) == (
        f"a container of 40 x 30 entries takes {taken} bytes when decoded, more than the limit of 100. "
        "If it comes from a source you trust, pass a larger memory_limit."
    )


def test_sizes_that_a_file_declares_are_held_to_the_limit():
    made = CodedLinear(nn.Linear(2**16, 2**14, device="meta"), torch.empty(30, dtype=torch.uint8))
    assert made.memory_limit == 1 << 30


@pytest.mark.parametrize("form", ["shac", "delta", "delta-huffman"])
def test_reading_takes_little_more_than_the_dense_matrix(form):
    draw = np.random.default_rng(0)
    matrix = np.where(draw.random((2500, 800)) < 0.1, draw.integers(1, 33, (2500, 800)), 0).astype(np.float32)
    data = coded(matrix, form).to_bytes()
    with shapes_unchecked():
        tracemalloc.start()
        found = read_coded(data).matrix()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (found == matrix).all()
    assert peak < 4 * matrix.nbytes
    # The first fully connected layer of VGG16, of which a tenth is kept, within the limit for codes of strangers.
    entries = 25088 * 4096
    assert 4 * entries + 1.2 * 0.1 * entries * 5 + 64 * ((1 << 18) + 25088) < MEMORY_LIMIT
