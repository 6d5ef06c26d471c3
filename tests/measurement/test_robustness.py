"""DeepFool against the worked example and the closed form of affine networks; its guards; and what is left out."""

import copy
import math
import random
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import floats, integers
from torch import nn

from deepcollapse import errors
from deepcollapse.measurement.deepfool import deepfool
from deepcollapse.measurement.robustness import robustness


def affine(weight, bias=None, dtype=torch.float64) -> nn.Sequential:
    weight = torch.as_tensor(weight, dtype=dtype)
    network = nn.Sequential(nn.Flatten(), nn.Linear(weight.shape[1], weight.shape[0])).to(dtype)
    zero = torch.zeros(len(weight), dtype=dtype)
    network[1].load_state_dict({"weight": weight, "bias": zero if bias is None else torch.as_tensor(bias, dtype=dtype)})
    return network


def gaussian(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def curved(seed: int = 0, dtype=torch.float64) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 4)).to(dtype)


W1 = [[1, -0.5, 0.25, 0], [-0.5, 1, 0, 0.25], [-0.5, -0.75, 0, 0]]
B1 = [0, 0.1, -0.1]


def test_worked_example():
    found = deepfool(affine(W1, B1), torch.tensor([[2.0, 1, 0, 0]], dtype=torch.float64), overshoot=0)
    expected = [[-0.454054054054054, 0.454054054054054, -0.0756756756756757, 0.0756756756756757]]
    torch.testing.assert_close(found.perturbation, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=0)
    assert found.perturbation.norm().item() == pytest.approx(0.650986776965388, rel=1e-14)
    assert found.ratio.item() == pytest.approx(0.29113013714962, rel=1e-13)
    assert (found.original.item(), found.final.item(), found.steps.item()) == (0, 1, 1)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(seed=integers(0, 2**16), classes=integers(2, 6), overshoot=floats(1e-3, 0.5))
def test_one_step_is_exact_for_affine_networks(seed, classes, overshoot):
    weight, bias, x = gaussian(seed, classes, 12), gaussian(seed + 1, classes), gaussian(seed + 2, 5, 3, 2, 2)
    found = deepfool(affine(weight, bias), x, overshoot=overshoot)
    for image, r, target in zip(x.flatten(1), found.perturbation.flatten(1), found.final, strict=True):
        logits = weight @ image + bias
        k0 = int(logits.argmax())
        away = {k: (logits[k0] - logits[k]) / (weight[k0] - weight[k]).norm() for k in range(classes) if k != k0}
        assert r.norm().item() == pytest.approx((1 + overshoot) * float(min(away.values())), rel=1e-10)
        # Past one boundary, another may lie within the overshoot.
        assert int(target) == int((weight @ (image + r) + bias).argmax()) != k0
    assert found.steps.tolist() == [1] * 5


def test_moved_images_are_decided_as_told():
    network, x = curved().eval().float(), gaussian(3, 10, 3, 2, 2).float()
    found = deepfool(network, x)
    assert found.flipped.all()
    assert torch.equal(network(x).argmax(dim=1), found.original)
    assert torch.equal(network((x.double() + found.perturbation).float()).argmax(dim=1), found.final)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_ends_where_double_does(dtype):
    low, x = curved(dtype=dtype), gaussian(3, 10, 3, 2, 2).to(dtype)
    found, exact = deepfool(low, x), deepfool(copy.deepcopy(low).double(), x.double())
    assert found.flipped.all()
    assert found.perturbation.dtype == torch.float64
    # Neither knows the place of the boundary better than a few roundings of the image.
    assert (found.ratio - exact.ratio).abs().max() < 8 * torch.finfo(dtype).eps


def test_batches_give_what_single_images_give():
    network, x = curved(), gaussian(4, 6, 3, 2, 2)
    together, apart = deepfool(network, x), [deepfool(network, image[None]) for image in x]
    torch.testing.assert_close(together.perturbation, torch.cat([one.perturbation for one in apart]))
    assert together.steps.tolist() == [int(one.steps) for one in apart]
    assert together.steps.unique().numel() > 1, "images should leave the batch at different steps"


