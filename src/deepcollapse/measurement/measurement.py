"""The result of measuring: records, arrays and moments of every layer."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from deepcollapse.errors import UnknownNameError
from deepcollapse.geometry import METRICS, ClassMoments
from deepcollapse.measurement.layers import HEAD_INPUT
from deepcollapse.records import Record, Run

if TYPE_CHECKING:
    import pandas

PAPYAN = (
    "within_class_variability",
    "equinorm_means",
    "equiangularity_means",
    "maximal_angle_means",
    "self_duality",
    "nearest_class_mean_disagreement",
)


@dataclass(frozen=True)
class Measurement:
    """Everything that one measurement found.

    Attributes:
        records: one measured number each, with layer, split, weighting, centre and reduction.
        arrays: spectra, matrices of cosines and points for pictures, by "layer/name".
        moments: class moments of each layer, in order of depth; NC4 of a test split is taken against those of train.
        layers: the layers measured, in the order in which they fire.
        runs: how often the network ran over the data: 1 where the features fitted the memory budget, 2 beyond it.
        notes: what was left out, and why.

    `measurement["within_class_variability"]` is a number at the head's input, `measurement["cdnv", "blocks.0"]` at a
    layer; `to_frame()` is a pandas table, and `print(measurement)` a short one.
    """

    records: tuple[Record, ...]
    arrays: dict[str, Tensor] = field(repr=False)
    moments: dict[str, ClassMoments] = field(repr=False)
    layers: tuple[str, ...]
    runs: int
    notes: tuple[str, ...] = ()

    def __getitem__(self, key: str | tuple[str, str]) -> float:
        """The value of a measure, at the head's input or at the layer named second; KeyError where it is not there."""
        measure, layer = (key, None) if isinstance(key, str) else key
        wanted = (layer,) if layer else (HEAD_INPUT, "head", "network", "all", *self.layers[-1:])
        for place in wanted:
            for record in self.records:
                if (record.measure, record.layer, record.baseline) == (measure, place, None) and record.array is None:
                    return float("nan") if record.value is None else float(record.value)
        raise UnknownNameError(
            f"nothing was measured under {measure!r} at {layer or 'the head or its input'}. "
            f"Layers: {', '.join(self.layers)}; to_frame() shows every number."
        )

    def to_frame(self) -> "pandas.DataFrame":
        """Every record as a row of a pandas table."""
        import pandas

        return pandas.DataFrame([record.row() for record in self.records])

    def write(self, run: Run, *, epoch: int | None = None, step: int | None = None) -> None:
        """Append the records to a run, with the arrays in one file beside them."""
        split = next((record.split for record in self.records if record.split), "data")
        stem = "-".join([f"epoch-{epoch:05d}"] * (epoch is not None) + [f"step-{step}"] * (step is not None) + [split])
        references = run.write_arrays(stem, dict(self.arrays)) if self.arrays else {}
        run.append(
            replace(record, epoch=epoch, step=step, array=references[record.array] if record.array else None)
            for record in self.records
        )

    def __str__(self) -> str:
        """NC1 to NC4 at the head's input, and NC1 by layer, in plain text."""
        lines = [f"{'measure':<34}{'value':>14}{'at collapse':>14}"]
        for name in PAPYAN:
            value = self._or_none(name)
            if value is not None:
                lines.append(f"{name:<34}{value:>14.6g}{_collapsed(name):>14}")
        nc1 = [(layer, self._or_none("within_class_variability", layer)) for layer in self.layers]
        lines += ["", f"{'layer':<34}{'NC1':>14}"]
        lines += [f"{layer:<34}{value:>14.6g}" for layer, value in nc1 if value is not None]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _or_none(self, name: str, layer: str | None = None) -> float | None:
        try:
            return self[(name, layer) if layer else name]
        except UnknownNameError:
            return None


def _collapsed(name: str) -> str:
    metric = METRICS.get(name) or METRICS.get(name.removesuffix("_means"))
    return "" if metric is None or metric.collapsed is None else f"{metric.collapsed:g}"
