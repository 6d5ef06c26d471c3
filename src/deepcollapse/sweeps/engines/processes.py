"""Runs in worker processes on this machine."""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from deepcollapse.errors import OptionError, RunError
from deepcollapse.sweeps.engines.bundle import Bundle, single, without
from deepcollapse.sweeps.engines.worker import START, Epoch, Ready
from deepcollapse.sweeps.job import Job, Outcome, failed
from deepcollapse.sweeps.watch import SweepWatcher

TRIES = 2  # of a job whose worker dies
PATIENCE = 10.0  # seconds that a worker has to go home
CRASHES = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT")


@dataclass(frozen=True)
class Processes:
    """So many worker processes, each with one job at a time; each keeps the data that its runs share.

    The cores are shared out: a worker computes with at most cores // jobs threads, unless jobs ask for so many or a run
    goes on that had others. A worker that dies, killed or crashed, costs no run but its own, which a fresh worker goes
    on with; a run whose second worker dies too has failed. Workers end with this process, however it ends.

    Raises OptionError for less than one worker, and for functions of the script itself, which workers do not see;
    RunError where workers cannot be started.
    """

    jobs: int

    def __post_init__(self) -> None:
        """Refuse less than one worker."""
        if self.jobs < 1:
            raise OptionError(f"jobs must be at least 1; got {self.jobs}.")

    def run(self, jobs: Sequence[Job | Bundle], watcher: SweepWatcher) -> Iterator[Outcome]:
        """The outcomes, as runs end. A bundle of jobs is one program of one worker; after its death they are single."""
        _refuse_own_script(single(jobs))
        crew = _Crew(self.jobs, jobs, watcher)
        try:
            yield from crew.outcomes()
        finally:
            crew.dismiss()


class _Crew:
    """The workers of one sweep, and the jobs that wait for them."""

    def __init__(self, size: int, jobs: Sequence[Job | Bundle], watcher: SweepWatcher):
        self.size, self.watcher = size, watcher
        self.waiting, self.deaths = deque(jobs), Counter[str]()
        self.news: queue.SimpleQueue[tuple[_Worker, Any]] = queue.SimpleQueue()
        self.workers: list[_Worker] = []

    def outcomes(self) -> Iterator[Outcome]:
        """Hand out jobs and take in what became of them, until none is left."""
        while True:
            self._hand_out()
            if not any(worker.job for worker in self.workers):
                return
            worker, told = self.news.get()
            outcome = self._heard(worker, told)
            if outcome is not None:
                self._hand_out()  # nobody idles while the outcome is looked at
                yield outcome

    def dismiss(self) -> None:
        """Nobody stays behind; whoever is at work is ended at once, and can be gone on with."""
        for worker in self.workers:
            worker.dismiss()
        for worker in self.workers:
            worker.wait(PATIENCE)

    def _hand_out(self) -> None:
        for worker in self.workers:
            if self.waiting and not worker.job:
                worker.take(self.waiting.popleft())
        while self.waiting and len(self.workers) < self.size:
            self.workers.append(_Worker(threads_each(self.size), self.news))
            self.workers[-1].take(self.waiting.popleft())

    def _heard(self, worker: "_Worker", told: Any) -> Outcome | None:
        if isinstance(told, Ready):
            worker.ready = True
        elif isinstance(told, Epoch):
            self.watcher.epoch(told.key, told.epoch, told.epochs)
        elif isinstance(told, Outcome):
            worker.job = without(worker.job, told.key)
            return told
        else:
            return self._died(worker)
        return None

    def _died(self, worker: "_Worker") -> Outcome | None:
        """Another worker takes its job, once; where none can even start, all is over."""
        self.workers.remove(worker)
        status, job = worker.wait(), worker.job
        if not worker.ready and status >= 0:
            raise RunError(
                f"worker processes cannot be started: the first ended with exit status {status}, and what it printed "
                "above says why. Use one job, which needs no workers."
            )
        if job is None:
            return None
        if isinstance(job, Bundle):  # whichever of them it was, it shall take no other along again
            self.waiting.extendleft(reversed(job.jobs))
            return None
        self.deaths[job.key] += 1
        if self.deaths[job.key] >= TRIES:
            return failed(job, RunError(_how_it_ended(status)))
        self.waiting.appendleft(job)
        return None


class _Worker:
    """A worker process, as its parent sees it."""

    def __init__(self, threads: int, news: "queue.SimpleQueue[tuple[_Worker, Any]]"):
        self.job: Job | Bundle | None = None
        self.ready = False
        self.news = news
        self.process = subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        self._say(sys.path)
        self._say((sys.argv, threads))

    def take(self, job: Job | Bundle) -> None:
        """Give it a job."""
        self.job = job
        self._say(job)

    def dismiss(self) -> None:
        """Send it home, or end it where it is at work."""
        if self.job is not None or not self.ready:
            self.process.kill()
        self._say(None)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end, and bring that about after so many seconds; returns the exit status, or minus a signal."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.listener.join()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        return status

    def _say(self, what: Any) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has just died, of which the listener tells
            self.process.stdin.write(pickle.dumps(what))
            self.process.stdin.flush()

    def _listen(self) -> None:
        """Pass on what it tells; a stream that ends, or breaks off in the middle of something, is its end."""
        assert self.process.stdout is not None
        try:
            while True:
                self.news.put((self, pickle.load(self.process.stdout)))
        except Exception:
            self.news.put((self, None))


def threads_each(jobs: int) -> int:
    """The threads of each of so many workers that share this machine's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), cores // jobs))


def _how_it_ended(status: int) -> str:
    if status >= 0:
        told, advice = f"ended by itself with exit status {status}", "Run it alone, with one job, to see why."
    else:
        name = next((each.name for each in signal.Signals if each == -status), "unknown")
        told, advice = f"was ended by signal {-status} ({name})", "Run it alone, with one job, to see why."
        if name == "SIGKILL":
            advice = "The system does so when memory runs out: use fewer jobs at once, or a smaller batch."
        elif name in CRASHES:
            advice = "Compiled code crashed: what the worker printed says where, and one job alone may show more."
    return (
        f"the worker process of this run {told}, and so did one before it. {advice} What was recorded stands; running "
        "the sweep again goes on from the last checkpoint."
    )


def _refuse_own_script(jobs: Sequence[Job]) -> None:
    for job in jobs:
        for name in (job.afterwards, job.recipe.dataset, job.recipe.network):
            if name and name.startswith("__main__:"):
                raise OptionError(
                    f"{name!r} lies in the script that was started, which worker processes do not run. Move the "
                    "function into a module beside the script, or use one job."
                )
