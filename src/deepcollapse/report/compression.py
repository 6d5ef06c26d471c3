"""The part of the page on compressed networks: before and after, accuracy over size, and layer by layer why."""

import math
import re
from collections.abc import Callable

from deepcollapse.report import frame, html
from deepcollapse.report.figures import pareto
from deepcollapse.report.figures.style import Key, Section
from deepcollapse.report.reasons import grouped
from deepcollapse.report.tried import CHOOSING, Compression, Plan
from deepcollapse.report.words import number, percent

_LEAD = (
    "What can go from a trained network, what went, and what is left of its accuracy: sizes are counted, times are "
    "measured, and accuracies are taken again with the compressed network."
)
# Medians of a few passes differ by this much from one call to the next.
_SAME_TIME = 1.15


def page(found: list[Compression]) -> str:
    """The HTML of a page on compressed networks alone."""
    title = found[0].name if len(found) == 1 else f"{len(found)} compressed networks"
    parts, places = sections(found)
    whole = [
        f'<h1>Compressed: {html.escape(title)}</h1><p class="lead">{html.escape(_LEAD)}</p>',
        frame.contents(places) if len(places) > 2 else "",
        frame.NO_SCRIPT,
        *parts,
        "<footer>Made by deepcollapse compress from the run's records alone.</footer>",
    ]
    return frame.whole(f"{title}: compressed", "".join(whole))


def sections(found: list[Compression], first: int = 1) -> tuple[list[str], list[tuple[str, str]]]:
    """Every part as HTML: what came of each run, the figure of all, then layer by layer; and anchors with their names.

    Anchors are numbered from `first`.
    """
    places: list[tuple[str, str]] = []

    def place(name: str) -> str:
        places.append((f"part-{first + len(places)}", name))
        return places[-1][0]

    named = len(found) > 1
    parts = [_outcome(one, place(one.name) if named else "") for one in found]
    intro = "Each point is a network that was tried. Point at one for how it was made."
    front = Section("Accuracy over size", intro, [pareto.figure(found)], pareto.legend(found))
    parts.append(html.section(front, anchor=place(front.title)))
    for one in found:
        title = f"Layer by layer: {one.name}" if named else "Layer by layer"
        parts.append(_layer_by_layer(one, title, place(title)))
    for one in found:
        name = f" of {one.name}" if named else ""
        parts.append(html.folded(f"Every network that was tried{name}", _tried(one)))
        parts.append(html.facts(f"How it was compressed{name}", one.facts))
    return parts, places


def _outcome(one: Compression, anchor: str) -> str:
    heading = f'<h2 id="{anchor}">{html.escape(one.name)}</h2>' if anchor else ""
    table = html.table(["", "before", "after", "before / after"], lines(one))
    return f'{heading}<p class="verdict {one.verdict}">{html.escape(one.outcome)}</p><div class="ends">{table}</div>'


def lines(one: Compression) -> list[list[str]]:
    """What the network took before and takes after, as cells: name, before, after, and by how much.

    Times are told where a layer changed, and their ratio where it is more than noise.
    """
    wanted = [
        ("bytes", "stored_bytes", None, _count),
        ("parameters in use", "parameters", None, _count),
        ("multiply-adds a sample", "multiply_adds", None, _count),
        *((f"ms for a batch of {name.rpartition('_')[2]}", name, None, _milliseconds) for name in one.latencies),
        *((f"accuracy, {_split(split)}", "accuracy", split, percent) for split in one.splits),
    ]
    return [row for line in wanted if (row := _line(one, *line))]


def _line(
    one: Compression, name: str, measure: str, split: str | None, show: Callable[[float], str]
) -> list[str] | None:
    before, after = (one.value(measure, before=time, split=split) for time in (True, False))
    if before is None or after is None or (measure in one.latencies and not one.changes):
        return None
    return [name, show(before), show(after), _change(one, measure, before, after)]


def _change(one: Compression, measure: str, before: float, after: float) -> str:
    if measure == "accuracy":
        return f"{100 * (after - before):+.2f} points"
    if not after:
        return "–"
    ratio = before / after
    if measure in one.latencies and max(ratio, 1 / ratio if ratio else math.inf) < _SAME_TIME:
        return "no clear difference"
    return f"{number(ratio)} ×"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _milliseconds(seconds: float) -> str:
    return number(1000 * seconds)


def _split(split: str) -> str:
    return {CHOOSING: "half it was chosen by", "test, not chosen by": "the other half"}.get(split, split)


def _layer_by_layer(one: Compression, title: str, anchor: str) -> str:
    changes, plan = one.changes, one.plan
    intro = "What became of each layer." if changes else "No layer was changed."
    keys = [Key("before", pareto.BEFORE, "■"), Key("after", pareto.AFTER, "■")]
    figures = [pareto.layers(changes)] if changes else []
    part = html.section(Section(title, intro, figures, keys if figures else []), anchor=anchor)
    return part + (_plan(one) if plan else "")


def _plan(one: Compression) -> str:
    became = {change.layer: change.what for change in one.changes}
    rows = [
        [
            plan.layer,
            *map(_whole, (plan.rank_at_one_percent, plan.energy_rank)),
            proposed(plan),
            became.get(plan.layer, "–"),
        ]
        for plan in one.plan
    ]
    head = ["layer", "rank, 1 %", "99.9 % of output", "proposed", "what was done"]
    texts = [f"{layers}: {reason}." for layers, reason in grouped(one.plan)]
    texts += [text] if (text := below_proposed(one)) else []
    why = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    intro = (
        "How many singular values of each weight lie above 1 % of the first, how many directions hold 99.9 % of what "
        "varies in the layer's output, and the rank to which this says that it may be cut."
    )
    return (
        f'<section><h3>What the spectra say</h3><p class="intro">{html.escape(intro)}</p>{html.table(head, rows)}'
        f'<ul class="models">{why}</ul></section>'
    )


def proposed(plan: Plan) -> str:
    """The rank that a layer should be cut to, or that it should be kept."""
    return "keep" if plan.reason.endswith("keep it") else _whole(plan.proposed_rank)


def below_proposed(one: Compression) -> str:
    """Why some layers were cut to less than their spectra propose, in one sentence; empty where none was."""
    taken = {change.layer: re.match(r"rank (\d+)", change.what) for change in one.changes}
    lower = [plan for plan in one.plan if (rank := taken.get(plan.layer)) and int(rank[1]) < plan.proposed_rank]
    if not lower:
        return ""
    why = (
        "the size that was asked for needs it"
        if one.facts.get("size")
        else "the accuracy on the samples it was chosen by allowed it"
    )
    return f"Ranks lower than proposed, which give up some of the 99.9 %, were taken because {why}."


def _whole(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:g}"


def _tried(one: Compression) -> str:
    rows = [
        [t.setting, _count(t.size), percent(t.size / one.size), percent(t.accuracy), _count(t.multiply_adds)]
        for t in one.tried
    ]
    return html.table(["how it was made", "bytes", "of the original", "accuracy", "multiply-adds"], rows)
