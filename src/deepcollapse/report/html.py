"""The pieces of the page as HTML. Every text that comes from records, recipes or names passes `escape` here."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from html import escape as quoted
from typing import Any

from deepcollapse.report.figures.style import Figure, Key, Section
from deepcollapse.report.sentences import Sentence
from deepcollapse.report.summary import SummaryRow
from deepcollapse.report.words import number, percent


def escape(text: str) -> str:
    """Text as HTML, with a number and its sign kept on one line."""
    return quoted(text).replace(" %", "&nbsp;%").replace(" ×", "&nbsp;×")


def json_block(value: Any) -> str:
    """A value as JSON inside a script element: no text in it can end the element or open a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json">{text}</script>'


def figure(drawn: Figure, run: str) -> str:
    """A figure: its caption, the place where the script draws, its controls, and its data."""
    data = {
        "frames": [dataclasses.asdict(frame) for frame in drawn.frames],
        "layout": drawn.layout,
        "control": drawn.control,
        "group": drawn.group,
        "run": run,
        "start": drawn.start,
    }
    caption = f"<figcaption>{escape(drawn.title)}</figcaption>" if drawn.title else ""
    controls = '<div class="controls"></div>' if drawn.control else ""
    above, below = (controls, "") if drawn.control == "select" else ("", controls)
    note = f'<p class="note">{escape(drawn.note)}</p>' if drawn.note else ""
    canvas = f'<div class="canvas" role="img" aria-label="{escape(drawn.title)}" style="height:{drawn.height}px"></div>'
    kind = "plot wide" if drawn.wide else "plot"
    return f'<figure class="{kind}">{caption}{above}{canvas}{below}{note}{json_block(data)}</figure>'


def section(part: Section, run: str = "", level: int = 2, extra: str = "") -> str:
    """A section with its heading, introduction, legend and figures; two figures share a line where they fit."""
    pair = " pair" if len(part.figures) == 2 else ""
    return (
        f'<section><h{level}>{escape(part.title)}</h{level}><p class="intro">{escape(part.intro)}</p>'
        f"{legend(part.legend)}{extra}"
        f'<div class="figures{pair}">{"".join(figure(drawn, run) for drawn in part.figures)}</div></section>'
    )


def legend(keys: Iterable[Key]) -> str:
    """A legend in HTML, which wraps on a narrow screen and never covers a figure."""
    items = "".join(f"<li>{_sign(key)}<span>{escape(key.label)}</span></li>" for key in keys)
    return f'<ul class="legend">{items}</ul>' if items else ""


def _sign(key: Key) -> str:
    if key.sign in ("line", "dash", "dot"):
        return f'<i class="{key.sign}" style="border-color:{key.color}"></i>'
    return f'<i class="glyph" style="color:{key.color}">{escape(key.sign)}</i>'


def reading(sentences: list[Sentence]) -> str:
    """The plain-words reading: the verdict first, then a sentence a measure with what it means."""
    verdict, *rest = sentences
    items = "".join(
        f'<li class="{one.verdict}">{escape(one.text)}<small>{escape(one.meaning)}</small></li>' for one in rest
    )
    return f'<p class="verdict {verdict.verdict}">{escape(verdict.text)}</p><ul class="reading">{items}</ul>'


def summary(rows: list[SummaryRow]) -> str:
    """The table of what changed between TPT onset and the end."""
    if not rows:
        return ""
    first = rows[0]
    onset = "TPT onset" if first.from_onset else "start"
    start = [] if first.start_epoch is None else [f"{onset}<br>epoch {first.start_epoch}"]
    end = "value" if first.start_epoch is None else f"end<br>epoch {first.end_epoch}"
    fell = ["fell"] if start else []
    head = "".join(f'<th class="number">{text}</th>' for text in (*start, end, *fell, "at<br>collapse"))
    body = "".join(_summary_row(row, bool(start)) for row in rows)
    return f'<div class="scroll"><table><tr><th>measure</th>{head}</tr>{body}</table></div>'


def _summary_row(row: SummaryRow, timed: bool) -> str:
    show = percent if row.measure in ("accuracy", "nearest_class_mean_disagreement") else number
    name = f"{row.symbol} {row.plain}" if row.symbol else row.plain
    place = " · ".join(part for part in (row.layer, row.split) if part)
    start = [number(None) if row.start is None else show(row.start)] if timed else []
    fell = [times(row.ratio) if row.measure != "accuracy" else ""] if timed else []
    collapsed = "" if row.collapsed is None else show(row.collapsed)
    cells = "".join(f'<td class="number">{escape(text)}</td>' for text in (*start, show(row.end), *fell, collapsed))
    return f"<tr><td>{escape(name)}<small>{escape(place)}</small></td>{cells}</tr>"


def times(ratio: float) -> str:
    """How many times a value fell, for a table.

    >>> times(12.3), times(0.5), times(float("inf")), times(float("nan"))
    ('12.3 ×', '0.5 × (rose)', 'to 0', '–')
    """
    if math.isnan(ratio):
        return "–"
    if math.isinf(ratio):
        return "to 0"
    return f"{number(ratio)} ×" + (" (rose)" if ratio < 0.99 else "")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose first column is words and whose others are numbers."""
    first, *others = head
    top = f"<th>{escape(first)}</th>" + "".join(f'<th class="number">{escape(text)}</th>' for text in others)
    lines = []
    for name, *cells in rows:
        numbers = "".join(f'<td class="number">{escape(text)}</td>' for text in cells)
        lines.append(f"<tr><td>{escape(name)}</td>{numbers}</tr>")
    return f'<div class="scroll"><table><tr>{top}</tr>{"".join(lines)}</table></div>'


def facts(title: str, values: Mapping[str, Any]) -> str:
    """A folded table of names and values; nested tables are flattened to dotted names."""
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>" for key, text in _flat(values))
    return f'<details><summary>{escape(title)}</summary><div class="scroll"><table>{rows}</table></div></details>'


def _flat(values: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        elif isinstance(value, list):
            yield f"{path}{key}", ", ".join(str(item) for item in value)
        else:
            yield f"{path}{key}", "–" if value is None else str(value)
