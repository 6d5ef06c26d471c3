"""The result of measuring: records, arrays and moments of every layer."""

import difflib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from deepcollapse.errors import UnknownNameError
from deepcollapse.geometry import METRICS, ClassMoments
from deepcollapse.linalg import AffineArgmax
from deepcollapse.measurement.layers import HEAD, HEAD_INPUT
from deepcollapse.records import Record, Run

if TYPE_CHECKING:
    import pandas

BASELINES = ("untrained", "shuffled labels")
PAPYAN = (
    "within_class_variability",
    "equinorm_means",
    "equiangularity_means",
    "maximal_angle_means",
    "self_duality",
    "nearest_class_mean_disagreement",
)
FUNCTION_RANKS = ("partial_jacobian_rank", "partial_jacobian_rank_svd", "perturbed_dimension")
CLASSIFICATION = {
    "classification_dimension": "classification dimension",
    "centred_classification_dimension": "the same, centred",
}


@dataclass(frozen=True)
class Measurement:
    """Everything that one measurement found.

    Attributes:
        records: one measured number each, with layer, split, weighting, centre and reduction.
        arrays: spectra, matrices of cosines and points for pictures, by "layer/name".
        moments: class moments of each layer, in order of depth; NC4 of a test split is taken against those of train.
        layers: the layers measured, in the order in which they fire.
        runs: how often the network ran over the data: 1 where the features fitted the memory budget, 2 beyond it.
        notes: what was left out, and why; a note of one number stands in its record.
        probes: the least-squares classifier of each layer, which a test split that names this as `means_of` uses.

    `measurement["within_class_variability"]` is a number at the head's input, `measurement["cdnv", "blocks.0"]` at a
    layer; `to_frame()` is a pandas table, and `print(measurement)` a short one.
    """

    records: tuple[Record, ...]
    arrays: dict[str, Tensor] = field(repr=False)
    moments: dict[str, ClassMoments] = field(repr=False)
    layers: tuple[str, ...]
    runs: int
    notes: tuple[str, ...] = ()
    probes: dict[str, AffineArgmax] = field(default_factory=dict, repr=False)

    def __getitem__(self, key: str | tuple[str, str]) -> float:
        """The value of a measure, at the head's input or at the layer named second; NaN where it is undefined.

        Raises UnknownNameError, a LookupError, where there is no such number.
        """
        measure, layer = (key, None) if isinstance(key, str) else key
        record = self._find(measure, layer)
        if record is None:
            names = {name for name, place, _ in self._numbers if layer in (None, place)}
            close = difflib.get_close_matches(measure, names, n=3)
            hint = f"Close names: {', '.join(close)}. " if close and measure not in names else ""
            raise UnknownNameError(
                f"nothing was measured under {measure!r} at {layer or 'the head or its input'}. {hint}"
                f"Layers: {', '.join(self.layers)}; to_frame() shows every number."
            )
        return float("nan") if record.value is None else float(record.value)

    def _find(self, measure: str, layer: str | None = None, baseline: str | None = None) -> Record | None:
        places = (layer,) if layer else (HEAD_INPUT, HEAD, "network", "all", *self.layers[-1:])
        found = [self._numbers.get((measure, place, baseline)) for place in places]
        return next((record for record in found if record is not None), None)

    @cached_property
    def _numbers(self) -> dict[tuple[str, str, str | None], Record]:
        return {(r.measure, r.layer, r.baseline): r for r in self.records if r.array is None}

    def to_frame(self) -> "pandas.DataFrame":
        """Every record as a row of a pandas table."""
        import pandas

        return pandas.DataFrame([record.row() for record in self.records])

    def write(self, run: Run, *, epoch: int | None = None, step: int | None = None) -> None:
        """Append the records to a run, with the arrays in one file beside them."""
        split = next((record.split for record in self.records if record.split), "data")
        when = [f"epoch-{epoch:05d}"] if epoch is not None else []
        stem = "-".join([*when, *([f"step-{step}"] if step is not None else []), split])
        references = run.write_arrays(stem, dict(self.arrays)) if self.arrays else {}
        run.append(
            replace(record, epoch=epoch, step=step, array=references[record.array] if record.array else None)
            for record in self.records
        )

    def __str__(self) -> str:
        """NC1 to NC4 at the head's input and NC1 by layer, beside the baselines; the ranks of functions where taken.

        In 80 columns of plain text.
        """
        baselines = [b for b in BASELINES if any(record.baseline == b for record in self.records)]
        heads = ["value", "at collapse", *(baseline.split()[0] for baseline in baselines)]
        told = [(name, self._find(name)) for name in PAPYAN]
        lines = [_line("measure", heads)]
        for name, record in told:
            if record is not None:
                beside = [self._find(name, record.layer, baseline) for baseline in baselines]
                lines.append(_line(name, [_text(record), _collapsed(name), *map(_text, beside)]))
        lines += ["", _line("layer", ["NC1", "", *heads[2:]])]
        for layer in self.layers:
            values = [self._find(PAPYAN[0], layer, baseline) for baseline in (None, *baselines)]
            if values[0] is not None:
                lines.append(_line(layer, [_text(values[0]), "", *map(_text, values[1:])]))
        if ranks := self._ranks():
            alone = all(record is None for _, record in told)
            lines = ranks if alone else [*lines, "", *ranks]
        notes = dict.fromkeys([*(r.note for _, r in told if r is not None and r.note), *self.notes])
        wrapped = (textwrap.wrap(f"note: {note}", 80, subsequent_indent="  ") for note in notes)
        return "\n".join([*lines, *(line for lines in wrapped for line in lines)])

    def _ranks(self) -> list[str]:
        """The rank of each layer as a function of the input, where it was taken."""
        ranked = [layer for layer in self.layers if self._find(FUNCTION_RANKS[0], layer) is not None]
        if not ranked:
            return []
        lines = [_line("rank as a function, layer", ["features", "Jacobian", "by SVD", "perturbed"])]
        for layer in ranked:
            lines.append(_line(layer, [_text(self._find(m, layer)) for m in ("flattened_dimension", *FUNCTION_RANKS)]))
        found = [(title, self._find(name, HEAD_INPUT)) for name, title in CLASSIFICATION.items()]
        return lines + [_line(title, [_text(record)]) for title, record in found if record is not None]


def _line(name: str, cells: Sequence[str]) -> str:
    name = name if len(name) < 32 else "…" + name[-30:]
    return (f"{name:<32}" + "".join(f"{cell:>12}" for cell in cells)).rstrip()


def _text(record: Record | None) -> str:
    return "" if record is None else "nan" if record.value is None else f"{record.value:.5g}"


def _collapsed(name: str) -> str:
    metric = METRICS.get(name) or METRICS.get(name.removesuffix("_means"))
    return "" if metric is None or metric.collapsed is None else f"{metric.collapsed:g}"
