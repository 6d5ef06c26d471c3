"""timm, torchvision and transformers by name: random weights, no download, and clear words when they are missing."""

import importlib

import pytest
import torch

from deepcollapse.errors import DeepCollapseError, MissingExtraError, OptionError, UnknownNameError, WeightsError
from deepcollapse.networks import load_network, untrained_copy

BROKEN = "RuntimeError: operator torchvision::nms does not exist"
MEND = (
    "Where the message names torchvision, its build does not fit this torch: install both anew from one source, "
    "for example with uv pip install --reinstall --torch-backend=auto torch torchvision."
)


def message(error: type[DeepCollapseError], name: str, **parameters) -> str:
    with pytest.raises(error) as caught:
        load_network(name, **parameters)
    return str(caught.value)


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_a_missing_package_names_its_extra(package, monkeypatch):
    def absent(name, *_):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(importlib, "import_module", absent)
    assert message(MissingExtraError, f"{package}:resnet18") == (
        f"networks named {package}:... need the package {package}, which is not installed. "
        "Install it with: pip install 'deepcollapse[vision]'"
    )


@pytest.mark.parametrize(("prefix", "package"), [("timm", "timm"), ("torchvision", "torchvision")])
def test_a_torchvision_that_does_not_load_is_explained(prefix, package, monkeypatch):
    def broken(*_):
        raise RuntimeError(BROKEN.removeprefix("RuntimeError: "))

    monkeypatch.setattr(importlib, "import_module", broken)
    assert message(MissingExtraError, f"{prefix}:resnet18") == (
        f"networks named {prefix}:... need the package {package}, which is installed but does not load ({BROKEN}). "
        + MEND
    )


def test_timm_networks_fit_the_images(vision):
    resnet = load_network("timm:resnet10t", num_classes=5, image_shape=(1, 32, 32))
    vit = load_network(
        "timm:vit_tiny_patch16_224", num_classes=5, image_shape=(3, 16, 16), patch_size=8, depth=1, embed_dim=12
    )
    assert resnet(torch.randn(2, 1, 32, 32)).shape == (2, 5)
    assert vit(torch.randn(2, 3, 16, 16)).shape == (2, 5)
    assert untrained_copy(vit, seed=0)[1] == ["cls_token", "pos_embed"]


def test_torchvision_networks_take_three_channels(vision):
    network = load_network("torchvision:resnet18", num_classes=5, image_shape=(3, 32, 32))
    assert network.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert message(OptionError, "torchvision:resnet18", image_shape=(1, 28, 28)) == (
        "torchvision's networks take images of 3 channels; image_shape=(1, 28, 28) has 1. "
        "Use a network of our own or timm:NAME, which fit their first layer to the images."
    )


def test_unknown_names_suggest_close_ones(vision):
    assert message(UnknownNameError, "torchvision:resnet19") == (
        "torchvision has no network called 'resnet19'. Did you mean resnet18 or resnet152 or resnet101?"
    )
    assert message(UnknownNameError, "timm:vit_tiny_patch16_22").startswith(
        "timm has no network called 'vit_tiny_patch16_22'. Did you mean vit_tiny_patch16_224 or "
    )


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_a_pretrained_head_is_never_replaced_by_a_random_one(package, vision):
    assert message(OptionError, f"{package}:resnet18", num_classes=10, pretrained=True) == (
        f"the pretrained weights of '{package}:resnet18' are for 1000 classes; num_classes=10 came in. Leave "
        "num_classes out, or name a package.module:factory of yours that replaces the head and has been trained."
    )


def test_a_parameter_that_the_package_refuses_is_quoted(vision):
    assert message(OptionError, "torchvision:resnet18", num_classes=2, foo=3) == (
        "network 'torchvision:resnet18' could not be made with num_classes=2, foo=3. "
        "TypeError: ResNet.__init__() got an unexpected keyword argument 'foo'"
    )


def test_weights_that_cannot_be_downloaded_are_explained(vision, monkeypatch):
    import torchvision

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    assert message(WeightsError, "torchvision:resnet18", pretrained=True) == (
        "the pretrained weights of 'torchvision:resnet18' could not be had (OSError: no route to host). "
        "Offline, put them in the package's cache first, or name a file with weights=PATH."
    )


@pytest.fixture
def transformers(vision):
    module = pytest.importorskip("transformers")
    module.utils.logging.disable_progress_bar()
    return module


@pytest.fixture
def vit_folder(transformers, tmp_path) -> str:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    transformers.ViTConfig(**sizes, image_size=16, patch_size=8, num_labels=5).save_pretrained(tmp_path)
    return str(tmp_path)


def test_image_classifiers_of_transformers_fit_the_images(vit_folder):
    network = load_network(f"hf:{vit_folder}", num_classes=3, image_shape=(1, 32, 32))
    assert network(torch.randn(2, 1, 32, 32)).logits.shape == (2, 3)
    assert untrained_copy(network, seed=0)[1] == ["vit.embeddings.cls_token", "vit.embeddings.position_embeddings"]
    assert load_network(f"hf:{vit_folder}")(torch.randn(2, 3, 16, 16)).logits.shape == (2, 5)


def test_weights_in_the_folder_are_used_unless_refused(vit_folder):
    saved = load_network(f"hf:{vit_folder}")
    saved.save_pretrained(vit_folder)
    default, asked, random = (load_network(f"hf:{vit_folder}", pretrained=choice) for choice in (None, True, False))
    assert torch.equal(default.classifier.weight, saved.classifier.weight)
    assert torch.equal(asked.classifier.weight, saved.classifier.weight)
    assert not torch.equal(random.classifier.weight, saved.classifier.weight)
    assert message(OptionError, f"hf:{vit_folder}", num_classes=4).startswith(
        f"the pretrained weights of 'hf:{vit_folder}' are for 5 classes; num_classes=4 came in."
    )


def test_text_classifiers_of_transformers_build_from_a_configuration(transformers, tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    transformers.BertConfig(**sizes, vocab_size=20).save_pretrained(tmp_path)
    network = load_network(f"hf:{tmp_path}", num_classes=3)
    assert network(input_ids=torch.ones(2, 4, dtype=torch.long)).logits.shape == (2, 3)
    assert message(OptionError, f"hf:{tmp_path}", foo=1) == (
        f"the configuration of 'hf:{tmp_path}' has no parameter 'foo'."
    )


def test_what_is_no_classifier_is_refused(transformers, tmp_path):
    transformers.WhisperConfig().save_pretrained(tmp_path)
    assert message(OptionError, f"hf:{tmp_path}") == (
        f"'hf:{tmp_path}' is of type 'whisper', of which transformers has no image or text classifier."
    )


def test_a_configuration_that_cannot_be_had_offline_is_explained(transformers, monkeypatch):
    def offline(*_, **__):
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    assert message(UnknownNameError, "hf:someone/something") == (
        "no configuration could be read for 'hf:someone/something' (OSError: We couldn't connect). "
        "Name a folder that holds config.json, or, online, a network on the Hugging Face hub."
    )


def test_transformers_that_hides_a_broken_torchvision_is_explained(vit_folder, transformers, monkeypatch):
    def hidden(*_, **__):
        error = ModuleNotFoundError("Could not import module 'ViTForImageClassification'.")
        raise error from RuntimeError(BROKEN.removeprefix("RuntimeError: "))

    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_config", hidden)
    assert message(MissingExtraError, f"hf:{vit_folder}") == (
        f"networks named hf:... need the package transformers, which is installed but does not load ({BROKEN}). " + MEND
    )
