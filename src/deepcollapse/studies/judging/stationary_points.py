"""What is said of networks at stationary points: distance to rank K, its bounds, and what it is in proportion to."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy
import pandas

from deepcollapse.records.study import Judgement, worst
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.criteria import FEWEST_SEEDS, FEWEST_VALUES, median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence
from deepcollapse.studies.judging.of_tables import each_group
from deepcollapse.studies.measured.stationary_networks import BOUNDS

# Distances that are shorter, as shares of |W|, tell of rounding and of what is left of the gradient.
RESOLVED = 1e-6
NEARLY_STATIONARY = 1e-2  # what may be left of the gradient, relative to decay times the weight


def logarithms(rows: pandas.DataFrame) -> tuple[Any, Any]:
    """log(TCV / decay) of what enters a layer and the log distance of its weight from rank K, where it can be told."""
    kept = resolved(rows)
    return numpy.log((kept["input_variation"] / kept["decay"]).to_numpy(float)), numpy.log(kept["distance"].to_numpy())


def near_stationary(rows: Any) -> Any:
    """The layers at which little is left of the gradient: what is said of stationary points is said of them."""
    return rows[rows["stationarity_residual"] < NEARLY_STATIONARY]


def resolved(rows: Any) -> Any:
    """Those of them whose distance from rank K is more than rounding and what is left of the gradient."""
    near = near_stationary(rows)
    floor: Any = numpy.maximum(RESOLVED, near["stationarity_residual"]) * near["norm"]
    return near[near["distance"] > floor]


def of_stationary(judge: Callable[[str, Any], Judgement]) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of the networks at stationary points, of each data set."""
    return lambda evidence: each_group(
        {f"{name}, mlp with tanh": rows for name, rows in evidence.table("stationary").groupby("dataset")}, judge
    )


def bounded(subject: str, rows: pandas.DataFrame) -> Judgement:
    """Distance to rank K and its bounds, wherever what is left of the gradient is small."""
    near = near_stationary(rows)
    if not len(near):
        raise MissingEvidence("no layer came near a stationary point")
    share, tightest = len(near) / len(rows), near["bound_cross"]
    networks, seeds = len(near.groupby(["seed", "decay"])), near["seed"].nunique()
    broken = sum(int((near["distance"] > near[bound] * (1 + 1e-9)).sum()) for bound in BOUNDS)
    unknown = sum(int((near["distance"] + near[bound]).isna().sum()) for bound in BOUNDS)
    if unknown and not broken:
        raise MissingEvidence(f"{unknown} of {3 * len(near)} bounds, or the distances they are for, are undefined")
    if seeds < FEWEST_SEEDS and not broken:
        raise MissingEvidence(
            f"the criterion is for at least {FEWEST_SEEDS} seeds with a layer near a stationary point, and "
            f"{seeds} had one"
        )
    over = near["distance"] / tightest
    told = (
        f"{broken} of {3 * len(near)} bounds are broken, over {len(near)} of {len(rows)} layers ({share:.0%}), in "
        f"{networks} networks of {seeds} seeds, whose residual is below {NEARLY_STATIONARY:g}; distance over the "
        f"tightest bound is {float(over.median()):.2g} in the median and {float(over.max()):.2g} at most"
    )
    informative = float((tightest < near["norm"]).mean())
    numbers = {"broken": broken, "share_near": share, "tightest": float(over.max()), "share_below_norm": informative}
    return Judgement(subject, "fails" if broken else "holds", told, numbers)


def proportional(subject: str, rows: pandas.DataFrame) -> Judgement:
    """Log distance to rank K against log TCV over decay, all hidden layers and decays of a seed together."""
    near, kept = len(near_stationary(rows)), len(resolved(rows))
    left = f"{kept} of {near} layers near a stationary point, of {len(rows)} in all, are at a distance that can be told"
    if 2 * kept < near:
        raise MissingEvidence(f"the criterion is for half of the layers, and {left}")
    slopes, correlations = [], []
    for _, of_seed in rows.groupby("seed"):
        x, y = logarithms(of_seed)
        if len(x) >= FEWEST_VALUES:
            slopes.append(float(numpy.polyfit(x, y, 1)[0]))
            correlations.append(float(numpy.corrcoef(x, y)[0, 1]))
    verdict = worst([settled(slopes, at_least=0.5, at_most=1.5), settled(correlations, at_least=0.8)])
    told = f"slope {middle(slopes)}, correlation {middle(correlations)}; {left}"
    numbers = {"slope": median(slopes), "correlation": median(correlations), "seeds": len(slopes)}
    return Judgement(subject, verdict, told, {**numbers, "near": near, "told": kept})
