"""One run of a sweep, from wherever it stands to its end; doing it again does nothing."""

import contextlib
import errno
import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepcollapse.errors import DeepCollapseError, RunError
from deepcollapse.records import Run, atomic_write
from deepcollapse.records.sweep import DONE, check_records, lock_path, read_done, read_json
from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.identity import differences, identity
from deepcollapse.sweeps.locks import lock
from deepcollapse.sweeps.sweep import key_of
from deepcollapse.sweeps.trained import Trained, afterwards
from deepcollapse.training.loop import Training, begin, seed_everything
from deepcollapse.training.place import Place
from deepcollapse.training.recipe import Recipe
from deepcollapse.training.watch import Watcher

TRAINED = "trained.json"
ELSEWHERE = "another process is at it; ask again when that has ended."
# What every further run would fail of too.
NO_SPACE = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}


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
    """What became of a job: "done" (now or before), "failed" with its error, or "elsewhere": another process has it.

    `stops` says that every further run would fail for the same reason: the disk is full, or may only be read.
    """

    key: str
    run: Path
    state: Literal["done", "failed", "elsewhere"]
    seconds: float = 0.0
    error: str | None = None
    stops: bool = False


def do(
    job: Job, shelf: Shelf | None = None, watcher: Watcher | None = None, extra: Mapping[str, Any] | None = None
) -> Outcome:
    """Train and measure what is left of a job. What goes wrong is kept with its traceback, and never raised.

    `extra` joins the run's provenance.

    Raises nothing but KeyboardInterrupt.
    """
    start = time.perf_counter()
    try:
        with locked(job) as free:
            if not free:
                return Outcome(job.key, job.run_path, "elsewhere", error=ELSEWHERE)
            finish(job, shelf or Shelf(job.data_root, job.download), watcher, extra)
    except (Exception, SystemExit) as error:  # code of the user's own may call sys.exit
        return failed(job, error, time.perf_counter() - start)
    return Outcome(job.key, job.run_path, "done", time.perf_counter() - start)


def finish(job: Job, shelf: Shelf, watcher: Watcher | None = None, extra: Mapping[str, Any] | None = None) -> None:
    """Train what is left of a job, measure what comes afterwards, and say that it is done; raises what goes wrong."""
    if is_done(job, shelf):
        return
    if not (job.run_path / TRAINED).is_file():
        training_of(job, shelf, watcher, extra).finish()
    conclude(job, shelf)


def training_of(
    job: Job, shelf: Shelf, watcher: Watcher | None = None, extra: Mapping[str, Any] | None = None
) -> Training:
    """The run of a job, ready to train or to go on; `extra` joins its provenance.

    A run that goes on keeps its number of threads, which decides how sums are rounded.
    """
    begun = _begun(job.run_path)
    return begin(
        job.recipe,
        shelf.of(job.recipe),
        job.run_path,
        device=job.device,
        threads=None if begun else job.threads,
        resume=begun,
        watcher=watcher,
        extra=extra,
    )


def _begun(run: Path) -> bool:
    """Whether there is a run to go on with. What a process left that was killed while it began is taken away."""
    _tidy(run)
    if (run / "provenance.json").is_file():
        return True
    if run.is_dir() and {file.name for file in run.iterdir()} <= {"recipe.toml", "records.jsonl"}:
        for file in run.iterdir():  # provenance is written last: there can be no row yet
            file.unlink()
    return False


def _tidy(run: Path) -> None:
    """Take away what was left half-written when a process was killed; nobody writes in a run but who holds it."""
    for part in run.rglob(".*.part"):
        part.unlink(missing_ok=True)


def conclude(job: Job, shelf: Shelf) -> None:
    """What comes after training: further measures, in one piece, and the word that the run is done.

    Draws from the global generators are the same whether it follows training at once or comes later.
    """
    run = Run.open(job.run_path)
    _tidy(run.path)
    (run.path / DONE).unlink(missing_ok=True)  # first: rows of other measures are about to go
    _rewind_to_trained(run)
    if job.afterwards:
        seed_everything(job.recipe, job.recipe.epochs + 1)
        place = Place.choose(job.recipe, job.device).with_threads(run.provenance["threads"])
        with place:
            run.append(afterwards(job.afterwards)(Trained(job.recipe, run, shelf.of(job.recipe), place)))
    done = identity(job, shelf) | {"afterwards": job.afterwards}
    job.folder.failure_path(job.recipe).unlink(missing_ok=True)
    atomic_write(run.path / DONE, json.dumps(done, indent=1).encode())


def _rewind_to_trained(run: Run) -> None:
    """Forget rows that an earlier try to measure left after those of training: they are about to be measured again."""
    marker = run.path / TRAINED
    if not marker.is_file():
        atomic_write(marker, json.dumps({"position": run.position()}).encode())
        return
    advice = "Remove that file alone: the run then goes on from its last checkpoint."
    position = read_json(marker, f"{marker} is damaged", advice).get("position")
    if not isinstance(position, int):
        raise RunError(f"{marker} is damaged (it has no position). {advice}")
    run.rewind(position)


def is_done(job: Job, shelf: Shelf) -> bool:
    """Whether there is nothing left to do. Where other measures were to follow training, these are still to come; where
    none are asked for, those that are there stay.

    Raises RunError for a run, done or begun, of another version or on other data, which must not be mixed in, and for
    one that is done and whose files are damaged.
    """
    if told := differences(job, shelf):
        raise RunError(
            f"{job.run_path} was made otherwise than it would be now: {told}. Move it away to train it anew, or "
            "choose another folder with --out."
        )
    if not (job.run_path / DONE).is_file():
        return False
    check_records(job.run_path)
    return job.afterwards in (None, read_done(job.run_path)["afterwards"])


def locked(job: Job) -> contextlib.AbstractContextManager[bool]:
    """Hold the run for oneself, and say whether that went: another process may have it. Errors are those of `lock`."""
    return lock(lock_path(job.sweep, job.key))


def failed(job: Job, error: BaseException, seconds: float = 0.0) -> Outcome:
    """Keep a failure with its traceback beside the runs; a failure that is kept already gives way."""
    told = f"{type(error).__name__}: {error}"
    whole = "".join(traceback.format_exception(error))
    with contextlib.suppress(DeepCollapseError):  # on a full disk the failure is told all the same
        atomic_write(job.folder.failure_path(job.recipe), whole.encode())
    return Outcome(job.key, job.run_path, "failed", seconds, told, stops=_no_space(error))


def _no_space(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return True
        error = error.__cause__ or error.__context__
    return False
