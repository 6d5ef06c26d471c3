"""A forecast for a user's own class counts: will small classes lose their angle, how far off is it, what helps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepcollapse.errors import OptionError, SolveError
from deepcollapse.theory.predictions.alike import AlikeCounts, alike
from deepcollapse.theory.predictions.floor import floor_for_directions
from deepcollapse.theory.predictions.words import peeled_in_words, unconstrained_in_words
from deepcollapse.theory.problems.group_optimum import GroupOptimum
from deepcollapse.theory.problems.imbalanced import UnconstrainedImbalanced
from deepcollapse.theory.problems.layer_peeled import LayerPeeled
from deepcollapse.theory.problems.phases import critical_budget
from deepcollapse.theory.reduced.groups import Groups


@dataclass(frozen=True)
class PeeledForecast:
    r"""What the Layer-Peeled Model says of class counts under given budgets of classifier and features.

    Attributes:
        phase: "full": no two classes coincide; "collapse": classifiers of some classes of equal count do; "erased":
            some are zero.
        collapsed: the classes to which that happens, by their place in the counts.
        ratio: R, samples of the largest over the smallest class.
        threshold_ratio: R0, from which on the small classes coincide at these budgets; NaN unless there are two groups
            of classes with two or more in the smaller one.
        budget: s = sqrt(E_W E_H), all that matters of the budgets.
        threshold_budget: s0, up to which the small classes coincide at this ratio; NaN as `threshold_ratio`.
        cosine: the largest cosine between two classes' classifiers; NaN where classes are erased.
        balanced_cosine: -1/(K-1), what it would be for classes of one size.
        rank: the dimensions that classifiers span; below K-1 directions are lost, even where no two classes coincide.
        floor: seeing every class of fewer samples as often as if it had this many gives each its direction back; the
            smallest count where none is lost, NaN where it was not found. With two different counts the exact
            threshold, of which a little more is enough.
        oversampling: `floor` over the smallest count, where there are no more than two different counts or none need
            be seen more often (1); NaN else, for then it takes more than repeating the smallest classes.
        restoring: how often the smallest classes must be seen, and others up to as many samples, for the angles of
            balanced classes: R.
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
    floor: float
    oversampling: float
    restoring: float


@dataclass(frozen=True)
class UnconstrainedForecast:
    """What the unconstrained-features model (without a bias) says of class counts under given decays.

    Attributes:
        phase, cosine, rank: as `PeeledForecast`.
        threshold_count: N^2 lW lH; classes of equal count coincide where they have so many samples or fewer.
        collapsed: the classes that do, by their place in the counts.
        trivial: whether all zero is optimal: no class has a direction.
    """

    phase: str
    threshold_count: float
    collapsed: tuple[int, ...]
    cosine: float
    rank: int
    trivial: bool


Facts = dict[str, float | int | str | list[int] | list[float] | None]


@dataclass(frozen=True)
class Forecast:
    """What to expect of class counts, by model; None for a model that was not asked, or not solved (see `note`).

    >>> told = forecast([500, 500, 50, 50], weight_budget=1.0, feature_budget=1.0)
    >>> told.layer_peeled.phase, round(told.layer_peeled.oversampling, 3), round(told.layer_peeled.floor, 2)
    ('collapse', 2.958, 147.91)
    """

    counts: tuple[float, ...]
    layer_peeled: PeeledForecast | None
    unconstrained: UnconstrainedForecast | None
    note: str = ""
    merged: bool = False

    def facts(self) -> Facts:
        """Every number by name, those of the unconstrained-features model under names of their own.

        "factors" says of each class how often its samples must be seen for `floor`.
        """
        found: Facts = {"classes": len(self.counts), "note": self.note or None}
        for model, prefix in ((self.layer_peeled, ""), (self.unconstrained, "ufm_")):
            for name, value in vars(model).items() if model else ():
                found[prefix + name] = list(value) if isinstance(value, tuple) else value
        if self.layer_peeled:
            floor = self.layer_peeled.floor
            found["factors"] = [math.nan if math.isnan(floor) else max(1.0, floor / count) for count in self.counts]
        return found

    def sentences(self) -> list[str]:
        """The forecast in words, the model named in each sentence."""
        told = []
        if self.layer_peeled is not None:
            told += peeled_in_words(self.layer_peeled, self.counts, self.merged)
        if self.unconstrained is not None:
            told += unconstrained_in_words(self.unconstrained, self.counts, self.merged)
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
    and `feature_decay` the lW and lH of the unconstrained-features model, for which counts must be whole numbers.
    Raises OptionError where neither pair is complete or a count is not above 0, TooFewClassesError for a single class,
    SolveError where no model could be solved; one that failed beside another is told in the note. Sources:
    :cite:`fang2021,hong2024`; both thresholds are derived here.

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
    known, failures = tuple(float(count) for count in counts), []
    taken, peeled, unconstrained = alike(counts), None, None
    if weight_budget is not None and feature_budget is not None:
        try:
            peeled, trouble = _peeled(known, taken, weight_budget, feature_budget)
            failures += [("the samples that part all classes", trouble)] if trouble else []
        except SolveError as error:
            failures.append(("the layer-peeled model", error))
    if weight_decay is not None and feature_decay is not None:
        try:
            unconstrained = _unconstrained(known, taken, weight_decay, feature_decay)
        except SolveError as error:
            failures.append(("the unconstrained-features model", error))
    if peeled is None and unconstrained is None:
        if failures:
            raise failures[0][1]
        raise OptionError("a forecast needs weight_budget and feature_budget, or weight_decay and feature_decay.")
    notes = [taken.note, *(f"nothing is known of {what}, for {str(why).rstrip('.')}" for what, why in failures)]
    return Forecast(known, peeled, unconstrained, "; ".join(note for note in notes if note), taken.change > 0)


