"""What two runs must share to stand in one sweep, and setting aside those that do not."""

import contextlib
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcollapse.errors import RunError
from deepcollapse.records.sweep import DONE, lock_path, read_done, read_json
from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.locks import lock

if TYPE_CHECKING:
    from deepcollapse.sweeps.job import Job

SHOWN = 5  # runs that a message names


@cache
def version() -> str:
    """The version of deepcollapse that is installed."""
    return importlib.metadata.version("deepcollapse")


def identity(job: "Job", shelf: Shelf) -> dict[str, Any]:
    """What a run that is done keeps of where it came from: the version, and digests of the data before any change."""
    return {"version": version(), "data": shelf.digests(job.recipe.dataset)}


def differences(job: "Job", shelf: Shelf) -> str | None:
    """In what a job's run that is there, done or begun, differs from what would be made now.

    None where nothing differs, or nothing is there. Data that only the user's own code can read cannot be compared:
    they are taken to be the same. Raises RunError for files that are damaged, and the errors of data sets.
    """
    run = job.run_path
    if (run / DONE).is_file():
        return _compared(read_done(run), identity(job, shelf), run / DONE)
    if (run / "provenance.json").is_file():
        path = run / "provenance.json"
        kept = read_json(path, f"{path} is damaged", "Move the run away to train it anew.")
        then = {"version": (kept.get("versions") or {}).get("deepcollapse"), "data": kept.get("data_digest")}
        return _compared(then, {"version": version(), "data": shelf.of(job.recipe).digests()}, path)
    return None


def _compared(then: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> str | None:
    if not isinstance(then["data"], dict):
        raise RunError(f"{path} is damaged (it has no digests of data). Move the run away to train it anew.")
    told = []
    if then["version"] != now["version"]:
        told.append(f"deepcollapse {then['version']} then, {now['version']} now")
    for split in sorted({*then["data"], *now["data"]}):
        before, after = (digests.get(split, "absent") for digests in (then["data"], now["data"]))
        if before != after:
            told.append(f"{split} data {_short(before)} then, {_short(after)} now")
    return "; ".join(told) or None


def _short(digest: str) -> str:
    return digest if " " in digest else digest[:12]


def refuse_others(jobs: Sequence["Job"], shelf: Shelf) -> None:
    """Find out before anything is trained. Raises RunError that lists the runs of another version or on other data."""
    if found := others(jobs, shelf):
        lines = [f"  {job.key}: {told}" for job, told in list(found.items())[:SHOWN]]
        more = [f"  and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        path = jobs[0].sweep
        raise RunError(
            "\n".join(
                [
                    f"{len(found)} of {len(jobs)} runs of {path} were made otherwise than they would be now:",
                    *lines,
                    *more,
                    "Nothing was trained. Choose another folder, or move them aside with `deepcollapse sweep run "
                    f"--retrain` (in Python, retrain=True), which keeps them in {path / 'old'} and trains anew.",
                ]
            )
        )


def others(jobs: Sequence["Job"], shelf: Shelf) -> dict["Job", str]:
    """The jobs whose runs are of another version or on other data, and in what they differ."""
    found = {}
    for job in jobs:
        try:
            told = differences(job, shelf)
        except Exception:  # what goes wrong here goes wrong again in the run's turn, and is told of that run alone
            continue
        if told:
            found[job] = told
    return found


def set_aside(jobs: "Iterable[Job]") -> None:
    """Move the runs of jobs into `old/DIGEST-n`, where nothing reads them as part of the sweep: all of them, or none.

    Raises RunError where another process has one of the runs.
    """
    with contextlib.ExitStack() as held:
        for job in (jobs := list(jobs)):
            if not held.enter_context(lock(lock_path(job.sweep, job.key))):
                raise RunError(
                    f"{job.run_path} cannot be set aside: another process is at it. Wait until that has ended."
                )
        for job in jobs:
            _move(job)


def _move(job: "Job") -> None:
    old = job.sweep / "old"
    taken = {path.name for path in old.glob(f"{job.key}-*")}
    place = old / next(name for n in range(1, len(taken) + 2) if (name := f"{job.key}-{n}") not in taken)
    try:
        old.mkdir(exist_ok=True)
        job.run_path.rename(place)
    except OSError as error:
        raise RunError(f"could not move {job.run_path} to {place}: {error.strerror or error}.") from error
