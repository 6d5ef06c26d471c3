"""What the terminal shows of runs that failed, of a sweep or a study."""

from collections.abc import Sequence
from pathlib import Path

from deepcollapse.cli.terminal import say
from deepcollapse.records.study import Failure
from deepcollapse.records.sweep import failure_path

MOST_ERRORS = 5


def show_failures(failures: Sequence[Failure], sweep: Path) -> None:
    """Each error once, with a run that met it, how many others did, and where its traceback is; the first few."""
    by_error: dict[str, list[Failure]] = {}
    for failure in failures:
        # An error that names the run's own folder is still the same error.
        by_error.setdefault(failure.line.replace(failure.run, ""), []).append(failure)
    for met in list(by_error.values())[:MOST_ERRORS]:
        first, others = met[0], len(met) - 1
        also = f" and {others} other{'s' if others > 1 else ''}" if others else ""
        print()
        say(f"Failed: {first.settings or f'run {first.run}'}{also}: {first.line}")
        if (traceback := failure_path(sweep, first.run)).is_file():
            say(f"  Traceback: {traceback}")
    if len(by_error) > MOST_ERRORS:
        print()
        say(f"{len(failures)} runs failed; the tracebacks of the others lie in {sweep / 'failures'}.")
