"""What compressing a network gives: the network, what was tried on the way, and what became of each layer."""

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from deepcollapse.compression.coded_layers import CodedLayer
from deepcollapse.compression.layers import compressible_layers
from deepcollapse.compression.plan import LayerPlan
from deepcollapse.compression.search import Candidate
from deepcollapse.compression.sizes import Footprint, parameters_in_use, stored_bytes
from deepcollapse.compression.target import Target


@dataclass(frozen=True)
class LayerChange:
    """One layer before and after: what it takes, and what became of it in words. Multiply-adds are a position's."""

    name: str
    before: Footprint
    after: Footprint
    what: str


@dataclass(frozen=True)
class Compressed:
    """A compressed network and how it came about.

    `network` is the one that was chosen, or a copy of the original where nothing that was tried keeps to the target
    (`met` is then False). `candidates` holds every network that was looked at, `plan` what each layer's spectrum says
    can go, `layers` what became of those that changed, `classes` how many classes the samples have; `before` and
    `after` what the networks take.
    """

    network: nn.Module
    method: str
    target: Target
    met: bool
    setting: str
    original: Candidate
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    plan: tuple[LayerPlan, ...]
    layers: tuple[LayerChange, ...]
    classes: int

    @property
    def before(self) -> Footprint:
        """What the original takes."""
        return _footprint(self.original)

    @property
    def after(self) -> Footprint:
        """What the compressed network takes."""
        return _footprint(self.chosen)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers that others were put in place of."""
        return tuple(layer.name for layer in self.layers)

    def facts(self) -> dict[str, Any]:
        """What was asked for and what came of it, as plain values."""
        return {
            "method": self.method,
            "target": str(self.target),
            "accuracy_drop": self.target.accuracy_drop,
            "size": self.target.size,
            "met": self.met,
            "setting": self.setting,
            "tried": len(self.candidates),
        }


def _footprint(one: Candidate) -> Footprint:
    return Footprint(one.stored_bytes, one.parameters, one.multiply_adds)


def changes(original: nn.Module, compressed: nn.Module) -> tuple[LayerChange, ...]:
    """The layers that are not what they were, in the network's order.

    >>> from deepcollapse.compression.layers import replaced
    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    >>> pair = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 4))
    >>> [(one.name, one.what) for one in changes(net, replaced(net, {"0": pair}))]
    [('0', 'rank 1')]
    """
    found = []
    for name, layer in compressible_layers(original).items():
        now = compressed.get_submodule(name)
        if type(now) is not type(layer):
            found.append(LayerChange(name, _takes(layer), _takes(now), described(now)))
    return tuple(found)


def _takes(module: nn.Module) -> Footprint:
    parts = [part for part in module.modules() if not list(part.children())]
    weights = sum(part.weights_used if isinstance(part, CodedLayer) else part.weight.numel() for part in parts)  # pyright: ignore
    return Footprint(stored_bytes(module), parameters_in_use(module), weights)


def described(module: nn.Module) -> str:
    """What stands in place of a layer, in words.

    >>> described(nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 4)))
    'rank 1'
    """
    if isinstance(module, CodedLayer):
        share = module.weights_used / math.prod(module.weight_shape)
        values = int((module.weight.unique() != 0).sum())
        return f"{module.container.form}, {100 * share:.3g} % not zero, of {values} value{'s' * (values != 1)}"
    if isinstance(module, nn.Sequential) and len(module) > 1:
        ranks = [str(_outputs(part)) for part in list(module)[:-1]]
        codes = [described(part) for part in module if isinstance(part, CodedLayer)]
        return f"rank {' and '.join(ranks)}" + (f" ({'; '.join(codes)})" if codes else "")
    return type(module).__name__


def _outputs(module: nn.Module) -> int:
    shape = module.weight_shape if isinstance(module, CodedLayer) else module.weight.shape
    return int(shape[0])  # pyright: ignore[reportArgumentType, reportIndexIssue]
