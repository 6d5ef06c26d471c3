"""A run folder such as compression leaves, made from numbers instead of a network."""

from deepcollapse.records import Record, Run
from deepcollapse.records.record import ORIGINAL

OUTCOME = "4.0 times smaller (25,000 of 100,000 bytes). The target (accuracy falls by at most 1 points) is met."
SIZES = {"stored_bytes": (100_000, 25_000), "parameters": (25_000, 6_000), "multiply_adds": (24_000, 5_000)}
LATENCIES = {"latency_of_1": (1.0e-4, 1.1e-4), "latency_of_256": (2.0e-3, 1.0e-3)}
TRIED = [("half", 0.97, 50_000), ("a quarter", 0.965, 25_000), ("a tenth", 0.80, 10_000), ("worse", 0.70, 30_000)]
REASONS = (
    "factors of rank 60 would take as much as the layer's 256 x 64 weights: keep it",
    "factors of rank 186 would take as much as the layer's 256 x 256 weights: keep it",
    "its outputs vary in 9 of 10 directions but for 0.1 %, no more than the C - 1 = 9 that collapsed classes need",
)
LAYERS = (
    ("blocks.0.linear", 64, 60, 64, "rank 42"),
    ("blocks.1.linear", 251, 186, 256, "rank 31"),
    ("head", 10, 9, 9, "rank 9"),
)


def network(changed):
    """The rows of the whole network, before and after, and of what was tried."""
    both = {**SIZES, **LATENCIES}
    for measure, values in both.items():
        for value, baseline in zip(values if changed else values[:1] * 2, (ORIGINAL, None), strict=True):
            note = "a quarter" if baseline is None else None
            yield Record(layer="network", measure=measure, value=value, baseline=baseline, note=note)
    for split, values in {"test": (0.96, 0.955), "choosing": (0.97, 0.965)}.items():
        for value, baseline in zip(values, (ORIGINAL, None), strict=True):
            yield Record(layer="network", measure="accuracy", value=value, split=split, baseline=baseline)
    for step, (setting, accuracy, size) in enumerate(TRIED, start=1):
        how = {"layer": "network", "step": step, "note": setting}
        yield Record(measure="accuracy", value=accuracy, split="choosing", **how)
        for measure, value in (("stored_bytes", size), ("parameters", size / 4), ("multiply_adds", size / 5)):
            yield Record(measure=measure, value=value, **how)


def make_compressed(path, *, name=None, changed=True, layers=LAYERS, reasons=REASONS, **facts):
    """A compressed network's run; `facts` change what is told of the search."""
    told = {"method": "low-rank", "accuracy_drop": 0.01, "size": None, "met": True, "setting": "a quarter"}
    told |= {"tried": len(TRIED), "outcome": OUTCOME, **facts}
    extra = {"compressed": "runs/digits", "weights": "runs/digits/weights.safetensors", "compression": told}
    run = Run.create(
        path,
        recipe={"network": "mlp", "dataset": "digits"},
        class_names=("0", "1"),
        data_digest={"train": "a", "test": "b"},
        device="cpu",
        seed=0,
        name=name,
        extra=extra,
    )
    rows = list(network(changed))
    for (layer, numerical, energy, proposed, what), reason in zip(layers, reasons, strict=True):
        rows.append(Record(layer=layer, measure="proposed_rank", value=proposed, note=reason))
        rows.append(Record(layer=layer, measure="rank_at_one_percent_weight", value=numerical, baseline=ORIGINAL))
        rows.append(Record(layer=layer, measure="output_energy_rank", value=energy, baseline=ORIGINAL))
        if changed:
            rows.append(Record(layer=layer, measure="stored_bytes", value=30_000, baseline=ORIGINAL))
            rows.append(Record(layer=layer, measure="stored_bytes", value=8_000, note=what))
    run.append(rows)
    return run
