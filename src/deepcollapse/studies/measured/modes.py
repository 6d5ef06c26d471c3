"""Classes of several modes: the parity of three bits, at stationary points, as samples gather at their modes."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy
import pandas
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from deepcollapse.records.study import Judgement, worst
from deepcollapse.studies.judging.criteria import median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence
from deepcollapse.studies.measured.stationary_networks import bounded, by_layer
from deepcollapse.studies.measured.table import computed
from deepcollapse.studies.study import Computation, Scale, Task

BITS, DIMENSIONS, EACH = 3, 12, 10
SPREADS = (0.3, 0.15, 0.05, 0.015)
SEEDS = (0, 1, 2)
SETTING = {"width": 20, "depth": 2, "steps": 3000, "decay": 1e-3}
CLASSES, OF_MODES = 0, 1  # the partitions


def parity(bits: Int64[Tensor, "modes bits"]) -> Int64[Tensor, " modes"]:
    """The class of each mode: whether the number of ones is odd, which no linear map tells."""
    return bits.sum(dim=1).remainder(2)


def samples(spread: float, seed: int) -> tuple[Float64[Tensor, "n d"], Int64[Tensor, " n"], Int64[Tensor, " n"]]:
    """Inputs about the corners of a cube that lies askew in more dimensions, with their classes and modes."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.tensor([[mode >> bit & 1 for bit in range(BITS)] for mode in range(2**BITS)])
    corners = 2.0 * bits.double() - 1
    axes = torch.linalg.qr(torch.randn(DIMENSIONS, BITS, generator=generator, dtype=torch.float64)).Q
    modes = torch.arange(len(bits)).repeat_interleave(EACH)
    noise = torch.randn(len(modes), DIMENSIONS, generator=generator, dtype=torch.float64)
    return corners[modes] @ axes.T + spread * noise, parity(bits)[modes], modes


def compute(task: Task) -> pandas.DataFrame:
    """Bounds for the partitions into classes and into modes, a row a layer, over the spread about the modes."""

    def one(setting: Mapping[str, Any]) -> dict[str, Any]:
        inputs, labels, modes = samples(setting["spread"], setting["seed"])
        return bounded(inputs, labels, [labels, modes], setting)

    settings = [{"spread": spread, "seed": seed, **SETTING} for seed in SEEDS for spread in SPREADS]
    return by_layer(computed(task.path, settings, one, task.progress))


def _seconds(scale: Scale) -> float:
    del scale
    return 0.4 * len(SEEDS) * len(SPREADS)


MODES = Computation("modes", compute, _seconds)


def widest(rows: Any, column: str) -> Any:
    """The largest of a length over the hidden layers as a share of |W|: seeds in rows, spreads in columns."""
    shares = rows.assign(share=rows[column] / rows["norm"])
    return shares.pivot_table(index="seed", columns="spread", values="share", aggfunc="max")


def judge_modes(evidence: Evidence) -> Iterator[Judgement]:
    """Distances to the rank of classes and of modes, from the widest spread to the narrowest."""
    rows = evidence.table("modes")
    of_classes = widest(rows[rows["partition"] == CLASSES], "distance")
    of_modes, bounds = (widest(rows[rows["partition"] == OF_MODES], name) for name in ("distance", "bound_cross"))
    narrow, wide = min(SPREADS), max(SPREADS)
    stays, kept = list(of_classes[narrow]), list(of_classes[narrow] / of_classes[wide])
    gone, allowed = list(of_modes[narrow]), list(bounds[narrow])
    verdict = worst(
        [
            settled(stays, at_least=0.2),
            settled(kept, at_least=0.5),
            settled(gone, at_most=0.01),
            settled(allowed, at_most=0.01),
        ]
    )
    told = (
        f"at spread {narrow:g} the distance to rank 2 is {middle(stays)} of |W| ({middle(list(of_classes[wide]))} at "
        f"spread {wide:g}), to rank {2**BITS} it is {middle(gone)}, of at most {middle(allowed)} by the bound"
    )
    numbers = {
        "to_classes": median(stays),
        "to_modes": median(gone),
        "bound_for_modes": median(allowed),
        "bound_for_modes_at_wide_spread": float(numpy.median(bounds[wide])),
    }
    yield Judgement("parity of three bits, mlp with tanh", verdict, told, numbers)
