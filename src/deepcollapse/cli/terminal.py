"""What the terminal shows: tables, paragraphs, JSON, and errors in words."""

import io
import json
import math
import re
import shutil
import sys
import textwrap
from typing import Any

YEAR = 365.25 * 86400  # seconds


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a word on what is kept and how to go on."""


def complain(error: BaseException, as_json: bool, code: int = 1) -> int:
    """Say what went wrong on standard error, or as JSON on standard output; returns the exit code."""
    if as_json:
        say_json({"error": type(error).__name__, "message": str(error)})
    else:
        print(f"deepcollapse: {error}", file=sys.stderr)
    return code


def say_json(value: Any) -> None:
    """Print strict JSON with every digit; what is no number becomes null."""
    print(json.dumps(_strict(value), indent=2, allow_nan=False))


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _strict(part) for key, part in value.items()}
    return [_strict(part) for part in value] if isinstance(value, list | tuple) else value


def say(text: str) -> None:
    """Print a paragraph, wrapped to the terminal; paths and commands in it stay whole."""
    print(textwrap.fill(text, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False))


def unboxed(text: str) -> str:
    """What a usage error says below its title and inside the frame that tyro puts around it, in one line.

    A recipe that refuses its settings is met inside of tyro, whose own name for it means nothing to anybody.

    >>> unboxed("╭─ Oh ────╮\\n│ No such │\\n│ ─────── │\\n│ --flag. │\\n╰─────────╯")
    'No such --flag.'
    """
    _, *lines = text.strip().splitlines() or [""]
    inside = " ".join(line.strip(" │╰╯─") for line in lines if re.search(r"\w", line))
    return re.sub(r"^Error parsing __tyro\S+: (.*) For full helptext.*$", r"\1", re.sub(r"\s+", " ", inside))


class Shown(io.StringIO):
    """Keeps what is printed to show it later: in colour and with frames where standard output takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.real = sys.stdout

    def isatty(self) -> bool:
        """Whether what is kept will be shown on a terminal."""
        return self.real.isatty()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How it will be written."""
        return self.real.encoding


def fitted(help_text: str, width: int | None = None) -> str:
    """A help text with the lines wrapped that tyro leaves as long as they are: those outside of its frames.

    >>> print(fitted("usage: it [-h] {this,that}\\n\\nFour words are here.\\n│ a frame is kept │", 20))
    usage: it [-h]
      {this,that}
    <BLANKLINE>
    Four words are
    here.
    │ a frame is kept │
    """
    width = width or shutil.get_terminal_size().columns

    def line_fitted(line: str) -> str:
        if len(re.sub(r"\x1b\[[\d;]*m", "", line)) <= width or line.lstrip()[:1] in "│╭╰":
            return line
        if "{" in line and "usage:" in line:
            return line.replace(" {", "\n  {", 1)
        return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)

    return "\n".join(map(line_fitted, help_text.split("\n")))


def duration(seconds: float) -> str:
    """A length of time in words.

    >>> duration(0.2), duration(27.0), duration(200.0), duration(9000.0), duration(9e5), duration(9e8)
    ('1 s', '27 s', '3 min', '2.5 h', '10 days', '29 years')
    """
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    units = ((60, 5400, "{:.0f} min"), (3600, 2 * 86400, "{:.1f} h"), (86400, 2 * YEAR, "{:.0f} days"))
    for size, limit, words in units:
        if seconds < limit:
            return words.format(seconds / size)
    return f"{seconds / YEAR:.0f} years"
