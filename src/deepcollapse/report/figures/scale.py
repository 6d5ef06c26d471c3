"""Axes for data of any kind: logarithmic where asked and possible, with a place for 0 below the least value."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from deepcollapse.records.charts import Axis
from deepcollapse.report.figures.style import power, value_axis

# The place of 0 on a logarithmic axis: below the least value by this share of the axis, but by no less than `_STEP`
# powers of ten.
_SHARE, _STEP = 0.1, 0.35
# Whole numbers that lie no further apart than this, such as seeds and layers, are marked one by one.
_COUNTED = 12


@dataclass(frozen=True)
class Scale:
    """Where values stand on an axis: `log` where it is logarithmic, `zero` the place of 0 there.

    `whole` is for a few whole numbers, between which there is nothing to mark.
    """

    title: str
    log: bool
    zero: float | None
    least: float | int
    most: float | int
    whole: bool = False

    @classmethod
    def of(cls, axis: Axis, values: Iterable[Any], edges: Iterable[Any] = ()) -> "Scale":
        """The scale of an axis for these values; one that has values below 0 is linear whatever was asked.

        `edges` of bands are to be seen as well, as far as the axis reaches.
        """
        known, beside = ([value for value in given if is_number(value)] for given in (values, edges))
        if not axis.log or max(known, default=0) <= 0 or min(known) < 0:
            whole = known + beside
            least, most = min(whole, default=0.0), max(whole, default=1.0)
            counted = all(value == round(value) for value in whole) and 0 < most - least <= _COUNTED
            return cls(axis.title, False, None, least, most, counted)
        positive = [value for value in known + beside if value > 0]
        least, most = math.log10(min(positive)), math.log10(max(positive))
        zero = 10 ** (least - max(_STEP, _SHARE * (most - least))) if 0 in known else None
        return cls(axis.title, True, zero, min(positive), max(positive))

    def place(self, value: Any) -> float | int | None:
        """Where a value is drawn; None where it has no place."""
        if not is_number(value):
            return None
        if self.log and value <= 0:
            return self.zero
        return float(f"{value:.9g}")

    def bound(self, value: Any) -> float | int | None:
        """Where the edge of a band is drawn: at the axis's end where it reaches beyond."""
        if not is_number(value):
            return None
        return max(value, self.zero or self.least / 1.3) if self.log else value

    def edge(self, value: float | int) -> float | int:
        """A place as plotly's annotations have it: a logarithm where the axis has one."""
        place = self.place(value)
        place = self.least if place is None else place
        return math.log10(place) if self.log else place

    @property
    def plan(self) -> dict[str, Any]:
        """The axis for plotly."""
        title = {"title": {"text": escape(self.title)}}
        if not self.log:
            return {"type": "linear", **title, **({"dtick": 1} if self.whole else {})}
        # Values that are all but equal still get an axis that says where they are.
        apart = 1.0 if self.most > 1.5 * self.least else 1.5
        axis = value_axis([self.least / apart, self.most * apart], log=True)
        marks = _few_marks(self.least / apart, self.most * apart) or list(
            zip(axis["tickvals"], axis["ticktext"], strict=True)
        )
        low, high = axis["range"]
        if self.zero is not None:
            low = math.log10(self.zero) - 0.04 * (high - math.log10(self.zero))
            marks = [(self.zero, "0"), *(mark for mark in marks if mark[0] >= self.least / 1.05)]
        places = {"tickvals": [place for place, _ in marks], "ticktext": [text for _, text in marks]}
        return {"type": "log", **title, **places, "range": [low, high]}


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _few_marks(least: float | int, most: float | int) -> list[tuple[float, str]]:
    """Ticks for a span so short that powers of ten would give fewer than two."""
    found = [
        (step * 10.0**e, power(step, e))
        for e in range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 1)
        for step in (1, 2, 3, 5, 7)
        if least / 1.05 <= step * 10.0**e <= 1.05 * most
    ]
    return found if math.log10(most / least) < 1 and len(found) > 1 else []
