import json
import subprocess
import sys

import duckdb
import pandas as pd
import polars as pl
import pytest

from deepcollapse.errors import RunError
from deepcollapse.records import FIELDS, Record, Run, read_records


@pytest.fixture
def runs(tmp_path):
    for name in ("one", "two"):
        run = Run.create(
            tmp_path / name, recipe={"seed": 0}, class_names=["a"], data_digest={"train": "x"}, device="cpu", seed=0
        )
        run.append([Record(epoch=e, split="train", layer="head", measure="cdnv", value=0.5 / e) for e in (1, 2)])
        run.append([Record(layer="head", measure="cosines_classifier", array="arrays/x.safetensors#c")])
    return tmp_path


@pytest.mark.parametrize(
    ("where", "expected"), [("", 6), ("one", 3), ("one/records.jsonl", 3), ("*", 6), ("t*/records.jsonl", 3)]
)
def test_a_run_a_folder_of_runs_a_file_or_a_pattern(runs, where, expected):
    frame = read_records(f"{runs}/{where}")
    assert len(frame) == expected
    assert list(frame.columns) == [*FIELDS, "folder"]
    assert str(frame["epoch"].dtype) == "Int64"


def test_a_list_reads_each_file_once(runs):
    frame = read_records([runs / "two", runs])
    assert frame["run"].tolist() == ["two"] * 3 + ["one"] * 3
    assert set(frame["folder"]) == {str(runs / "one"), str(runs / "two")}


def test_others_read_the_rows_without_us(runs):
    file = str(runs / "one" / "records.jsonl")
    assert pd.read_json(file, lines=True)["value"].tolist()[:2] == [0.5, 0.25]
    assert pl.read_ndjson(file)["value"].to_list() == [0.5, 0.25, None]
    assert duckdb.sql(f"select sum(value) from read_json('{file}')").fetchall() == [(0.75,)]


def test_a_torn_last_line_is_left_out_with_a_warning(runs):
    file = runs / "one" / "records.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    with pytest.warns(UserWarning, match="torn") as caught:
        assert len(read_records(file)) == 2
    assert str(caught[0].message) == f"the last line of {file} is torn (the writer was cut off); it is left out."


def test_a_whole_last_line_without_its_newline_counts(runs):
    file = runs / "one" / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-1])
    assert len(read_records(file)) == 3


def test_a_damaged_line_is_named(runs):
    file = runs / "one" / "records.jsonl"
    first, *rest = file.read_text().splitlines(keepends=True)
    file.write_text(
        json.dumps({key: v for key, v in json.loads(first).items() if key != "layer"}) + "\n" + "".join(rest)
    )
    with pytest.raises(RunError) as caught:
        read_records(file)
    assert str(caught.value) == (
        f"line 1 of {file} is not a record: it lacks 'layer'. Remove the line to read the rest."
    )


def test_a_newer_schema_is_refused_with_its_reason(runs):
    file = runs / "one" / "provenance.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 2}))
    for read in (read_records, Run.open):
        with pytest.raises(RunError) as caught:
            read(runs / "one")
        assert str(caught.value) == (
            f"{runs / 'one'} was written with records of schema version 2; this deepcollapse reads up to version 1. "
            "Update it with: pip install --upgrade deepcollapse"
        )


def test_nothing_there(tmp_path):
    with pytest.raises(RunError) as caught:
        read_records(tmp_path / "none-*")
    assert str(caught.value) == (
        f"no records at '{tmp_path}/none-*'; name a run folder, a folder of runs, a records.jsonl, or a pattern."
    )


def test_importing_records_imports_nothing_heavy():
    heavy = "{'torch', 'pandas', 'numpy', 'plotly'}"
    code = f"import sys, deepcollapse.records as r; r.environment(); print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
