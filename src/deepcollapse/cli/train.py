"""`deepcollapse train`: train a network past zero error, measure every layer as it goes, and write the page."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from deepcollapse.cli.progress import Progress
from deepcollapse.cli.runs import latest_run, new_run
from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import Interrupted, say, say_json
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    from deepcollapse.records import Run
    from deepcollapse.report import SummaryRow


@dataclass(frozen=True)
class Train:
    """Train a network past zero error, measure every layer, and write a page."""

    recipe: Annotated[Recipe, tyro.conf.arg(help="What is trained, and how.")] = field(default_factory=Recipe)
    out: Path | None = None
    """Run folder; a new one in the folder runs where not given."""
    resume: bool = False
    """Go on with the run in --out (the latest in the folder runs where not given) from its last checkpoint."""
    recipe_file: Path | None = None
    """Start from the recipe in this TOML file, such as recipe.toml of another run; other flags change it."""
    device: str | None = None
    """cpu, cuda or cuda:1; CUDA where there is one, if not given."""
    threads: int | None = None
    """Threads for computing; as many as serve the size of the work, if not given."""
    data_root: Path | None = None
    """Where data sets lie; the environment variable DEEPCOLLAPSE_DATA or a cache folder, if not given."""
    download: bool = False
    """Download the data set from its public source if it is not there."""
    json: bool = False
    """Print the result as JSON, and nothing else."""

    def run(self) -> int:
        """Train, then show what changed since TPT onset and where the page is."""
        from deepcollapse.report import write_page

        run = self._train(self.out or (latest_run() if self.resume else None) or new_run(self.recipe))
        page = write_page(run, run.path / "report.html")
        say_result(run, page, as_json=self.json)
        return 0

    def _train(self, out: Path) -> "Run":
        try:
            with Progress(self.recipe, quiet=self.json) as progress:
                from deepcollapse.training import train

                return train(
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
            if not (out / "provenance.json").is_file():
                raise Interrupted("Stopped before training began.") from None
            given = {"--device": self.device, "--data-root": self.data_root, "--out": out}
            flags = [part for flag, value in given.items() if value for part in (flag, str(value))]
            again = shlex.join(["deepcollapse", "train", "--resume", *flags])
            raise Interrupted(f"Stopped; {out} keeps what was measured. Go on with: {again}") from None


def say_result(run: "Run", page: Path, *, as_json: bool) -> None:
    """The measures at TPT onset and at the end, in words and in a table, and where the page is."""
    from deepcollapse.report import reading, summary_rows

    records = run.records()
    rows, sentences = summary_rows(records), reading(records)
    headline = next((sentence.text for sentence in sentences if sentence.measure is None), "")
    if as_json:
        say_json({"run": str(run.path), "page": str(page), "headline": headline, "measures": [*map(_facts, rows)]})
        return
    print()
    _show(rows)
    print()
    say(headline)
    print(f"\nPage: {page}")


def _facts(row: "SummaryRow") -> dict[str, Any]:
    kept = ("measure", "layer", "split", "start_epoch", "end_epoch", "from_onset", "start", "end")
    return {name: getattr(row, name) for name in kept} | {"at_collapse": row.collapsed}


def _show(rows: "list[SummaryRow]") -> None:
    from deepcollapse.report.words import number

    table = []
    for row in rows:
        plain = row.plain + (" (test)" if row.split == "test" else "")
        table.append((row.symbol, plain, number(row.start), number(row.end), number(row.collapsed)))
    first = rows[0] if rows else None
    start = "TPT onset" if first and first.from_onset else "first"
    epochs = [f"\nepoch {e}" if e is not None else "" for e in (first.start_epoch, first.end_epoch)] if first else []
    columns = ("", "at the head's input", *(a + b for a, b in zip((start, "end"), epochs, strict=False)), "at collapse")
    show_table([column.replace("at collapse", "at\ncollapse") for column in columns], table, right=(2, 3, 4))
