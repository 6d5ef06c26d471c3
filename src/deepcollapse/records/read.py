"""Reading the records of one run or of many as one pandas table."""

import glob
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcollapse.errors import RunError
from deepcollapse.records.record import FIELDS, SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas

Where = str | os.PathLike[str]


def read_records(path: Where | Iterable[Where]) -> "pandas.DataFrame":
    """The records of one run or of many, a number a row; columns as in `records.jsonl`, then `folder`.

    `path` is a run folder, a folder of runs (searched at any depth), a `records.jsonl`, a pattern such as
    "runs/*-mlp", or a list of these. `epoch` and `step` are nullable integers; `value` is float64, with NaN where the
    row holds an array or an undefined number (`note` says why). A last line that a crash tore is left out with a
    warning. Raises RunError where there are no records, a line is damaged, or a newer deepcollapse wrote them.
    """
    import pandas

    rows = [row for file in record_files(path) for row in _rows(file)]
    frame = pandas.DataFrame(rows, columns=[*FIELDS, "folder"])
    return frame.astype({"epoch": "Int64", "step": "Int64", "value": "float64"})


def record_files(path: Where | Iterable[Where]) -> list[Path]:
    """The `records.jsonl` files that `path` names, each once, in order of name."""
    if not isinstance(path, str | os.PathLike):
        return list(dict.fromkeys(file for one in path for file in record_files(one)))
    path = os.fspath(path)
    # Path.glob takes no absolute pattern, hence glob.
    places = [path] if Path(path).exists() else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
    files = [file for place in places for file in _files_at(Path(place))]
    if not files:
        raise RunError(f"no records at {path!r}; name a run folder, a folder of runs, a records.jsonl, or a pattern.")
    return list(dict.fromkeys(files))


def check_schema(folder: Path) -> None:
    """Raise RunError where the run's provenance says that a newer deepcollapse wrote it."""
    file = folder / "provenance.json"
    if not file.exists():
        return
    try:
        provenance = json.loads(file.read_text(encoding="utf-8"))
        version = provenance.get("schema_version", SCHEMA_VERSION)
    except (ValueError, AttributeError) as error:
        raise RunError(
            f"{file} is not a JSON object ({error}); restore it, or name the records.jsonl alone."
        ) from error
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise RunError(
            f"{folder} was written with records of schema version {version}; this deepcollapse reads up to version "
            f"{SCHEMA_VERSION}. Update it with: pip install --upgrade deepcollapse"
        )


def _files_at(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    direct = place / "records.jsonl"
    if direct.is_file():
        return [direct]
    return sorted(file for file in place.rglob("records.jsonl") if not _set_aside(file))


def _set_aside(file: Path) -> bool:
    """Whether it is of a run that its sweep put by: it was made otherwise than the others."""
    return file.parent.parent.name == "old" and (file.parent.parent.parent / "sweep.json").is_file()


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    check_schema(file.parent)
    *whole, last = file.read_bytes().split(b"\n")
    for number, line in enumerate([*whole, last] if last else whole, start=1):
        try:
            row = json.loads(line)
            yield {name: row[name] for name in FIELDS} | {"folder": str(file.parent)}
        except (ValueError, KeyError, TypeError) as error:
            if number > len(whole):
                warnings.warn(
                    f"the last line of {file} is torn (the writer was cut off); it is left out.", stacklevel=3
                )
                return
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise RunError(
                f"line {number} of {file} is not a record: {reason}. Remove the line to read the rest."
            ) from error
