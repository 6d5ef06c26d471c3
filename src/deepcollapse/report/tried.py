"""A compressed network's run as the page looks at it: before and after, what was tried, and each layer's part."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from deepcollapse.records.record import ORIGINAL
from deepcollapse.report.view import View

CHOOSING = "choosing"


@dataclass(frozen=True)
class Tried:
    """One network that was looked at."""

    setting: str
    accuracy: float
    size: float
    parameters: float
    multiply_adds: float


@dataclass(frozen=True)
class Change:
    """What one layer took before and takes after, in bytes, and what became of it."""

    layer: str
    before: float
    after: float
    what: str


@dataclass(frozen=True)
class Plan:
    """What can go in a layer, by its spectrum: ranks, and the reason in words."""

    layer: str
    rank_at_one_percent: float
    energy_rank: float
    proposed_rank: float
    reason: str


@dataclass(frozen=True)
class Compression:
    """The rows of one compressed network."""

    name: str
    frame: pd.DataFrame
    facts: dict[str, Any]

    @classmethod
    def of(cls, view: View) -> "Compression | None":
        """The compression of a run; None where it is none."""
        facts = view.provenance.get("compression")
        return cls(view.label, view.frame, facts) if isinstance(facts, dict) else None

    @property
    def outcome(self) -> str:
        """What came of it, in words."""
        return str(self.facts.get("outcome", ""))

    @property
    def verdict(self) -> str:
        """Whether the target is met, as the page and the sentences put it: "fell", "rose", or "stayed" if not told."""
        met = self.facts.get("met")
        return "stayed" if not isinstance(met, bool) else "fell" if met else "rose"

    @property
    def low_rank(self) -> bool:
        """Whether layers were cut in rank, alone or before something else."""
        return "low-rank" in str(self.facts.get("method", "")).split("+")

    def value(self, measure: str, *, before: bool = False, split: str | None = None) -> float | None:
        """One number of the whole network, before or after."""
        rows = self._rows("network", measure, before)
        rows = rows[rows["step"].isna()]
        rows = rows if split is None else rows[rows["split"] == split]
        values = rows["value"].dropna()
        return None if values.empty else float(values.iloc[-1])

    def _rows(self, layer: str, measure: str, before: bool) -> Any:
        frame: Any = self.frame
        chosen = (frame["layer"] == layer) & (frame["measure"] == measure)
        return frame[chosen & ((frame["baseline"] == ORIGINAL) if before else frame["baseline"].isna())]

    @property
    def size(self) -> float:
        """Bytes before."""
        return self.value("stored_bytes", before=True) or float("nan")

    @property
    def setting(self) -> str:
        """How the network that was chosen was made."""
        notes = self._rows("network", "stored_bytes", before=False)
        notes = notes[notes["step"].isna()]["note"].dropna()
        return "" if notes.empty else str(notes.iloc[-1])

    @property
    def choosing_accuracy(self) -> float:
        """Accuracy before, on the samples by which a network was chosen."""
        return self.value("accuracy", before=True, split=CHOOSING) or float("nan")

    @property
    def least_accuracy(self) -> float | None:
        """The accuracy that had to be kept; None where the target was a size."""
        drop = self.facts.get("accuracy_drop")
        return None if drop is None else self.choosing_accuracy - float(drop)

    @property
    def splits(self) -> list[str]:
        """The splits on which accuracy was taken before and after."""
        rows = self._rows("network", "accuracy", before=True)
        return [str(split) for split in rows["split"].dropna().unique()]

    @property
    def latencies(self) -> list[str]:
        """The measures of time that there are."""
        return [str(name) for name in self.frame["measure"].unique() if str(name).startswith("latency_of_")]

    @property
    def tried(self) -> list[Tried]:
        """Every network that was looked at, in order."""
        rows: Any = self.frame[(self.frame["layer"] == "network") & self.frame["step"].notna()]
        found = []
        for _, of_step in rows.groupby("step", sort=True):
            told = dict(zip(of_step["measure"], of_step["value"], strict=True))
            names = ("accuracy", "stored_bytes", "parameters", "multiply_adds")
            found.append(Tried(str(of_step["note"].iloc[0]), *(float(told.get(name, float("nan"))) for name in names)))
        return found

    @property
    def changes(self) -> list[Change]:
        """What became of each layer."""
        found = []
        for layer in self._layers:
            before, after = (self._rows(layer, "stored_bytes", time) for time in (True, False))
            if len(before) and len(after):
                what = str(after["note"].iloc[-1] or "")
                found.append(Change(layer, float(before["value"].iloc[-1]), float(after["value"].iloc[-1]), what))
        return found

    @property
    def plan(self) -> list[Plan]:
        """What each layer's spectrum says can go."""
        found = []
        for layer in self._layers:
            rows = self._rows(layer, "proposed_rank", before=False)
            if len(rows):
                ranks = [
                    self._rows(layer, name, before=True)
                    for name in ("rank_at_one_percent_weight", "output_energy_rank")
                ]
                numerical, energy = (float(r["value"].iloc[-1]) if len(r) else float("nan") for r in ranks)
                proposed, reason = float(rows["value"].iloc[-1]), str(rows["note"].iloc[-1])
                found.append(Plan(layer, numerical, energy, proposed, reason))
        return found

    @property
    def _layers(self) -> list[str]:
        return [str(layer) for layer in self.frame["layer"].unique() if layer != "network"]
