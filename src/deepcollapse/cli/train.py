"""`deepcollapse train`: train a network past zero error, measure every layer as it goes, and write the page."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from deepcollapse.cli.terminal import Interrupted, duration, say_json, show_table
from deepcollapse.training.recipe import Recipe
from deepcollapse.training.watch import Watcher

if TYPE_CHECKING:
    from deepcollapse.records import Run
    from deepcollapse.training.loop import EpochReport

RUNS = Path("runs")


@dataclass(frozen=True)
class Train:
    """Train a network past zero error, measure every layer as it goes, and write the page."""

    recipe: Annotated[Recipe, tyro.conf.arg(help="What is trained, and how.")] = field(default_factory=Recipe)
    out: Path | None = None
    """Run folder; by default a new one in the folder runs."""
    resume: bool = False
    """Go on with the run in --out (by default the latest in the folder runs) from its last checkpoint."""
    recipe_file: Path | None = None
    """Start from the recipe in this TOML file, such as recipe.toml of another run; other flags change it."""
    device: str | None = None
    """cpu, cuda or cuda:1; by default CUDA where there is one."""
    threads: int | None = None
    """Threads for computing; by default as many as serve the size of the work."""
    data_root: Path | None = None
    """Where data sets lie; by default the environment variable DEEPCOLLAPSE_DATA, or a cache folder."""
    download: bool = False
    """Download the data set from its public source if it is not there."""
    json: bool = False
    """Print the result as JSON, and nothing else."""

    def run(self) -> int:
        """Train, then show what changed since TPT onset and where the page is."""
        from deepcollapse.report import write_page
        from deepcollapse.training import train

        out = self.out or (latest_run() if self.resume else None) or new_run(self.recipe)
        with Progress(self.recipe, quiet=self.json) as progress:
            try:
                run = train(
                    self.recipe,
                    out,
                    device=self.device,
                    threads=self.threads,
                    resume=self.resume,
                    data_root=self.data_root,
                    download=self.download,
                    watcher=progress,
                )
            except KeyboardInterrupt:
                raise Interrupted(
                    f"Stopped; {out} keeps what was measured. Go on with: deepcollapse train --resume --out {out}"
                ) from None
        page = write_page(run, run.path / "report.html")
        say_result(run, page, as_json=self.json)
        return 0


class Progress(Watcher):
    """A progress bar with the latest numbers, on terminals only."""

    def __init__(self, recipe: Recipe, *, quiet: bool) -> None:
        self.recipe, self.quiet, self.nc1 = recipe, quiet, ""
        self.shown: Any = None
        self.closing = ExitStack()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()

    def start(self, seconds: float, run: "Run", done: int) -> None:
        """Say what is about to happen and how long it takes, and open the bar."""
        if self.quiet:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        r = self.recipe
        begun = f"going on after epoch {done}" if done else f"{r.epochs} epochs"
        print(
            f"Training {r.network} on {r.dataset}: {begun}, about {duration(seconds)}. Run folder: {run.path}",
            flush=True,
        )
        console = Console(stderr=True)
        if console.is_terminal:
            columns = TextColumn("epoch {task.completed}/{task.total}"), BarColumn(20), TextColumn("{task.description}")
            bar = Progress(*columns, TimeRemainingColumn(compact=True), console=console, transient=True)
            self.shown = self.closing.enter_context(bar)
            self.shown.add_task("", total=r.epochs, completed=done)

    def epoch(self, report: "EpochReport") -> None:
        """Move the bar to the end of an epoch."""
        if self.shown is None:
            return
        if report.measurement is not None:
            self.nc1 = f"  NC1 {report.measurement['within_class_variability']:.3g}"
        onset = f"  TPT since {report.tpt_onset}" if report.tpt_onset else ""
        text = f"accuracy {report.train.accuracy:.2%}{self.nc1}{onset}"
        self.shown.update(self.shown.task_ids[0], completed=report.epoch, description=text)


def latest_run() -> Path | None:
    """The run in the folder runs that was begun last."""
    found = [file.parent for file in RUNS.glob("*/provenance.json")]
    return max(found, key=lambda run: (run / "provenance.json").stat().st_mtime) if found else None


def new_run(recipe: Recipe) -> Path:
    """A folder in the folder runs that is not there yet, named after what is trained."""
    words = (recipe.dataset, recipe.network, f"seed{recipe.seed}")
    name = "-".join("".join(c if c.isalnum() or c in "._" else "-" for c in word).strip("-") for word in words)
    numbered = (RUNS / (name if number == 1 else f"{name}-{number}") for number in range(1, sys.maxsize))
    return next(folder for folder in numbered if not folder.exists())


def say_result(run: "Run", page: Path, *, as_json: bool) -> None:
    """The measures at TPT onset and at the end, in words and in a table, and where the page is."""
    from deepcollapse.report import reading, summary_rows
    from deepcollapse.report.words import number

    records = run.records()
    rows, sentences = summary_rows(records), reading(records)
    headline = next((sentence.text for sentence in sentences if sentence.measure is None), "")
    if as_json:
        say_json(
            {
                "run": str(run.path),
                "page": str(page),
                "headline": headline,
                "measures": [
                    {
                        "measure": row.measure,
                        "layer": row.layer,
                        "split": row.split,
                        "start_epoch": row.start_epoch,
                        "end_epoch": row.end_epoch,
                        "from_onset": row.from_onset,
                        "start": row.start,
                        "end": row.end,
                        "at_collapse": row.collapsed,
                    }
                    for row in rows
                ],
            }
        )
        return
    first = rows[0] if rows else None
    start = "TPT onset" if first is not None and first.from_onset else "first"
    table = []
    for row in rows:
        what = f"{row.symbol}  {row.plain}" + (f" ({row.split})" if row.split == "test" else "")
        cells = (number(row.start), number(row.end), number(row.collapsed))
        table.append((what, *cells))
    begin, end = (f" ({epoch})" if epoch is not None else "" for epoch in _epochs(first))
    show_table(("measure (at the head's input)", f"{start}{begin}", f"end{end}", "at collapse"), table, right=(1, 2, 3))
    print(headline)
    print(f"\nPage: {page}")


def _epochs(row: Any) -> tuple[int | None, int | None]:
    return (None, None) if row is None else (row.start_epoch, row.end_epoch)
