"""What the terminal shows of a sweep: what was found, and what did not come to its end."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcollapse.cli.failures import show_failures
from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say
from deepcollapse.records.final import Ending
from deepcollapse.records.study import Failure
from deepcollapse.records.sweep import error_line, failure_path
from deepcollapse.sweeps.axes import written
from deepcollapse.sweeps.combinations import combinations
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from deepcollapse.sweeps.job import Outcome


def held_to(found: Mapping[str, Ending], outcomes: "Sequence[Outcome]") -> "list[Outcome]":
    """The outcomes, with those as failed whose run is done and whose records turn out to be damaged."""
    return [
        replace(one, state="failed", error=found[one.key].error)
        if (one.state, found[one.key].state) == ("done", "failed")
        else one
        for one in outcomes
    ]


def show_found(sweep: Sweep, found: Mapping[str, Ending]) -> None:
    """A row for each combination of settings, medians over its seeds."""
    from deepcollapse.report.words import number, percent

    rows = combinations(sweep, found)
    names = list(rows[0].settings)
    table = []
    for row in rows:
        runs = f"{row.done} of {row.runs}" if row.done < row.runs else str(row.runs)
        accuracy = "–" if row.accuracy_test is None else percent(row.accuracy_test)
        values = [written(row.settings[name]) for name in names]
        table.append((*values, runs, accuracy, number(row.within_class_variability)))
    columns = (*(name.replace("_", "\n") for name in names), "runs", "accuracy,\ntest", "NC1")
    print()
    show_table(columns, table, right=range(len(columns)))
    if any(row.done > 1 for row in rows):
        say("Medians over the seeds, at the last epoch.")


def show_unfinished(sweep: Sweep, folder: SweepFolder, outcomes: "Sequence[Outcome]") -> None:
    """The runs that failed, each with the file of its traceback, and those that another process has."""
    axes, recipes = sweep.axes(), sweep.named()
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    told = [
        Failure(outcome.key, in_words(settings_of(recipes[outcome.key], axes)), error_line(outcome.error or ""))
        for outcome in failed
    ]
    show_failures(told, folder.path)
    if elsewhere := sum(outcome.state == "elsewhere" for outcome in outcomes):
        runs = "1 run is" if elsewhere == 1 else f"{elsewhere} runs are"
        print()
        say(f"{runs} at another process just now; see: deepcollapse sweep status {folder.path}")


def _traceback(outcome: "Outcome", folder: SweepFolder) -> Path | None:
    path = failure_path(folder.path, outcome.key)
    return path if outcome.state == "failed" and path.is_file() else None


def facts(
    sweep: Sweep, folder: SweepFolder, found: Mapping[str, Ending], outcomes: "Sequence[Outcome]", page: Path
) -> dict[str, Any]:
    """What was found and what became of each run, for JSON."""
    axes = sweep.axes()
    recipes = sweep.named()
    runs = []
    for outcome in outcomes:
        settings = settings_of(recipes[outcome.key], axes)
        traceback = _traceback(outcome, folder)
        kept = {"key": outcome.key, "path": str(outcome.run), "settings": settings, "state": outcome.state}
        runs.append(
            kept | {"seconds": outcome.seconds, "error": outcome.error, "traceback": traceback and str(traceback)}
        )
    rows = [asdict(row) for row in combinations(sweep, found)]
    return {"folder": str(folder.path), "page": str(page), "found": rows, "runs": runs}


def settings_of(recipe: object, axes: Mapping[str, object]) -> dict[str, Any]:
    """The settings of a recipe that are swept."""
    return {name: getattr(recipe, name) for name in axes}


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as one gives them to --grid."""
    return " ".join(f"{name}={written(value)}" for name, value in settings.items())


def write_page_of(path: Path) -> Path:
    """Write the page that compares the runs of a sweep and says which failed."""
    from deepcollapse.report.sweep import write_sweep_page

    SweepFolder(path).sweep()  # refuses recipes that are none, which the page cannot tell
    return write_sweep_page(path, path / "report.html")
