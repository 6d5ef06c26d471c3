"""What is said of the rank that mini-batch descent leaves: over batch size, rate and decay, and of its bound."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy

from deepcollapse.records.study import Judgement
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.criteria import FEWEST_SEEDS, median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.over_settings import Points, points, rises_with
from deepcollapse.studies.judging.subjects import Runs, by_subject, each
from deepcollapse.studies.measured.initial_weights import left_at_ends

RANK = "rank_at_one_per_mille_of_norm_weight"
IDENTITY, TAIL, BOUND = "rank_memory_error_weight", "rank_memory_tail_weight", "rank_memory_bound_weight"
FROBENIUS = ("rank_memory_frobenius_tail_weight", "rank_memory_frobenius_bound_weight")
FITTED = 0.999
EXACT = 1e-10

# ------------------------------------------------------------- which runs, and their rank


def mean_rank(run: Finished) -> float:
    """The rank of a run's hidden layers, their mean."""
    return float(numpy.mean([run.last(RANK, layer, None) for layer in layers_of(run)]))


def layers_of(run: Finished) -> tuple[str, ...]:
    """The hidden layers whose rank was recorded. Raises MissingEvidence where there is none."""
    layers = run.layers_with(RANK)
    if not layers:
        raise MissingEvidence(f"no rank of a hidden layer was recorded in run {run.name}")
    return layers


def with_others_at(evidence: Evidence, runs: Sequence[Finished], swept: str, **given: float) -> list[Finished]:
    """The runs in which every setting but one is at its middle, or as given."""
    middle = {name: evidence.scale[name] for name in ("epochs", "batch", "rate", "decay") if name != swept} | given
    return [run for run in runs if all(getattr(run.recipe, name) == value for name, value in middle.items())]


def of_equal_steps(evidence: Evidence, runs: Sequence[Finished]) -> list[Finished]:
    """The runs over batch size that take as many steps each, and so keep as much of their initial weights."""
    scale = evidence.scale
    settings = {(batch, epochs, scale["rate"], scale["decay"]) for batch, epochs in scale["faded"].items()}
    return [r for r in runs if (r.recipe.batch, r.recipe.epochs, r.recipe.rate, r.recipe.decay) in settings]


# ------------------------------------------------------------- what is said of them


def over(judge: Callable[[Evidence, str, Runs], Judgement]) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of each data set with each network."""
    return lambda evidence: each(by_subject(evidence), partial(judge, evidence))


def follows(setting: str, rule: Callable[..., Judgement]) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of mean rank over a setting, with the others at their middle."""
    return over(lambda evidence, subject, runs: _told(subject, rule, with_others_at(evidence, runs, setting), setting))


def faded(evidence: Evidence, subject: str, runs: Runs) -> Judgement:
    """As of batch size, over runs of equally many steps."""
    return _told(subject, rises_with, of_equal_steps(evidence, runs), "batch")


def _told(subject: str, rule: Callable[..., Judgement], runs: Runs, setting: str) -> Judgement:
    """The rule's judgement, with the ranks at both ends, and what is left there of the initial weights."""
    values = points(runs, setting, mean_rank)
    judged = rule(subject, values, {"batch": "batch size", "rate": "learning rate"}.get(setting, setting))
    ends = [_at(values, extreme(x for pairs in values.values() for x, _ in pairs)) for extreme in (min, max)]
    words = [f"{middle(found)} at {setting} {at:g}" for at, found in ends]
    numbers = {"rank_at_least": median(ends[0][1]), "rank_at_most": median(ends[1][1])}
    return replace(
        judged,
        measured=f"{judged.measured}; mean rank {words[0]}, {words[1]}{left_at_ends(runs, setting)}",
        numbers={**judged.numbers, **numbers},
        runs=[run.name for run in runs],
    )


def _at(values: Points, setting: float) -> tuple[float, list[float]]:
    return setting, [y for pairs in values.values() for x, y in pairs if x == setting]


