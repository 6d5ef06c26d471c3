"""What the layers of trained ReLU heads say on the claim about them."""

from collections.abc import Callable, Sequence
from typing import Any

from deepcollapse.records.study import Judgement, Verdict, worst
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.criteria import median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.subjects import Runs, by_subject, each

SMALL_DNC1 = 0.1  # in a trained head: class means are scattered ten times as much as samples about them
ACCURATE = 0.99


def judge_real(evidence: Evidence) -> Sequence[Judgement]:
    """Heads trained with the strongest decay that can be learnt with beside those with the weakest."""
    return each(by_subject(evidence), _real)


def _real(subject: str, runs: Runs) -> Judgement:
    heads = [run for run in runs if all(getattr(run.recipe, name) == _usual(runs, name) for name in ("rate", "width"))]
    at = {decay: [run for run in heads if run.recipe.decay == decay] for decay in {run.recipe.decay for run in heads}}
    if len(at) < 2:
        raise MissingEvidence("the criterion is for at least two weight decays")
    weakest, *fitted = [decay for decay in sorted(at) if decay == min(at) or _fit(at[decay])]
    if not fitted:
        told = f"at no decay above {weakest:g} do networks reach 99 % training accuracy with every class{_dead(heads)}"
        return Judgement(subject, "fails", told, runs=[run.name for run in heads])
    weak, strong = _of_the_same_seeds(at[weakest], at[fitted[-1]])
    classes = int(heads[0].last("present_classes"))
    at_weak, at_strong = (_over(runs, hidden_rank) for runs in (weak, strong))
    variability = _over(strong, hidden_dnc1)
    accuracies = [_over(runs, lambda run: run.last("accuracy", "network")) for runs in (weak, strong)]
    verdicts: list[Verdict] = [
        settled(at_weak, at_least=classes - 1),
        settled(at_strong, at_most=classes - 1),
        settled([low - full for low, full in zip(at_strong, at_weak, strict=True)], at_most=-1),
        settled(variability, at_most=SMALL_DNC1),
        *(settled(found, at_least=ACCURATE) for found in accuracies),  # of one's failure the other must not make up
    ]
    accuracy = [value for found in accuracies for value in found]
    told = f"rank of hidden class means {middle(at_weak)} of {classes} at decay {weakest:g} and {middle(at_strong)} "
    told += f"at {fitted[-1]:g}, DNC1 there {middle(variability)}, training accuracy {middle(accuracy)}{_dead(heads)}"
    numbers = {"weak": median(at_weak), "strong": median(at_strong), "decay": fitted[-1]}
    numbers |= {"dnc1": median(variability), "accuracy": median(accuracy)}
    return Judgement(subject, worst(verdicts), told, numbers, runs=[run.name for run in heads])


def _of_the_same_seeds(*groups: Runs) -> list[list[Finished]]:
    """Each group without the seeds that another lacks, as where a run came to nothing."""
    shared = set.intersection(*({run.recipe.seed for run in runs} for runs in groups))
    return [[run for run in runs if run.recipe.seed in shared] for runs in groups]


def _fit(runs: Runs) -> bool:
    """Whether most networks have learnt their training data, every class of them."""
    learnt = [run.last("accuracy", "network") >= ACCURATE and not says_nothing(run) for run in runs]
    return 2 * sum(learnt) > len(runs)


def _usual(runs: Runs, name: str) -> float | int | None:
    """The value of a setting that goes with most decays."""
    values: dict[Any, set[float]] = {}
    for run in runs:
        values.setdefault(getattr(run.recipe, name), set()).add(run.recipe.decay)
    return max(values, key=lambda value: len(values[value]))


def _over(runs: Runs, value: Callable[[Finished], float]) -> list[float]:
    return [value(run) for run in sorted(runs, key=lambda run: run.recipe.seed)]


def _hidden(run: Finished) -> tuple[str, ...]:
    found = tuple(layer for layer in run.layers_with("mean_rank") if layer.endswith(".linear"))
    if not found:
        raise MissingEvidence(f"{run.recipe.network} has no hidden layers before a ReLU to look at; see relu-head")
    return found


def hidden_rank(run: Finished) -> float:
    """The largest rank of class means before the ReLU, over the head's hidden layers."""
    return max(run.last("mean_rank", layer) for layer in _hidden(run))


def hidden_dnc1(run: Finished) -> float:
    """The largest DNC1 over the head's hidden layers, before and after the ReLU."""
    return max(run.last("dnc1", layer) for layer in run.layers_with("dnc1"))


def says_nothing(run: Finished) -> bool:
    """Whether a network decides alike for all, or misses a class: its rank is low for want of a solution."""
    return run.last("trivial", "network") == 1 or run.last("dead_classes", "network") > 0


def _dead(runs: Runs) -> str:
    """How many networks are no solutions, in words; empty where all are."""
    trivial = sum(run.last("trivial", "network") == 1 for run in runs)
    dead = sum(run.last("dead_classes", "network") > 0 for run in runs) - trivial
    named = [f"{count} {word}" for count, word in ((trivial, "trivial"), (dead, "with a dead class")) if count]
    return f"; {' and '.join(named)} of {len(runs)} networks" if named else ""
