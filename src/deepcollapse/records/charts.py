"""Charts and tables as plain data: what a study shows, to be drawn by whoever reads its file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Number = float | int | None


@dataclass(frozen=True)
class Axis:
    """An axis: its title, and whether it is logarithmic."""

    title: str
    log: bool = False


@dataclass(frozen=True)
class Curve:
    """Points (x, y) under a name; `low` and `high` bound a band about them, such as the spread over seeds.

    Curves of one `name` in several panels are one entry of the legend. `kind` is how they are drawn; "prediction" is
    for what theory says, "threshold" for a bound. A y of None is a point that is not there.
    """

    name: str
    x: Sequence[float | int]
    y: Sequence[Number]
    low: Sequence[Number] | None = None
    high: Sequence[Number] | None = None
    kind: Literal["line", "points", "prediction", "threshold"] = "line"


@dataclass(frozen=True)
class Panel:
    """Curves over one pair of axes; `marks` are vertical lines with a word each, such as (12, "TPT onset")."""

    title: str
    x: Axis
    y: Axis
    curves: Sequence[Curve]
    marks: Sequence[tuple[float | int, str]] = ()


@dataclass(frozen=True)
class Heat:
    """A heat map: `values` has a row for each entry of `rows` and a column for each of `columns`."""

    title: str
    x: Axis
    y: Axis
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[Number]]
    unit: str = ""


@dataclass(frozen=True)
class Chart:
    """Panels that belong together; `figure` names the paper's figure that they redraw, `says` what to look for."""

    title: str
    panels: Sequence[Panel | Heat]
    figure: str = ""
    says: str = ""


@dataclass(frozen=True)
class Table:
    """A table of texts and numbers; `figure` names the paper's table that it redraws."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Number]]
    figure: str = ""
    says: str = ""


Shown = Chart | Table


def to_mapping(shown: Shown) -> dict[str, Any]:
    """A chart or table as JSON holds it."""
    return asdict(shown)


def from_mapping(values: Mapping[str, Any]) -> Shown:
    """The chart or table that `to_mapping` wrote.

    >>> chart = Chart("t", (Panel("p", Axis("x"), Axis("y", log=True), (Curve("c", (1,), (None,)),)),))
    >>> from_mapping(to_mapping(chart)) == chart
    True
    """
    if "panels" not in values:
        return Table(**{**values, "rows": tuple(map(tuple, values["rows"])), "columns": tuple(values["columns"])})
    return Chart(**{**values, "panels": tuple(_panel(panel) for panel in values["panels"])})


def _panel(values: Mapping[str, Any]) -> Panel | Heat:
    axes = {name: Axis(**values[name]) for name in ("x", "y")}
    if "curves" not in values:
        lists = {name: tuple(values[name]) for name in ("columns", "rows")}
        return Heat(**{**values, **axes, **lists, "values": tuple(map(tuple, values["values"]))})
    curves = tuple(Curve(**{name: _tuple(value) for name, value in curve.items()}) for curve in values["curves"])
    return Panel(**{**values, **axes, "curves": curves, "marks": tuple(map(tuple, values["marks"]))})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