def nothing_without_decay(evidence: Evidence, subject: str, runs: Runs) -> Judgement:
    """What the batch size changes without decay, as a share of what it changes with decay."""
    ends = min(evidence.scale["batches"]), max(evidence.scale["batches"])
    with_decay = _rises(points(with_others_at(evidence, runs, "batch"), "batch", mean_rank), *ends)
    without = _rises(points(with_others_at(evidence, runs, "batch", decay=0.0), "batch", mean_rank), *ends)
    both = [seed for seed in with_decay if seed in without]
    if len(both) < FEWEST_SEEDS:
        raise MissingEvidence(
            f"the criterion is for at least {FEWEST_SEEDS} seeds with the smallest and the largest batch, of "
            f"{ends[0]} and {ends[1]}, with decay and without, and {len(both)} have these"
        )
    shares = [abs(without[seed]) / with_decay[seed] if with_decay[seed] > 0 else float("inf") for seed in both]
    told = (
        f"from the smallest to the largest batch the mean rank rises by {middle([*without.values()])} without "
        f"decay and by {middle([*with_decay.values()])} with it"
    )
    numbers = {"without_decay": median([*without.values()]), "with_decay": median([*with_decay.values()])}
    return Judgement(subject, settled(shares, at_most=0.2), told, numbers)


def _rises(values: Points, first: float | int, last: float | int) -> dict[int, float]:
    """Rank at the largest setting less rank at the smallest, for each seed that has both: no other stands for them."""
    found = {seed: dict(pairs) for seed, pairs in values.items()}
    return {seed: ranks[last] - ranks[first] for seed, ranks in found.items() if first in ranks and last in ranks}


def bounded(evidence: Evidence, subject: str, runs: Runs) -> Judgement:
    """The unrolled identity and both norms' inequalities, in every hidden layer of every run."""
    del evidence
    rows = [
        [run.last(name, layer, None) for name in (IDENTITY, TAIL, BOUND, *FROBENIUS)]
        for run in runs
        for layer in layers_of(run)
    ]
    error, tail, bound, other, other_bound = numpy.array(rows).T
    broken = int((tail > bound * (1 + EXACT)).sum() + (other > other_bound * (1 + EXACT)).sum())
    exact = bool((error <= EXACT).all())
    told = (
        f"the identity holds to {error.max():.1e}, and {broken} of {2 * len(rows)} inequalities are broken over "
        f"{len(runs)} runs; {(bound < 1).mean():.0%} of the bounds lie below the weight's own norm, and what they "
        f"bound is {float(numpy.median(tail / bound)):.2g} of them in the median"
    )
    numbers = {"largest_error": float(error.max()), "broken": broken, "informative": float((bound < 1).mean())}
    return Judgement(subject, "holds" if exact and not broken else "fails", told, numbers)


def little_effect(evidence: Evidence, subject: str, runs: Runs) -> Judgement:
    """How far test accuracies lie apart among the runs of a seed that fit their training data.

    Where a seed's runs mostly do not fit, the few that do say nothing of the settings of the others.
    """
    runs = [run for run in runs if run.recipe.epochs == evidence.scale["epochs"]]
    all_of, fit_of = (_of_seeds(found) for found in (runs, [run for run in runs if _fits(run)]))
    kept = {seed: found for seed, found in fit_of.items() if 2 * len(found) >= len(all_of[seed]) > 1}
    if len(kept) < FEWEST_SEEDS:
        share = ", ".join(
            f"{len(fit_of.get(seed, ()))} of {len(found)} of seed {seed}" for seed, found in all_of.items()
        )
        raise MissingEvidence(
            f"the criterion is for at least {FEWEST_SEEDS} seeds with half of their runs fitting the training data, "
            f"and those that do are {share}"
        )
    accuracies = [[run.last("accuracy", "network", "test") for run in found] for found in kept.values()]
    spans = [100 * (max(found) - min(found)) for found in accuracies]
    fitted = [run.name for found in kept.values() for run in found]
    told = f"among {len(fitted)} of {len(runs)} runs that fit, test accuracy varies by {middle(spans)} points"
    numbers = {"points": median(spans), "fitted": len(fitted), "runs": len(runs)}
    verdict = settled(spans, at_most=3 - 1e-9)  # less than 3: differences of accuracies are rounded
    return Judgement(subject, verdict, told, numbers, runs=fitted)


def _fits(run: Finished) -> bool:
    return run.last("accuracy", "network") >= FITTED


def _of_seeds(runs: Runs) -> Mapping[int, list[Finished]]:
    seeds = dict.fromkeys(run.recipe.seed for run in runs)
    return {seed: [run for run in runs if run.recipe.seed == seed] for seed in seeds}
