"""The progress of training, for whoever looks at a terminal."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from deepcollapse.cli.terminal import duration, say
from deepcollapse.training.recipe import Recipe
from deepcollapse.training.watch import EpochReport, Watcher

if TYPE_CHECKING:
    from deepcollapse.compression.search import Candidate
    from deepcollapse.records import Run


class Progress(Watcher):
    """What is about to happen and how long it takes; then, on terminals only, a bar with the latest numbers."""

    def __init__(self, recipe: Recipe, *, quiet: bool) -> None:
        self.recipe, self.quiet, self.nc1 = recipe, quiet, ""
        self.bar: Any = None
        self.closing = ExitStack()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()

    def start(self, seconds: float, run: "Run", done: int) -> None:
        """Say what begins, and open the bar."""
        if self.quiet:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        r = self.recipe
        begun = f"going on after epoch {done} of {r.epochs}" if done else f"{r.epochs} epochs"
        say(f"Training {r.network} on {r.dataset}: {begun}, about {duration(seconds)}. Run folder: {run.path}")
        if untested := run.provenance.get("test_note"):
            say(f"There is no test split: {untested}")
        console = Console(stderr=True)
        if console.is_terminal:
            columns = TextColumn("epoch {task.completed}/{task.total}"), BarColumn(16), TextColumn("{task.description}")
            bar = Progress(*columns, TimeRemainingColumn(compact=True), console=console, transient=True)
            self.bar = self.closing.enter_context(bar)
            self.bar.add_task("", total=r.epochs, completed=done)

    def epoch(self, report: EpochReport) -> None:
        """Move the bar to the end of an epoch."""
        if self.bar is None:
            return
        if report.measurement is not None:
            self.nc1 = f"  NC1 {report.measurement['within_class_variability']:.3g}"
        onset = f"  TPT since {report.tpt_onset}" if report.tpt_onset else ""
        text = f"accuracy {report.train.accuracy:.2%}{self.nc1}{onset}"
        self.bar.update(self.bar.task_ids[0], completed=report.epoch, description=text)


@contextmanager
def tried(*, quiet: bool) -> "Iterator[Callable[[Candidate], None]]":
    """A line on terminals: how many networks a search for a smaller one has tried, and which one last."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda one: None
        return
    with console.status("Looking at the original ...") as status:
        numbers = count()

        def show(one: "Candidate") -> None:
            # The first one that is looked at is the original.
            number = next(numbers)
            tried = f"Tried {number}; last " if number else ""
            status.update(f"{tried}{one.setting}: {one.stored_bytes:,} bytes, {one.accuracy:.2%} right")

        yield show
