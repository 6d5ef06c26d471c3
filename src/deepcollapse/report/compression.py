"""The part of the page on compressed networks: before and after, accuracy over size, and layer by layer why."""

import math
from collections.abc import Callable

from deepcollapse.report import frame, html
from deepcollapse.report.figures import pareto
from deepcollapse.report.figures.style import Key, Section
from deepcollapse.report.tried import CHOOSING, Compression, Plan
from deepcollapse.report.words import number, percent

_LEAD = (
    "What can go from a trained network, what went, and what is left of its accuracy: sizes are counted, times are "
    "measured, and accuracies are taken again with the compressed network."
)


def page(found: list[Compression]) -> str:
    """The HTML of a page on compressed networks alone."""
    title = found[0].name if len(found) == 1 else f"{len(found)} compressed networks"
    parts = [
        f'<h1>Compressed: {html.escape(title)}</h1><p class="lead">{html.escape(_LEAD)}</p>',
        frame.NO_SCRIPT,
        *sections(found),
        "<footer>Made by deepcollapse compress from the run's records alone.</footer>",
    ]
    return frame.whole(f"{title}: compressed", "".join(parts))


def sections(found: list[Compression]) -> list[str]:
    """Every part as HTML: what came of each run, the figure of all, then layer by layer."""
    intro = "Each point is a network that was tried. Point at one for how it was made."
    front = Section("Accuracy over size", intro, [pareto.figure(found)], pareto.legend(found))
    parts = [_outcome(one, len(found) > 1) for one in found]
    parts.append(html.section(front))
    parts += [_layer_by_layer(one, len(found) > 1) for one in found]
    for one in found:
        name = f" of {one.name}" if len(found) > 1 else ""
        parts.append(html.folded(f"Every network that was tried{name}", _tried(one)))
        parts.append(html.facts(f"How it was compressed{name}", one.facts))
    return parts


def _outcome(one: Compression, named: bool) -> str:
    heading = f"<h2>{html.escape(one.name)}</h2>" if named else ""
    kind = {True: "fell", False: "rose", None: "stayed"}[one.facts.get("met")]
    words = html.escape(str(one.facts.get("outcome", "")))
    table = html.table(["", "before", "after", "before / after"], lines(one))
    return f'{heading}<p class="verdict {kind}">{words}</p>{table}'


def lines(one: Compression) -> list[list[str]]:
    """What the network took before and takes after, as cells: name, before, after, and by how much."""
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
    if before is None or after is None:
        return None
    change = f"{100 * (after - before):+.2f} points" if measure == "accuracy" else f"{number(before / after)} ×"
    return [name, show(before), show(after), change if after or measure == "accuracy" else "–"]


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _milliseconds(seconds: float) -> str:
    return number(1000 * seconds)


def _split(split: str) -> str:
    return {CHOOSING: "half it was chosen by", "test, not chosen by": "the other half"}.get(split, split)


def _layer_by_layer(one: Compression, named: bool) -> str:
    changes, plan = one.changes, one.plan
    title = f"Layer by layer: {one.name}" if named else "Layer by layer"
    intro = "What each layer's spectrum says can go, and what became of the layer."
    keys = [Key("before", pareto.BEFORE, "■"), Key("after", pareto.AFTER, "■")]
    figures = [pareto.layers(changes)] if changes else []
    return html.section(Section(title, intro, figures, keys if figures else []), extra=_plan(one) if plan else "")


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
    head = ["layer", "rank of the weight", "99.9 % of the output", "proposed rank", "what was done"]
    why = "".join(f"<li>{html.escape(f'{plan.layer}: {plan.reason}.')}</li>" for plan in one.plan)
    return f'{html.table(head, rows)}<ul class="models">{why}</ul>'


def proposed(plan: Plan) -> str:
    """The rank that a layer should be cut to, or that it should be kept."""
    return "keep" if plan.reason.endswith("keep it") else _whole(plan.proposed_rank)


def _whole(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:g}"


def _tried(one: Compression) -> str:
    rows = [
        [t.setting, _count(t.size), percent(t.size / one.size), percent(t.accuracy), _count(t.multiply_adds)]
        for t in one.tried
    ]
    return html.table(["how it was made", "bytes", "of the original", "accuracy", "multiply-adds"], rows)
