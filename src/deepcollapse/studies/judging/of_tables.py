"""Judging the rows of a table group by group, as `subjects` does for runs."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from deepcollapse.records.study import Judgement
from deepcollapse.studies.judging.claim import MissingEvidence

Rows = TypeVar("Rows")


def each_group(groups: Mapping[str, Rows], judge: Callable[[str, Rows], Judgement]) -> tuple[Judgement, ...]:
    """A judgement of each group of rows; what one of them lacks hinders no other."""
    found = []
    for subject, rows in groups.items():
        try:
            found.append(judge(subject, rows))
        except MissingEvidence as missing:
            found.append(Judgement(subject, "not tested", "", why=str(missing)))
    return tuple(found)
