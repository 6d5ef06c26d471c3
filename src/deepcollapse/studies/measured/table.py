"""A table that is computed row by row and kept as it grows: what is there is not computed again."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from deepcollapse.records import digest_of

Row = dict[str, Any]


def computed(
    path: Path,
    settings: Sequence[Mapping[str, Any]],
    compute: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    progress: Callable[[float], None] = lambda share: None,
) -> pandas.DataFrame:
    """A row for each setting: its own entries, and those that `compute` gives for it.

    Rows are kept in `path`, a JSON object a line, as soon as they are there, under the digest of their setting; a torn
    last line is computed again. Numbers that are none come back as NaN.
    """
    known = _read(path)
    for position, setting in enumerate(settings):
        key = digest_of(setting)
        if key not in known:
            known[key] = {**setting, **compute(setting)}
            _append(path, {"key": key, **known[key]})
        progress((position + 1) / len(settings))
    return pandas.DataFrame([known[digest_of(setting)] for setting in settings])


def _read(path: Path) -> dict[str, Row]:
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    rows = [json.loads(line) for line in whole.splitlines()]
    return {row.pop("key"): row for row in rows}


def _append(path: Path, row: Row) -> None:
    strict = {name: None if value != value else value for name, value in row.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(strict) + "\n")
        file.flush()
        os.fsync(file.fileno())
