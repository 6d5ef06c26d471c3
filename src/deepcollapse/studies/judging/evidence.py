"""What a study's claims and charts look at: finished runs and tables of further computations."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas

from deepcollapse.records import Run, read_records
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.study import Scale
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    from deepcollapse.sweeps.trained import Trained

HEAD_INPUT = "head.input"


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run: its recipe and its records, found by what they measure."""

    recipe: Recipe
    path: Path
    records: pandas.DataFrame
    open: "Callable[[], Trained] | None" = None

    @classmethod
    def at(cls, recipe: Recipe, path: Path, open: "Callable[[], Trained] | None" = None) -> "Finished":
        """The run in a folder."""
        return cls(recipe, path, read_records(path / "records.jsonl"), open)

    @property
    def name(self) -> str:
        """The run's name: the digest of its recipe."""
        return self.path.name

    @property
    def trained(self) -> "Trained":
        """The network and its data. Raises MissingEvidence where the run was read from its records alone."""
        if self.open is None:
            raise MissingEvidence(f"run {self.name} is known by its records alone")
        return self.open()

    @cached_property
    def _groups(self) -> dict[tuple[str, str, str | None, str | None], pandas.DataFrame]:
        groups = self.records.groupby(["measure", "layer", "split", "baseline"], dropna=False, sort=False)
        return {tuple(None if pandas.isna(part) else part for part in key): rows for key, rows in groups}  # pyright: ignore

    def rows(
        self, measure: str, layer: str = HEAD_INPUT, split: str | None = "train", baseline: str | None = None
    ) -> pandas.DataFrame:
        """The rows of one quantity; none where it was not measured. A split of None is that of weights."""
        found = self._groups.get((measure, layer, split, baseline))
        return self.records.iloc[:0] if found is None else found

    def series(
        self, measure: str, layer: str = HEAD_INPUT, split: str | None = "train", baseline: str | None = None
    ) -> pandas.Series:
        """The values of one quantity by epoch, undefined ones left out."""
        rows = self.rows(measure, layer, split, baseline)
        values = pandas.Series(rows["value"].to_numpy(float), index=rows["epoch"].fillna(0).astype(int).to_numpy())
        return values.dropna().sort_index()

    def last(
        self, measure: str, layer: str = HEAD_INPUT, split: str | None = "train", baseline: str | None = None
    ) -> float:
        """The value at the last epoch that it was measured at.

        Raises MissingEvidence where it was never measured, or is undefined then: an earlier value says nothing.
        """
        return self._at(-1, "end", measure, layer, split, baseline)

    def first(
        self, measure: str, layer: str = HEAD_INPUT, split: str | None = "train", baseline: str | None = None
    ) -> float:
        """The value at the first epoch that it was measured at; errors are those of `last`."""
        return self._at(0, "beginning", measure, layer, split, baseline)

    def _at(self, position: int, when: str, measure: str, layer: str, split: str | None, baseline: str | None) -> float:
        rows: Any = self.rows(measure, layer, split, baseline)
        values = _by_epoch(rows[rows["array"].isna()])["value"]
        where = f"{measure} of {layer}" + (f" on {split} data" if split else "")
        if not len(values):
            raise MissingEvidence(f"{where} was not measured in run {self.name}")
        if pandas.isna(values.iloc[position]):
            raise MissingEvidence(f"{where} is undefined at the {when} of run {self.name}")
        return float(values.iloc[position])

    @property
    def onset(self) -> int | None:
        """The epoch at which the terminal phase of training began, if it did."""
        found = self.series("tpt_onset", "network")
        return int(found.iloc[-1]) if len(found) else None

    def layers_with(self, measure: str) -> tuple[str, ...]:
        """The layers that a measure was taken of, in the order of the records."""
        own: Any = self.records[(self.records["measure"] == measure) & self.records["baseline"].isna()]
        return tuple(own["layer"].unique())

    def array(self, measure: str, layer: str, split: str | None = "train", epoch: int | None = None) -> Any:
        """An array of the run, of the last epoch that it was taken at where none is named.

        Raises MissingEvidence where there is none, or it is undefined then: an earlier one says nothing.
        """
        rows: Any = self.rows(measure, layer, split)
        rows = _by_epoch(rows if epoch is None else rows[rows["epoch"] == epoch])
        if rows["array"].isna().all():
            raise MissingEvidence(f"the array {measure} of {layer} was not kept in run {self.name}")
        if pandas.isna(rows["array"].iloc[-1]):
            raise MissingEvidence(f"the array {measure} of {layer} is undefined at the end of run {self.name}")
        return Run(self.path).read_array(rows["array"].iloc[-1])


def _by_epoch(rows: Any) -> Any:
    return rows.sort_values("epoch", kind="stable", na_position="first")


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a study has run: finished runs, tables by the name of their computation, and the scale."""

    scale: Scale
    runs: Sequence[Finished] = ()
    tables: Mapping[str, pandas.DataFrame] = field(default_factory=dict)

    def table(self, name: str) -> pandas.DataFrame:
        """The rows of a computation. Raises MissingEvidence where it gave none."""
        found = self.tables.get(name)
        if found is None or not len(found):
            raise MissingEvidence(f"nothing was computed for {name!r} at this scale")
        return found

    def by(self, *settings: str) -> dict[Any, list[Finished]]:
        """The runs grouped by settings of their recipes: by one value, or by a tuple of several, as they first come."""
        groups: dict[Hashable, list[Finished]] = {}
        for run in self.runs:
            key = tuple(getattr(run.recipe, name) for name in settings)
            groups.setdefault(key[0] if len(key) == 1 else key, []).append(run)
        if not groups:
            raise MissingEvidence("no run came to its end")
        return groups