def test_candidates_limit_the_classes_considered():
    # At x = (1, 0) the logits are 1, 0.5, -8 and the boundaries lie at the distances 1 and 0.9: the nearer one belongs
    # to the class that seems far off.
    network, x = affine([[1.0, 0], [0.5, 0], [-9.0, 0]], [0, 0, 1]), torch.tensor([[1.0, 0]], dtype=torch.float64)
    assert deepfool(network, x, overshoot=0).perturbation[0, 0] == pytest.approx(-0.9)
    assert deepfool(network, x, overshoot=0, candidates=2).perturbation[0, 0] == pytest.approx(-0.9)
    assert deepfool(network, x, overshoot=0, candidates=1).perturbation[0, 0] == pytest.approx(-1.0)


def test_classes_without_a_gradient_of_their_own_are_passed_over():
    twins = affine([[1.0, 0], [1.0, 0], [0, 1.0]], [0, -1e-3, 0])
    found = deepfool(twins, torch.tensor([[2.0, 1.0]], dtype=torch.float64), overshoot=0)
    assert found.perturbation.tolist() == [[-0.5, 0.5]]
    assert found.final.tolist() == [2]


def test_images_that_never_flip_are_told_and_not_averaged():
    constant = affine([[0.0, 0], [0.0, 0]], [1, 0])
    stuck = deepfool(constant, torch.ones(2, 2, dtype=torch.float64))
    assert (stuck.flipped.tolist(), stuck.steps.tolist(), stuck.ratio.tolist()) == ([False] * 2, [0, 0], [0.0, 0.0])
    slow = deepfool(curved(), gaussian(5, 8, 3, 2, 2), max_steps=1, overshoot=0)
    assert not slow.flipped.all()
    assert slow.steps.tolist() == [1] * 8
    found = robustness(curved(), gaussian(5, 8, 3, 2, 2), max_steps=1, overshoot=0)
    assert found.unflipped == int((~slow.flipped).sum())
    assert float(found) == pytest.approx(slow.ratio[slow.flipped].mean().item(), nan_ok=True)
    nothing = robustness(constant, torch.ones(2, 2))
    assert math.isnan(nothing.mean)
    assert nothing.note == "DeepFool on 2 images; 2 that reached no other class left out"


@pytest.mark.parametrize("overshoot", [0, 0.02])
def test_images_on_a_boundary_need_no_step(overshoot):
    tied = affine([[1.0, 0], [0, 1.0], [-1.0, -1.0]])
    found = deepfool(tied, torch.tensor([[3.0, 3.0], [3.0, 1.0]], dtype=torch.float64), overshoot=overshoot)
    assert found.ratio[0] == 0
    assert found.steps.tolist() == [0, 1]
    assert (found.original.tolist(), found.final.tolist()) == ([0, 0], [1, 1])
    assert float(robustness(tied, torch.tensor([[3.0, 3.0]]), overshoot=overshoot)) == 0


