"""Verdicts that no spread over seeds excuses: on what every row of a table must keep to, and what must never happen."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from deepcollapse.records.study import Verdict
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.criteria import FEWEST_SEEDS

if TYPE_CHECKING:
    import pandas

Rows = list[dict[str, Any]]


def rows_of(table: "pandas.DataFrame") -> Rows:
    """A table as a list of rows."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]


def largest(values: Iterable[float | int | None], what: str) -> float:
    """The largest of all values. Raises MissingEvidence where one is undefined: it might have been larger."""
    return max(_defined(values, what))


def smallest(values: Iterable[float | int | None], what: str) -> float:
    """The smallest of all values. Raises MissingEvidence where one is undefined: it might have been smaller."""
    return min(_defined(values, what))


def _defined(values: Iterable[float | int | None], what: str) -> list[float]:
    found = [math.nan if value is None else float(value) for value in values]
    if undefined := sum(map(math.isnan, found)):
        raise MissingEvidence(f"{what} is undefined in {undefined} of {len(found)} cases, and none may be left out")
    if not found:
        raise MissingEvidence(f"{what} was not measured")
    return found


def exactly(holds: bool) -> Verdict:
    """The verdict on a comparison of numbers that have no spread."""
    return "holds" if holds else "fails"


def never_above(values: Sequence[float | int], limit: float | int = 0, *, fewest: int = FEWEST_SEEDS) -> Verdict:
    """Whether a value, one a seed, exceeds a limit for no seed at all: one that does is enough to fail.

    Raises MissingEvidence where none does of fewer than `fewest` seeds.

    >>> never_above([0, -1, 0]), never_above([0, 0.1])
    ('holds', 'fails')
    """
    if any(value > limit for value in values):
        return "fails"
    if len(values) < fewest:
        raise MissingEvidence(f"the criterion is for at least {fewest} seeds, and {len(values)} came to their end")
    largest(values, "the value")
    return "holds"
