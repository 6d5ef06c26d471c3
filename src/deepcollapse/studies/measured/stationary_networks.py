"""Small smooth networks taken to stationary points, where distance to rank K and what bounds it can be compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas
import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn import functional

from deepcollapse.linalg import as_float64
from deepcollapse.networks import load_network
from deepcollapse.theory import rank_collapse_bounds, to_stationarity
from deepcollapse.training.data import Split

# What is told of each hidden layer, by the names of `RankCollapse`.
PER_LAYER = ("groups", "norm", "distance", "bound_cross", "bound_product", "bound_variability", "stationarity_residual",
             "input_variation")  # fmt: skip
BOUNDS = PER_LAYER[3:6]
GOAL = 1e-7  # for the largest entry of the gradient


def classes(labels: Int64[Tensor, " n"], seed: int) -> Int64[Tensor, " n"]:
    """The groups of samples about whose means variability is taken: the classes."""
    del seed
    return labels


def on_their_span(split: Split, per_class: int) -> tuple[Float64[Tensor, "n r"], Int64[Tensor, " n"]]:
    """The first samples of each class, as coordinates in the space that they span, their root mean square length 10.

    Decay removes whatever a first layer does to directions in which no sample lies, so that rotating these away changes
    neither stationary points nor singular values, and makes large images cheap.
    """
    images, labels = (torch.cat(parts) for parts in zip(*split.batches(512), strict=True))
    kept = torch.cat([torch.nonzero(labels == k).flatten()[:per_class] for k in range(split.num_classes or 0)])
    rows, labels = as_float64(images[kept].flatten(1)), labels[kept]
    u, s, _ = torch.linalg.svd(rows, full_matrices=False)
    spanned = (u * s)[:, s > 1e-9 * s[0]]
    return 10 * spanned / spanned.square().sum(dim=1).mean().sqrt(), labels


def bounded(
    inputs: Float64[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    partitions: Sequence[Int64[Tensor, " n"]],
    setting: Mapping[str, Any],
) -> dict[str, Any]:
    """A tanh network taken to a stationary point, and both sides of the bounds for every hidden layer, in lists.

    `setting` has seed, width, depth, decay and steps (of L-BFGS, at most); the lists run over partitions and layers.
    """
    torch.manual_seed(setting["seed"])
    network = load_network(
        "mlp",
        num_classes=int(labels.max()) + 1,
        image_shape=(inputs.shape[1],),
        width=setting["width"],
        depth=setting["depth"],
        batch_norm=False,
        activation="tanh",
    )
    loss, decay = functional.cross_entropy, setting["decay"]
    found = to_stationarity(network, inputs, labels, loss, decay, tolerance=GOAL, most_steps=setting["steps"])
    rows = []
    for number, groups in enumerate(partitions):
        bounds = rank_collapse_bounds(found.network, [(inputs, labels)], loss, decay, groups=groups)
        hidden = {name: one for name, one in bounds.layers.items() if name != "head"}
        rows += [
            {"partition": number, "layer": name} | {key: getattr(one, key) for key in PER_LAYER}
            for name, one in hidden.items()
        ]
    with torch.no_grad():
        hits = found.network(inputs).argmax(dim=1) == labels
    told = {"accuracy": float(hits.double().mean()), "largest_gradient": found.largest_gradient, "taken": found.steps}
    return told | {key: [row[key] for row in rows] for key in ("partition", "layer", *PER_LAYER)}


def by_layer(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row a layer and partition, of a table whose rows `bounded` made."""
    whole = table.explode(["partition", "layer", *PER_LAYER], ignore_index=True)
    return whole.astype(dict.fromkeys(PER_LAYER, float) | {"partition": int})
