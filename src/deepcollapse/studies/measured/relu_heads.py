"""Networks with a head of ReLU layers: how they are trained."""

from dataclasses import dataclass, replace

from deepcollapse.studies.study import Scale
from deepcollapse.training.recipe import Recipe

FEW_TESTED = 20  # test images a class where few are trained on: no claim is on them, and every epoch looks at all


@dataclass(frozen=True)
class Heads:
    """How networks with a ReLU head are trained: one setting, and what varies about it, each on its own."""

    decays: tuple[float, ...]
    decay: float
    rates: tuple[float, ...] = ()
    rate: float = 0.5
    widths: tuple[int, ...] = ()
    width: int = 64
    depth: int = 3
    body_width: int = 64
    body_depth: int = 1
    loss: str = "mse"
    epochs: int = 600
    batch: int = 64
    drops: tuple[float, ...] = (0.5, 0.8)
    per_class: int | None = None


def recipes(scale: Scale) -> list[Recipe]:
    """Each data set and network over weight decay; over the rate and the head's width at one of the decays."""
    heads: Heads = scale["heads"]
    return [
        replace(_recipe(heads, dataset, network, seed), **varied)
        for dataset in scale.datasets
        for network in scale.networks
        for seed in scale.seeds
        for varied in (
            *({"decay": decay} for decay in heads.decays),
            *({"rate": rate} for rate in heads.rates),
            *({"width": width} for width in heads.widths),
        )
    ]


def _recipe(heads: Heads, dataset: str, network: str, seed: int) -> Recipe:
    body = (f"body_width={heads.body_width}", f"body_depth={heads.body_depth}")
    return Recipe(
        dataset=dataset,
        network=network,
        width=heads.width,
        depth=heads.depth,
        parameters=body if network.startswith("relu-head") else (),
        epochs=heads.epochs,
        batch=heads.batch,
        seed=seed,
        loss="mse" if heads.loss == "mse" else "cross-entropy",
        rate=heads.rate,
        decay=heads.decay,
        drops=heads.drops,
        measurements=3,
        per_class=heads.per_class,
        test_per_class=FEW_TESTED if heads.per_class else None,
    )
