"""The progress of a study, for whoever looks at a terminal."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from deepcollapse.cli.terminal import duration, say
from deepcollapse.sweeps.watch import SweepWatcher

if TYPE_CHECKING:
    from deepcollapse.sweeps.job import Outcome
    from deepcollapse.sweeps.sweep import Sweep

SECONDS_BETWEEN_LINES = 15.0


class StudyProgress(SweepWatcher):
    """A bar on terminals; elsewhere a line now and then, and nothing at all where quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.total = self.done = self.failed = 0
        self.epochs: dict[str, float] = {}
        self.begun = self.told = time.monotonic()
        self.bar: Any = None
        self.closing = ExitStack()

    def __enter__(self) -> "StudyProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()

    def start(self, sweep: "Sweep", done: int) -> None:
        """So many runs are there already."""
        self.total = len(sweep.recipes)
        if self.quiet:
            return
        there = f", {done} of them done before" if done else ""
        say(f"{self.total} runs{there}.")
        self._open_bar()

    def epoch(self, key: str, epoch: int, epochs: int) -> None:
        """A run has reached an epoch."""
        self.epochs[key] = epoch / max(1, epochs)
        self._show()

    def ended(self, outcome: "Outcome") -> None:
        """A run has come to its end."""
        self.epochs[outcome.key] = 1.0
        self.done += outcome.state == "done"
        self.failed += outcome.state == "failed"
        self._show()

    def computing(self, name: str, share: float) -> None:
        """So much of a computation is done."""
        self._show(f"{name}: {share:.0%}")

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        if console.is_terminal:
            bar = Progress(BarColumn(16), TextColumn("{task.description}"), console=console, transient=True)
            self.bar = self.closing.enter_context(bar)
            self.bar.add_task("", total=max(1, self.total))

    def _show(self, doing: str | None = None) -> None:
        share = sum(self.epochs.values())
        text = doing or self._runs(share)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=share, description=text)
        elif not self.quiet and time.monotonic() - self.told > SECONDS_BETWEEN_LINES:
            self.told = time.monotonic()
            say(text)

    def _runs(self, share: float) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        passed = time.monotonic() - self.begun
        left = f", about {duration(passed / share * (self.total - share))} left" if 0.02 < share < self.total else ""
        return f"{self.done} of {self.total} runs done{failed}{left}"
