"""Quantities of runs over one setting of their recipes, seed by seed: what claims and charts of sweeps look at."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy

from deepcollapse.records.charts import Curve
from deepcollapse.records.study import Judgement, worst
from deepcollapse.studies.judging.criteria import falls_with, median, middle, spearman
from deepcollapse.studies.judging.evidence import Finished

Points = Mapping[int, Sequence[tuple[float, float]]]
# Where a setting of 0 stands on a logarithmic axis: at this share of the smallest other.
ZERO = 0.3
LENGTH = "frobenius_norm_weight"


def points(runs: Sequence[Finished], setting: str, value: Callable[[Finished], float]) -> Points:
    """The pairs (setting, quantity) of each seed, in the order of the setting; what is undefined is left out."""
    found: dict[int, list[tuple[float, float]]] = {}
    for run in runs:
        at = float(getattr(run.recipe, setting)), float(value(run))
        found.setdefault(run.recipe.seed, []).extend([] if math.isnan(at[1]) else [at])
    return {seed: sorted(pairs) for seed, pairs in found.items()}


def alive(runs: Sequence[Finished]) -> list[Finished]:
    """The runs whose weights decay did not take away: a zero network has no rank to speak of.

    Raises MissingEvidence where the length of a weight is undefined at the beginning or the end.
    """
    return [run for run in runs if all(map(partial(_kept, run), run.layers_with(LENGTH)))]


def _kept(run: Finished, layer: str) -> bool:
    return run.last(LENGTH, layer, None) > 0.01 * run.first(LENGTH, layer, None)


def all_fall(subject: str, quantities: Mapping[str, Points], name: str, runs: Sequence[Finished]) -> Judgement:
    """Whether every one of several quantities falls with a setting; the weakest is named.

    Errors are those of `falls_with`.
    """
    each = {label: falls_with(label, values, name) for label, values in quantities.items()}
    numbers = {label: judged.numbers["correlation"] for label, judged in each.items()}
    weakest = max(numbers, key=lambda label: numbers[label] or 0.0)
    count = sum(judged.verdict == "holds" for judged in each.values())
    told = f"{count} of {len(each)} fall; the weakest is {weakest}, {each[weakest].measured}"
    verdict = worst([judged.verdict for judged in each.values()])
    return Judgement(subject, verdict, told, numbers, runs=[run.name for run in runs])


def rises_with(subject: str, values: Points, name: str) -> Judgement:
    """Whether a quantity rises with a setting: correlation at least 0.8. Errors are those of `falls_with`."""
    negated = {seed: [(x, -y) for x, y in pairs] for seed, pairs in values.items()}
    found = [spearman([x for x, _ in pairs], [y for _, y in pairs]) for pairs in values.values()]
    numbers = {"correlation": median(found), "seeds": len(found)}
    return replace(
        falls_with(subject, negated, name), measured=f"correlation with {name} {middle(found)}", numbers=numbers
    )


def curve(name: str, values: Points, log: bool = True) -> Curve:
    """The median over seeds with a band from the least to the largest; 0 has a place on a logarithmic axis."""
    settings = sorted({x for pairs in values.values() for x, _ in pairs})
    least = min((x for x in settings if x > 0), default=1.0)
    columns = [[y for pairs in values.values() for at, y in pairs if at == x] for x in settings]
    return Curve(
        name,
        [x or ZERO * least if log else x for x in settings],
        [float(numpy.median(column)) for column in columns],
        low=[min(column) for column in columns],
        high=[max(column) for column in columns],
    )
