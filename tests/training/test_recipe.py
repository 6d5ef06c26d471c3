import tomllib
from itertools import pairwise
from typing import get_type_hints

import pytest
from small import SMALL, small

from deepcollapse.errors import OptionError
from deepcollapse.records import digest_of, toml
from deepcollapse.training import Recipe


@pytest.mark.parametrize("recipe", [Recipe(), SMALL, Recipe(drops=(), parameters=("a=b",), compile=True, width=3)])
def test_a_recipe_comes_back_from_toml(recipe):
    text = toml.dumps(recipe.to_mapping())
    assert Recipe.from_mapping(tomllib.loads(text)) == recipe
    assert "None" not in text


def test_a_recipe_written_by_hand_may_leave_settings_out_and_use_whole_numbers():
    recipe = Recipe.from_mapping({"rate": 1, "epochs": 3, "drops": []})
    assert recipe == Recipe(rate=1.0, epochs=3, drops=())
    assert repr(recipe.to_mapping()["rate"]) == "1.0"  # the digest of a recipe must not depend on how it was written


@pytest.mark.parametrize(
    ("setting", "value", "wanted"),
    [
        ("epochs", "3", "a whole number"),
        ("epochs", 2.5, "a whole number"),
        ("epochs", True, "a whole number"),
        ("width", "wide", "a whole number"),
        ("rate", "fast", "a number"),
        ("rate", False, "a number"),
        ("compile", 1, "true or false"),
        ("dataset", 3, "a text"),
        ("layers", "blocks.*", "a list of texts"),
        ("layers", [1], "a list of texts"),
        ("drops", ["half"], "a list of numbers"),
        ("drops", 0.5, "a list of numbers"),
        ("loss", "hinge", "one of 'cross-entropy', 'mse'"),
        ("optimiser", ["sgd"], "one of 'sgd', 'adam', 'adamw'"),
    ],
)
def test_a_value_of_another_kind_is_refused(setting, value, wanted):
    with pytest.raises(OptionError) as error:
        Recipe.from_mapping({setting: value})
    assert str(error.value) == f"the recipe's {setting} is {value!r}; it must be {wanted}."


def test_every_setting_has_a_kind_that_can_be_checked():
    for name, kind in get_type_hints(Recipe).items():
        default = getattr(Recipe(), name)
        if default is not None:
            assert Recipe.from_mapping({name: list(default) if isinstance(default, tuple) else default}) == Recipe()
        assert kind is not None


def test_an_unknown_setting_is_named_beside_those_that_there_are():
    with pytest.raises(OptionError) as error:
        Recipe.from_mapping({"learning_rate": 0.1})
    assert str(error.value) == f"a recipe has no setting 'learning_rate'; it has {', '.join(sorted(vars(Recipe())))}."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be a positive number; got 0."),
        ({"batch": -1}, "batch must be a positive number; got -1."),
        ({"rate": float("nan")}, "rate must be a positive number; got nan."),
        ({"drop_factor": float("inf")}, "drop_factor must be a positive number; got inf."),
        ({"momentum": -0.1}, "momentum must be 0 or more; got -0.1."),
        ({"decay": float("nan")}, "decay must be 0 or more; got nan."),
        ({"measurements": -1}, "measurements must be 0 or more; got -1."),
        ({"drops": (0.5, 1.5)}, "drops are shares of the epochs between 0 and 1; got 0.5, 1.5."),
        ({"tpt_accuracy": 0.0}, "tpt_accuracy must lie above 0 and be at most 1; got 0.0."),
        ({"oversample": 0}, "oversample must be at least 1; got 0."),
        (
            {"oversample": 3},
            "oversample is 3, and imbalance is 'none': samples are repeated of the classes that imbalance='step' thins "
            "out.",
        ),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295; got -1."),
        ({"seed": 2**32}, "seed must be a whole number from 0 to 4294967295; got 4294967296."),
        (
            {"parameters": ("batch_norm",)},
            "parameters are written name=value, for example batch_norm=false; got 'batch_norm'.",
        ),
        ({"parameters": ("width=",)}, "parameters are written name=value, for example batch_norm=false; got 'width='."),
    ],
)
def test_a_value_out_of_range_is_refused(changes, message):
    with pytest.raises(OptionError) as error:
        Recipe(**changes)
    assert str(error.value) == message


def test_parameters_are_read_as_toml_and_otherwise_as_words():
    recipe = Recipe(width=8, parameters=("batch_norm=false", "blocks=[1, 2]", "activation = tanh", "name='a=b'"))
    assert recipe.network_parameters() == {
        "width": 8,
        "batch_norm": False,
        "blocks": [1, 2],
        "activation": "tanh",
        "name": "a=b",
    }


def test_the_learning_rate_falls_at_each_drop():
    recipe = Recipe(epochs=9, rate=1.0, drops=(1 / 3, 2 / 3), drop_factor=0.5)
    assert [recipe.learning_rate(epoch) for epoch in range(1, 10)] == [1] * 3 + [0.5] * 3 + [0.25] * 3


@pytest.mark.parametrize("epochs", [1, 2, 7, 200, 350])
@pytest.mark.parametrize("measurements", [0, 2, 10, 40])
def test_measured_epochs_are_log_spaced_from_first_to_last(epochs, measurements):
    measured = small(epochs=epochs, measurements=measurements).measured_epochs()
    assert list(measured) == sorted(set(measured))
    assert {0, 1, epochs} <= set(measured)
    assert len(measured) <= max(3, measurements)
    gaps = [later / earlier for earlier, later in pairwise(measured) if earlier > 20]
    assert max(gaps, default=1) / min(gaps, default=1) < 1.1


def test_a_setting_that_came_later_leaves_the_digests_of_recipes_as_they_were():
    assert digest_of(Recipe().to_mapping()) == "107b06b547d1"
    oversampled = Recipe(imbalance="step", oversample=4)
    assert oversampled.to_mapping()["oversample"] == 4
    assert Recipe.from_mapping(oversampled.to_mapping()) == oversampled
