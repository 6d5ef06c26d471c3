"""`deepcollapse sweep status`: which runs are done, running, failed, stopped or waiting, and how long it takes yet."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from deepcollapse.cli.failures import show_failures
from deepcollapse.cli.sweep.shown import in_words
from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import duration, say, say_json
from deepcollapse.records.study import Failure
from deepcollapse.sweeps.status import RunStatus, SweepStatus, status

SHOWN = ("running", "stopped", "failed")
MOST_ROWS = 40


@dataclass(frozen=True)
class SweepStatusOf:
    """Say how the runs of a sweep stand; it may be running on this machine, on others, or not at all."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder of the sweep."""
    json: bool = False
    """Print how every run stands as JSON."""

    def run(self) -> int:
        """Print it."""
        found = status(self.folder)
        if self.json:
            say_json(_facts(found))
        else:
            show(found)
        return 0


def show(found: SweepStatus) -> None:
    """How many runs stand how; then those that are under way or failed, one a row."""
    counted = [f"{number} {state}" for state, number in found.counts.items() if number]
    say(f"{found.folder}: {', '.join(counted)}.{_left(found)}")
    runs = sorted(found.standing(*SHOWN), key=lambda run: (SHOWN.index(run.state), run.index))
    if runs:
        print()
        rows = [(str(run.index), run.state, _epoch(run), in_words(run.settings)) for run in runs[:MOST_ROWS]]
        show_table(("index", "state", "epoch", "settings"), rows, right=(0, 2))
    if len(runs) > MOST_ROWS:
        say(f"and {len(runs) - MOST_ROWS} more; all of them: deepcollapse sweep status {found.folder} --json")
    failed = [Failure(run.key, f"run {run.index}", run.error or "") for run in found.standing("failed")]
    show_failures(failed, found.folder)


def _left(found: SweepStatus) -> str:
    if found.seconds_left is None or found.seconds_left == 0:
        return ""
    running = found.counts["running"]
    how = "" if running else " for one process"
    return f" About {duration(found.seconds_left)} left{how}."


def _epoch(run: RunStatus) -> str:
    return f"{'–' if run.epoch is None else run.epoch}/{run.epochs}"


def _facts(found: SweepStatus) -> dict[str, Any]:
    runs = [
        asdict(run) | {"path": str(run.path), "traceback": run.traceback and str(run.traceback)} for run in found.runs
    ]
    return {"folder": str(found.folder), **found.counts, "seconds_left": found.seconds_left, "runs": runs}
