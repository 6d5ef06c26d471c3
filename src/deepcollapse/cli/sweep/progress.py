"""The progress of many runs, for whoever looks at a terminal or at a log."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from deepcollapse.cli.terminal import duration, say
from deepcollapse.sweeps.status import epoch_reached
from deepcollapse.sweeps.sweep import key_of
from deepcollapse.sweeps.watch import SweepWatcher

if TYPE_CHECKING:
    from deepcollapse.sweeps.folder import SweepFolder
    from deepcollapse.sweeps.job import Outcome
    from deepcollapse.sweeps.sweep import Sweep

SECONDS_BETWEEN_LINES = 5.0


class SweepProgress(SweepWatcher):
    """A bar on terminals; elsewhere a line for a run that ended, every few seconds at most; nothing where quiet."""

    def __init__(self, folder: "SweepFolder", *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.quiet, self.clock = folder, quiet, clock
        self.epochs: dict[str, int] = {}  # of each run, to its end
        self.before: dict[str, int] = {}  # those that were trained before, and cost no time now
        self.reached: dict[str, int] = {}
        self.states: dict[str, str] = {}
        self.begun = self.told = clock()
        self.paced, self.skipped, self.untold = False, 0, False
        self.bar: Any = None
        self.closing = ExitStack()

    def __enter__(self) -> "SweepProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()
        self.conclude()

    def start(self, sweep: "Sweep", done: int) -> None:
        """Say how many runs there are, and open the bar."""
        named = sweep.named()
        self.epochs = {key: recipe.epochs for key, recipe in named.items()}
        there = [key_of(recipe) for recipe in self.folder.done(sweep)]
        self.states = dict.fromkeys(there, "done")
        self.reached = {key: self.epochs[key] for key in there}
        begun = {key: epoch_reached(self.folder.run_path(recipe)) or 0 for key, recipe in named.items()}
        self.before = begun | self.reached
        self.begun = self.told = self.clock()
        if self.quiet:
            return
        already = f"; {done} {'is' if done == 1 else 'are'} done already" if done else ""
        say(f"{_runs(len(self.epochs))}{already}.")
        if done < len(self.epochs):
            self._open_bar()

    def epoch(self, key: str, epoch: int, epochs: int) -> None:
        """A run has reached an epoch."""
        self.epochs[key] = epochs
        self.before[key] = min(self.before[key], epoch)  # it goes on from its last checkpoint, not from its last row
        self.reached[key] = epoch
        if not self.paced and self._trained() <= 1:  # reading data and starting workers tells nothing of the pace
            self.begun, self.skipped = self.clock(), self._trained()
        self.paced = True
        self._move()

    def ended(self, outcome: "Outcome") -> None:
        """A run has come to its end."""
        key = outcome.key
        self.untold = self.untold or self.states.get(key) != outcome.state
        self.states[key] = outcome.state
        if outcome.state != "done":  # nothing more is to come of it
            self.epochs[key] = self.reached.get(key, self.before[key])
        self.reached[key] = self.epochs[key]
        self._move()
        if self.clock() - self.told >= SECONDS_BETWEEN_LINES:
            self.conclude()

    def conclude(self) -> None:
        """Say in a line how the sweep stands, where there is no bar and something has come since the last line."""
        if self.bar is None and not self.quiet and self.untold:
            self.told, self.untold = self.clock(), False
            say(self.words())

    def words(self) -> str:
        """How the sweep stands, in a line."""
        count = [*self.states.values()].count
        running = len(self.reached.keys() - self.states.keys())
        others = {"running": running, "failed": count("failed"), "at another process": count("elsewhere")}
        done, total = count("done"), len(self.epochs)
        parts = [f"{done} of {total} runs done" if total > 1 else "1 run done" if done else "0 of 1 done"]
        parts += [f"{number} {word}" for word, number in others.items() if number]
        left = self.seconds_left()
        return ", ".join(parts) + ("" if left is None else f"; about {duration(left)} left")

    def seconds_left(self) -> float | None:
        """At the pace since the beginning; None where nothing was trained yet, or nothing is left."""
        done = self._trained() - self.skipped
        left = sum(self.epochs.values()) - sum(self.reached.values())
        return (self.clock() - self.begun) / done * left if done > 0 and left > 0 else None

    def _trained(self) -> int:
        """Epochs that were trained here."""
        return sum(epoch - self.before[key] for key, epoch in self.reached.items())

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        if console.is_terminal:
            bar = Progress(BarColumn(16), TextColumn("{task.description}"), console=console, transient=True)
            self.bar = self.closing.enter_context(bar)
            self.bar.add_task(self.words(), total=sum(self.epochs.values()))

    def _move(self) -> None:
        if self.bar is not None:
            total = sum(self.epochs.values())
            self.bar.update(
                self.bar.task_ids[0], completed=sum(self.reached.values()), total=total, description=self.words()
            )


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
