import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from deepcollapse.errors import OptionError, RunError
from deepcollapse.sweeps import Sweep, SweepFolder, run_sweep
from deepcollapse.sweeps.engines.processes import Processes, threads_each
from deepcollapse.sweeps.watch import SweepWatcher
from sweep_extras import TINY, swept, tree

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")]

SCRIPT = """
import sys
from sweep_extras import swept
from deepcollapse.sweeps import run_sweep
from deepcollapse.sweeps.engines.processes import Processes
from deepcollapse.sweeps.watch import SweepWatcher

class Loud(SweepWatcher):
    def epoch(self, key, epoch, epochs):
        print(key, epoch, flush=True)

run_sweep(swept(runs=3, epochs=40, measurements=4), sys.argv[1], engine=Processes(2), watcher=Loud())
"""


@pytest.fixture(autouse=True, scope="module")
def quick_workers():
    """Workers keep what Python compiles, even where the tests themselves are told not to, and use one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            patch.delenv("PYTHONDONTWRITEBYTECODE")
            patch.setenv("PYTHONPYCACHEPREFIX", str(Path(tempfile.gettempdir()) / "deepcollapse-bytecode"))
        yield


class Notes(SweepWatcher):
    def __init__(self):
        self.begun, self.epochs, self.outcomes = [], [], []

    def start(self, sweep, done):
        self.begun.append((len(sweep.recipes), done))

    def epoch(self, key, epoch, epochs):
        self.epochs.append((key, epoch, epochs))

    def ended(self, outcome):
        self.outcomes.append(outcome)


def descendants(pid):
    """The processes that a process started, and those that these did."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                _, _, rest = (entry / "stat").read_text().rpartition(")")
            except OSError:
                continue
            if rest.split()[0] != "Z":
                parents[int(entry.name)] = int(rest.split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """A sweep in which workers are killed: its folder, outcomes, what its watcher was told, and who stayed behind."""
    folder, notes = tmp_path_factory.mktemp("troubled") / "s", Notes()
    sweep = Sweep.grid(TINY, seed=range(5), afterwards="sweep_extras:troubled")
    others = descendants(os.getpid())  # of other tests
    outcomes = run_sweep(sweep, folder, engine=Processes(2), watcher=notes)
    return folder, sweep, outcomes, notes, descendants(os.getpid()) - others


def test_a_worker_that_is_killed_costs_its_own_run_alone_and_that_at_the_second_time(troubled):
    folder, sweep, outcomes, notes, left = troubled
    assert [outcome.state for outcome in outcomes] == ["done", "done", "failed", "failed", "failed"]
    assert [outcome.error for outcome in outcomes] == [
        None,
        None,
        "RunError: the worker process of this run was ended by signal 9 (SIGKILL), and so did one before it. The "
        "system does so when memory runs out: use fewer jobs at once, or a smaller batch. What was recorded stands; "
        "running the sweep again goes on from the last checkpoint.",
        "SystemExit: no more",
        "RunError: the worker process of this run ended by itself with exit status 0, and so did one before it. Run it "
        "alone, with one job, to see why. What was recorded stands; running the sweep again goes on from the last "
        "checkpoint.",
    ]
    kept = SweepFolder(folder)
    assert kept.failure_path(sweep.recipes[3]).read_text().endswith("SystemExit: no more\n")
    assert kept.failure_path(sweep.recipes[2]).read_text().startswith("deepcollapse.errors.RunError: the worker")
    assert left == set()
    assert notes.begun == [(5, 0)]
    assert set(notes.outcomes) == set(outcomes)
    for key in sweep.named():
        assert [epoch for of, epoch, epochs in notes.epochs if of == key and epochs == 2] == [0, 1, 2]


def test_what_worker_processes_record_equals_what_one_process_records(troubled, tmp_path):
    folder = troubled[0]
    run_sweep(swept(runs=2), tmp_path / "s")  # `troubled` measures the same, in the end
    alone = {path.name: path for path in (tmp_path / "s" / "runs").iterdir()}
    for key in alone:
        assert (folder / "runs" / key / "records.jsonl").read_bytes() == (alone[key] / "records.jsonl").read_bytes()


def test_workers_end_with_whoever_started_them(tmp_path):
    """The script has no `if __name__ == "__main__"`, and runs the sweep once all the same."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    out = tmp_path / "s"
    ours = {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    for sent in (signal.SIGKILL, signal.SIGINT):
        with subprocess.Popen(
            [sys.executable, script, out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | ours, start_new_session=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.readline()
            workers = descendants(process.pid)
            assert len(workers) == 2
            if sent == signal.SIGKILL:
                process.kill()  # the parent alone
            else:
                os.killpg(process.pid, sent)  # as a terminal does
            status = process.wait()
            _, printed = process.communicate()
        assert status == -sent if sent == signal.SIGKILL else "KeyboardInterrupt" in printed
        until = time.monotonic() + 20
        while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < until:
            time.sleep(0.05)
        assert [worker for worker in workers if Path(f"/proc/{worker}").exists()] == []
    sweep = swept(runs=3, epochs=40, measurements=4)
    assert {outcome.state for outcome in run_sweep(sweep, out)} == {"done"}
    run_sweep(sweep, tmp_path / "whole")
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.parametrize("status", [0, 4])
def test_workers_that_cannot_start_are_no_failure_of_the_runs(tmp_path, monkeypatch, status):
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\nexit {status}\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(RunError) as caught:
        run_sweep(swept(runs=2), tmp_path / "s", engine=Processes(1))
    assert str(caught.value) == (
        f"worker processes cannot be started: the first ended with exit status {status}, and what it printed above "
        "says why. Use one job, which needs no workers."
    )
    assert not (tmp_path / "s" / "failures").exists()


def test_functions_of_the_script_itself_are_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("__main__.mine", list, raising=False)
    with pytest.raises(OptionError) as caught:
        run_sweep(Sweep((TINY,), afterwards="__main__:mine"), tmp_path / "s", engine=Processes(2))
    assert str(caught.value) == (
        "'__main__:mine' lies in the script that was started, which worker processes do not run. Move the function "
        "into a module beside the script, or use one job."
    )


def test_less_than_one_worker_is_refused():
    with pytest.raises(OptionError) as caught:
        Processes(0)
    assert str(caught.value) == "jobs must be at least 1; got 0."


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert [threads_each(jobs) for jobs in (1, 2, 5, 24)] == [8, 6, 2, 1]
