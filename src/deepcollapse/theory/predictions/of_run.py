"""What theory wants to know of a run, out of its records: class counts, budgets and decays."""

from pathlib import Path
from typing import TYPE_CHECKING

from deepcollapse.errors import OptionError
from deepcollapse.measurement import HEAD, HEAD_INPUT
from deepcollapse.records import Run, read_records
from deepcollapse.records.record import UNCONSTRAINED

if TYPE_CHECKING:
    import pandas


def budgets_of(run: Run | Path | str) -> dict[str, float]:
    """Budgets of a run's last records, and decays where they are told: what `forecast` takes beside class counts.

    Keys are "weight_budget" and "feature_budget"; with them "weight_decay" and "feature_decay" where training wrote the
    predictions of the unconstrained-features model. Raises OptionError where the run has no budgets.
    """
    frame = read_records(_place(run))
    own = _own(frame)
    theirs = frame[(frame["baseline"] == UNCONSTRAINED) & (frame["layer"] == "network")]
    found = {}
    for name, layer in (("weight_budget", HEAD), ("feature_budget", HEAD_INPUT)):
        values = own.loc[(own["measure"] == name) & (own["layer"] == layer), "value"].dropna()
        if values.empty:
            raise OptionError(f"{_place(run)} has no {name} in its records; measure it again, with its head.")
        found[name] = float(values.iloc[-1])
    for name in ("weight_decay", "feature_decay"):
        values = theirs.loc[theirs["measure"] == name, "value"].dropna()
        found |= {} if values.empty else {name: float(values.iloc[-1])}
    return found


def counts_of(run: Run | Path | str) -> tuple[int, ...]:
    """Training samples of each class that a run was last measured on; classes without samples are left out.

    Raises OptionError where the run has no class counts in its records.
    """
    own = _own(read_records(_place(run)))
    references = own.loc[(own["measure"] == "class_counts") & own["array"].notna(), "array"]
    if references.empty:
        raise OptionError(f"{_place(run)} has no class_counts in its records; measure it again, or give the counts.")
    counts = Run.open(_place(run)).read_array(str(references.iloc[-1]))
    return tuple(int(count) for count in counts if count > 0)


def _place(run: Run | Path | str) -> Path | str:
    return run.path if isinstance(run, Run) else run


def _own(frame: "pandas.DataFrame") -> "pandas.DataFrame":
    """The network's own rows on its training data."""
    return frame.loc[frame["baseline"].isna() & (frame["split"].isna() | (frame["split"] == "train"))]
