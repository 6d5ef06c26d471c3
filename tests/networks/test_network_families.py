"""Every network builds, learns, has the promised parts, and has the published number of parameters."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from deepcollapse.networks import NETWORKS, build

# The same architectures with less in them, so that every family runs in a moment.
SMALL = {"vgg": {"width": 2}, "resnet": {"width": 2}, "mlp": {"width": 8}, "densenet": {"growth": 2, "width": 4}}
SMALL["relu_head"] = {"width": 8, "body_width": 4}
# Depth is in `blocks`: the deepest are run once, with a block or two a stage.
SHALLOW = {"resnet50", "resnet101", "resnet152", "densenet121", "densenet201", "densenet250"}


def small(name: str) -> dict:
    shallow = {"blocks": (1,) * len(NETWORKS[name].parameters["blocks"])} if name in SHALLOW else {}
    return SMALL[NETWORKS[name].family] | shallow


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs_forward_and_backward_on_small_images(name, shape):
    network = build(name, num_classes=3, image_shape=shape, **small(name))
    logits = network(torch.randn(4, *shape))
    logits.square().sum().backward()
    assert logits.shape == (4, 3)
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "densenet121"])
@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 70, 65), (1, 1, 40)])
def test_convolutional_networks_run_on_large_odd_and_flat_images(name, shape):
    network = build(name, num_classes=3, image_shape=shape, **small(name)).eval()
    assert network(torch.randn(1, *shape)).shape == (1, 3)


def test_an_mlp_takes_inputs_of_any_shape():
    assert build("mlp", num_classes=2, image_shape=(40,), width=4)(torch.randn(3, 40)).shape == (3, 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_are_flat_and_of_one_class_and_the_head_is_the_last_linear_layer(name):
    network = build(name, num_classes=3, image_shape=(3, 8, 8), **small(name))
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert isinstance(network.blocks, nn.Sequential)
    assert len({type(block) for block in network.blocks}) == 1
    assert linear[-1] is network.head
    assert type(network.head) is nn.Linear
    assert [part for part, _ in network.named_children()] == ["stem", "blocks", "neck", "head"]


@pytest.mark.parametrize(
    ("name", "blocks"), [("mlp", 4), ("vgg11", 8), ("vgg19", 16), ("resnet18", 8), ("relu-head", 3)]
)
def test_depth_shows_in_the_number_of_blocks(name, blocks):
    assert len(build(name, num_classes=3, image_shape=(1, 8, 8), **SMALL[NETWORKS[name].family]).blocks) == blocks


IMAGENET = {"num_classes": 1000, "image_shape": (3, 224, 224)}
CIFAR = {"num_classes": 10, "image_shape": (3, 32, 32)}
FULL_VGG = IMAGENET | {"hidden": (4096, 4096), "pool": 7}
HIDDEN_NORMS = 2 * 2 * 4096  # batch norm on the two hidden layers, where the published networks have dropout


@pytest.mark.parametrize(
    ("name", "setting", "published"),
    [
        # torchvision's table of weights
        ("resnet18", IMAGENET, 11_689_512),
        ("resnet34", IMAGENET, 21_797_672),
        ("resnet50", IMAGENET, 25_557_032),
        ("resnet101", IMAGENET, 44_549_160),
        ("resnet152", IMAGENET, 60_192_808),
        ("densenet121", IMAGENET, 7_978_856),
        ("densenet201", IMAGENET, 20_013_928),
        ("vgg11", FULL_VGG, 132_868_840 + HIDDEN_NORMS),
        ("vgg13", FULL_VGG, 133_053_736 + HIDDEN_NORMS),
        ("vgg16", FULL_VGG, 138_365_992 + HIDDEN_NORMS),
        ("vgg19", FULL_VGG, 143_678_248 + HIDDEN_NORMS),
    ],
)
def test_parameter_counts_are_the_published_ones(name, setting, published):
    with torch.device("meta"):
        assert count(build(name, **setting)) == published


@pytest.mark.parametrize(("name", "millions"), [("densenet40", 1.0), ("densenet250", 15.3)])
def test_densenets_for_small_images_are_as_large_as_the_paper_says(name, millions):
    with torch.device("meta"):
        assert round(count(build(name, **CIFAR)) / 1e6, 1) == millions


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121", "vgg11"])
def test_with_the_same_weights_the_outputs_are_torchvisions(name, vision):
    import torchvision

    torch.manual_seed(0)
    twin = torchvision.models.get_model({"vgg11": "vgg11_bn"}.get(name, name), num_classes=5).eval()
    full = {"hidden": (4096, 4096), "pool": 7} if name == "vgg11" else {}
    with torch.device("meta"):
        network = build(name, num_classes=5, image_shape=(3, 64, 64), **full)
    # Both hold their tensors in the order of computation; we add batch norm to the hidden layers, the identity here.
    ours = [key for key in network.state_dict() if not key.startswith(("neck.3", "neck.6"))]
    state = dict(zip(ours, twin.state_dict().values(), strict=True))
    network.load_state_dict(state, strict=False, assign=True)
    network.eval()
    for index in (3, 6) if name == "vgg11" else ():
        network.neck[index] = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(network(x), twin(x))


def test_the_stem_follows_the_size_of_the_images():
    small_images = build("resnet18", num_classes=2, image_shape=(3, 63, 63), width=2)
    large_images = build("resnet18", num_classes=2, image_shape=(3, 64, 64), width=2)
    chosen = build("resnet18", num_classes=2, image_shape=(3, 64, 64), width=2, stem="small")
    sizes = [network.stem(torch.zeros(1, 3, 64, 64)).shape[-1] for network in (small_images, large_images, chosen)]
    assert sizes == [64, 16, 64]


@pytest.mark.parametrize("name", ["mlp", "vgg11", "resnet", "densenet40", "relu-head"])
def test_the_seed_decides_the_weights(name):
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        network = build(name, num_classes=3, image_shape=(1, 8, 8), **small(name))
        return nn.utils.parameters_to_vector(network.parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_hidden_layers_start_from_he_weights():
    torch.manual_seed(0)
    mlp = build("mlp", num_classes=3, image_shape=(1, 20, 20), width=400, depth=1)
    tanh = build("mlp", num_classes=3, image_shape=(1, 20, 20), width=400, depth=1, activation="tanh")
    conv = build("resnet", num_classes=3, image_shape=(3, 8, 8), width=64).blocks[0].residual[0]
    assert mlp.blocks[0].linear.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert tanh.blocks[0].linear.weight.std().item() == pytest.approx(5 / 3 / 400**0.5, rel=0.02)
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert not mlp.blocks[0].linear.bias.any()


def test_an_mlp_without_activation_and_norm_is_linear():
    network = build(
        "mlp", num_classes=3, image_shape=(1, 2, 2), width=5, activation="identity", batch_norm=False, bias=False
    )
    x, y = torch.randn(2, 6, 1, 2, 2)
    torch.testing.assert_close(network(2 * x - y), 2 * network(x) - network(y))
    assert not any(name.endswith("bias") for name, _ in network.named_parameters())


def test_a_relu_head_is_the_deep_models_layers_on_the_features_of_its_body():
    torch.manual_seed(0)
    network = build("relu-head", num_classes=3, image_shape=(1, 4, 4), body_width=6, width=5, depth=2).eval()
    images = torch.randn(7, 1, 4, 4)
    features = network.stem(images)
    first, second = (block.linear.weight for block in network.blocks)
    expected = ((features @ first.T).relu() @ second.T).relu() @ network.head.weight.T
    torch.testing.assert_close(network(images), expected)
    assert [name for name, _ in network.named_parameters() if name.startswith(("blocks", "head"))] == [
        "blocks.0.linear.weight",
        "blocks.1.linear.weight",
        "head.weight",
    ]


def test_the_residual_body_of_a_relu_head_is_that_of_resnet20():
    with torch.device("meta"):
        network = build("relu-head-resnet", **CIFAR, body_depth=3)
    convolutions = [module for module in network.stem.modules() if isinstance(module, nn.Conv2d)]
    # 19 convolutions, and two 1x1 ones on the shortcuts; the published 0.27 million with them and without the head
    assert len([c for c in convolutions if c.kernel_size == (3, 3)]) == 19
    assert round(count(network.stem) / 1e6, 2) == 0.27


def test_the_list_of_networks_needs_no_torch():
    code = "import sys; from deepcollapse.networks import NETWORKS; sys.exit('torch' in sys.modules or not NETWORKS)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("facts", NETWORKS.values(), ids=NETWORKS)
def test_facts_are_complete_and_cannot_be_changed(facts):
    assert facts.description
    assert facts.source
    with pytest.raises(TypeError, match="does not support item assignment"):
        facts.parameters["width"] = 1


def test_a_compiled_network_gives_the_same_logits():
    network = build("resnet", num_classes=3, image_shape=(1, 8, 8), width=2).eval()
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(torch.compile(network, backend="eager")(x), network(x))
