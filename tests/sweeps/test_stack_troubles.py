"""What stands against a stack ends no sweep: the runs go on alone, and say so."""

import json
from dataclasses import replace

import pytest
import torch

from deepcollapse.errors import OptionError
from deepcollapse.sweeps import Sweep, SweepFolder, run_sweep
from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.engines import stacked
from deepcollapse.sweeps.engines.choose import Automatic
from deepcollapse.sweeps.engines.stacked import Stacked
from deepcollapse.sweeps.stacked.data import StackedData, bytes_ready
from deepcollapse.sweeps.stacked.notes import ROUNDED
from deepcollapse.sweeps.stacked.program import Program
from shared_fixtures import few_measures, one_thread  # noqa: F401
from sweep_extras import SWEEP, TINY, tree

TOGETHER = {"members": 2, "arithmetic": "as in a single run, bit for bit"}


def noted(folder, recipes):
    """What provenance says of the stack of each run."""
    runs = [SweepFolder(folder).run_path(recipe) for recipe in recipes]
    known = [json.loads((run / "provenance.json").read_text()) for run in runs]
    return [(facts.get("stacked"), facts.get("not_stacked")) for facts in known]


def states(outcomes):
    return {outcome.state for outcome in outcomes}


def test_networks_that_torch_cannot_map_go_alone_and_the_others_are_stacked(tmp_path):
    own = replace(TINY, network="sweep_extras:Guarded", width=None, depth=None, epochs=1)
    sweep = Sweep((own, replace(own, seed=1), *SWEEP.recipes))
    assert states(run_sweep(sweep, tmp_path / "s", engine=Stacked())) == {"done"}
    found = noted(tmp_path / "s", sweep.recipes)
    assert found[2:] == [(TOGETHER, None)] * 2
    assert [together for together, _ in found[:2]] == [None] * 2
    assert {reason.partition(":")[0] for _, reason in found[:2]} == {"the stack failed, RuntimeError"}
    run_sweep(Sweep(sweep.recipes[:2]), tmp_path / "alone")
    alone = tree(tmp_path / "alone")
    assert {name: content for name, content in tree(tmp_path / "s").items() if name in alone} == alone


def test_when_memory_runs_out_on_the_way_members_go_on_from_where_they_stand(tmp_path, monkeypatch):
    whole = Program.epoch

    def epoch(program, number):
        if number == 2:
            raise MemoryError("no room\nfor more")
        whole(program, number)

    monkeypatch.setattr(Program, "epoch", epoch)
    assert states(run_sweep(SWEEP, tmp_path / "s", engine=Stacked())) == {"done"}
    assert noted(tmp_path / "s", SWEEP.recipes) == [(TOGETHER, "the stack failed, MemoryError: no room")] * 2
    run_sweep(SWEEP, tmp_path / "alone")
    assert tree(tmp_path / "s") == tree(tmp_path / "alone")


def test_a_run_whose_numbers_are_rounded_otherwise_says_so(tmp_path):
    recipes = (replace(TINY, network="resnet", width=4, depth=None), TINY)
    recipes = [replace(recipe, epochs=1, seed=seed) for recipe in recipes for seed in (0, 1)]
    assert states(run_sweep(Sweep(tuple(recipes)), tmp_path / "s", engine=Stacked())) == {"done"}
    rounded = {"members": 2, "arithmetic": ROUNDED}
    assert noted(tmp_path / "s", recipes) == [(rounded, None)] * 2 + [(TOGETHER, None)] * 2


def noisy(count):
    return tuple(replace(TINY, epochs=1, label_noise=0.2, seed=seed) for seed in range(count))


@pytest.mark.parametrize(("room", "sizes"), [(2.5, [2, 2, 2, 2, 1]), (1.0, [1] * 5), (9.0, [5] * 5)])
def test_stacks_are_cut_where_their_own_data_take_too_much(tmp_path, monkeypatch, room, sizes):
    one = sum(bytes_ready(Shelf().of(noisy(1)[0])).values())
    monkeypatch.setattr(stacked, "ROOM", int(room * one))
    recipes = noisy(5)
    assert states(run_sweep(Sweep(recipes), tmp_path / "s", engine=Stacked())) == {"done"}
    assert [together["members"] for together, _ in noted(tmp_path / "s", recipes)] == sizes


def test_data_that_leave_no_room_even_for_one_go_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(stacked, "ROOM", 1000)
    recipes = noisy(2)
    assert states(run_sweep(Sweep(recipes), tmp_path / "s", engine=Stacked())) == {"done"}
    reason = "its data take 0.0 GiB, and a stack holds at most 0.0 GiB ready"
    assert noted(tmp_path / "s", recipes) == [(None, reason)] * 2


def test_what_data_are_said_to_take_is_what_they_take():
    shelf = Shelf()
    splits = [shelf.of(recipe).train for recipe in noisy(3)]
    held = StackedData(splits, torch.device("cpu"))
    sizes = [bytes_ready(shelf.of(recipe)) for recipe in noisy(3)]
    train = [size for found in sizes for size in list(found.values())[:1]]
    assert sum(train) == held.images.nbytes + held.labels.nbytes
    for i, split in enumerate(splits):
        x, y = next(iter(split.batches(len(split))))
        places = slice(i * len(split), (i + 1) * len(split))
        assert torch.equal(held.images[places], x)
        assert torch.equal(held.labels[places], y)


def test_the_automatic_engine_reads_a_data_set_once(tmp_path, monkeypatch):
    reads, read = [], Shelf._raw
    monkeypatch.setattr(Shelf, "_raw", lambda shelf, dataset: reads.append(dataset) or read(shelf, dataset))
    stacks = [replace(TINY, epochs=1, width=width, seed=seed) for width in (8, 9) for seed in (0, 1)]
    sweep = Sweep((*stacks, replace(TINY, epochs=1, width=10), replace(TINY, epochs=1, width=11)))
    assert states(run_sweep(sweep, tmp_path / "s", engine=Automatic())) == {"done"}
    assert reads == ["digits"]


def test_an_empty_stack_is_refused():
    with pytest.raises(OptionError) as caught:
        Stacked(0)
    assert str(caught.value) == "most must be at least 1; got 0."
