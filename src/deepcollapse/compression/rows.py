"""What compression leaves in the records: before and after, every network that was tried, and each layer's part."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deepcollapse.records import Record
from deepcollapse.records.record import ORIGINAL

if TYPE_CHECKING:
    from deepcollapse.compression.compressing import Compressed
    from deepcollapse.compression.sizes import Footprint
    from deepcollapse.training.evaluate import Scores

NETWORK = "network"
CHOOSING = "choosing"
_UNITS = {"stored_bytes": "byte", "parameters": "number", "multiply_adds": "multiply-add"}


def rows(
    found: "Compressed",
    scores: "Mapping[str, Mapping[str, Scores]]",
    latencies: Mapping[int, Mapping[str, float]],
) -> tuple[Record, ...]:
    """The rows of a compressed network; those of the network as it was bear the baseline "original".

    `scores` are by split and "before" or "after", `latencies` (seconds) by the number of samples in a forward pass.
    Networks that were tried are numbered by `step`, from 1.
    """
    return tuple(
        [
            *_footprints(found),
            *_scores(scores),
            *_latencies(latencies),
            *_tried(found),
            *_layers(found),
        ]
    )


def _taken(footprint: "Footprint", layer: str, baseline: str | None, note: str | None = None) -> Iterator[Record]:
    for measure, unit in _UNITS.items():
        value = getattr(footprint, measure)
        yield Record(layer=layer, measure=measure, value=value, unit=unit, baseline=baseline, note=note)


def _footprints(found: "Compressed") -> Iterator[Record]:
    yield from _taken(found.before, NETWORK, ORIGINAL)
    yield from _taken(found.after, NETWORK, None, found.setting)


def _scores(scores: "Mapping[str, Mapping[str, Scores]]") -> Iterator[Record]:
    for split, by_time in scores.items():
        for time, one in by_time.items():
            how: dict[str, Any] = {"layer": NETWORK, "split": split, "weighting": "sample"}
            baseline = ORIGINAL if time == "before" else None
            yield Record(measure="accuracy", value=one.accuracy, baseline=baseline, **how)
            yield Record(measure="loss", value=one.loss, unit="nat", baseline=baseline, **how)


def _latencies(latencies: Mapping[int, Mapping[str, float]]) -> Iterator[Record]:
    for samples, by_time in latencies.items():
        for time, seconds in by_time.items():
            baseline = ORIGINAL if time == "before" else None
            name, note = f"latency_of_{samples}", f"median seconds of a forward pass of {samples} samples"
            yield Record(layer=NETWORK, measure=name, value=seconds, unit="second", baseline=baseline, note=note)


def _tried(found: "Compressed") -> Iterator[Record]:
    for step, one in enumerate(found.candidates, start=1):
        how: dict[str, Any] = {"layer": NETWORK, "step": step, "note": one.setting}
        yield Record(measure="accuracy", value=one.accuracy, split=CHOOSING, weighting="sample", **how)
        for measure, unit in _UNITS.items():
            yield Record(measure=measure, value=getattr(one, measure), unit=unit, **how)


def _layers(found: "Compressed") -> Iterator[Record]:
    for plan in found.plan:
        yield Record(layer=plan.name, measure="proposed_rank", value=plan.proposed_rank, note=plan.reason)
        yield Record(
            layer=plan.name, measure="rank_at_one_percent_weight", value=plan.rank_at_one_percent, baseline=ORIGINAL
        )
        distance: dict[str, Any] = {
            "measure": "relative_distance_to_rank_k_weight",
            "note": "k = the number of classes",
        }
        yield Record(layer=plan.name, value=plan.distance_to_rank_c, baseline=ORIGINAL, **distance)
        yield Record(layer=plan.name, measure="output_energy_rank", value=plan.energy_rank, baseline=ORIGINAL)
    for layer in found.layers:
        yield from _taken(layer.before, layer.name, ORIGINAL)
        yield from _taken(layer.after, layer.name, None, layer.what)
