"""The pieces of the page as HTML. Every text that comes from records, recipes or names passes `escape` here."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from html import escape as quoted
from typing import Any

from deepcollapse.report.figures.style import Figure, Key, Section
from deepcollapse.report.sentences import Sentence
from deepcollapse.report.summary import SummaryRow
from deepcollapse.report.words import number, percent, words_for

# So many figures stand two by two, so that none is left over.
PAIRED = (2, 4)


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
    """A figure: its caption, the place where the script draws, its controls, what collapse looks like, its data."""
    data = {
        "frames": [{"label": f.label, "data": f.data, "layout": f.layout, "epoch": f.epoch} for f in drawn.frames],
        "layout": drawn.layout,
        "control": drawn.control,
        "group": drawn.group,
        "run": run,
        "start": drawn.start,
        "title": drawn.title,
        "plays": drawn.plays,
    }
    caption = f"<figcaption>{escape(drawn.title)}</figcaption>" if drawn.title else ""
    controls = '<div class="controls"></div>' if drawn.control else ""
    above, below = (controls, "") if drawn.control == "select" else ("", controls)
    notes = "".join(f'<p class="note">{escape(text)}</p>' for text in (drawn.looks, drawn.note) if text)
    alt = escape(drawn.alt or " ".join(text for text in (f"{drawn.title}.", drawn.looks) if text))
    canvas = f'<div class="canvas" role="img" aria-label="{alt}" style="height:{drawn.height}px"></div>'
    kind = "plot wide" if drawn.wide else "plot"
    return f'<figure class="{kind}">{caption}{above}{canvas}{below}{notes}{json_block(data)}</figure>'


def section(part: Section, run: str = "", level: int = 2, extra: str = "", anchor: str = "") -> str:
    """A section with its heading, introduction, legend and figures; two figures share a line where they fit."""
    pair = " pair" if len([figure for figure in part.figures if not figure.wide]) in PAIRED else ""
    mark = f' id="{anchor}"' if anchor else ""
    return (
        f'<section><h{level}{mark}>{escape(part.title)}</h{level}><p class="intro">{escape(part.intro)}</p>'
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


def verdict(sentence: Sentence, name: str = "") -> str:
    """The headline, and beneath it what it goes by."""
    who = f"<b>{escape(name)}.</b> " if name else ""
    return f'<p class="verdict {sentence.verdict}">{who}{escape(sentence.text)}</p>'


def reading(sentences: list[Sentence]) -> str:
    """The plain-words reading: a sentence a measure with what it means."""
    items = "".join(
        f'<li class="{one.verdict}">{escape(one.text)}<small>{escape(one.meaning)}</small></li>' for one in sentences
    )
    return f'<ul class="reading">{items}</ul>'


def summary(rows: list[SummaryRow]) -> str:
    """The table of what changed between TPT onset and the end, beside what no collapse looks like."""
    if not rows:
        return ""
    first, timed = rows[0], rows[0].start_epoch is not None
    onset = "TPT onset" if first.from_onset else "start"
    names = list(dict.fromkeys(name for row in rows for name, _ in row.baselines))
    heads = [f"{onset}<br>epoch {first.start_epoch}", f"end<br>epoch {first.end_epoch}", "fell"] if timed else ["value"]
    two = ' rowspan="2"' if names else ""
    head = "".join(f'<th class="number" scope="col"{two}>{text}</th>' for text in (*heads, "at<br>collapse"))
    head += f'<th class="over" colspan="{len(names)}" scope="colgroup">no collapse</th>' if names else ""
    below = "".join(f'<th class="number" scope="col">{escape(name)}</th>' for name in names)
    body = "".join(_summary_row(row, timed, names) for row in rows)
    top = f'<tr><th scope="col"{two}>measure</th>{head}</tr>' + (f"<tr>{below}</tr>" if names else "")
    return f'<div class="scroll"><table class="summary"><thead>{top}</thead><tbody>{body}</tbody></table></div>'


def _summary_row(row: SummaryRow, timed: bool, baselines: list[str]) -> str:
    show = shown_as(row)
    start = [number(None) if row.start is None else show(row.start)] if timed else []
    fell = [times(row.ratio) if row.measure != "accuracy" else ""] if timed else []
    collapsed = "" if row.collapsed is None else show(row.collapsed)
    known = dict(row.baselines)
    others = [show(known[name]) if name in known else "" for name in baselines]
    cells = "".join(f'<td class="number">{escape(text)}</td>' for text in start)
    cells += f'<td class="number end">{escape(show(row.end))}</td>'
    cells += "".join(f'<td class="number">{escape(text)}</td>' for text in (*fell, collapsed))
    cells += "".join(f'<td class="number no">{escape(text)}</td>' for text in others)
    return f"<tr>{named(row)}{cells}</tr>"


def named(row: SummaryRow) -> str:
    """The first cell of a table's row: the symbol, the name, and what the measure says on pointing at it."""
    name = row.plain + (f", {row.split}" if row.split and row.split != "train" else "")
    symbol = f"<b>{escape(row.symbol)}</b> " if row.symbol else ""
    meaning = escape(f"{words_for(row.measure).meaning} Layer: {row.layer}.")
    return f'<th scope="row" title="{meaning}">{symbol}{escape(name)}</th>'


def shown_as(row: SummaryRow) -> Callable[[float], str]:
    """Shares as per cent, other numbers as they are."""
    return percent if row.measure in ("accuracy", "nearest_class_mean_disagreement") else number


def comparison(tables: list[tuple[str, list[SummaryRow]]]) -> str:
    """Several runs side by side: each measure at TPT onset and at the end of each run."""
    rows = {(row.measure, row.split): row for _, table in tables for row in table}
    head = "".join(f'<th class="number" scope="col">{escape(name)}</th>' for name, _ in tables)
    body = []
    for key, row in rows.items():
        found = [{(r.measure, r.split): r for r in table}.get(key) for _, table in tables]
        cells = "".join(f'<td class="number">{_span(one)}</td>' for one in found)
        collapsed = "" if row.collapsed is None else shown_as(row)(row.collapsed)
        body.append(f'<tr>{named(row)}{cells}<td class="number">{escape(collapsed)}</td></tr>')
    head += '<th class="number" scope="col">at collapse</th>'
    return f'<div class="scroll"><table><tr><th scope="col">measure</th>{head}</tr>{"".join(body)}</table></div>'


def _span(row: SummaryRow | None) -> str:
    if row is None:
        return number(None)
    show = shown_as(row)
    start = "" if row.start is None else f"{escape(show(row.start))} → "
    fell = "" if row.start is None or row.measure == "accuracy" else f"<small>{escape(times(row.ratio))}</small>"
    return f"{start}<b>{escape(show(row.end))}</b>{fell}"


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


def folded(title: str, inside: str, long: bool = False) -> str:
    """Something that opens on a click; it prints open unless it is `long`."""
    kind = ' class="long"' if long else ""
    return f"<details{kind}><summary>{escape(title)}</summary>{inside}</details>" if inside else ""


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
    inside = f'<div class="scroll"><table>{rows}</table></div>'
    return f'<details class="facts"><summary>{escape(title)}</summary>{inside}</details>'


def _flat(values: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        elif isinstance(value, list):
            yield f"{path}{key}", ", ".join(str(item) for item in value)
        else:
            yield f"{path}{key}", "–" if value is None else str(value)
