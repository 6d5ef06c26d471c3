"""Which of a run's rows are told as what it ended with."""

import json

from deepcollapse.records import FIELDS
from deepcollapse.records.final import HIDDEN, final_values

USUAL, OTHER = {"weighting": "class", "reduction": "mean"}, {"weighting": "sample", "reduction": "mean"}


def ended(path, *rows):
    lines = (json.dumps(dict.fromkeys(FIELDS) | {"epoch": 3, "split": "train"} | row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return final_values(path, 3)


def test_the_usual_way_of_counting_wins_whichever_comes_first(tmp_path):
    usual, other = ({"layer": "head.input", "measure": "cdnv"} | way for way in (USUAL, OTHER))
    key = ("cdnv", "head.input", "train")
    path = tmp_path / "records.jsonl"
    for rows, value in [
        (((usual, 1.0), (other, 2.0)), 1.0),
        (((other, 2.0), (usual, 1.0)), 1.0),
        (((usual, 1.0), (usual, 4.0)), 4.0),
        (((other, 2.0), (other, 3.0)), 2.0),
    ]:
        assert ended(path, *(row | {"value": number} for row, number in rows)) == {key: value}


def test_hidden_is_a_mean_over_layers_that_have_a_value(tmp_path):
    values = {"blocks.0": 1.0, "blocks.1": 4.0, "blocks.2": None, "head.input": 9.0}
    rows = [{"layer": layer, "measure": "cdnv", "value": value} for layer, value in values.items()]
    early = {"epoch": 2, "layer": "head.input", "measure": "cdnv", "value": 7.0}
    found = ended(tmp_path / "records.jsonl", early, *rows)
    assert found == {("cdnv", HIDDEN, "train"): 2.5, ("cdnv", "head.input", "train"): 9.0}
