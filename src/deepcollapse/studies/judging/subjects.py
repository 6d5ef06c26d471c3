"""Judging subject by subject: each data set with each network gets a verdict of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from deepcollapse.records.study import Judgement, worst
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.of_tables import each_group

Runs = Sequence[Finished]


def by_subject(evidence: Evidence) -> dict[str, list[Finished]]:
    """The runs of each data set with each network, under a name such as "mnist, resnet18"."""
    return {f"{dataset}, {network}": runs for (dataset, network), runs in evidence.by("dataset", "network").items()}


def each(subjects: Mapping[str, Runs], judge: Callable[[str, Runs], Judgement]) -> tuple[Judgement, ...]:
    """A judgement of each subject, with its runs; what one of them lacks hinders no other."""
    found = each_group(subjects, judge)
    return tuple(one if one.runs else replace(one, runs=[run.name for run in subjects[one.subject]]) for one in found)


def together(subject: str, parts: Mapping[str, Judgement]) -> Judgement:
    """One judgement of several quantities that must all do what the claim says, with the numbers of each."""
    numbers = {f"{name}: {key}": value for name, part in parts.items() for key, value in part.numbers.items()}
    told = "; ".join(f"{name}: {part.measured}" for name, part in parts.items())
    runs = dict.fromkeys(run for part in parts.values() for run in part.runs)
    return Judgement(subject, worst([part.verdict for part in parts.values()]), told, numbers, runs=[*runs])


def class_names(run: Finished) -> tuple[str, ...]:
    """What the classes of a run are called."""
    from deepcollapse.records import Run

    return tuple(Run.open(run.path).provenance["class_names"])


def common(sequences: Iterable[Iterable[int]]) -> list[int]:
    """What all sequences have in common, in order."""
    sets = [set(sequence) for sequence in sequences]
    return sorted(set.intersection(*sets)) if sets else []
