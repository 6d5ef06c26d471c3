"""What a wrong name, parameter or shape is answered with, word for word."""

import pytest

import deepcollapse.networks as networks
from deepcollapse.errors import OptionError, ShapeError, UnknownNameError
from deepcollapse.networks import build

ALL = (
    "mlp, relu-head, relu-head-resnet, vgg11, vgg13, vgg16, vgg19, "
    "resnet, resnet18, resnet34, resnet50, resnet101, resnet152, densenet40, densenet121, densenet201, densenet250"
)


def message(error: type[Exception], name: str, image_shape=(3, 8, 8), num_classes=3, **parameters) -> str:
    with pytest.raises(error) as caught:
        build(name, num_classes=num_classes, image_shape=image_shape, **parameters)
    return str(caught.value)


def test_an_unknown_name_suggests_close_ones():
    assert message(UnknownNameError, "resnet81") == (
        "no network is called 'resnet81'. Did you mean resnet18 or resnet or resnet152? "
        f"There are {ALL}; others are named package.module:factory, timm:NAME, torchvision:NAME or hf:NAME."
    )


def test_an_unknown_parameter_suggests_close_ones():
    assert message(OptionError, "mlp", widht=3) == (
        "network 'mlp' has no parameter 'widht'. Did you mean width? It has width, depth, batch_norm, activation, bias."
    )


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("mlp", {"width": 0}, "width must be a whole number of at least 1; got 0."),
        ("mlp", {"width": "9"}, "width must be a whole number of at least 1; got '9'."),
        ("mlp", {"depth": -1}, "depth must be a whole number of at least 0; got -1."),
        ("mlp", {"depth": True}, "depth must be a whole number of at least 0; got True."),
        ("mlp", {"bias": 1}, "bias must be true or false; got 1."),
        ("mlp", {"num_classes": 1}, "num_classes must be a whole number of at least 2; got 1."),
        (
            "mlp",
            {"activation": "rellu"},
            "activation must be one of relu, tanh, identity; got 'rellu'. Did you mean relu?",
        ),
        (
            "resnet",
            {"blocks": ()},
            "blocks must be a list of positive whole numbers such as (2, 2, 2, 2); got ().",
        ),
        (
            "resnet",
            {"blocks": 2},
            "blocks must be a list of positive whole numbers such as (2, 2, 2, 2); got 2.",
        ),
        ("resnet", {"stem": "big"}, "stem must be one of auto, small, large; got 'big'."),
        (
            "vgg11",
            {"hidden": (0,)},
            "hidden must be a list of positive whole numbers such as (4096, 4096) or (); got (0,).",
        ),
        ("densenet40", {"compression": 0}, "compression must be a number above 0 and at most 1; got 0."),
    ],
)
def test_a_parameter_out_of_range_is_named(name, parameters, expected):
    assert message(OptionError, name, **parameters) == expected


@pytest.mark.parametrize("shape", [(), (3, 0, 8)])
def test_an_impossible_shape_is_refused(shape):
    assert message(ShapeError, "mlp", image_shape=shape) == (
        f"image_shape must be positive whole numbers such as (3, 32, 32); got {shape}."
    )


def test_convolutions_need_images():
    assert message(ShapeError, "vgg11", image_shape=(40,)) == (
        "a convolutional network needs image_shape (channels, height, width); got (40,). "
        "Use network 'mlp' for inputs of another shape."
    )


def test_the_package_offers_what_it_says_and_nothing_else():
    assert {name: getattr(networks, name) for name in networks.__all__}.keys() <= set(dir(networks))
    with pytest.raises(AttributeError) as caught:
        _ = networks.bild  # pyright: ignore[reportAttributeAccessIssue]
    assert str(caught.value) == "module 'deepcollapse.networks' has no attribute 'bild'"
