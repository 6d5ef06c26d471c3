"""The command line: a thin skin over the library, one file a command. Help answers without importing torch."""

import contextlib
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `deepcollapse ARGUMENTS` and return the exit code.

    0: done. 1: an error, explained on standard error. 2: wrong usage. 130: stopped by Ctrl-C.
    """
    from deepcollapse.cli.commands import run

    with contextlib.suppress(AttributeError):  # a log shows each line as it comes, not all of them at the end
        sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]

    return run([*(sys.argv[1:] if arguments is None else arguments)])
