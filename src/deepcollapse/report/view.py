"""One run as the report looks at it: its rows, found by what they measure, and the epochs worth comparing."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepcollapse.errors import RunError
from deepcollapse.records import MODELS, Run
from deepcollapse.records.read import record_files

# Layers that are no place in the network's depth.
NOT_A_DEPTH = ("network", "head", "all")
# What measures of a layer's weights end in: a layer that has no others is no place where features are.
OF_WEIGHTS = ("_weight", "_weight_spatial")


@dataclass(frozen=True, eq=False)
class View:
    """The rows of one run, with its class names, recipe and provenance where it has a folder."""

    label: str
    frame: pd.DataFrame
    run: Run | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _index(self) -> dict[tuple[str, str, str | None], pd.DataFrame]:
        """Rows by measure, layer and baseline: looked up hundreds of times, so grouped once."""
        frame = self.frame.assign(epoch=self.frame["epoch"].fillna(0).astype(int))
        groups = frame.groupby(["measure", "layer", "baseline"], dropna=False, sort=False)
        return {(m, at, None if pd.isna(b) else b): rows for (m, at, b), rows in groups}  # pyright: ignore[reportGeneralTypeIssues]

    def rows(self, measure: str, layer: str, split: str | None = None, baseline: str | None = None) -> pd.DataFrame:
        """Rows of one quantity by epoch: of this split, or of none in particular; class weighting before others."""
        rows: Any = self._index.get((measure, layer, baseline))
        if rows is None:
            return self.frame.iloc[:0]
        rows = rows[(rows["split"] == split) | rows["split"].isna()] if split else rows
        modes = () if len(rows) < 2 else (("weighting", "class"), ("centre", "class"), ("reduction", "mean"))
        for column, preferred in modes:
            kinds = list(rows[column].unique())
            if len(kinds) > 1:
                rows = rows[rows[column] == preferred] if preferred in kinds else rows[rows[column].eq(kinds[0])]
        epochs = rows["epoch"]
        if epochs.is_unique and epochs.is_monotonic_increasing:
            return rows
        return rows.drop_duplicates("epoch", keep="last").sort_values("epoch")

    @cached_property
    def _series(self) -> dict[tuple[str, str, str | None, str | None], pd.Series]:
        """What `series` found before: the figures ask for the same thousand times over."""
        return {}

    def series(self, measure: str, layer: str, split: str | None = None, baseline: str | None = None) -> pd.Series:
        """Values of one quantity, indexed by epoch; rows that hold an array or an undefined number are left out."""
        key = (measure, layer, split, baseline)
        if key not in self._series:
            rows = self.rows(measure, layer, split, baseline)
            found = pd.Series(rows["value"].to_numpy(float), index=rows["epoch"].to_numpy(int), dtype=float)
            self._series[key] = found.dropna()
        return self._series[key]

    def references(self, measure: str, layer: str, split: str | None = "train") -> dict[int, str]:
        """The references to one array quantity, by epoch."""
        rows = self.rows(measure, layer, split)
        rows = rows[rows["array"].notna()]
        return dict(zip(rows["epoch"].tolist(), rows["array"].tolist(), strict=True))

    def array(self, reference: str) -> np.ndarray | None:
        """An array of the run; None where there is no run folder, or the file is gone: the rest can still be drawn."""
        try:
            return None if self.run is None else self.run.read_array(reference)
        except RunError:
            return None

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layers in order of depth: as the records first name them, the raw input first and the head's input last."""
        return tuple(layer for layer in self._named if layer != self._twin)

    @cached_property
    def weight_layers(self) -> tuple[str, ...]:
        """Layers whose weights were measured, as the records first name them; the classifier is not among them."""
        weights: Any = self.frame[self.frame["measure"].str.endswith(OF_WEIGHTS)]
        return tuple(layer for layer in weights["layer"].unique() if layer not in NOT_A_DEPTH)

    @cached_property
    def _named(self) -> list[str]:
        features: Any = self.frame[~self.frame["measure"].str.endswith(OF_WEIGHTS)]
        named = [layer for layer in features["layer"].unique() if layer not in NOT_A_DEPTH]
        return sorted(named, key=lambda layer: {"input": -1, "head.input": 1}.get(layer, 0))

    @cached_property
    def _twin(self) -> str | None:
        """The last layer, where the head's input is its output over again: one line, not two on one another."""
        if len(self._named) < 2 or self._named[-1] != "head.input":
            return None
        last, told = self._named[-2], ("within_class_variability", "mean_norm_means", "cdnv", "trace_ratio")
        pairs = [[self.series(measure, layer, self.split) for layer in (last, "head.input")] for measure in told]
        same = [a.equals(b) for a, b in pairs if len(a) or len(b)]
        return last if same and all(same) else None

    def name_of(self, layer: str) -> str:
        """What a reader calls a layer: the head's input by the layer that gives it, where that is one and the same."""
        if layer == "head.input":
            return f"{self._twin} (head's input)" if self._twin else "head's input"
        return "classifier" if layer == "head" else layer

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """All measures that have measured numbers, in the order in which the records first name them."""
        measured = self.frame["value"].notna() & ~self.frame["baseline"].isin(MODELS)
        return tuple(self.frame.loc[measured, "measure"].unique())

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """The baselines that were measured, the network before training first; predictions are no baseline."""
        named = [name for name in self.frame["baseline"].dropna().unique() if name not in MODELS]
        return tuple(sorted(named, key=lambda name: name != "untrained"))

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The models of theory that predict something of this run."""
        named = set(self.frame["baseline"].dropna())
        return tuple(model for model in MODELS if model in named)

    @cached_property
    def split(self) -> str | None:
        """The split that the geometry is read on: "train" where there is one."""
        splits = list(self.frame.loc[~self.frame["layer"].isin(["network"]), "split"].dropna().unique())
        return "train" if "train" in splits or not splits else splits[0]

    @cached_property
    def epochs(self) -> tuple[int, ...]:
        """Epochs at which geometry was measured; just one (0) for a network measured once."""
        rows: Any = self.frame[(self.frame["layer"] != "network") & self.frame["baseline"].isna()]
        return tuple(sorted(rows["epoch"].fillna(0).astype(int).unique().tolist()))

    @cached_property
    def onset(self) -> int | None:
        """The epoch at which the terminal phase began: as recorded, else the first with 99.9 % train accuracy."""
        recorded = self.series("tpt_onset", "network")
        if len(recorded):
            return int(recorded.iloc[-1])
        accuracy = self.series("accuracy", "network", "train")
        reached = [int(epoch) for epoch, value in accuracy.items() if value >= 0.999]  # pyright: ignore[reportArgumentType]
        return reached[0] if reached and len(self.epochs) > 1 else None

    @cached_property
    def start(self) -> int | None:
        """The measured epoch from which change is told: TPT onset, or the first one where there was no such time."""
        after = [epoch for epoch in self.epochs if self.onset is not None and epoch >= self.onset]
        if len(after) > 1:
            return after[0]
        return self.epochs[0] if len(self.epochs) > 1 else None

    @property
    def from_onset(self) -> bool:
        """Whether `start` is TPT onset."""
        return self.onset is not None and self.start is not None and self.start >= self.onset

    @property
    def end(self) -> int | None:
        """The last measured epoch."""
        return self.epochs[-1] if self.epochs else None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names, where the provenance gives them."""
        return tuple(str(name) for name in self.provenance.get("class_names") or ())

    @cached_property
    def num_classes(self) -> int | None:
        """How many classes have samples."""
        for layer in ("head.input", *self.layers):
            present = self.series("present_classes", layer)
            if len(present):
                return int(present.iloc[-1])
        return len(self.class_names) or None


