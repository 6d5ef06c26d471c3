"""A user's own network by address: found from the current folder, and every slip named."""

from pathlib import Path

import pytest
from torch import nn

from deepcollapse.errors import DeepCollapseError, OptionError, UnknownNameError
from deepcollapse.networks import load_network

SOURCE = """
from torch import nn

number = 3
ready = nn.Linear(2, 3)

def plain():
    return nn.Linear(2, 5)

def sized(num_classes, image_shape, width=1):
    return nn.Sequential(nn.Linear(image_shape[0], width), nn.Linear(width, num_classes))

def by_keyword(**everything):
    return nn.Linear(2, len(everything) + 1)

def wrong():
    return [1]

def raising(width):
    raise ZeroDivisionError("no width\\nat all")

class Net(nn.Linear):
    def __init__(self, num_classes):
        super().__init__(2, num_classes)

    @classmethod
    def wide(cls):
        return cls(100)
"""


@pytest.fixture
def nets(here: Path) -> Path:
    (here / "own_factories.py").write_text(SOURCE)
    (here / "needy_nets.py").write_text("import a_module_that_is_not_there")
    (here / "broken_nets.py").write_text("1 / 0")
    return here


def message(error: type[DeepCollapseError], name: str, **parameters) -> str:
    with pytest.raises(error) as caught:
        load_network(name, **parameters)
    return str(caught.value)


def outputs(name: str, **parameters) -> int:
    network = load_network(f"own_factories:{name}", **parameters)
    return [module.out_features for module in network.modules() if isinstance(module, nn.Linear)][-1]


def test_functions_classes_methods_and_modules_serve(nets):
    assert outputs("plain") == 5
    assert outputs("plain", num_classes=7, image_shape=(2,)) == 5
    assert outputs("sized", num_classes=7, image_shape=(2,), width=4) == 7
    assert outputs("Net", num_classes=4) == 4
    assert outputs("Net.wide", num_classes=4) == 100
    assert outputs("by_keyword", num_classes=4, width=1) == 2
    assert outputs("ready") == 3


def test_a_missing_module_is_named(nets):
    assert message(UnknownNameError, "own_netz:plain") == (
        "network 'own_netz:plain': there is no module 'own_netz', neither installed nor in the current folder "
        f"({nets}). Write package.module:factory."
    )


def test_a_module_whose_own_imports_fail_says_so(nets):
    assert message(OptionError, "needy_nets:plain") == (
        "network 'needy_nets:plain': importing needy_nets failed: No module named 'a_module_that_is_not_there'."
    )
    assert message(OptionError, "broken_nets:plain") == (
        "network 'broken_nets:plain': importing broken_nets raised ZeroDivisionError: division by zero"
    )


def test_a_missing_attribute_suggests_close_ones(nets):
    assert message(UnknownNameError, "own_factories:plan") == (
        "network 'own_factories:plan': module 'own_factories' has no 'plan'. Did you mean plain? "
        f"It was read from {nets / 'own_factories.py'}."
    )


def test_what_is_no_factory_is_refused(nets):
    assert message(OptionError, "own_factories:number") == (
        "network 'own_factories:number': 'number' is a int, which cannot be called. "
        "Name a function or class that returns a torch.nn.Module."
    )
    assert message(OptionError, "own_factories:wrong") == (
        "network 'own_factories:wrong': wrong() returned a list; it must return a torch.nn.Module."
    )


def test_a_factory_that_raises_is_quoted_and_chained(nets):
    with pytest.raises(OptionError) as caught:
        load_network("own_factories:raising", width=2)
    assert str(caught.value) == "network 'own_factories:raising': raising(width=2) raised ZeroDivisionError: no width"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_our_own_networks_need_classes_and_shape():
    assert message(OptionError, "mlp", num_classes=3) == (
        "network 'mlp' needs num_classes and image_shape (channels, height, width); "
        "got num_classes=3, image_shape=None."
    )
    assert message(UnknownNameError, "mpl").startswith("no network is called 'mpl'. Did you mean mlp?")


def test_pretrained_has_no_meaning_for_networks_without_published_weights():
    for name in "mlp", "own_factories:plain":
        assert message(OptionError, name, pretrained=True) == (
            f"network {name!r} has no published weights, so pretrained=True has no meaning. "
            "Name a file of weights with weights=PATH."
        )
