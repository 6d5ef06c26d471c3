"""Neural collapse of one layer as a metric of torchmetrics: streamed, merged over processes, exact."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor, nn

from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry import METRICS, ClassMoments, RunningMoments
from deepcollapse.geometry import Metric as Measure
from deepcollapse.geometry.moments import ScatterLevel, Weighting
from deepcollapse.integrations.extras import missing_extra
from deepcollapse.measurement.evidence import Evidence, evaluate, wanted_measures
from deepcollapse.records import Record

try:
    from torchmetrics import Metric
except (ImportError, RuntimeError, OSError) as error:
    raise missing_extra("NeuralCollapse", "torchmetrics", "torchmetrics", error) from error

BEYOND_MOMENTS = {"decisions", "classifier", "bias", "features", "targets", "foreign features", "layers"}
# By spacing: what tells one floating type from another in a state of numbers alone; 0 where nothing came.
DTYPES = {torch.finfo(d).eps: d for d in (torch.bfloat16, torch.float16, torch.float32, torch.float64)}
HEADER = 3  # spacing of the coarsest type, samples ignored, samples skipped


class NeuralCollapse(Metric):
    """The measures of a layer that follow from its class moments, as a torchmetrics metric.

    `update(features, labels)` with features (n, d) and labels (n,); `compute()` gives {measure: value}, float64, NaN
    where a measure is undefined; `records()` says why. The state is one float64 vector of fixed size, which processes
    merge exactly however many updates each made; no precision conversion touches it.

    Args:
        num_classes: C. dim: d, the length of a feature vector.
        measures: names or patterns; by default all that moments give, without those of the classifier and NC4, which
            `deepcollapse.measure` has.
        weighting: "class" counts classes equally, "sample" by their samples.
        scatter: "pooled" keeps d x d numbers (NC1, ranks of features), "none" keeps C x d only, "per_class" C x d x d,
            which NC1 with class weighting of imbalanced classes needs. By default "pooled" up to d = 2048, then "none".
        ignore_index, on_nonfinite: as in `deepcollapse.measure`. options: those of torchmetrics.Metric.

    >>> metric = NeuralCollapse(num_classes=2, dim=1, measures=["trace_ratio"])
    >>> metric.update(torch.tensor([[0.0], [2.0], [5.0], [7.0]]), torch.tensor([0, 0, 1, 1]))
    >>> metric.compute()
    {'trace_ratio': tensor(0.1600, dtype=torch.float64)}
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = None
    packed: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        measures: Sequence[str] | None = None,
        weighting: Weighting = "class",
        scatter: ScatterLevel | None = None,
        ignore_index: int = -100,
        on_nonfinite: str = "raise",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        scatter = scatter or ("pooled" if dim <= 2048 else "none")
        if dim < 1 or scatter == "class_weighted":
            raise OptionError(f"dim must be at least 1 and scatter not 'class_weighted'; got {dim} and {scatter!r}.")
        self.measures, self.dim = _from_moments(measures), dim
        self.weighting: Weighting = weighting
        self.running: Callable[[], RunningMoments] = partial(
            RunningMoments, num_classes, scatter=scatter, ignore_index=ignore_index, on_nonfinite=on_nonfinite
        )
        self.running()  # checks the options
        self.unpack: Callable[[Tensor], ClassMoments] = partial(unpack, num_classes, dim, scatter)
        size = num_classes * (dim + 2) + {"none": 0, "pooled": 1, "per_class": num_classes}[scatter] * dim**2
        nothing = torch.zeros(HEADER + size, dtype=torch.float64)
        self.add_state("packed", nothing, dist_reduce_fx=partial(merge_packed, self.unpack))

    def update(self, features: Shaped[Tensor, "..."], labels: Shaped[Tensor, "..."]) -> None:
        """Add a batch: features (n, d) of any floating type, labels (n,)."""
        if features.ndim == 2 and features.shape[1] != self.dim:
            raise ShapeError(f"features have dimension {features.shape[1]}; this metric was made for dim={self.dim}.")
        running = self.running()
        running.update(features.detach(), labels)
        self.packed = pack(self.moments.merge(running.compute().to(self.packed.device)))

    def compute(self) -> dict[str, Tensor]:
        """Every measure that moments give, by name."""
        return {
            record.measure: torch.tensor(float("nan") if record.value is None else record.value, dtype=torch.float64)
            for record in self.records()
            if record.array is None
        }

    @property
    def moments(self) -> ClassMoments:
        """The class moments of what this process has seen."""
        return self.unpack(self.packed)

    def records(self, layer: str = "features", split: str = "train") -> list[Record]:
        """The measures of what this process has seen as rows of a run, with notes on what is undefined."""
        evidence = Evidence(layer, split, self.moments, self.weighting, centre=self.weighting, reduction="none")
        return evaluate(evidence, self.measures)[0]

    def merge_state(self, incoming_state: Any) -> None:
        """Take in another metric's state, as if its batches had come here."""
        super().merge_state(incoming_state)
        # Else compute() would go on giving what it gave before.
        self._computed = None
        self._update_count += 1

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = ()) -> nn.Module:
        """Move the state with the module, and never round it: `.to(torch.float16)` is meant for the network."""
        computed = self._computed
        this = super()._apply(fn, exclude_state=(*exclude_state, "packed"))
        self._computed = computed
        if self.device.type != "mps":  # which has no float64
            self.packed = self.packed.to(self.device)
        return this


def _from_moments(names: Sequence[str] | None) -> dict[str, Measure]:
    """The measures asked for; of the default, those that moments give."""
    wanted = wanted_measures(names)
    beyond = [name for name in wanted if BEYOND_MOMENTS & set(METRICS[name].needs)]
    if names is not None and beyond:
        raise OptionError(f"{beyond[0]} needs more than class moments; measure it with deepcollapse.measure.")
    return {name: metric for name, metric in wanted.items() if name not in beyond}


def pack(moments: ClassMoments) -> Float64[Tensor, " s"]:
    """Moments as one vector: header, counts, traces, means, scatter."""
    header = torch.tensor([torch.finfo(moments.dtype).eps, moments.ignored, moments.skipped], dtype=torch.float64)
    parts = [header.to(moments.mean.device), moments.count.double(), moments.trace, moments.mean.flatten()]
    return torch.cat(parts if moments.scatter is None else [*parts, moments.scatter.flatten()])


def unpack(num_classes: int, dim: int, level: ScatterLevel, packed: Float64[Tensor, " s"]) -> ClassMoments:
    """The moments in a vector that `pack` made."""
    c, d = num_classes, dim
    eps, ignored, skipped = packed[:HEADER].tolist()
    count, trace, mean, scatter = packed[HEADER:].split([c, c, c * d, len(packed) - HEADER - c * (d + 2)])
    return ClassMoments(
        count=count.round().long(),
        mean=mean.view(c, d),
        trace=trace,
        scatter=None if level == "none" else scatter.view((c, d, d) if level == "per_class" else (d, d)),
        level=level,
        dtype=DTYPES.get(eps, torch.float64),
        ignored=int(ignored),
        skipped=int(skipped),
    )


def merge_packed(read: Callable[[Tensor], ClassMoments], states: Float64[Tensor, "p s"]) -> Float64[Tensor, " s"]:
    """The states of several processes as one, by the exact merge of moments."""
    merged = read(states[0])
    for state in states[1:]:
        merged = merged.merge(read(state))
    return pack(merged)
