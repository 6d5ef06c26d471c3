"""A worker process: it takes one job at a time from its parent, and tells of epochs and outcomes as they come.

Nothing of the script that was started is run again here, so such a script needs no `if __name__ == "__main__"`. When
the parent ends, however that comes about, so does the worker, at once.
"""

import faulthandler
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from deepcollapse.sweeps.watch import SweepWatcher

# What a worker runs first: standard input and output become the user's again, whose code may read and print.
START = """
import os, pickle, sys
orders, news = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)
sys.path[:] = pickle.load(orders)
from deepcollapse.sweeps.engines.worker import work
work(orders, news)
"""
ORPHANED = 3  # the exit status of a worker whose parent is gone; nobody is left to read it


@dataclass(frozen=True)
class Ready:
    """That a worker has started and waits for a job."""


@dataclass(frozen=True)
class Epoch:
    """That a run has reached an epoch."""

    key: str
    epoch: int
    epochs: int


class Teller(SweepWatcher):
    """Tells the parent of the epochs of runs."""

    def __init__(self, tell: Callable[[Any], None]):
        self.tell = tell

    def epoch(self, key: str, epoch: int, epochs: int) -> None:
        """Pass it on."""
        self.tell(Epoch(key, epoch, epochs))


def work(orders: IO[bytes], news: IO[bytes]) -> None:
    """Take jobs until there are none left: first the command line and the number of threads come, then jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the parent sees to it
    faulthandler.enable()
    sys.argv, threads = pickle.load(orders)
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders, jobs), daemon=True).start()

    import torch

    from deepcollapse.sweeps.engines.bundle import Bundle
    from deepcollapse.sweeps.engines.in_process import Shelves, Told
    from deepcollapse.sweeps.job import do

    def tell(what: Any) -> None:
        try:
            pickle.dump(what, news)
            news.flush()
        except OSError:
            os._exit(ORPHANED)

    torch.set_num_threads(threads)
    shelves, watcher = Shelves(), Teller(tell)
    tell(Ready())
    while (job := jobs.get()) is not None:
        if isinstance(job, Bundle):
            for outcome in job.run(shelves.of(job.jobs[0]), watcher):
                tell(outcome)
        else:
            tell(do(job, shelves.of(job), Told(job.key, watcher)))


def _listen(orders: IO[bytes], jobs: "queue.SimpleQueue[Any]") -> None:
    """Hand on jobs to the main thread. The end of the stream without a last None is the end of the parent."""
    try:
        while True:
            jobs.put(job := pickle.load(orders))
            if job is None:
                return
    except Exception:
        os._exit(ORPHANED)