def _peeled(
    counts: tuple[float, ...], taken: AlikeCounts, weight_budget: float, feature_budget: float
) -> tuple[PeeledForecast, SolveError | None]:
    """The forecast, and why its `floor` is NaN where it could not be found."""
    groups = Groups.of(taken.counts)
    optimum = LayerPeeled(groups, weight_budget, feature_budget).optimum()
    ratio, trouble, floor = max(counts) / min(counts), None, math.nan
    # Of counts that were merged into two the thresholds would be those of other classes.
    threshold = math.nan if taken.change else optimum.threshold_ratio
    sizes = groups.sizes
    try:
        floor = floor_for_directions(optimum, counts, taken.counts, threshold)
    except SolveError as error:
        trouble = error
    told = PeeledForecast(
        phase=_phase(optimum, counts, taken),
        collapsed=_collapsed(optimum, counts, taken),
        ratio=ratio,
        threshold_ratio=threshold,
        budget=math.sqrt(weight_budget * feature_budget),
        threshold_budget=math.nan if math.isnan(threshold) else critical_budget(sizes[0], sizes[1], ratio),
        cosine=_closest(optimum),
        balanced_cosine=-1 / (groups.num_classes - 1),
        rank=optimum.rank,
        floor=floor,
        oversampling=floor / min(counts) if len(set(counts)) <= 2 or floor == min(counts) else math.nan,
        restoring=ratio,
    )
    return told, trouble


def _unconstrained(
    counts: tuple[float, ...], taken: AlikeCounts, weight_decay: float, feature_decay: float
) -> UnconstrainedForecast:
    if not (weight_decay > 0 and feature_decay > 0):
        raise OptionError(f"decays must be above 0; got {weight_decay:g} and {feature_decay:g}.")
    # The rule holds for the counts themselves, so it is asked of them and not of merged ones.
    threshold = sum(counts) ** 2 * weight_decay * feature_decay
    collapsed = tuple(i for i, count in enumerate(counts) if count <= threshold and counts.count(count) > 1)
    optimum = UnconstrainedImbalanced(Groups.of(taken.counts), weight_decay, feature_decay).optimum()
    phase = "erased" if any(optimum.erased) else "collapse" if collapsed else "full"
    return UnconstrainedForecast(phase, threshold, collapsed, _closest(optimum), optimum.rank, optimum.trivial)


def _collapsed(optimum: GroupOptimum, counts: tuple[float, ...], taken: AlikeCounts) -> tuple[int, ...]:
    """The classes that are zero, or coincide with another whose own count, not only the one taken for it, is equal."""
    members = optimum.groups.members(taken.counts)
    erased, alike_ = np.array(optimum.erased)[members], np.array(optimum.collapsed)[members]
    return tuple(i for i, n in enumerate(counts) if erased[i] or (alike_[i] and counts.count(n) > 1))


def _phase(optimum: GroupOptimum, counts: tuple[float, ...], taken: AlikeCounts) -> str:
    return "erased" if any(optimum.erased) else "collapse" if _collapsed(optimum, counts, taken) else "full"


def _closest(optimum: GroupOptimum) -> float:
    """The largest cosine between the classifiers of two classes; NaN where any are zero."""
    places = range(len(optimum.groups.sizes))
    pairs = [optimum.balanced.cosine("classifier", g, h) for g in places for h in places if g <= h]
    known = [cosine for cosine in pairs if not math.isnan(cosine)]
    return math.nan if any(optimum.erased) or not known else max(known)
