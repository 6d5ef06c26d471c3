"""A forecast for a user's own class counts: will small classes lose their angle, how far off is it, what helps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from deepcollapse.errors import OptionError
from deepcollapse.theory.predictions.alike import alike
from deepcollapse.theory.problems.layer_peeled import LayerPeeled, LayerPeeledOptimum
from deepcollapse.theory.problems.phases import critical_budget
from deepcollapse.theory.reduced.groups import Groups


@dataclass(frozen=True)
class PeeledForecast:
    r"""What the Layer-Peeled Model says of class counts under given budgets of classifier and features.

    Attributes:
        phase: "full": all classes keep a direction of their own; "collapse": classifiers of some classes of equal count
            coincide; "erased": some are zero.
        collapsed: the classes to which that happens, by their place in the counts.
        ratio: R, samples of the largest over the smallest class.
        threshold_ratio: R0, from which on the small classes coincide at these budgets; NaN unless there are two groups
            of classes with two or more in the smaller one.
        budget: s = sqrt(E_W E_H), all that matters of the budgets.
        threshold_budget: s0, up to which the small classes coincide at this ratio; NaN as `threshold_ratio`.
        cosine: the largest cosine between two classes' classifiers; NaN where classes are erased.
        balanced_cosine: -1/(K-1), what it would be for classes of one size.
        rank: the dimensions that classifiers span; below K-1 directions are lost, even where no two classes coincide.
        oversampling: how often each sample of the smallest class must be seen, and those of other classes so often that
            none counts less, for no classes to coincide; 1 where that is so already.
        restoring: how often for all angles to be those of balanced classes: R.
    """

    phase: str
    collapsed: tuple[int, ...]
    ratio: float
    threshold_ratio: float
    budget: float
    threshold_budget: float
    cosine: float
    balanced_cosine: float
    rank: int
    oversampling: float
    restoring: float


@dataclass(frozen=True)
class UnconstrainedForecast:
    """What the unconstrained-features model says of class counts under given decays.

    Classes of equal count n coincide where n <= N^2 lW lH = `threshold_count`; `collapsed` are those, by place.
    """

    threshold_count: float
    collapsed: tuple[int, ...]


@dataclass(frozen=True)
class Forecast:
    """What to expect of class counts, by model; None for a model whose parameters were not given.

    >>> told = forecast([500, 500, 50, 50], weight_budget=1.0, feature_budget=1.0)
    >>> told.layer_peeled.phase, round(told.layer_peeled.oversampling, 3)
    ('collapse', 2.958)
    """

    counts: tuple[float, ...]
    layer_peeled: PeeledForecast | None
    unconstrained: UnconstrainedForecast | None
    note: str = ""

    def facts(self) -> dict[str, float | int | str | list[int] | None]:
        """Every number by name, those of the unconstrained-features model under names of their own."""
        found: dict[str, float | int | str | list[int] | None] = {
            "classes": len(self.counts),
            "note": self.note or None,
        }
        if self.layer_peeled:
            for name, value in vars(self.layer_peeled).items():
                found[name] = list(value) if isinstance(value, tuple) else value
        if self.unconstrained:
            found["ufm_threshold_count"] = self.unconstrained.threshold_count
            found["ufm_collapsed"] = list(self.unconstrained.collapsed)
        return found

    def sentences(self) -> list[str]:
        """The forecast in words, the model named in each sentence."""
        told = [] if self.layer_peeled is None else _peeled_in_words(self.layer_peeled)
        if self.unconstrained is not None:
            told.append(_unconstrained_in_words(self.unconstrained, min(self.counts)))
        return [*told, f"Note: {self.note}."] if self.note else told


def forecast(
    counts: Sequence[int | float],
    *,
    weight_budget: float | None = None,
    feature_budget: float | None = None,
    weight_decay: float | None = None,
    feature_decay: float | None = None,
) -> Forecast:
    """Forecast minority collapse for these samples a class, by each model whose parameters are given.

    `weight_budget` and `feature_budget` are E_W and E_H (the measures of these names tell a network's), `weight_decay`
    and `feature_decay` the lW and lH of the unconstrained-features model. Raises OptionError where neither pair is
    complete or a count is not above 0, TooFewClassesError for a single class, SolveError where the reduced program
    failed. Sources: :cite:`fang2021,hong2024`; both thresholds are derived here.

    >>> forecast([500, 500, 50, 50], weight_budget=1.0, feature_budget=5.0).layer_peeled.phase
    'full'
    """
    if not counts:
        raise OptionError("a forecast needs samples a class; got none.")
    if not all(count > 0 and math.isfinite(count) for count in counts):
        raise OptionError(f"samples a class must be finite and above 0; got {min(counts):g}. Leave such classes out.")
    budgets, decays = (weight_budget, feature_budget), (weight_decay, feature_decay)
    for names, pair in (("weight_budget and feature_budget", budgets), ("weight_decay and feature_decay", decays)):
        if (pair[0] is None) != (pair[1] is None):
            raise OptionError(f"{names} are given together or not at all; got {pair[0]} and {pair[1]}.")
    taken, peeled, unconstrained = alike(counts), None, None
    if weight_budget is not None and feature_budget is not None:
        peeled = _peeled(taken.counts, weight_budget, feature_budget)
    if weight_decay is not None and feature_decay is not None:
        unconstrained = _unconstrained([float(count) for count in counts], weight_decay, feature_decay)
    if peeled is None and unconstrained is None:
        raise OptionError("a forecast needs weight_budget and feature_budget, or weight_decay and feature_decay.")
    return Forecast(tuple(float(count) for count in counts), peeled, unconstrained, taken.note if peeled else "")


def _peeled(counts: Sequence[float], weight_budget: float, feature_budget: float) -> PeeledForecast:
    groups = Groups.of(counts)
    optimum = LayerPeeled(groups, weight_budget, feature_budget).optimum()
    members, ratio = groups.members(counts), max(groups.counts) / min(groups.counts)
    lost, threshold = _lost(optimum), optimum.threshold_ratio
    several = not math.isnan(threshold) and ratio > 1
    return PeeledForecast(
        phase=optimum.phase,
        collapsed=tuple(np.flatnonzero(np.array(lost)[members]).tolist()),
        ratio=ratio,
        threshold_ratio=threshold,
        budget=math.sqrt(weight_budget * feature_budget),
        threshold_budget=critical_budget(groups.sizes[0], groups.sizes[1], ratio) if several else math.nan,
        cosine=math.nan if any(optimum.erased) else _closest(optimum),
        balanced_cosine=-1 / (groups.num_classes - 1),
        rank=optimum.rank,
        oversampling=_oversampling(counts, weight_budget, feature_budget, threshold) if any(lost) else 1.0,
        restoring=ratio,
    )


def _lost(optimum: LayerPeeledOptimum) -> list[bool]:
    """For each group, whether its classes coincide with one another or are zero."""
    return [collapsed or erased for collapsed, erased in zip(optimum.collapsed, optimum.erased, strict=True)]


def _closest(optimum: LayerPeeledOptimum) -> float:
    """The largest cosine between the classifiers of two classes."""
    count = len(optimum.collapsed)
    pairs = [optimum.balanced.cosine("classifier", g, h) for g in range(count) for h in range(g, count)]
    return float(np.nanmax(pairs))


def _oversampling(counts: Sequence[float], weight_budget: float, feature_budget: float, threshold: float) -> float:
    """How often the smallest class must be seen for no classes to coincide, when none then counts less than it."""
    low, high = min(counts), max(counts)
    if not math.isnan(threshold):
        return max(1.0, high / low / threshold)

    def excess(log_count: float) -> float:
        """ln of the budget's price over the least weight of classes that could coincide, all counts raised to this."""
        groups = Groups.of([max(count, math.exp(log_count)) for count in counts])
        optimum = LayerPeeled(groups, weight_budget, feature_budget).optimum()
        several = groups.class_weights[np.array(groups.sizes) > 1]
        if any(optimum.erased) or not len(several):
            return 1.0 if any(optimum.erased) else -1.0
        return math.log(optimum.mu * float(groups.class_weights.min() / several.min()))

    return math.exp(brentq(excess, math.log(low), math.log(high), xtol=1e-6)) / low  # pyright: ignore[reportArgumentType]


def _unconstrained(counts: Sequence[float], weight_decay: float, feature_decay: float) -> UnconstrainedForecast:
    if not (weight_decay > 0 and feature_decay > 0):
        raise OptionError(f"decays must be above 0; got {weight_decay:g} and {feature_decay:g}.")
    threshold = sum(counts) ** 2 * weight_decay * feature_decay
    collapsed = [i for i, count in enumerate(counts) if count <= threshold and list(counts).count(count) > 1]
    return UnconstrainedForecast(threshold, tuple(collapsed))


def _peeled_in_words(told: PeeledForecast) -> list[str]:
    say = "The layer-peeled model, at this budget of classifier and features,"
    most = round(-1 / told.balanced_cosine)
    kept = "every class to keep a direction of its own"
    if told.rank < most:
        kept = f"no two classes to coincide, but their classifiers to span {told.rank} dimensions in place of {most}"
    which = f"{len(told.collapsed)} class{'es' * (len(told.collapsed) > 1)}"
    sentences = [
        {
            "full": f"{say} expects {kept}.",
            "collapse": f"{say} expects minority collapse: the classifiers of {which} coincide.",
            "erased": f"{say} expects small classes to vanish: of {which} classifiers are zero, or coincide.",
        }[told.phase]
    ]
    if math.isinf(told.threshold_ratio):
        sentences.append(f"At this budget no class ratio reaches its threshold; yours is {told.ratio:.4g}.")
    elif not math.isnan(told.threshold_ratio):
        away = told.ratio / told.threshold_ratio
        apart = f"{away:.3g} times beyond" if away >= 1 else f"{1 / away:.3g} times below"
        sentences.append(
            f"Its threshold is a class ratio of {told.threshold_ratio:.4g}; yours is {told.ratio:.4g}, {apart} it. At "
            f"your ratio the budget sqrt(E_W E_H) must exceed {told.threshold_budget:.4g}; it is {told.budget:.4g}."
        )
    if not math.isnan(told.cosine):
        sentences.append(
            f"The closest two classifiers have a cosine of {told.cosine:.4g}; with balanced classes it would be "
            f"{told.balanced_cosine:.4g}."
        )
    if told.oversampling > 1:
        sentences.append(f"Seeing the smallest classes {told.oversampling:.4g} times as often is enough to part them.")
    if told.ratio > 1:
        sentences.append(
            f"Seeing every class as often as the largest, the smallest {told.restoring:.4g} times as often as now, "
            "restores the angles of balanced classes."
        )
    return sentences


def _unconstrained_in_words(told: UnconstrainedForecast, smallest: float) -> str:
    rule = f"classes of equal count coincide from {told.threshold_count:.4g} samples downwards"
    if told.collapsed:
        return f"The unconstrained-features model, at these decays: {rule}, which {len(told.collapsed)} classes have."
    return f"The unconstrained-features model, at these decays: {rule}; your smallest class has {smallest:g}."
