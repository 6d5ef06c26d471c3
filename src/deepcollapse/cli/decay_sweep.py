"""`deepcollapse decay-sweep`: one recipe at several weight decays, to see rank and variability fall together."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from deepcollapse.cli.progress import Progress
from deepcollapse.cli.runs import RUNS, new_run
from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import Interrupted, say, say_json
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    from deepcollapse.compression.over_decays import DecayPoint

# A plain network without batch norm, in which weights feel the decay: ranks fall within a minute on digits.
RECIPE = Recipe(epochs=100, width=64, depth=3, rate=0.1, measurements=2, parameters=("batch_norm=false",))


@dataclass(frozen=True)
class DecaySweep:
    """Train a recipe at several weight decays: rank falls with within-class variability, and what is left can be cut.

    Runs that are there already are not trained again; one that was stopped goes on.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(help="What is trained, and how; its decay is what is swept.")] = field(
        default_factory=lambda: RECIPE
    )
    decays: tuple[float, ...] = (0.0, 2e-3, 5e-3, 1e-2, 2e-2, 3e-2)
    """The weight decays."""
    out: Path | None = None
    """Folder for the runs; decay-sweep-DATASET-NETWORK in the folder runs where not given."""
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
        """Train what is missing, then show the table and write the page."""
        from deepcollapse.report import write_page

        out = self.out or RUNS / f"decay-sweep-{new_run(self.recipe).name.rpartition('-seed')[0]}"
        found = self._points(out)
        page = write_page([point.run for point in found], out / "report.html")
        if self.json:
            say_json({"page": str(page), "points": [_facts(point) for point in found]})
            return 0
        _show(found)
        print(f"\nPage: {page}")
        return 0

    def _points(self, out: Path) -> "tuple[DecayPoint, ...]":
        from deepcollapse.compression.over_decays import decay_sweep

        given: dict[str, Any] = {name: getattr(self, name) for name in ("device", "threads", "data_root", "download")}
        with ExitStack() as bars:

            def watcher(decay: float) -> Progress:
                bars.close()  # a terminal shows one bar at a time
                if not self.json:
                    say(f"Weight decay {decay:g}:")
                return bars.enter_context(Progress(self.recipe, quiet=self.json))

            try:
                return decay_sweep(self.recipe, self.decays, out, watcher=watcher, **given)
            except KeyboardInterrupt:
                kept = f"Stopped; {out} keeps the runs so far. The same command goes on with them."
                raise Interrupted(kept) from None


def _facts(point: "DecayPoint") -> dict[str, Any]:
    return asdict(point) | {"run": str(point.run)}


def _show(found: "tuple[DecayPoint, ...]") -> None:
    from deepcollapse.report.words import number, percent

    rows = [
        (
            f"{point.decay:g}",
            number(point.rank),
            number(point.effective_rank),
            number(point.cluster_variation),
            number(point.within_class_variability),
            percent(point.accuracy),
            percent(point.truncated_accuracy),
        )
        for point in found
    ]
    columns = (
        "weight\ndecay",
        "rank,\n1 %",
        "effective\nrank",
        "cluster\nvariation",
        "NC1",
        "accuracy",
        "cut to\nrank, 1 %",
    )
    print()
    show_table(columns, rows, right=range(7))
    say(
        "Ranks are means over the weights before the head, cluster variation over the layers' outputs on training "
        "data; in the last column every layer is cut to its own singular values above 1 % of the first."
    )
