"""One run of a sweep, from wherever it stands to its end; doing it again does nothing."""

import contextlib
import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepcollapse.errors import DeepCollapseError, RunError
from deepcollapse.records import Run, atomic_write, environment
from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.folder import SweepFolder, read_json
from deepcollapse.sweeps.sweep import key_of
from deepcollapse.sweeps.trained import Trained, afterwards
from deepcollapse.training.loop import begin
from deepcollapse.training.place import Place
from deepcollapse.training.recipe import Recipe
from deepcollapse.training.watch import Watcher

DONE, TRAINED = "done.json", "trained.json"


@dataclass(frozen=True)
class Job:
    """A recipe, the sweep's folder, and how it is to be run; plain values, so that any process can take it up."""

    recipe: Recipe
    sweep: Path
    afterwards: str | None = None
    device: str | None = None
    threads: int | None = None
    data_root: str | None = None
    download: bool = False

    @property
    def key(self) -> str:
        """The name of the run."""
        return key_of(self.recipe)

    @property
    def folder(self) -> SweepFolder:
        """The sweep's folder."""
        return SweepFolder(self.sweep)

    @property
    def run_path(self) -> Path:
        """Where the run lies."""
        return self.folder.run_path(self.recipe)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "done" (now or before), "failed" with its error, or "elsewhere": another process has it."""

    key: str
    run: Path
    state: Literal["done", "failed", "elsewhere"]
    seconds: float = 0.0
    error: str | None = None


def do(job: Job, shelf: Shelf | None = None, watcher: Watcher | None = None) -> Outcome:
    """Train and measure what is left of a job. What goes wrong is kept with its traceback, and never raised.

    Raises nothing but KeyboardInterrupt.
    """
    start = time.perf_counter()
    try:
        with locked(job) as free:
            if not free:
                return Outcome(job.key, job.run_path, "elsewhere")
            finish(job, shelf or Shelf(job.data_root, job.download), watcher)
    except Exception as error:
        return failed(job, error, time.perf_counter() - start)
    return Outcome(job.key, job.run_path, "done", time.perf_counter() - start)


def finish(job: Job, shelf: Shelf, watcher: Watcher | None = None) -> None:
    """Train what is left of a job, measure what comes afterwards, and say that it is done; raises what goes wrong."""
    if is_done(job, shelf):
        return
    if not (job.run_path / TRAINED).is_file():
        resume = (job.run_path / "provenance.json").is_file()
        splits = shelf.of(job.recipe)
        begin(
            job.recipe,
            splits,
            job.run_path,
            device=job.device,
            threads=job.threads,
            resume=resume,
            watcher=watcher,
        ).finish()
    conclude(job, shelf)


def conclude(job: Job, shelf: Shelf) -> None:
    """What comes after training: further measures, in one piece, and the word that the run is done."""
    run = Run.open(job.run_path)
    _rewind_to_trained(run)
    if job.afterwards:
        place = Place.choose(job.recipe, job.device).with_threads(run.provenance["threads"])
        with place:
            run.append(afterwards(job.afterwards)(Trained(job.recipe, run, shelf.of(job.recipe), place)))
    done = _identity(job, shelf) | {"afterwards": job.afterwards}
    atomic_write(run.path / DONE, json.dumps(done, indent=1).encode())
    job.folder.failure_path(job.recipe).unlink(missing_ok=True)


def _rewind_to_trained(run: Run) -> None:
    """Forget rows that an earlier try to measure left after those of training: they are about to be measured again."""
    marker = run.path / TRAINED
    if marker.is_file():
        run.rewind(int(read_json(marker, f"{marker} is damaged")["position"]))
    else:
        atomic_write(marker, json.dumps({"position": run.position()}).encode())


def is_done(job: Job, shelf: Shelf) -> bool:
    """Whether there is nothing left to do; a run whose later measures were others has those still to come.

    Raises RunError for a run of another version or of other data, which must not be mixed in.
    """
    marker = job.run_path / DONE
    if not marker.is_file():
        return False
    then, now = read_json(marker, f"{marker} is damaged"), _identity(job, shelf)
    if differs := sorted(name for name in now if then.get(name) != now[name]):
        told = "; ".join(f"{name} was {then.get(name)} and is {now[name]}" for name in differs)
        raise RunError(
            f"{job.run_path} was made otherwise: {told}. Take it away to train it anew, or choose another folder."
        )
    return then["afterwards"] == job.afterwards


def _identity(job: Job, shelf: Shelf) -> dict[str, Any]:
    """What two runs must share to stand in one sweep."""
    return {"version": environment()["versions"]["deepcollapse"], "data": shelf.digests(job.recipe.dataset)}


@contextlib.contextmanager
def locked(job: Job) -> Iterator[bool]:
    """Hold the run for oneself, and say whether that went: another process, on this machine or sharing its disk, may
    have it. The system lets go of the lock when its holder dies, however that comes about."""
    path = job.sweep / "locks" / job.key
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield True
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def failed(job: Job, error: BaseException, seconds: float = 0.0) -> Outcome:
    """Keep a failure with its traceback beside the runs."""
    told = f"{type(error).__name__}: {error}"
    whole = "".join(traceback.format_exception(error))
    with contextlib.suppress(DeepCollapseError):  # on a full disk the failure is told all the same
        atomic_write(job.folder.failure_path(job.recipe), whole.encode())
    return Outcome(job.key, job.run_path, "failed", seconds, told)
