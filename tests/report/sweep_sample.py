"""A sweep's folder such as running one leaves, made from formulas: rank falls with decay, accuracy peaks in between."""

import json
import math

from deepcollapse.records import Record, Run, atomic_write
from deepcollapse.sweeps import Sweep, key_of
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.training.recipe import Recipe

LAST = 6
BASE = Recipe(epochs=LAST, width=16, depth=2, per_class=20, measurements=3)


def numbers(recipe):
    """(measure, layer, split) and the value at the end of training."""
    decay, noise = math.log10(recipe.decay + 1e-5), 0.004 * recipe.seed
    variability = 10 ** (-1 - 0.4 * (decay + 5)) * (recipe.rate / 0.01) ** -0.5 * (1 + 10 * noise)
    yield "accuracy", "network", "train", min(1.0, 0.96 + noise)
    yield "accuracy", "network", "test", 0.9 - 0.02 * (decay + 3) ** 2 + noise
    yield "loss", "network", "train", 0.01 + noise
    yield "within_class_variability", "head.input", "train", variability
    yield "equinorm_means", "head.input", "train", variability / 3
    yield "self_duality", "head.input", "train", variability / 2
    yield "effective_rank_features", "head.input", "train", 9 + variability
    for depth in range(2):
        rank = (recipe.width or 16) * 10 ** (-0.1 * (decay + 5)) - depth
        yield "rank_at_one_percent_weight", f"blocks.{depth}.linear", None, rank
        yield "relative_cluster_variation", f"blocks.{depth}", "train", 0.5 - 0.05 * decay * depth


def rows(recipe):
    """The records of a run: its end, and an early epoch and a baseline, which no page of a sweep may take."""
    yield Record(epoch=LAST - 1, layer="network", measure="tpt_onset", value=LAST - 1)
    for epoch, baseline, times in ((1, None, 50.0), (LAST, None, 1.0), (LAST, "shuffled labels", 70.0)):
        for measure, layer, split, value in numbers(recipe):
            how = {"layer": layer, "measure": measure, "value": times * value, "baseline": baseline}
            yield Record(epoch=epoch, split=split, **how)
    yield Record(epoch=LAST, split="train", layer="head.input", measure="cosines_means", array="arrays/a.safetensors#c")


def make_sweep(folder, *, failed=(), stopped=(), waiting=(), base=BASE, **axes):
    """A sweep over these settings; recipes by their place that failed, were stopped, or wait."""
    sweep = Sweep.grid(base, **axes)
    place = SweepFolder(folder)
    place.plan(sweep)
    for i, recipe in enumerate(sweep.recipes):
        if i in failed:
            trace = f'Traceback (most recent call last):\n  File "loop.py"\nNonFiniteError: run {i} met <b>NaN</b>.\n'
            atomic_write(place.failure_path(recipe), trace.encode())
        if i not in (*failed, *waiting):
            path = place.run_path(recipe)
            run = Run.create(
                path, recipe=recipe.to_mapping(), class_names=("a",), data_digest={}, device="cpu", seed=recipe.seed
            )
            run.append(list(rows(recipe)))
            if i not in stopped:
                atomic_write(path / "done.json", json.dumps({"version": "1", "data": {}, "afterwards": None}).encode())
    return {key_of(recipe): recipe for recipe in sweep.recipes}
