"""What a measure says about itself: its symbol, source, range, value at collapse, invariances, cost, needs and unit.

The table in the docs, `deepcollapse list measures` and the contract tests are all made from these facts, so a new
measure is one decorated function in one file.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])

# What a measure may ask for, and what each costs to get.
NEEDS = {
    "moments": "counts, means and traces of each class (one pass)",
    "span scatter": "within-class scatter in the span of the class means (a second look at the features)",
    "pooled scatter": "the d x d pooled within-class scatter (one pass, d x d memory)",
    "decisions": "the network's decision on each sample and the nearest class mean (a second look at the features)",
    "rows": "any set of C vectors, such as centred class means, or the rows of the classifier",
    "matrix": "any matrix, or its singular values",
    "classifier": "the final linear layer's weights",
    "bias": "the final linear layer's bias",
    "means": "centred class means",
    "features": "every sample's features",
    "targets": "regression targets",
    "foreign features": "features of samples from outside the training classes",
}

# Maps of feature space that may leave a measure unchanged. `rows` and `matrix` are moved as given; centred class means
# do not move under translation, and the head follows so that its decisions stay what they are.
INVARIANCES = {
    "rotation": "h to Q h with Q orthogonal, and W to W Q^T",
    "scale": "h to s h with s > 0, and W to a W and b to a s b with a > 0 of its own",
    "translation": "h to h + t, and b to b - W t",
}

UNITS = {
    "1": "dimensionless, unchanged by scale",
    "row": "the unit of the rows that are passed, so that of the features for class means",
    "1/feature^2": "one over the unit of the features squared",
    "logit": "the unit of the head's output",
    "weight^2": "the unit of the classifier's weights squared",
    "feature^2": "the unit of the features squared",
}


@dataclass(frozen=True)
class Metric:
    """A measure and its declared facts.

    `range` is the closed interval of its values; `collapsed` the value at full, balanced neural collapse, None where
    collapse does not fix it or where it depends on the number of classes, as `collapsed_formula` then says;
    `invariant_to` the maps of feature space that leave it unchanged (see `INVARIANCES`); `source` a key of
    docs/references.bib; `cost` the work it takes from what it needs.
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
    collapsed_formula: str = ""

    def __post_init__(self) -> None:
        """Hold the facts to their vocabulary, so that a typing slip fails at import."""
        declared = {*self.needs, *self.invariant_to, self.unit}
        known = NEEDS | INVARIANCES | UNITS
        if declared - known.keys():
            raise ValueError(f"measure {self.name!r} declares {sorted(declared - known.keys())}; known: {[*known]}")
        if self.collapsed is not None and self.collapsed_formula:
            raise ValueError(f"measure {self.name!r} declares its value at collapse twice; drop one of the two.")

    @property
    def name(self) -> str:
        """The function's name, which is the measure's name in records and tables."""
        return self.function.__name__

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The function's parameters by name; read once, for a measure is called on every layer at every epoch."""
        return dict(inspect.signature(self.function).parameters)  # what is copied or pickled may hold no proxy

    @property
    def definition(self) -> str:
        """The first paragraph of the function's docstring."""
        return inspect.cleandoc(self.function.__doc__ or "").split("\n\n")[0].replace("\n", " ")

    @property
    def at_collapse(self) -> str:
        """The value at full collapse in words for a table: a number, a formula in C, or "" where it is not fixed."""
        return self.collapsed_formula if self.collapsed is None else f"{self.collapsed:g}"


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
    collapsed_formula: str = "",
) -> Callable[[Function], Function]:
    """Declare a function's facts and enter it in `METRICS`; the function itself is returned unchanged."""

    def declare(function: Function) -> Function:
        declared = Metric(
            function, symbol, source, range, collapsed, invariant_to, cost, needs, unit, collapsed_formula
        )
        METRICS[declared.name] = declared
        return function

    return declare
