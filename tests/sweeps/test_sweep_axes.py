import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcollapse.errors import OptionError
from deepcollapse.report.sweep_table import value_text
from deepcollapse.sweeps.axes import read_axes, written
from deepcollapse.training import Recipe


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("rate=1,0.5,5e-3", "rate", (1.0, 0.5, 0.005)),
        ("epochs=3,40", "epochs", (3, 40)),
        ("width=none,64", "width", (None, 64)),
        ("compile=true,false", "compile", (True, False)),
        ("optimiser=sgd,adam", "optimiser", ("sgd", "adam")),
        ("imbalance=none,step", "imbalance", ("none", "step")),
        ("dataset=digits,folder:a=b", "dataset", ("digits", "folder:a=b")),
        ("drops=none,0.5,0.3+0.6", "drops", ((), (0.5,), (0.3, 0.6))),
        ("parameters=none,batch_norm=false+bias=false", "parameters", ((), ("batch_norm=false", "bias=false"))),
    ],
)
def test_values_are_of_the_settings_own_kind(text, name, values):
    found = read_axes([text])
    assert found == {name: values}
    assert [type(value) for value in found[name]] == [type(value) for value in values]
    assert read_axes([f"{name}={','.join(map(written, values))}"]) == found


def test_every_setting_of_a_recipe_is_read_as_it_is_written():
    for name in Recipe.__dataclass_fields__:
        value = getattr(Recipe(parameters=("bias=false",), width=3, drops=(0.25,)), name)
        assert read_axes([f"{name}={written(value)}"]) == {name: (value,)}


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(NUMBERS, st.lists(NUMBERS, min_size=1, max_size=3))
def test_every_number_is_read_as_it_is_written(rate, drops):
    found = read_axes([f"rate={written(rate)}", f"drops={written(tuple(drops))}"])
    assert found == {"rate": (rate,), "drops": (tuple(drops),)}
    assert float(value_text(rate)) == rate


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs=3.5", "epochs is '3.5' in --grid; it must be a whole number."),
        ("compile=1", "compile is '1' in --grid; it must be true or false."),
        ("drops=0.3+x", "drops is 'x' in --grid; it must be a number."),
        ("rate=none", "rate is 'none' in --grid; it must be a number."),
        ("loss=none", "loss is 'none' in --grid; it must be one of 'cross-entropy', 'mse'."),
    ],
)
def test_what_a_setting_cannot_be(text, message):
    with pytest.raises(OptionError) as error:
        read_axes([text])
    assert str(error.value) == message


@pytest.mark.parametrize("text", ["", "rate", "=1", "rate=", "rate=1,", "rate=1,,2", "rate= "])
def test_a_value_may_not_be_missing(text):
    with pytest.raises(OptionError) as error:
        read_axes([text])
    assert str(error.value) == (
        "--grid takes settings with their values, such as rate=0.1,0.01 decay=0,5e-3, without spaces around commas; "
        f"got {text!r}."
    )