def views(runs: object) -> list[View]:
    """The runs that a path, a pattern, a `Run`, or a list of these name; RunError where there are none."""
    one = isinstance(runs, str | os.PathLike | Run)
    places: Iterable[Any] = [runs] if one or not isinstance(runs, Iterable) else runs
    folders = [
        folder
        for place in places
        for folder in ([place.path] if isinstance(place, Run) else (file.parent for file in record_files(place)))
    ]
    opened = [Run.open(folder) for folder in dict.fromkeys(folders)]
    if not opened:
        raise RunError("there are no runs to report; name at least one run folder.")
    labels = distinct([run.name for run in opened], [run.path for run in opened])
    return [
        View(label, run.records(), run, run.provenance, run.recipe) for label, run in zip(labels, opened, strict=True)
    ]


def views_of(records: pd.DataFrame) -> list[View]:
    """The runs whose rows a table from `read_records` holds. Class names are read where the run's folder is there."""
    keys = [key for key in ("folder", "run") if key in records.columns]
    found = []
    for _, frame in records.groupby(keys, sort=False, dropna=False):
        folder = Path(str(frame["folder"].iloc[0])) if "folder" in frame else None
        run = Run(folder) if folder and (folder / "provenance.json").is_file() else None
        found.append(View(str(frame["run"].iloc[0]), frame, run, run.provenance if run else {}))
    return found


def distinct(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Names that tell runs apart: those that occur twice get their folder's parent, then a number."""
    longer = [f"{f.parent.name}/{n}" if names.count(n) > 1 else n for n, f in zip(names, folders, strict=True)]
    return [n if longer.count(n) == 1 else f"{n} ({longer[:i].count(n) + 1})" for i, n in enumerate(longer)]


def few(epochs: Sequence[int], limit: int, keep: Iterable[int | None] = ()) -> list[int]:
    """At most about `limit` of the epochs, evenly chosen, the first, the last and those to `keep` among them.

    >>> few([1, 2, 3, 4, 5, 6, 7, 8, 9], limit=3, keep=[2])
    [1, 2, 5, 9]
    """
    ordered = sorted(epochs)
    if len(ordered) <= limit:
        return ordered
    picked = {ordered[round(i * (len(ordered) - 1) / (limit - 1))] for i in range(limit)}
    return sorted(picked | {epoch for epoch in keep if epoch in ordered})
