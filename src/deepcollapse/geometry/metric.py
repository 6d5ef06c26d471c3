"""What a measure says about itself: its symbol, source, range, value at collapse, invariances, cost and needs.

The table in the docs, `deepcollapse list measures`, the report and the contract tests are all made from these
facts, so a new measure is one decorated function in one file.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])

# What a measure may ask for, and what each costs to get.
NEEDS = {
    "moments": "counts, means and traces of each class: one pass",
    "span scatter": "within-class scatter in the span of the class means: a second look at the features",
    "pooled scatter": "the d x d pooled within-class scatter: one pass, d x d memory",
    "class scatter": "one d x d scatter per class: one pass, C x d x d memory",
    "decisions": "the network's decision on each sample and the nearest class mean: a second look at the features",
    "rows": "any set of C vectors: centred class means, or the rows of the classifier",
    "matrix": "any matrix, or its singular values",
    "classifier": "the final linear layer's weights",
    "bias": "the final linear layer's bias",
    "means": "centred class means",
    "features": "every sample's features",
    "layers": "a number for each layer, in order of depth",
    "targets": "regression targets",
    "foreign features": "features of samples from outside the training classes",
}

INVARIANCES = ("rotation", "scale", "translation")


@dataclass(frozen=True)
class Metric:
    """A measure and its declared facts.

    `range` is the closed interval of its values, `collapsed` the value at full neural collapse (None where collapse
    does not fix it), `invariant_to` the maps of feature space that leave it unchanged: orthogonal "rotation",
    positive "scale", "translation".
    """

    function: Callable[..., object]
    symbol: str
    source: str
    range: tuple[float, float]
    collapsed: float | None
    invariant_to: tuple[str, ...]
    cost: str
    needs: tuple[str, ...]
    unit: str = "1"

    def __post_init__(self) -> None:
        """Hold the facts to their vocabulary, so that a typing slip fails at import."""
        unknown = set(self.needs) - NEEDS.keys() | set(self.invariant_to) - set(INVARIANCES)
        if unknown:
            raise ValueError(f"measure {self.name!r} declares {sorted(unknown)}; known: {[*NEEDS, *INVARIANCES]}")

    @property
    def name(self) -> str:
        """The function's name, which is the measure's name in records and tables."""
        return self.function.__name__

    @property
    def definition(self) -> str:
        """The first paragraph of the function's docstring."""
        return inspect.cleandoc(self.function.__doc__ or "").split("\n\n")[0].replace("\n", " ")


METRICS: dict[str, Metric] = {}


def metric(
    *,
    symbol: str,
    source: str,
    range: tuple[float, float],
    collapsed: float | None,
    invariant_to: tuple[str, ...],
    cost: str,
    needs: tuple[str, ...],
    unit: str = "1",
) -> Callable[[Function], Function]:
    """Declare a function's facts and enter it in `METRICS`; the function itself is returned unchanged."""

    def declare(function: Function) -> Function:
        declared = Metric(function, symbol, source, range, collapsed, invariant_to, cost, needs, unit)
        METRICS[declared.name] = declared
        return function

    return declare
