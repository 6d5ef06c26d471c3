"""A run folder such as training leaves, made from formulas instead: every quantity collapses after epoch 12."""

from typing import Any

import numpy as np

from deepcollapse.records import Record, Run

EPOCHS = (0, 1, 3, 6, 12, 30, 80, 200)
LAYERS = ("blocks.0", "blocks.1", "head.input")
WEIGHTS = ("blocks.0.linear", "blocks.1.linear")
RANKS = ("numerical_rank", "rank_at_one_percent", "rank_above_noise_edge", "stable_rank")
VERTICES = {
    3: np.array([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]),
    4: np.array([[3, 0, 0], [-1, 8**0.5, 0], [-1, -(2**0.5), 6**0.5], [-1, -(2**0.5), -(6**0.5)]]) / 3,
}
SCALARS = (
    "cdnv",
    "separation_fuzziness",
    "trace_ratio",
    "equinorm_means",
    "equiangularity_means",
    "maximal_angle_means",
)


def fade(epoch, start, rate=0.9):
    """A value that falls as a power of the epoch."""
    return start * (1 + epoch) ** -rate


def geometry(epoch, split, collapse):
    """The numbers of every layer, and of the head, at one epoch."""
    facts = {"epoch": epoch, "split": split, "weighting": "class", "centre": "class"}
    for depth, layer in enumerate(LAYERS):
        value = fade(epoch, 6.0, collapse * (1 + depth) / 3) * 3.0**-depth
        yield Record(layer=layer, measure="within_class_variability", value=value, reduction="mean", **facts)
        for i, name in enumerate(SCALARS):
            yield Record(
                layer=layer, measure=name, value=fade(epoch, 0.4 + 0.1 * i, collapse * (1 + depth) / 4), **facts
            )
        yield Record(layer=layer, measure="effective_rank_features", value=3 + fade(epoch, 12.0), **facts)
        for i, name in enumerate(RANKS):
            yield Record(layer=layer, measure=f"{name}_features", value=3 + fade(epoch, 9.0 - i), **facts)
        disagreement = max(0.0, fade(epoch, 0.3 / (1 + depth)) - 0.002)
        yield Record(layer=layer, measure="nearest_class_mean_disagreement", value=disagreement, **facts)
    yield Record(layer="head.input", measure="present_classes", value=4, unit="classes", **facts)
    law = {"rho": 0.2 + fade(epoch, 0.9), "intercept": 1.5, "correlation": -0.991, "r_squared": 0.982}
    for part, value in law.items():
        yield Record(layer="all", measure=f"equi_separation_{part}", value=value, **facts)
    note = "first of 3 layers with nearest-mean error at most 0.01"
    yield Record(layer="all", measure="effective_depth", value=2, unit="layers", note=note, epoch=epoch, split=split)
    if split == "train":
        for name in ("equinorm_classifier", "equiangularity_classifier", "maximal_angle_classifier"):
            yield Record(epoch=epoch, layer="head", measure=name, value=fade(epoch, 0.5, collapse * 0.8))
        yield Record(layer="head.input", measure="self_duality", value=fade(epoch, 1.2, collapse), **facts)
        for depth, layer in enumerate(WEIGHTS):
            for i, name in enumerate((*RANKS, "effective_rank")):
                value = 3 + fade(epoch, 9.0 + depth - i, collapse)
                yield Record(epoch=epoch, layer=layer, measure=f"{name}_weight", value=value, reduction="none")
        yield Record(epoch=epoch, split=split, layer="head", measure="stable_rank_classifier", value=3.0)


def arrays(epoch, rng, collapse):
    """The pictures' arrays at one epoch, by measure and layer."""
    spread = fade(epoch, 0.8, collapse)
    noise = rng.normal(size=(4, 4))
    cosines = np.where(np.eye(4) == 1, 1.0, -1 / 3 + spread * (noise + noise.T) / 4)
    found = {("cosines_means", "head.input"): cosines, ("cosines_classifier", "head"): cosines * 0.9 + 0.1 * np.eye(4)}
    found["class_variability", "head.input"] = spread * np.array([0.2, 0.4, 0.1, 0.3])
    for layer in LAYERS:
        found["singular_values_features", layer] = 10.0 * np.r_[1.0, 0.9, 0.8, spread * 0.7 ** np.arange(9)]
    for depth, layer in enumerate(WEIGHTS):
        found["singular_values_weight", layer] = 3.0 * np.r_[1.0, 0.8, 0.7, spread * 0.8 ** np.arange(5 + depth)]
    found["singular_values_classifier", "head"] = 2.0 + spread * np.arange(4)[::-1]
    for k, vertices in VERTICES.items():
        labels = np.repeat(np.arange(k), 15)
        points = vertices[labels] + spread * rng.normal(size=(15 * k, k - 1))
        found[f"simplex_{k}_points", "head.input"] = points
        found[f"simplex_{k}_labels", "head.input"] = labels
        found[f"simplex_{k}_means", "head.input"] = vertices + spread * rng.normal(size=vertices.shape) / 4
        found[f"simplex_{k}_classifier", "head.input"] = vertices + spread * rng.normal(size=vertices.shape) / 2
    return found


def make_run(
    path, *, name=None, class_names=("cat", "dog", "owl", "eel"), epochs=EPOCHS, collapse=0.9, seed=0, note=None
):
    """Write the run folder at `path`; `collapse` is how fast it falls, and below 0 it rises."""
    recipe = {"network": "mlp", "epochs": epochs[-1], "note": note, "optimiser": {"name": "sgd", "rate": 0.1}}
    run = Run.create(
        path,
        recipe=recipe,
        class_names=class_names,
        data_digest={"train": "0a" * 8},
        device="cpu",
        seed=seed,
        name=name,
    )
    rng = np.random.default_rng(seed)
    for epoch in epochs:
        rows = [row for split in ("train", "test") for row in geometry(epoch, split, collapse)]
        for split, ceiling in (("train", 1.0), ("test", 0.97)):
            accuracy = ceiling if epoch >= 12 else ceiling * (1 - 0.7 * 0.6**epoch)
            rows.append(Record(epoch=epoch, split=split, layer="network", measure="accuracy", value=accuracy))
            rows.append(Record(epoch=epoch, split=split, layer="network", measure="loss", value=fade(epoch, 2.3)))
        onset: dict[str, Any] = {"value": 12.0} if epoch >= 12 else {"note": "not reached yet"}
        rows.append(Record(epoch=epoch, split="train", layer="network", measure="tpt_onset", unit="epoch", **onset))
        found = arrays(epoch, rng, collapse)
        references = run.write_arrays(f"epoch-{epoch:04d}", {f"{m}@{layer}": a for (m, layer), a in found.items()})
        rows += [
            Record(epoch=epoch, split="train", layer=layer, measure=m, array=references[f"{m}@{layer}"])
            for m, layer in found
        ]
        run.append(rows)
    last = {"epoch": epochs[-1], "split": "train", "weighting": "class", "centre": "class"}
    for baseline, value in (("untrained", 5.0), ("shuffled labels", 9.0)):
        for layer in LAYERS:
            measures = ("within_class_variability", "cdnv", "equinorm_means")
            run.append([Record(layer=layer, measure=m, value=value, baseline=baseline, **last) for m in measures])
    return run
