"""`deepcollapse theory phase-diagram`: one page on when minority classes collapse and when deep collapse is optimal."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say, say_json
from deepcollapse.errors import OptionError, RunError

if TYPE_CHECKING:
    from deepcollapse.report.theory.diagram import Diagram


@dataclass(frozen=True)
class PhaseDiagram:
    """Write a page: minority angles, their phases, and collapse against low rank."""

    classes: int = 10
    """Number of classes in the figures on imbalance."""
    majorities: tuple[int, ...] = ()
    """Of these, how many are majority classes, a curve each; about 3, 5 and 7 in 10 where not given."""
    weight_budget: float = 1.0
    """Mean squared length that the classifier's rows may have (E_W)."""
    feature_budgets: tuple[float, ...] = (5.0, 10.0)
    """Mean squared lengths that features may have (E_H), a figure each."""
    highest_ratio: float = 1e4
    """The largest imbalance that is drawn."""
    weight_decay: float | None = None
    """Decay of the classifier: adds the unconstrained-features model, together with --feature-decay."""
    feature_decay: float | None = None
    """Decay of the features, likewise."""
    per_class: int = 5000
    """Samples of each majority class in the unconstrained-features model."""
    depths: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    """Numbers of layers in the figures on deep networks."""
    most_classes: int = 28
    """The largest number of classes in the figures on deep networks."""
    decay: float = 5e-4
    """Weight decay of every layer, and of the features, in the figures on deep networks."""
    out: Path = Path("theory.html")
    """The page."""
    csv: Path | None = None
    """Folder for the figures' numbers as CSV files, a table each."""
    json: bool = False
    """Print the figures' numbers as JSON, and nothing else."""

    def run(self) -> int:
        """Work the tables out, write the page, and show the thresholds."""
        from deepcollapse.report.theory.page import write_theory_page

        self._check_paths()
        diagram = self.diagram()
        page = write_theory_page(diagram, self.out)
        if self.csv:
            write_csv(diagram.tables(), self.csv)
        if self.json:
            say_json({"page": str(page), "settings": diagram.settings, **diagram.tables()})
            return 0
        _show(diagram)
        print(f"\nPage: {page}" + (f"\nNumbers: {self.csv}" if self.csv else ""))
        return 0

    def _check_paths(self) -> None:
        """Raises RunError for a page or a folder that cannot be written: a minute's work should not come first."""
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"the page cannot be written to {self.out}: {error.strerror or error}.") from error
        if self.out.is_dir():
            raise RunError(f"the page cannot be written to {self.out}: it is a folder. Name a file.")
        if self.csv is not None:
            try:
                self.csv.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(self.csv, error) from error

    def diagram(self) -> "Diagram":
        """The tables of the page. Raises OptionError for settings that leave nothing to draw."""
        from deepcollapse.cli.theory import tables
        from deepcollapse.report.theory.diagram import Diagram
        from deepcollapse.theory.problems.layer_peeled import checked_budget

        majorities = self.shares()
        budgets = sorted(set(self.feature_budgets))
        if not budgets:
            raise OptionError("name at least one of the feature budgets, for example --feature-budgets 5.")
        if not 1 < self.highest_ratio < math.inf:
            raise OptionError(
                f"the largest imbalance must be finite and above 1; got --highest-ratio {self.highest_ratio:g}."
            )
        if self.per_class < 1:
            raise OptionError(f"--per-class is a number of samples, 1 or more; got {self.per_class}.")
        for name, given in (("weight_budget", (self.weight_budget,)), ("feature_budget", budgets)):
            for budget in given:
                checked_budget(name, budget)
        decays = self._decays()
        thresholds = tables.thresholds(self.classes, majorities, self.weight_budget, budgets)
        # What takes longest comes last, after all settings were looked at.
        if not self.json:
            say(f"Solving {(self.most_classes - 1) * len(set(self.depths))} deep models; this takes some seconds.")
            print()
        depths = tables.depths(range(2, self.most_classes + 1), sorted(set(self.depths)), self.decay)
        return Diagram(
            tables.angles(self.classes, thresholds, self.weight_budget, self.highest_ratio, decays, self.per_class),
            thresholds,
            tables.boundaries(self.classes, majorities, max(row["budget"] for row in thresholds)),
            depths,
            self._settings(majorities),
        )

    def shares(self) -> list[int]:
        """How many of the classes are majority classes, a curve each."""
        if self.classes < 3:
            raise OptionError(
                f"imbalance closes the angle of two minority classes beside a majority: it takes 3 classes or more; "
                f"got --classes {self.classes}."
            )
        default = {max(1, min(self.classes - 2, round(share * self.classes))) for share in (0.3, 0.5, 0.7)}
        found = sorted(set(self.majorities) or default)
        if not 1 <= found[0] <= found[-1] <= self.classes - 2:
            raise OptionError(
                f"of {self.classes} classes, 1 to {self.classes - 2} can be majority classes, so that two minority "
                f"classes are left; got --majorities {' '.join(map(str, found))}."
            )
        return found

    def _decays(self) -> tuple[float, ...]:
        if self.weight_decay is None and self.feature_decay is None:
            return ()
        if self.weight_decay is None or self.feature_decay is None:
            raise OptionError("--weight-decay and --feature-decay go together: give both, or neither.")
        return self.weight_decay, self.feature_decay

    def _settings(self, majorities: list[int]) -> dict[str, Any]:
        names = ("classes", "weight_budget", "feature_budgets", "highest_ratio", "depths", "most_classes", "decay")
        settings = {name: getattr(self, name) for name in names} | {"majorities": majorities}
        if self._decays():
            settings |= {name: getattr(self, name) for name in ("weight_decay", "feature_decay", "per_class")}
        return {name: [*value] if isinstance(value, tuple) else value for name, value in settings.items()}


def write_csv(tables: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> None:
    """A file a table, full digits, with a line of names. Raises RunError where they cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, [*rows[0]] if rows else [])
                writer.writeheader()
                writer.writerows(rows)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(f"the numbers cannot be written to {folder}: {error.strerror or error}.")


def _show(diagram: "Diagram") -> None:
    from deepcollapse.cli.theory.shown import figures

    rows = []
    for row in diagram.thresholds:
        name = f"{row['majority']} + {row['minority']}"
        rows.append((name, *(figures(row[c]) for c in ("feature_budget", "collapse_ratio", "erasure_ratio"))))
    heads = ("majority +\nminority", "feature\nbudget E_H", "coincide from\nR0", "erased from\nR1")
    show_table(heads, rows, right=(1, 2, 3))
    print()
    say("Imbalance at which minority classes coincide and vanish, by the layer-peeled model.")
