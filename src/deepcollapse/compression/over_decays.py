"""Weight decay from weak to strong: rank and within-class variability fall together, and what can be cut with them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepcollapse.compression.layers import compressible_layers
from deepcollapse.compression.low_rank.truncate import truncate
from deepcollapse.errors import OptionError
from deepcollapse.geometry import channel_unfolding, effective_rank, rank_at_one_percent
from deepcollapse.networks import load_weights
from deepcollapse.records import Record, Run
from deepcollapse.training import Recipe, Watcher, train
from deepcollapse.training.data import Splits, prepare
from deepcollapse.training.evaluate import evaluate
from deepcollapse.training.loop import build_network
from deepcollapse.training.objective import loss_function

CUT = "truncated_accuracy"


@dataclass(frozen=True)
class DecayPoint:
    """One weight decay: what the network trained with it came to.

    Ranks are means over the weights of the layers before the head: of singular values above 1 % of the first, and the
    effective rank. `cluster_variation` is the mean over the layers measured before the head of their outputs' relative
    total cluster variation, `within_class_variability` NC1 at the head's input, on training data. `accuracy` is that on
    test data (training data where there are none), `truncated_accuracy` the same with every layer's weight cut to its
    own rank at one percent.
    """

    decay: float
    run: Path
    rank: float
    effective_rank: float
    cluster_variation: float
    within_class_variability: float
    accuracy: float
    truncated_accuracy: float
    ranks: dict[str, int]


def decay_sweep(
    recipe: Recipe,
    decays: Sequence[float],
    out: str | os.PathLike[str],
    *,
    device: str | None = None,
    threads: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    watcher: Callable[[float], Watcher] | None = None,
) -> tuple[DecayPoint, ...]:
    """Train a recipe once for each weight decay, measure every layer, and cut every layer to the rank that is left.

    Runs go to `out`/decay-VALUE; one that is there already is not trained again, and one that was stopped goes on. Each
    run's records get a row `truncated_accuracy`. `watcher` makes a watcher for each decay. Raises OptionError for no
    decays or the same one twice, and the errors of training.
    """
    if not decays or len(set(decays)) < len(decays):
        raise OptionError(
            f"a sweep takes one or more different weight decays; got {', '.join(map(str, decays)) or 'none'}."
        )
    found = []
    for decay in decays:
        one = replace(recipe, decay=float(decay))
        place = {"device": device, "threads": threads, "data_root": data_root, "download": download}
        run = _trained(one, Path(out) / f"decay-{decay:g}", watcher(decay) if watcher else None, place)
        found.append(_point(one, run, prepare(one, data_root, download)))
    return tuple(found)


def _trained(recipe: Recipe, folder: Path, watcher: Watcher | None, place: dict[str, Any]) -> Run:
    if (folder / "weights.safetensors").is_file():
        run = Run.open(folder)
        if Recipe.from_mapping(run.recipe) == recipe:
            return run
    return train(recipe, folder, resume=(folder / "provenance.json").is_file(), watcher=watcher, **place)


def _point(recipe: Recipe, run: Run, splits: Splits) -> DecayPoint:
    network = load_weights(build_network(recipe, splits), run.path)
    weights = {name: channel_unfolding(layer.weight.detach()) for name, layer in compressible_layers(network).items()}
    ranks = {name: int(rank_at_one_percent(weight)) for name, weight in weights.items()}
    hidden = list(weights)[:-1] or list(weights)
    cut = truncate(network, ranks, how="weights").network
    split, data = ("test", splits.test) if splits.test else ("train", splits.train)
    loss = loss_function(recipe)
    whole, truncated = (evaluate(one, data.batches(512), loss).accuracy for one in (network, cut))
    _record(run, split, truncated)
    return DecayPoint(
        decay=recipe.decay,
        run=run.path,
        rank=sum(ranks[name] for name in hidden) / len(hidden),
        effective_rank=sum(float(effective_rank(weights[name])) for name in hidden) / len(hidden),
        cluster_variation=_last(run, "relative_cluster_variation", hidden=True),
        within_class_variability=_last(run, "within_class_variability", hidden=False),
        accuracy=whole,
        truncated_accuracy=truncated,
        ranks=ranks,
    )


def _record(run: Run, split: str, accuracy: float) -> None:
    """The accuracy with every layer cut, once."""
    if CUT not in set(run.records()["measure"]):
        note = "every layer's weight cut to its singular values above 1 % of the first"
        run.append([Record(layer="network", measure=CUT, value=accuracy, split=split, weighting="sample", note=note)])


def _last(run: Run, measure: str, *, hidden: bool) -> float:
    """The mean of a measure at the last epoch over the layers before the head's input, or at the head's input."""
    rows: Any = run.records()
    rows = rows[(rows["measure"] == measure) & rows["baseline"].isna() & (rows["split"] == "train")]
    rows = rows[(rows["layer"] != "head.input") if hidden else (rows["layer"] == "head.input")]
    rows = rows[rows["epoch"] == rows["epoch"].max()]
    return float(rows["value"].mean())
