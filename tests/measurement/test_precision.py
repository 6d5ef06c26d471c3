"""Networks in half, bfloat16 and double precision: inputs follow, products keep their digits, rounding is noted."""

import math

import pytest
import torch
from torch import nn
from toy import CLASSES, blobs, cut, mlp

from deepcollapse import measure
from deepcollapse.geometry import trace_ratio


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_are_cast_to_the_network_s_type(dtype):
    net, (x, y) = mlp().to(dtype), blobs()
    measured = measure(net, cut(x, y, 25), loss=nn.functional.cross_entropy)
    moments = measured.moments["head.input"]
    assert moments.dtype == dtype
    h = net[:4](x.to(dtype)).detach()
    expected = torch.stack([h[y == c].double().mean(dim=0) for c in range(CLASSES)])
    assert torch.allclose(moments.mean, expected, rtol=1e-12 if dtype == torch.float64 else 1e-2)
    loss = nn.functional.cross_entropy(net(x.to(dtype)).double(), y).item()
    assert measured["loss"] == pytest.approx(loss, rel=1e-2)
    assert 0 < measured["within_class_variability"] < math.inf


def test_the_loss_of_half_precision_logits_is_taken_in_float32():
    net, (x, y) = mlp().half(), blobs()
    seen = []

    def loss(logits, labels):
        seen.append(logits.dtype)
        return nn.functional.cross_entropy(logits, labels)

    measure(net, [(x, y)], loss=loss)
    assert seen == [torch.float32]


def note_of(measured, name: str, layer: str = "head.input") -> str | None:
    return next(r.note for r in measured.records if (r.measure, r.layer) == (name, layer))


def collapsed(dtype: torch.dtype) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A linear layer on classes far apart and narrow, beyond what half precision resolves."""
    x, y = blobs()
    means = torch.stack([x[y == c].mean(dim=0) for c in range(CLASSES)])
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    return net.to(dtype), 3 * means[y] + 1e-3 * x, y


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_where_rounding_may_show_the_numbers_say_so(dtype):
    torch.manual_seed(0)
    net, x, y = collapsed(dtype)
    caveat = f"rounding of {str(dtype)[6:]} features may show: measure the network in a wider type"
    measured = measure(net, [(x, y)])
    for name in ("within_class_variability", "trace_ratio", "cdnv"):
        assert note_of(measured, name) == caveat
    assert note_of(measured, "equinorm_means") is None
    assert note_of(measure(net.float(), [(x, y)]), "within_class_variability") is None
    assert note_of(measure(mlp().to(dtype), [blobs()]), "within_class_variability") is None


def test_pooling_in_float32_does_not_hide_the_precision_of_the_layer():
    class Pool(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), Pool(), nn.Linear(4, CLASSES)).bfloat16()
    y = torch.arange(30) % CLASSES
    x = torch.randn(30, 1, 3, 3, generator=torch.Generator().manual_seed(0)) + y[:, None, None, None]
    moments = measure(net, [(x, y)]).moments["1"]
    assert moments.dtype == torch.bfloat16
    h = net[:2](x.bfloat16()).detach().double().mean(dim=(2, 3))
    expected = torch.stack([h[y == c].mean(dim=0) for c in range(CLASSES)])
    assert torch.allclose(moments.mean, expected, rtol=1e-6)  # averaged in float32, not in bfloat16


def test_a_shift_costs_no_digits():
    """A network that adds 1e4 to its features, in float64: what is translation-invariant stays."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()[:4].double()
            self.shift, self.head = 0.0, nn.Linear(8, CLASSES).double()

        def forward(self, x):
            return self.head(self.body(x) + self.shift)

    net, batches = Shifted(), cut(*blobs(), 7, 30)
    plain = measure(net, batches)
    net.shift = 1e4
    shifted = measure(net, batches)
    for name in ("within_class_variability", "cdnv", "equinorm_means", "self_duality", "effective_rank_features"):
        assert shifted[name] == pytest.approx(plain[name], rel=1e-7)


def test_one_network_in_three_precisions_agrees():
    net, (x, y) = mlp(), blobs()
    reference = float(trace_ratio(measure(net.double(), [(x, y)]).moments["head.input"]))
    for dtype, rel in ((torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 1e-1)):
        assert measure(net.to(dtype), [(x, y)])["trace_ratio"] == pytest.approx(reference, rel=rel)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("budget", ["1GiB", 0])
def test_on_cuda_the_numbers_are_those_of_the_cpu(budget):
    net, (x, y) = mlp().double(), blobs()
    expected = measure(net, [(x, y)])
    before = torch.cuda.get_rng_state()
    measured = measure(net.cuda(), cut(x, y, 20), memory_budget=budget, baselines=["untrained", "shuffled labels"])
    assert torch.equal(torch.cuda.get_rng_state(), before)
    for name in ("within_class_variability", "self_duality", "nearest_class_mean_disagreement", "cdnv"):
        assert measured[name] == pytest.approx(expected[name], rel=1e-9)
    # Training data measured on the CPU serves a test split on the device.
    tested = measure(net, [(x, y)], split="test", means_of=expected)
    assert tested["nearest_class_mean_accuracy"] == expected["nearest_class_mean_accuracy"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_half_precision_and_autocast():
    net, (x, y) = mlp().cuda(), blobs()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        measured = measure(net, [(x, y)])
    assert measured.moments["head.input"].dtype == torch.bfloat16
    assert 0 < measured["within_class_variability"] < math.inf
