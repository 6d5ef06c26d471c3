"""A sweep that is trained as one program leaves what single runs leave, byte for byte."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepcollapse.sweeps import Sweep, SweepFolder, run_sweep
from deepcollapse.sweeps.engines.choose import Automatic, divided
from deepcollapse.sweeps.engines.in_process import InProcess, Shelves
from deepcollapse.sweeps.engines.stacked import Stacked, groups
from deepcollapse.sweeps.job import Job
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training import Recipe
from shared_fixtures import few_measures, one_thread  # noqa: F401

TINY = Recipe(epochs=4, width=16, depth=2, per_class=8, test_per_class=5, batch=32, measurements=3, tpt_accuracy=0.2)
UNLIKE = (
    TINY,
    replace(TINY, seed=1),
    replace(TINY, rate=0.2, decay=0.0, momentum=0.0),
    replace(TINY, seed=2, drops=(0.5,), drop_factor=0.5, measurements=2),
)


def contents(folder, recipes):
    """Everything that runs leave but for dates and checkpoints, which are pickled tensors."""
    found = {}
    for recipe in recipes:
        run = SweepFolder(folder).run_path(recipe)
        files = sorted(path for path in run.rglob("*") if path.is_file() and path.suffix not in (".pt", ".json"))
        found |= {str(path.relative_to(run.parent)): path.read_bytes() for path in files}
    return found


def provenance(folder, recipe):
    path = SweepFolder(folder).run_path(recipe) / "provenance.json"
    return {key: value for key, value in json.loads(path.read_text()).items() if key not in ("created", "command")}


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single") / "s"
    run_sweep(Sweep(UNLIKE), folder, engine=InProcess())
    return folder


class Stop(SweepWatcher):
    """Ctrl-C at the end of an epoch of one run."""

    def __init__(self, key, epoch):
        self.at = (key, epoch)

    def epoch(self, key, epoch, epochs):
        if (key, epoch) == self.at:
            raise KeyboardInterrupt


def key(recipe):
    return SweepFolder(Path("s")).run_path(recipe).name


@pytest.mark.parametrize("most", [32, 3])
def test_stacked_runs_leave_what_single_runs_leave(one_by_one, tmp_path, most):
    outcomes = run_sweep(Sweep(UNLIKE), tmp_path / "s", engine=Stacked(most))
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    wanted = contents(one_by_one, UNLIKE)
    assert {name.split("/", 1)[1] for name in wanted} >= {
        "records.jsonl",
        "recipe.toml",
        "weights.safetensors",
        "weights-tpt-onset.safetensors",
    }
    assert contents(tmp_path / "s", UNLIKE) == wanted
    noted = [provenance(tmp_path / "s", recipe) for recipe in UNLIKE]
    sizes = [4, 4, 4, 4] if most == 32 else [3, 3, 3, 1]
    assert [facts.pop("stacked") for facts in noted] == [
        {"members": size, "arithmetic": "as in a single run, bit for bit"} for size in sizes
    ]
    assert noted == [provenance(one_by_one, recipe) for recipe in UNLIKE]


@pytest.mark.parametrize(
    "changes", [{"loss": "mse"}, {"per_class": None, "test_per_class": None, "epochs": 2}], ids=str
)
def test_other_losses_and_shared_data_too(tmp_path, changes):
    recipes = [replace(TINY, seed=seed, **changes) for seed in (0, 1)]
    for name, engine in (("stacked", Stacked()), ("single", InProcess())):
        run_sweep(Sweep(tuple(recipes)), tmp_path / name, engine=engine)
    assert contents(tmp_path / "stacked", recipes) == contents(tmp_path / "single", recipes)


def test_a_stack_that_was_stopped_goes_on_from_where_each_member_stands(one_by_one, tmp_path):
    # The second member stands at epoch 2 when the others are at 1 or 0: a single run was broken off there.
    with pytest.raises(KeyboardInterrupt):
        run_sweep(Sweep(UNLIKE[1:2]), tmp_path / "s", engine=InProcess(), watcher=Stop(key(UNLIKE[1]), 3))
    with pytest.raises(KeyboardInterrupt):
        run_sweep(Sweep(UNLIKE), tmp_path / "s", engine=Stacked(), watcher=Stop(key(UNLIKE[0]), 2))
    states = [SweepFolder(tmp_path / "s").state(recipe) for recipe in UNLIKE]
    assert states == ["stopped"] * 4
    run_sweep(Sweep(UNLIKE), tmp_path / "s", engine=Stacked())
    assert contents(tmp_path / "s", UNLIKE) == contents(one_by_one, UNLIKE)


def test_a_run_begun_in_a_stack_is_ended_alone(one_by_one, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(Sweep(UNLIKE), tmp_path / "s", engine=Stacked(), watcher=Stop(key(UNLIKE[3]), 3))
    sizes = [path.stat().st_size for path in (tmp_path / "s").rglob("latest.pt")]
    assert max(sizes) < 100_000  # its own tensors alone, not those of the whole stack
    run_sweep(Sweep(UNLIKE), tmp_path / "s", engine=InProcess())
    assert contents(tmp_path / "s", UNLIKE) == contents(one_by_one, UNLIKE)


def test_a_member_that_diverges_fails_alone(one_by_one, tmp_path):
    wild = replace(TINY, rate=1e30, parameters=("batch_norm=false",))
    calm = replace(wild, rate=0.01)
    found = {}
    for name, engine in (("stacked", Stacked()), ("single", InProcess())):
        outcomes = run_sweep(Sweep((wild, calm)), tmp_path / name, engine=engine)
        found[name] = [(outcome.state, (outcome.error or "").replace(name, "")) for outcome in outcomes]
        assert SweepFolder(tmp_path / name).state(wild) == "failed"
    assert found["stacked"] == found["single"]
    assert found["single"][0][0] == "failed"
    assert found["single"][0][1].startswith("DivergedError: training diverged in epoch 1")
    assert contents(tmp_path / "stacked", (wild, calm)) == contents(tmp_path / "single", (wild, calm))


def test_what_cannot_be_stacked_is_run_alone_and_says_why(tmp_path):
    recipes = [replace(TINY, optimiser="adam", seed=seed) for seed in (0, 1)]
    outcomes = run_sweep(Sweep(tuple(recipes)), tmp_path / "s", engine=Stacked())
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    reason = "only stochastic gradient descent is stacked, and the optimiser is adam"
    assert [provenance(tmp_path / "s", recipe)["not_stacked"] for recipe in recipes] == [reason] * 2


def test_runs_are_grouped_by_what_they_must_share(tmp_path):
    recipes = (*UNLIKE, replace(TINY, width=8), replace(TINY, epochs=5), replace(TINY, width=8, seed=7))
    found = groups([Job(recipe, tmp_path) for recipe in recipes])
    assert [[recipes.index(job.recipe) for job in group] for group in found] == [[0, 1, 2, 3], [4, 6], [5]]


def test_small_networks_of_one_make_are_worth_a_stack(tmp_path):
    def jobs(*recipes):
        return [Job(recipe, tmp_path) for recipe in recipes]

    large = [replace(TINY, width=2048, depth=4, seed=seed) for seed in (0, 1)]
    stacks, others = divided(jobs(*UNLIKE, *large), Shelves())
    assert [len(stack) for stack in stacks] == [4]
    assert [job.recipe for job in others] == large


def test_the_automatic_engine_leaves_the_same(one_by_one, tmp_path):
    outcomes = run_sweep(Sweep(UNLIKE), tmp_path / "s", engine=Automatic())
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    assert contents(tmp_path / "s", UNLIKE) == contents(one_by_one, UNLIKE)
