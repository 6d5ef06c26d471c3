"""One measured number: the row of `records.jsonl`."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1
# What stands in `baseline` where a row holds what a model of theory predicts, and not what no collapse looks like.
LAYER_PEELED, UNCONSTRAINED, SELI = MODELS = ("layer-peeled model", "unconstrained features", "SELI")
# What stands in `baseline` of a compressed network's run where a row tells of the network as it was before.
ORIGINAL = "original"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measured number, or one array, with everything needed to know what it is.

    `run` may stay empty: `Run.append` fills in the run's name. `layer` is "network", "head" (the classifier's W, b),
    "head.input", "input", or a module's dotted name. `centre` is "class" (mean of class means) or "sample" (mean of
    samples). `baseline` says what a number is there to be compared with: "untrained" and "shuffled labels" are the
    network without collapse, each of `MODELS` a model of theory, whose prediction the row holds, and `ORIGINAL` is the
    network before it was compressed. `array` refers to an array beside the records, as
    "arrays/FILE.safetensors#KEY"; such a row has no value.

    >>> Record(epoch=3, split="train", layer="head.input", measure="cdnv", value=0.25, weighting="class").row()["value"]
    0.25
    >>> Record(layer="head", measure="stable_rank_classifier", value=float("nan")).row()["note"]
    'not a number'
    """

    run: str = ""
    epoch: int | None = None
    step: int | None = None
    split: str | None = None
    layer: str
    measure: str
    value: float | int | None = None
    unit: str = "1"
    weighting: str | None = None
    centre: str | None = None
    reduction: str | None = None
    baseline: str | None = None
    array: str | None = None
    note: str | None = None

    def row(self) -> dict[str, Any]:
        """The record as strict JSON can hold it: NaN and infinities become None, with the reason in `note`.

        A note that was given already is the reason for a NaN and is kept; an infinity is always named.
        """
        row = {name: getattr(self, name) for name in FIELDS}
        value = None if self.value is None else float(self.value)
        if value is not None and not math.isfinite(value):
            row["note"] = _reason(value, self.note)
            value = None
        return row | {"value": value}


def _reason(value: float, note: str | None) -> str:
    """Why a value that is not finite has no place in the records."""
    if math.isnan(value):
        return note or "not a number"
    infinity = "infinite" if value > 0 else "minus infinity"
    return f"{infinity}: {note}" if note else infinity


# The keys of a row, in the order in which they are always written.
FIELDS = tuple(field.name for field in dataclasses.fields(Record))
