"""The engine for Ray, on a small Ray of this machine; what is refused is told without one."""

import sys
import uuid
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from deepcollapse.errors import MissingExtraError, OptionError, RunError
from deepcollapse.records import read_records
from deepcollapse.sweeps import Sweep, run_sweep
from deepcollapse.sweeps.engines import ray as engine
from deepcollapse.sweeps.engines.ray import RayEngine
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training import Recipe

TINY = Recipe(epochs=2, width=8, depth=1, per_class=5, test_per_class=5, measurements=2, rate=0.01)

# Kills the worker that it runs in, once.
KILLER = """
import os, signal
def measured(trained):
    mark = trained.run.path / "killed"
    if trained.recipe.seed == 0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if trained.recipe.seed == 1:
        raise ValueError("nothing to measure")
    return []
"""


@pytest.fixture
def killer(tmp_path, monkeypatch):
    (tmp_path / "killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(tmp_path)
    return "killer:measured"


class Watch(SweepWatcher):
    def __init__(self):
        self.epochs = set()

    def epoch(self, key, epoch, epochs):
        self.epochs.add((epoch, epochs))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_worker_that_is_killed_costs_nothing_and_a_failure_is_kept(tmp_path, killer, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)  # or Ray writes one in the home folder
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    watch = Watch()
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)
    try:
        sweep = Sweep.grid(TINY, afterwards=killer, seed=(0, 1))
        whole, broken = run_sweep(sweep, tmp_path / "sweep", engine=RayEngine(), data_root=tmp_path, watcher=watch)
    finally:
        ray.shutdown()
    assert (whole.state, broken.state, broken.error) == ("done", "failed", "ValueError: nothing to measure")
    assert whole.run == tmp_path / "sweep" / "runs" / whole.key
    assert (whole.run / "killed").is_file()
    for outcome in (whole, broken):
        rows = read_records(outcome.run).query("measure == 'loss_with_decay'")
        assert [*rows.epoch] == [0, 1, 2]  # nothing lost and nothing twice
    assert watch.epochs <= {(epoch, 2) for epoch in range(3)}
    assert not list((tmp_path / "sweep").glob(".shared-*"))


def cluster(monkeypatch, *nodes, answers=(), init=None):
    """A Ray that is made up: its machines, and whether each sees the folder."""
    ready = iter(answers)
    task = SimpleNamespace(options=lambda **how: task, remote=lambda *what: next(ready))
    fake = ModuleType("ray")
    fake.__dict__.update(
        is_initialized=lambda: init is None,
        init=init,
        shutdown=lambda: None,
        nodes=lambda: [
            {"NodeID": name, "NodeManagerHostname": name, "Alive": True, "Resources": has} for name, has in nodes
        ],
        remote=lambda function: task,
        get=lambda answer: answer,
    )
    strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.util", SimpleNamespace(scheduling_strategies=strategies))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)


def refused(tmp_path, **how):
    with pytest.raises(RunError) as error:
        run_sweep(Sweep((TINY,)), tmp_path / "sweep", engine=RayEngine(**how))
    assert not list((tmp_path / "sweep").glob(".shared-*"))
    return str(error.value)


def test_all_machines_must_see_the_folder(tmp_path, monkeypatch):
    nodes = [("one", {"CPU": 4.0}), ("two", {"CPU": 4.0}), ("head", {})]
    cluster(monkeypatch, *nodes, answers=(True, False))
    assert refused(tmp_path) == (
        f"the folder {tmp_path}/sweep is not seen by two: all machines of a Ray cluster need the sweep's folder at the "
        "same path. Choose one on a disk that they share, with --out."
    )


def test_a_run_must_fit_on_some_machine(tmp_path, monkeypatch):
    cluster(monkeypatch, ("one", {"CPU": 4.0}), ("two", {"CPU": 1.0, "GPU": 1.0}))
    assert refused(tmp_path, cpus=2, gpus=0.5) == (
        "no machine of the Ray cluster has what a run asks for: 2 CPUs and 0.5 GPUs. Ask for less with --cpus-per-run "
        "and --gpus-per-run, or add a machine that has it."
    )


def test_room_is_counted_in_the_scarcer_resource():
    room = RayEngine(cpus=0.5, gpus=0.25)._room
    assert room({"Resources": {"CPU": 4.0, "GPU": 1.0}}) == 4
    assert room({"Resources": {"CPU": 1.0, "GPU": 1.0}}) == 2
    assert RayEngine(cpus=0, gpus=0.5)._room({"Resources": {"GPU": 1.0}}) == 2


def test_a_cluster_that_does_not_answer(tmp_path, monkeypatch):
    def init(**how):
        raise ConnectionError(f"nobody at {how['address']}\nand more")

    cluster(monkeypatch, init=init)
    assert refused(tmp_path, address="far:6379") == (
        "no Ray cluster answers at far:6379 (nobody at far:6379). Start one with `ray start --head`; where it was "
        "started with RAY_AUTH_MODE=token, or says that token authentication is on, set that here too."
    )


def test_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError) as error:
        run_sweep(Sweep((TINY,)), tmp_path / "sweep", engine=RayEngine())
    assert str(error.value) == (
        "--engine ray needs the package ray, which is not installed. Install it with: pip install 'deepcollapse[sweep]'"
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cpus": -1}, "cpus must be 0 or more; got -1."),
        ({"gpus": float("nan")}, "gpus must be 0 or more; got nan."),
        ({"cpus": 0}, "a run needs a share of a CPU or of a GPU; got 0 of both."),
        ({"pending": 0}, "pending must be at least 1; got 0."),
    ],
)
def test_what_no_task_can_be_given(asked, message):
    with pytest.raises(OptionError) as error:
        RayEngine(**asked)
    assert str(error.value) == message


def test_a_machine_that_joined_later_and_sees_nothing_fails_in_words(tmp_path, monkeypatch):
    from deepcollapse.sweeps import Job

    monkeypatch.setattr(engine, "SECONDS_TO_SEE", 0.0)
    monkeypatch.setattr(engine.socket, "gethostname", lambda: "late")
    job = Job(TINY, tmp_path)
    outcome = engine._work(job, tmp_path / ".shared-x", (str(Path.cwd()), ()))
    assert outcome.state == "failed"
    assert outcome.error == (
        f"RunError: the folder {tmp_path} is not seen by late: all machines of a Ray cluster need the sweep's folder "
        "at the same path. Choose one on a disk that they share, with --out."
    )
