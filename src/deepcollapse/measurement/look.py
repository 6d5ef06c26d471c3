"""The second look: what needs finished class means and every sample again, from kept features or another run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from deepcollapse.geometry import ClassMoments, RunningSpan
from deepcollapse.geometry.decision import nearest_class_mean_rule
from deepcollapse.linalg import AffineArgmax
from deepcollapse.measurement.capture import Captured
from deepcollapse.measurement.state import exact


class FirstOfEachClass:
    """The features of the first few samples of some classes, for pictures (of this process's share of the data)."""

    def __init__(self, classes: list[int], size: int) -> None:
        self.size, self.parts = size, {c: list[Tensor]() for c in classes}

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take what is still wanted of each class."""
        for c, parts in self.parts.items():
            wanted = self.size - sum(len(part) for part in parts)
            if wanted > 0:
                parts.append(features[(labels == c).nonzero().flatten()[:wanted]].double())


@dataclass
class LayerLook:
    """What looks at one layer again: scatter in the span of its means, the nearest means, a probe, a few samples."""

    span: RunningSpan | None = None
    means: ClassMoments | None = None
    points: FirstOfEachClass | None = None
    probe: AffineArgmax | None = None
    nearest: list[Tensor] = field(default_factory=list)
    probed: list[Tensor] = field(default_factory=list)
    _nearest_rule: AffineArgmax | None = None

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in a batch: features (n, d), labels (n,)."""
        if self.span is not None:
            self.span.update(features, labels)
        if self.means is not None:
            if self._nearest_rule is None:  # training data may have been measured on another device
                self._nearest_rule = nearest_class_mean_rule(self.means.to(features.device))
            self.nearest.append(self._nearest_rule(features))
        if self.probe is not None:
            self.probed.append(self.probe(features))
        if self.points is not None:
            self.points.update(features, labels)

    def moments(self, finished: ClassMoments, distributed: bool) -> ClassMoments:
        """The layer's moments, with what this look added."""
        if self.span is None:
            return finished
        if distributed and _several():
            self.span.sum_over_processes()
        return self.span.compute()


@dataclass
class SecondLook:
    """A look at every layer. Labels and decisions are taken along: batches may come in another order this time."""

    layers: Mapping[str, LayerLook]
    labels: list[Tensor] = field(default_factory=list)
    decisions: list[Tensor] = field(default_factory=list)

    def over(self, batches: Iterable[Captured]) -> "SecondLook":
        """Look at all batches."""
        for captured in batches:
            with exact():
                for name, layer in self.layers.items():
                    layer.update(captured.features[name], captured.labels)
            self.labels.append(captured.labels)
            if captured.decisions is not None:
                self.decisions.append(captured.decisions)
        return self


def all_samples(parts: list[Tensor], distributed: bool) -> Tensor:
    """One vector of whole numbers from those of each batch, and of each process in order of rank."""
    own = torch.cat(parts).cpu() if parts else torch.empty(0, dtype=torch.int64)
    if not (distributed and _several()):
        return own
    gathered: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, own)
    return torch.cat([part for part in gathered if part is not None])


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
