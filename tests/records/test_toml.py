import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcollapse.errors import OptionError
from deepcollapse.records import digest_of
from deepcollapse.records.toml import dumps

scalars = st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
tables = st.dictionaries(st.text(max_size=5), values, max_size=4)


@given(tables)
def test_what_is_written_reads_back_the_same(table):
    assert tomllib.loads(dumps(table)) == table


@given(tables)
def test_a_recipe_read_back_keeps_its_digest(table):
    assert digest_of(tomllib.loads(dumps(table | {"absent": None}))) == digest_of(table)


def test_none_is_left_out_and_tuples_are_lists():
    assert tomllib.loads(dumps({"a": None, "b": (1, 2), "c": {"d": None}})) == {"b": [1, 2], "c": {}}


def test_other_types_are_refused_by_name():
    with pytest.raises(OptionError) as caught:
        dumps({"loss": {"weights": {1, 2}}})
    assert str(caught.value) == (
        "a recipe holds bool, int, float, str, lists and tables; 'loss.weights' holds {1, 2}, a set. "
        "Write it as one of those."
    )


def test_keys_are_strings():
    with pytest.raises(OptionError) as caught:
        dumps({3: "x"})
    assert str(caught.value) == "TOML keys are strings, and 3 is a int; name it with a string."
