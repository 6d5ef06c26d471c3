import json
import os
from pathlib import Path

import pytest
import torch
from small import SMALL, Stop, files_of, small

from deepcollapse.errors import RunError
from deepcollapse.records import Run
from deepcollapse.training import train


def resumed(folder, recipe=SMALL, **how):
    return train(recipe, folder, resume=True, **how).path


# 0 is the first checkpoint; 2 lies between two; 5 is TPT onset, off the schedule; 9 the end, without the weights.
@pytest.mark.parametrize("epoch", [0, 2, 5, 9])
def test_a_stopped_run_ends_with_the_same_bytes(epoch, broken_off, whole):
    folder = broken_off(epoch)
    assert not (folder / "weights.safetensors").exists()
    assert files_of(resumed(folder)) == files_of(whole)


def test_stopping_twice_changes_nothing(broken_off, whole):
    folder = broken_off(2)
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, folder, resume=True, watcher=Stop(7))
    assert files_of(resumed(folder)) == files_of(whole)


def test_a_torn_line_is_written_again(broken_off, whole):
    folder = broken_off(6)
    os.truncate(folder / "records.jsonl", (folder / "records.jsonl").stat().st_size - 20)
    assert files_of(resumed(folder)) == files_of(whole)


def test_killed_before_the_first_checkpoint(broken_off, whole):
    folder = broken_off(0)
    (folder / "checkpoints" / "latest.pt").unlink()
    assert files_of(resumed(folder)) == files_of(whole)


def test_a_finished_run_is_left_as_it_is(tmp_path, whole):
    folder = train(SMALL, tmp_path / "run").path
    assert files_of(resumed(folder)) == files_of(whole)


@pytest.mark.parametrize("changes", [{"optimiser": "adamw", "rate": 1e-3}, {"loss": "mse", "momentum": 0.5}])
def test_the_state_of_every_optimiser_is_kept(changes, tmp_path, broken_off):
    recipe = small(**changes, epochs=3)
    one_go = train(recipe, tmp_path / "elsewhere" / "run").path
    assert files_of(resumed(broken_off(2, recipe), recipe)) == files_of(one_go)


def test_transforms_of_the_user_draw_the_same_after_a_break(tmp_path, monkeypatch, broken_off):
    (tmp_path / "noisy.py").write_text(
        "import random, numpy, torch\n"
        "class Noisy(torch.utils.data.Dataset):\n"
        "    classes = ('a', 'b')\n"
        "    def __len__(self): return 40\n"
        "    def __getitem__(self, i):\n"
        "        drawn = random.random() + numpy.random.rand() + float(torch.rand(()))\n"
        "        return torch.full((1, 2, 2), i % 2 + drawn), i % 2\n"
        "def load(split): return Noisy()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    recipe = small(dataset="noisy:load", per_class=None, test_per_class=None, epochs=3)
    one_go = train(recipe, tmp_path / "elsewhere" / "run").path
    assert files_of(resumed(broken_off(2, recipe), recipe)) == files_of(one_go)


def test_threads_are_those_of_the_run_that_goes_on(broken_off):
    folder = broken_off(1)
    provenance = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(provenance | {"threads": 2}))
    seen = []

    class Look(Stop):
        def epoch(self, report):
            seen.append(torch.get_num_threads())
            super().epoch(report)

    with pytest.raises(KeyboardInterrupt):
        train(SMALL, folder, resume=True, watcher=Look(2))
    assert seen == [2]
    assert torch.get_num_threads() == 1  # what the caller had


def test_a_checkpoint_that_holds_code_is_not_run(broken_off, tmp_path):
    folder = broken_off(1)

    class Code:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "hacked"),))

    torch.save({"epoch": Code()}, folder / "checkpoints" / "latest.pt")
    with pytest.raises(RunError) as error:
        resumed(folder)
    assert not (tmp_path / "hacked").exists()
    assert str(error.value).startswith(
        f"the checkpoint {folder}/checkpoints/latest.pt cannot be read (UnpicklingError: Weights only load failed."
    )
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint_is_named_and_the_records_stand(broken_off):
    folder = broken_off(2)
    (folder / "checkpoints" / "latest.pt").write_bytes(b"PK\x03\x04 and no more")
    rows = (folder / "records.jsonl").read_bytes()
    with pytest.raises(RunError) as error:
        resumed(folder)
    path, _, advice = str(error.value).partition(" cannot be read (")
    assert path == f"the checkpoint {folder}/checkpoints/latest.pt"
    assert advice.endswith(
        "). Start again with another --out; the records so far can still be reported. "
        "(With the file removed, --resume begins this run anew.)"
    )
    assert (folder / "records.jsonl").read_bytes() == rows


def test_other_data_are_refused(broken_off):
    folder = broken_off(1)
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["data_digest"]["test"] = "0" * 64
    (folder / "provenance.json").write_text(json.dumps(provenance))
    rows = (folder / "records.jsonl").read_bytes()
    with pytest.raises(RunError) as error:
        resumed(folder)
    assert str(error.value) == (
        f"{folder} was begun on other data: the digest of test is not the same. "
        "Put the data back as they were, or start again with another --out."
    )
    assert (folder / "records.jsonl").read_bytes() == rows


def test_a_run_is_not_written_over(whole):
    with pytest.raises(RunError) as error:
        train(SMALL, whole)
    assert str(error.value) == (
        f"{whole} holds this run already. Go on with it by --resume, or choose another folder with --out."
    )


def test_another_recipe_does_not_go_on_with_the_run(whole):
    rows = (whole / "records.jsonl").read_bytes()
    with pytest.raises(RunError, match="holds a run of another recipe"):
        train(small(rate=0.01), whole, resume=True)
    assert (whole / "records.jsonl").read_bytes() == rows


def test_a_full_disk_keeps_whole_rows_and_the_run_goes_on_later(tmp_path, monkeypatch, whole):
    real, count = os.fsync, [0]

    def full(descriptor):
        count[0] += Path(f"/proc/self/fd/{descriptor}").readlink().name == "records.jsonl"
        if count[0] == 8:
            raise OSError(28, "No space left on device")
        real(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to tell which file is written")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as error:
        train(SMALL, tmp_path / "run", threads=1)
    monkeypatch.undo()
    told, _, rest = str(error.value).partition(f" records to {tmp_path}/run/records.jsonl: ")
    assert told.startswith("could not append ")
    assert rest == (
        "No space left on device. The rows before are kept whole. Free some space, then go on with --resume."
    )
    kept = (tmp_path / "run" / "records.jsonl").read_bytes()
    assert kept.endswith(b"}\n")
    assert (whole / "records.jsonl").read_bytes().startswith(kept)
    assert files_of(resumed(tmp_path / "run")) == files_of(whole)


def test_a_full_disk_at_the_checkpoint_leaves_the_one_before(tmp_path, monkeypatch, whole):
    from deepcollapse.training.checkpoint import Checkpoint

    real = Checkpoint.save

    def full(self, run):
        if self.epoch == 5:
            raise RunError("no space")
        real(self, run)

    monkeypatch.setattr(Checkpoint, "save", full)
    with pytest.raises(RunError):
        train(SMALL, tmp_path / "run", threads=1)
    monkeypatch.undo()
    assert Run.open(tmp_path / "run").records().epoch.max() == 5
    assert files_of(resumed(tmp_path / "run")) == files_of(whole)