def test_zero_images_have_no_ratio_and_are_counted():
    network = affine(W1, B1)
    images = torch.tensor([[2.0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    assert deepfool(network, images).ratio.isnan().tolist() == [False, True]
    found = robustness(network, images, overshoot=0)
    assert found.mean == pytest.approx(0.29113013714962)
    assert (found.images, found.zero, found.unflipped) == (2, 1, 0)
    row = found.record("test").row()
    assert (row["measure"], row["layer"], row["split"], row["weighting"]) == ("robustness", "network", "test", "sample")
    assert row["note"] == "DeepFool on 2 images; 1 all-zero images left out"


def test_batches_of_every_kind_up_to_the_limit():
    network, x = curved(), gaussian(6, 9, 3, 2, 2)
    pairs = [(part, torch.zeros(len(part), dtype=torch.int64)) for part in x.split(4)]
    mappings = [{"pixel_values": part, "labels": y} for part, y in pairs]
    whole = robustness(network, x)
    assert whole.images == 9
    assert float(robustness(network, pairs)) == pytest.approx(float(whole), rel=1e-12)
    assert float(robustness(network, mappings)) == pytest.approx(float(whole), rel=1e-12)
    assert robustness(network, pairs, limit=6).images == 6
    own = robustness(
        network, [{"a": part} for part, _ in pairs], read_batch=lambda b: ((b["a"],), {}, None), limit=None
    )
    assert own.images == 9


def test_outputs_that_hold_logits():
    class Model(nn.Module):
        def forward(self, x):
            return {"loss": None, "logits": x[:, :2]}

    assert deepfool(Model(), torch.tensor([[3.0, 1.0]]), overshoot=0).perturbation.tolist() == [[-1.0, 1.0]]


def test_layers_that_work_in_place_on_the_image():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 2)).double()
    images = gaussian(1, 3, 2)
    before = images.clone()
    deepfool(network, images)
    assert torch.equal(images, before)


def test_everything_is_left_as_it_was():
    network = curved().train()
    network[4].eval()
    network[1].weight.requires_grad_(False)
    modes = [module.training for module in network.modules()]
    images, random_state, torch_state = gaussian(7, 3, 3, 2, 2), random.getstate(), torch.get_rng_state()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, images), batch_size=2, shuffle=True)
    with torch.no_grad():
        robustness(network, loader)
        with pytest.raises(errors.NonFiniteError):
            deepfool(network, images * torch.nan)
        assert not torch.is_grad_enabled()
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [p.requires_grad for p in network.parameters()] == [False, True, True, True]
    assert images.grad is None
    assert not images.requires_grad
    assert random.getstate() == random_state
    assert torch.equal(torch.get_rng_state(), torch_state)
    with torch.inference_mode():
        assert deepfool(network, images).flipped.all()


class Detached(nn.Module):
    def forward(self, x):
        return x.detach()


X = torch.ones(2, 4, dtype=torch.float64)
NO_GRADIENT = (
    "the network's logits carry no gradient back to the images. "
    "Pass a network that does not detach them or run under no_grad inside."
)
ERRORS = {
    "no images": (
        lambda: deepfool(affine(W1), X[:0]),
        errors.ShapeError,
        "images have shape (0, 4); expected (n, ...) with at least one image.",
    ),
    "one class": (
        lambda: deepfool(affine([[1.0] * 4]), X),
        errors.ShapeError,
        "the network gave logits of shape (2, 1) for 2 images; expected (2, C) with at least two classes.",
    ),
    "no tensor": (
        lambda: deepfool(nn.LSTM(4, 4).double(), X[None]),
        errors.ShapeError,
        "the network gave logits of shape (1, 2, 4) for 1 images; expected (1, C) with at least two classes.",
    ),
    "no gradient": (lambda: deepfool(Detached(), X), errors.CaptureError, NO_GRADIENT),
    "diverged": (
        lambda: deepfool(affine(W1), X * torch.tensor([[1.0], [torch.inf]], dtype=torch.float64)),
        errors.NonFiniteError,
        "1 of 2 images have NaN or infinite logits. "
        "Look for a diverged network, half-precision overflow or NaN in the images.",
    ),
    "overshoot": (
        lambda: deepfool(affine(W1), X, overshoot=-0.1),
        errors.OptionError,
        "overshoot must be at least 0 and finite; got -0.1.",
    ),
    "max_steps": (
        lambda: deepfool(affine(W1), X, max_steps=0),
        errors.OptionError,
        "max_steps must be at least 1; got 0.",
    ),
    "candidates": (
        lambda: deepfool(affine(W1), X, candidates=0),
        errors.OptionError,
        "candidates must be at least 1, or None for all classes; got 0.",
    ),
    "limit": (
        lambda: robustness(affine(W1), X, limit=0),
        errors.OptionError,
        "limit must be at least 1, or None for all images; got 0.",
    ),
    "empty loader": (
        lambda: robustness(affine(W1), []),
        errors.BatchError,
        "the batches held no image, so there is no robustness to measure. Is the data loader empty?",
    ),
    "tokens": (
        lambda: robustness(affine(W1), [{"input_ids": torch.zeros(1, 4).long(), "labels": torch.zeros(1).long()}]),
        errors.BatchError,
        "a batch came with the inputs torch.int64; DeepFool moves one floating-point tensor of images. "
        "Pass read_batch=lambda batch: (images, {}, labels), and a network that takes the images alone.",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
