import pytest

from deepcollapse.compression.target import Target
from deepcollapse.errors import OptionError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("accuracy-drop=0.2%", Target(accuracy_drop=0.002)),
        ("accuracy-drop=0.002", Target(accuracy_drop=0.002)),
        ("accuracy-drop=0", Target(accuracy_drop=0.0)),
        (" size = 10 % ", Target(size=0.1)),
        ("size=5e-2", Target(size=0.05)),
    ],
)
def test_targets_are_read_as_people_write_them(text, target):
    assert Target.parse(text) == target


@pytest.mark.parametrize("text", ["", "10%", "size", "size=", "size=ten", "accuracy=0.2%", "size=1.2.3", "size=-+"])
def test_other_words_are_no_target(text):
    with pytest.raises(OptionError) as raised:
        Target.parse(text)
    assert str(raised.value) == (
        f"a target is written accuracy-drop=0.2% or size=10% (of the original's bytes); got {text!r}."
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "a target is an accuracy drop or a size; got none."),
        ({"accuracy_drop": 0.1, "size": 0.1}, "a target is an accuracy drop or a size; got both."),
        ({"accuracy_drop": 1.0}, "an accuracy drop is a share, at least 0 and below 1; got 1."),
        ({"accuracy_drop": -0.1}, "an accuracy drop is a share, at least 0 and below 1; got -0.1."),
        ({"size": 0.0}, "a size is a share of the original's bytes, above 0 and at most 100 %; got 0."),
        ({"size": 10.0}, "a size is a share of the original's bytes, above 0 and at most 100 %; got 10."),
    ],
)
def test_targets_that_say_nothing_are_refused(values, message):
    with pytest.raises(OptionError) as raised:
        Target(**values)
    assert str(raised.value) == message


def test_a_drop_of_exactly_as_much_as_is_allowed_is_allowed():
    target = Target.parse("accuracy-drop=0.2%")
    # In floating point 0.983 - 0.002 is above 0.981.
    assert target.allows(0.981, 1, 0.983, 100)
    assert target.allows(9998 / 10000, 1, 1.0, 100)
    assert not target.allows(0.9809, 1, 0.983, 100)


def test_a_size_looks_at_bytes_alone():
    assert Target(size=0.1).allows(0.1, 10, 0.99, 100)
    assert not Target(size=0.1).allows(0.99, 11, 0.99, 100)


def test_a_target_says_what_it_asks():
    assert str(Target(accuracy_drop=0.002)) == "accuracy falls by at most 0.2 points"
    assert str(Target(size=0.1)) == "at most 10 % of the bytes"
