"""A sweep's folder as plain values: its plan, how its runs stand, and the rows of a run that is done."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from deepcollapse.errors import RunError
from deepcollapse.records.record import FIELDS

PLAN, DONE, LOCKS, PLAN_VERSION = "sweep.json", "done.json", "locks", 1
TAIL = 65536  # bytes at either end of the records, in which a whole row lies
ANEW = "Take that file away and run the sweep again, which writes it anew; runs stay as they are."
_NAME = re.compile("[0-9a-f]{12}")
# A run is running while a process holds it, and stopped where it was begun and none does.
State = Literal["done", "running", "failed", "stopped", "waiting"]
STATES: tuple[State, ...] = get_args(State)


def read_plan(folder: Path) -> Mapping[str, Any]:
    """What stands in a sweep's plan; that recipes are of the right kind is not looked at.

    `keys` are the names of the recipes' runs; plans of old lack them.

    Raises RunError where there is no sweep, its plan is damaged, or a newer deepcollapse wrote it.
    """
    path = folder / PLAN
    if not folder.exists():
        raise RunError(f"there is no folder {folder}. Name the folder given to --out.")
    if not folder.is_dir():
        raise RunError(f"{folder} is a file, not a folder. Name the folder given to --out.")
    if not path.exists():
        raise RunError(f"{folder} is not a sweep: it has no {PLAN}. Name the folder given to --out.")
    plan = read_json(path, f"{path} is damaged", ANEW)
    if (version := plan.get("schema_version")) != PLAN_VERSION:
        raise RunError(
            f"{path} has version {version}, and this deepcollapse reads version {PLAN_VERSION}. "
            "Use the deepcollapse that wrote it."
        )
    if not (isinstance(plan.get("recipes"), list) and "afterwards" in plan):
        raise damaged_plan(path, "it lacks recipes or afterwards")
    if not plan["recipes"]:
        raise damaged_plan(path, "it holds no recipes")
    if not all(isinstance(recipe, dict) for recipe in plan["recipes"]):
        raise damaged_plan(path, "a recipe in it is no JSON object")
    keys = plan.get("keys")
    if keys is not None and not (
        isinstance(keys, list)
        and len(keys) == len(plan["recipes"])
        and all(isinstance(key, str) and _NAME.fullmatch(key) for key in keys)
    ):
        raise damaged_plan(path, "its keys are not one name of a run for each recipe")
    return plan


def damaged_plan(path: Path, reason: object) -> RunError:
    """What is said of a plan that cannot be read."""
    return RunError(f"{path} is damaged ({str(reason).rstrip('.')}). {ANEW}")


def read_json(path: Path, otherwise: str, advice: str) -> Mapping[str, Any]:
    """The object in a JSON file; RunError, which begins and ends as given, where there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{otherwise} ({reason}). {advice}") from error
    return values


def read_done(run: Path) -> Mapping[str, Any]:
    """What stands in the done.json of a run. Raises RunError where it is damaged."""
    path = run / DONE
    # Without it the run is one that was stopped after training.
    advice = "Remove that file alone: what comes after training is then measured again."
    done = read_json(path, f"{path} is damaged", advice)
    if not (isinstance(done.get("version"), str) and isinstance(done.get("data"), dict) and "afterwards" in done):
        raise RunError(f"{path} is damaged (it lacks version, data or afterwards). {advice}")
    return done


def state_of(folder: Path, key: str) -> State:
    """How a run stands; one whose files say that it is done, and are damaged, is as one that failed.

    One that failed and was taken up again is running. Where there are no locks (on Windows, and on some network
    disks), one that is running cannot be told from one that was stopped.
    """
    run = run_path(folder, key)
    ended = (run / DONE).is_file()
    broken = ended and damage(run)
    if ended and not broken:
        return "done"
    if held(lock_path(folder, key)):
        return "running"
    if broken or failure_path(folder, key).is_file():
        return "failed"
    return "stopped" if (run / "provenance.json").is_file() else "waiting"


def held(lock: Path) -> bool:
    """Whether a process holds a lock; the system lets go of it when the process dies."""
    try:
        import fcntl

        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # not on Windows, not on disks without locks, and not where nothing was begun
        return False
    return False


def run_path(folder: Path, key: str) -> Path:
    """Where a run lies."""
    return folder / "runs" / key


def lock_path(folder: Path, key: str) -> Path:
    """What a process holds while it is at a run."""
    return folder / LOCKS / key


def failure_path(folder: Path, key: str) -> Path:
    """Where the traceback of a run that failed lies."""
    return folder / "failures" / f"{key}.txt"


def failure_of(folder: Path, key: str) -> str:
    """What went wrong in a run that failed: what is damaged of it, or its traceback."""
    try:
        return damage(run_path(folder, key)) or failure_path(folder, key).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"its traceback cannot be read: {error.strerror or error}"


def error_line(failure: str) -> str:
    """The error that a failure or its traceback is about, in one line.

    >>> error_line("Traceback (most recent call last):\\n  File 'x'\\nRuntimeError: no memory\\nSee the manual.\\n")
    'RuntimeError: no memory'
    """
    lines = failure.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (")]
    after = lines[starts[-1] + 1 :] if starts else lines
    found = next((line for line in after if line.strip() and not line.startswith(" ")), "no reason given")
    return re.sub(r"^[\w.]+\.(\w+)(?=:|$)", r"\1", found)  # an error is known by its name, without its module's


def damage(run: Path) -> str | None:
    """What is wrong with a run that says it is done; None where nothing is, or it does not say so."""
    if not (run / DONE).is_file():
        return None
    try:
        read_done(run)
        check_records(run)
    except RunError as error:
        return f"RunError: {error}"
    return None


def check_records(run: Path) -> None:
    """Raise RunError where the records of a run that is done are missing, or not whole at their beginning and end.

    Looking at all of them takes longer than one likes to wait for the state of many runs; `read_lines` does.
    """
    path = run / "records.jsonl"
    try:
        with path.open("rb") as file:
            first = file.readline(TAIL)
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            last = file.read()
    except OSError as error:
        raise _unread(path, error) from error
    _refuse_torn(last, path)
    for line in (first, last.splitlines()[-1]):
        read_row(line, path)


def read_lines(path: Path) -> bytes:
    """The records of a run that is done. Raises RunError where they are missing, or a line in them is torn."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unread(path, error) from error
    _refuse_torn(data, path)
    if data.count(b'}\n{"') + 1 != data.count(b"\n"):  # two passes over bytes; reading all rows as JSON takes seconds
        for number, line in enumerate(data.splitlines(), start=1):
            if not (line.startswith(b'{"') and line.endswith(b"}")):
                raise _damaged(path, f"line {number} is no record")
    return data


def read_row(line: bytes, path: Path) -> dict[str, Any]:
    """The record in a line of that file. Raises RunError where it is none."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise _damaged(path, f"a line is no record: {error}") from error
    if not (isinstance(row, dict) and row.keys() >= set(FIELDS)):
        raise _damaged(path, "a line is no record: it lacks what records have")
    return row


def _refuse_torn(data: bytes, path: Path) -> None:
    if not data:
        raise _damaged(path, "it is empty")
    if not data.endswith(b"\n"):
        raise _damaged(path, "its last line is torn")


def _unread(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be read ({error.strerror or error}). {_advice(path)}")


def _damaged(path: Path, reason: str) -> RunError:
    return RunError(f"{path} is damaged ({reason}). {_advice(path)}")


def _advice(path: Path) -> str:
    return f"Put it back, or move {path.parent} away and run the sweep again, which trains it anew."
