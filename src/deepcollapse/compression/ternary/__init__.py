"""Networks whose weights are from a finite set: rounded to it, and trained in it by coordinate descent."""

from deepcollapse.compression.ternary.descent import DiscreteResult, train_discrete
from deepcollapse.compression.ternary.projection import TERNARY, ternary_projection
from deepcollapse.compression.ternary.run import Sweep

__all__ = ["TERNARY", "DiscreteResult", "Sweep", "ternary_projection", "train_discrete"]
