import json

import pytest

from deepcollapse.records import FIELDS, Record


def test_rows_have_every_key_always_in_this_order():
    expected = "run epoch step split layer measure value unit weighting centre reduction baseline array note"
    assert " ".join(FIELDS) == expected
    assert " ".join(Record(layer="head", measure="cdnv").row()) == expected


@pytest.mark.parametrize(
    ("value", "note", "expected"),
    [
        (float("nan"), None, "not a number"),
        (float("nan"), "one class only", "one class only"),
        (float("inf"), None, "infinite"),
        (float("inf"), "class means coincide", "infinite: class means coincide"),
        (float("-inf"), None, "minus infinity"),
    ],
)
def test_what_is_not_finite_is_null_with_its_reason(value, note, expected):
    row = Record(layer="head", measure="cdnv", value=value, note=note).row()
    assert row["value"] is None
    assert row["note"] == expected
    json.dumps(row, allow_nan=False)


def test_a_finite_value_keeps_its_note_and_becomes_a_float():
    row = Record(layer="network", measure="tpt_onset", value=12, unit="epoch", note="kept").row()
    assert (row["value"], type(row["value"]), row["note"]) == (12.0, float, "kept")
