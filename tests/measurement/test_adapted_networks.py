"""Networks of Hugging Face, timm and torchvision, on random weights: default layers, batches and reductions."""

import pytest
import torch
from torch import nn

from deepcollapse import measure
from deepcollapse.measurement import Measurement

CLASSES = 3
MEASURES = ["within_class_variability", "self_duality", "nearest_class_mean_disagreement"]
# Importing these libraries and building their networks warns of things that are none of ours.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning")]


def images(n: int = 12, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.arange(n) % CLASSES
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0)) + y[:, None, None, None], y


def check(measured: Measurement, layers: tuple[str, ...], dims: list[int]) -> None:
    assert measured.layers == (*layers, "head.input")
    assert [m.dim for m in measured.moments.values()] == dims
    assert measured["within_class_variability"] > 0
    assert measured["self_duality"] > 0
    assert 0 <= measured["accuracy", "network"] <= 1
    assert measured.notes == ()


@pytest.fixture(scope="module")
def transformers(vision):  # its classes of images import torchvision where that is installed
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def bert(transformers):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20, num_labels=CLASSES,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config), transformers.BertForTokenClassification(config)


@pytest.mark.slow
def test_hugging_face_vit(transformers):
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        num_labels=CLASSES,
    )  # fmt: skip
    net = transformers.ViTForImageClassification(config).eval()
    x, y = images()
    layers = tuple(name for name, _ in net.named_modules() if name.rpartition(".")[2] in "012" and "layer" in name)
    assert len(layers) == 3
    measured = measure(net, [{"pixel_values": x, "labels": y}], measures=MEASURES)
    check(measured, layers, [16, 16, 16, 16])
    with torch.no_grad():
        states = net(x, output_hidden_states=True).hidden_states
    expected = torch.stack([states[1].mean(dim=1)[y == c].double().mean(dim=0) for c in range(CLASSES)])
    assert torch.allclose(measured.moments[layers[0]].mean, expected, rtol=1e-5, atol=1e-6)
    tokens = measure(net, [(x, y)], measures=MEASURES, reduction="cls").moments[layers[0]].mean
    expected = torch.stack([states[1][:, 0][y == c].double().mean(dim=0) for c in range(CLASSES)])
    assert torch.allclose(tokens, expected, rtol=1e-5, atol=1e-6)


def test_hugging_face_bert_leaves_padding_out_of_the_mean(bert):
    net = bert[0].eval()
    tokens = torch.randint(1, 50, (12, 9), generator=torch.Generator().manual_seed(0))
    y, lengths = torch.arange(12) % CLASSES, 3 + torch.arange(12) % 5
    mask = (torch.arange(9) < lengths[:, None]).long()
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": y}
    layers = ("bert.encoder.layer.0", "bert.encoder.layer.1")
    measured = measure(net, [batch], measures=MEASURES)
    check(measured, layers, [16, 16, 16])
    other = measure(net, [batch | {"input_ids": torch.where(mask.bool(), tokens, 7)}], measures=MEASURES)
    for layer in layers:  # whatever the padding holds
        assert torch.allclose(other.moments[layer].mean, measured.moments[layer].mean, rtol=1e-5, atol=1e-6)
    whole = measure(net, [{"input_ids": tokens, "labels": y}], measures=MEASURES)
    assert not torch.allclose(whole.moments[layers[0]].mean, measured.moments[layers[0]].mean, rtol=1e-3)


def test_hugging_face_bert_with_a_label_for_every_token(bert):
    net = bert[1].eval()
    tokens = torch.randint(1, 50, (12, 9), generator=torch.Generator().manual_seed(0))
    labels = torch.randint(CLASSES, (12, 9), generator=torch.Generator().manual_seed(1))
    labels[:, 6:] = -100
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
    measured = measure(net, [batch, batch], measures=MEASURES, loss=nn.functional.cross_entropy)
    assert measured.layers == ("bert.encoder.layer.0", "bert.encoder.layer.1", "head.input")
    assert measured.moments["head.input"].num_samples == 2 * 12 * 6
    assert measured.notes == ("72 samples without a label (ignore_index) are left out",)
    with torch.no_grad():
        output = net(tokens, output_hidden_states=True)
    kept = labels != -100
    expected = output.hidden_states[-1][kept][labels[kept] == 1].double().mean(dim=0)
    assert torch.allclose(measured.moments["head.input"].mean[1], expected, rtol=1e-5)
    loss = nn.functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten())
    assert measured["loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.usefixtures("vision")
@pytest.mark.parametrize(
    ("name", "layers", "dims"),
    [
        ("resnet10t", [f"layer{i}.0" for i in (1, 2, 3, 4)], [64, 128, 256, 512, 512]),
        ("vit_tiny_patch16_224", [f"blocks.{i}" for i in range(12)], [192] * 13),
        ("test_convnext", [f"stages.{i}" for i in range(4)], None),
        ("test_efficientnet", None, None),
    ],
)
def test_timm(name, layers, dims):
    import timm

    torch.manual_seed(0)
    sizes = {"img_size": 32} if "vit" in name else {}
    net = timm.create_model(name, num_classes=CLASSES, **sizes).eval()
    measured = measure(net, [images()], measures=MEASURES)
    layers = tuple(layers) if layers else measured.layers[:-1]
    check(measured, layers, dims or [m.dim for m in measured.moments.values()])
    assert len(layers) >= 3


@pytest.mark.usefixtures("vision")
@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("resnet18", [64] * 2 + [128] * 2 + [256] * 2 + [512] * 3),
        ("squeezenet1_1", None),
        ("swin_t", [96] * 2 + [192] * 3 + [384] * 7 + [768] * 4),
    ],
)
def test_torchvision(name, dims):
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.get_model(name, num_classes=CLASSES).eval()
    x, y = images(size=64)
    measured = measure(net, [(x, y)], num_classes=CLASSES, measures=MEASURES)
    check(measured, measured.layers[:-1], dims or [m.dim for m in measured.moments.values()])
    if name == "resnet18":
        assert measured.layers[:-1] == tuple(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1))
    if name == "swin_t":  # maps (n, height, width, channels)
        with torch.no_grad():
            maps = net.features[:2](x)
        assert maps.shape[-1] == 96
        last = [layer for layer in measured.layers if layer.startswith("features.1.")][-1]
        expected = torch.stack([maps.mean(dim=(1, 2))[y == c].double().mean(dim=0) for c in range(CLASSES)])
        assert torch.allclose(measured.moments[last].mean, expected, rtol=1e-4, atol=1e-5)
