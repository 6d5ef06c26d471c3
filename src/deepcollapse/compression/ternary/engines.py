"""Which engine tries the weights of a chain: compiled loops where they can, plain torch otherwise."""

import importlib.util

from torch import Tensor

from deepcollapse.compression.ternary.compiled import CompiledTrials, why_not_compiled
from deepcollapse.compression.ternary.point import Engine, Point
from deepcollapse.compression.ternary.settings import Settings
from deepcollapse.compression.ternary.trials import TorchTrials
from deepcollapse.errors import OptionError

# Below this many products of a sweep the first use, which compiles for seconds, would not pay.
_WORTH_COMPILING = 5e6


def engine_for(point: Point, features: Tensor, labels: Tensor, settings: Settings) -> Engine:
    """The engine that the settings name, or the faster of those that can run the chain."""
    compiled = settings.engine == "compiled"
    if settings.engine == "auto" and importlib.util.find_spec("numba") is not None:
        work = point.count * (len(point.values) - 1) * len(features)
        compiled = work >= _WORTH_COMPILING and why_not_compiled(point) is None
    if not compiled:
        return TorchTrials(point, features, labels, settings.squared)
    if reason := why_not_compiled(point):
        raise OptionError(f"engine='compiled' runs chains of linear layers alone: {reason}. Use engine='torch'.")
    return CompiledTrials(point, features, labels, settings.squared)
