import errno
import os
import resource

import numpy as np
import pytest

from deepcollapse.errors import OptionError, RunError
from deepcollapse.records import SCHEMA_VERSION, Record, Run, atomic_write, digest_of

RECIPE = {"epochs": 2, "network": {"name": "mlp", "width": 8}}


def make(path, **options):
    facts = {"recipe": RECIPE, "class_names": ["a", "b"], "data_digest": {"train": "d1"}, "device": "cpu", "seed": 0}
    return Run.create(path, **(facts | options))


def some(count, first=0):
    return [Record(epoch=first + i, layer="head", measure="cdnv", value=float(i)) for i in range(count)]


def test_a_run_says_where_it_came_from(tmp_path):
    run = make(tmp_path / "first", extra={"parameters": 12})
    provenance = Run.open(tmp_path / "first").provenance
    assert run.recipe == RECIPE
    assert provenance["schema_version"] == SCHEMA_VERSION
    assert (provenance["run"], provenance["class_names"], provenance["parameters"]) == ("first", ["a", "b"], 12)
    assert (provenance["data_digest"], provenance["device"], provenance["seed"]) == ({"train": "d1"}, "cpu", 0)
    assert provenance["recipe_digest"] == digest_of(RECIPE)
    assert {"python", "torch", "numpy", "deepcollapse"} <= provenance["versions"].keys()
    assert {"threads", "command", "platform", "created"} <= provenance.keys()


def test_rows_come_back_as_they_went_in(tmp_path):
    run = make(tmp_path / "r")
    run.append([*some(2), Record(layer="head", measure="cdnv", value=float("nan"), note="why")])
    frame = run.records()
    assert frame["run"].tolist() == ["r"] * 3
    assert frame["epoch"].tolist()[:2] == [0, 1]
    assert frame["value"].tolist()[:2] == [0.0, 1.0]
    assert np.isnan(frame["value"][2])
    assert frame["note"][2] == "why"


def test_rewinding_forgets_what_came_after(tmp_path):
    run = make(tmp_path / "r")
    position = run.append(some(2))
    assert position == run.position()
    run.append(some(3))
    run.rewind(position)
    assert len(run.records()) == 2
    with pytest.raises(RunError) as caught:
        run.rewind(position - 3)
    assert str(caught.value) == (
        f"cannot rewind {run.records_path} to byte {position - 3}: the file has {position} bytes and no row ends "
        "there. Its records and checkpoint do not belong together; start again with another --out."
    )


def test_half_a_row_left_by_a_killed_writer_is_cut_before_the_next(tmp_path):
    run = make(tmp_path / "r")
    run.append(some(2))
    with run.records_path.open("ab") as file:
        file.write(b'{"run": "r", "ep')
    run.append(some(1, first=7))
    assert run.records()["epoch"].tolist() == [0, 1, 7]


def test_a_full_disk_keeps_whole_rows_and_says_so(tmp_path):
    run = make(tmp_path / "r")
    position = run.append(some(2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (position + 100, hard))  # the next write takes 100 bytes, then fails
    try:
        with pytest.raises(RunError) as caught:
            run.append(some(50))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == (
        f"could not append 50 records to {run.records_path}: File too large. The rows before are kept whole. "
        "Free some space, then go on with --resume."
    )
    assert run.position() == position
    run.append(some(1))
    assert len(run.records()) == 3


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError) as caught:
        make(tmp_path)
    assert str(caught.value) == (f"{tmp_path} holds files and is not a run. Choose a new or empty folder with --out.")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(RunError) as caught:
        make(tmp_path / "notes.txt")
    assert str(caught.value) == (
        f"{tmp_path / 'notes.txt'} is a file, not a folder for a run. Choose another place with --out."
    )


def test_the_same_run_is_taken_up_again_only_when_asked(tmp_path):
    run = make(tmp_path / "r")
    run.append(some(2))
    with pytest.raises(RunError) as caught:
        make(tmp_path / "r")
    assert str(caught.value) == (
        f"{tmp_path / 'r'} holds this run already. Go on with it by --resume, or choose another folder with --out."
    )
    assert len(make(tmp_path / "r", resume=True).records()) == 2


def test_another_recipe_never_joins_a_run(tmp_path):
    make(tmp_path / "r")
    other = RECIPE | {"epochs": 3}
    with pytest.raises(RunError) as caught:
        make(tmp_path / "r", recipe=other, resume=True)
    assert str(caught.value) == (
        f"{tmp_path / 'r'} holds a run of another recipe (epochs is {RECIPE['epochs']} there and 3 here). "
        "Choose another folder with --out, or give --resume the recipe that it has."
    )


def test_opening_what_is_no_run(tmp_path):
    with pytest.raises(RunError) as caught:
        Run.open(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not a run folder: it has no recipe.toml, provenance.json, records.jsonl. "
        "Name the folder given to --out."
    )


def test_arrays_come_back_even_when_they_were_strided_views(tmp_path):
    run = make(tmp_path / "r")
    matrix = np.arange(6.0).reshape(2, 3)
    references = run.write_arrays("epoch-1", {"layer.0 cosines#x": matrix.T, "n": np.int64(3)})
    assert references == {
        "layer.0 cosines#x": "arrays/epoch-1.safetensors#layer.0 cosines#x",
        "n": "arrays/epoch-1.safetensors#n",
    }
    assert np.array_equal(run.read_array(references["layer.0 cosines#x"]), matrix.T)
    assert run.read_array(references["n"]) == 3


def test_torch_tensors_are_arrays_too(tmp_path):
    import torch

    run = make(tmp_path / "r")
    reference = run.write_arrays("t", {"x": torch.eye(2, requires_grad=True)})["x"]
    assert np.array_equal(run.read_array(reference), np.eye(2))


def test_array_references_that_lead_nowhere(tmp_path):
    run = make(tmp_path / "r")
    run.write_arrays("one", {"x": np.zeros(2)})
    (tmp_path / "outside.safetensors").write_bytes(b"")
    (run.path / "arrays" / "bad.safetensors").write_bytes(b"not safetensors")

    def message(reference):
        with pytest.raises(RunError) as caught:
            run.read_array(reference)
        return str(caught.value)

    bad = "arrays/../../outside.safetensors#x"
    assert message(bad) == f"{bad!r} refers to no array; expected 'arrays/FILE.safetensors#KEY'."
    assert message("arrays/one.safetensors#y") == (
        f"{run.path / 'arrays/one.safetensors'} holds no array 'y'; it holds ['x']."
    )
    assert message("arrays/two.safetensors#y") == (
        f"{run.path / 'arrays/two.safetensors'} is missing, and a record refers to its array 'y'; "
        "restore the run's arrays folder."
    )
    assert message("arrays/bad.safetensors#y").startswith(f"{run.path / 'arrays/bad.safetensors'} is not a readable")
    with pytest.raises(OptionError) as caught:
        run.write_arrays("../up", {"x": np.zeros(1)})
    assert str(caught.value) == "'../up' cannot name a file of arrays; use letters, digits, '_', '-' and '.'."


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = atomic_write(tmp_path / "deep" / "w.bin", b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as caught:
        atomic_write(path, b"new")
    assert str(caught.value) == (
        f"could not write {path} (3 bytes): No space left on device; the file that was there is unharmed. "
        "Free some space, or choose another folder with --out."
    )
    assert path.read_bytes() == b"old"
    assert [file.name for file in path.parent.iterdir()] == ["w.bin"]
