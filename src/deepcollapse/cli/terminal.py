"""What the terminal shows: tables, progress, JSON, and errors in words."""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from deepcollapse.errors import DeepCollapseError


class Interrupted(Exception):
    """Ctrl-C, with a word on what is kept and how to go on."""


def complain(error: DeepCollapseError, as_json: bool) -> int:
    """Say what went wrong on standard error, or as JSON; returns the exit code."""
    if as_json:
        say_json({"error": type(error).__name__, "message": str(error)})
    else:
        print(f"deepcollapse: {error}", file=sys.stderr)
    return 1


def say_json(value: Any) -> None:
    """Print strict JSON with every digit; what is no number becomes null."""
    print(json.dumps(_strict(value), indent=2, allow_nan=False))


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _strict(part) for key, part in value.items()}
    return [_strict(part) for part in value] if isinstance(value, list | tuple) else value


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = (), title: str = ""
) -> None:
    """Print a table that fits the terminal; the columns numbered in `right` are numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number in right else "left", no_wrap=number in right)
    for row in rows:
        table.add_row(*(_escaped(cell) for cell in row))
    Console(highlight=False).print(table)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def duration(seconds: float) -> str:
    """A length of time in words.

    >>> duration(27), duration(200), duration(9000)
    ('27 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
