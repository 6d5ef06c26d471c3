"""The part of the page that lays theory beside the run: each number measured, and what each model predicts for it."""

import math
from html import escape

from deepcollapse.records.record import LAYER_PEELED, SELI, UNCONSTRAINED
from deepcollapse.report import html
from deepcollapse.report.figures import predicted
from deepcollapse.report.figures.style import Key, Section
from deepcollapse.report.summary import at
from deepcollapse.report.view import View
from deepcollapse.report.words import number, words_for

NAMES = {LAYER_PEELED: "layer-peeled", UNCONSTRAINED: "unconstrained features", SELI: "SELI"}
# What a reader looks for first; the other measures are folded.
_FIRST = (
    "minority_angle_mean_classifier",
    "minority_angle_mean_means",
    "minority_norm_ratio_classifier",
    "minority_norm_ratio_means",
    "equinorm_means",
    "equinorm_classifier",
    "equiangularity_means",
    "equiangularity_classifier",
    "maximal_angle_means",
    "maximal_angle_classifier",
    "self_duality",
    "weight_budget",
    "feature_budget",
    "loss",
)
# Numbers closer than this to 0 are 0 but for rounding.
_ROUNDING = 1e-9
# A model is the closest where the next one is so many times as far away.
_CLEARLY = 1.1
# Only what is this close, as a share of what was measured, is marked: the least wrong of three may still be wrong.
_AGREES = 0.25


def section(view: View) -> Section | None:
    """Figures and introduction; None for a run for which nothing was predicted."""
    if not view.models:
        return None
    legend = [Key("measured", predicted.MEASURED, "●")]
    legend += [Key(NAMES[model], predicted.COLORS[model], predicted.SIGNS[model]) for model in _speaking(view)]
    intro = (
        "What theory's models of such a network hold to be optimal, beside what was measured at the end. The models "
        "agree where classes are balanced and part where they are not, so each number stands under its model's name."
    )
    return Section("Measured beside predicted", intro, predicted.figures(view, _speaking(view)), legend)


def tables(view: View) -> str:
    """What each model was given, and the table of measured and predicted numbers, the less telling ones folded."""
    if not view.models:
        return ""
    rows = _rows(view)
    first = [row for name in _FIRST for row in rows if row[0] == name]
    rest = [row for row in rows if row not in first]
    note = (
        "In bold and green the model that comes closest, where it is within a quarter of what was measured and the "
        "next one clearly further away. An empty cell: the model says nothing of it, or was given the measured number. "
        "All on the training data."
    )
    models = "".join(f"<li>{html.escape(_given(view, model))}</li>" for model in view.models)
    more = html.folded("More measures beside their predictions", _table(view, rest), long=True)
    return f'<ul class="models">{models}</ul>{_table(view, first)}<p class="note">{note}</p>{more}'


Row = tuple[str, str, float, dict[str, float]]


def _rows(view: View) -> list[Row]:
    """(measure, layer, measured value, prediction by model) for all that was both measured and predicted."""
    theirs = view.frame[view.frame["baseline"].isin(NAMES) & view.frame["value"].notna()]
    found: list[Row] = []
    for measure, layer in dict.fromkeys(zip(theirs["measure"], theirs["layer"], strict=True)):
        own = at(view.series(measure, layer, view.split), view.end)
        told = {model: at(view.series(measure, layer, view.split, model), view.end) for model in _speaking(view)}
        if own is not None:
            found.append((measure, layer, own, {model: value for model, value in told.items() if value is not None}))
    return found


def _table(view: View, rows: list[Row]) -> str:
    if not rows:
        return ""
    models = _speaking(view)
    head = '<th class="number" scope="col">measured</th>'
    for model in models:
        sign = f'<i style="color:{predicted.COLORS[model]}">{predicted.SIGNS[model]}</i>'
        # A place to break the one long word, for narrow screens.
        name = escape(NAMES[model]).replace("uncon", "uncon&shy;")
        head += f'<th class="number" scope="col">{sign}&nbsp;{name}</th>'
    body = []
    for measure, layer, own, told in rows:
        words, best = words_for(measure), _closest(own, told)
        symbol = f"<b>{escape(words.symbol)}</b> " if words.symbol else ""
        cells = [f'<td class="number end">{escape(_shown(own))}</td>']
        for model in models:
            text = escape(_shown(told[model])) if model in told else ""
            kind = "number near" if model == best else "number"
            cells.append(f'<td class="{kind}">{f"<b>{text}</b>" if model == best else text}</td>')
        title = escape(f"{words.meaning} Layer: {view.name_of(layer)}.".strip())
        body.append(f'<tr><th scope="row" title="{title}">{symbol}{escape(words.plain)}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll"><table class="summary beside"><thead><tr><th scope="col">measure</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _closest(own: float, told: dict[str, float]) -> str | None:
    """The model nearest to what was measured; None where it is not near, another is about as near, or it is alone."""
    away = sorted((abs(value - own), model) for model, value in told.items())
    near = bool(away) and away[0][0] <= _AGREES * abs(own) + _ROUNDING
    if len(away) < 2 or not near or away[1][0] < max(_CLEARLY * away[0][0], _ROUNDING * (1 + abs(own))):
        return None
    return away[0][1]


def _shown(value: float) -> str:
    return number(0.0 if abs(value) < _ROUNDING else value)


def _speaking(view: View) -> list[str]:
    """The models that predict any number."""
    told = set(view.frame.loc[view.frame["measure"] != "optimality_gap", "baseline"])
    return [model for model in view.models if model in told]


def _silence(view: View, model: str) -> str:
    """Why a model predicts nothing."""
    notes = view.rows("optimality_gap", "network", view.split, model)["note"].dropna()
    return "no reason is recorded." if notes.empty else str(notes.iloc[-1])


def _given(view: View, model: str) -> str:
    """One model in words: what it was given and where that comes from, or why it says nothing."""
    if model not in _speaking(view):
        name = "SELI" if model == SELI else f"The {NAMES[model]} model"
        return f"{name} says nothing here: {_silence(view, model)}"

    def parameter(name: str) -> float:
        value = at(view.series(name, "network", view.split, model), view.end)
        return math.nan if value is None else value

    if model == LAYER_PEELED:
        text = (
            "The layer-peeled model is given how large classifier and features are: "
            f"E_W = {number(parameter('weight_budget'))}, E_H = {number(parameter('feature_budget'))}, as measured."
        )
        threshold, ratio = parameter("collapse_ratio"), parameter("class_ratio")
        if not math.isnan(threshold):
            text += (
                f" For it, small classes coincide from a class ratio of {number(threshold)} on; "
                f"here the ratio is {number(ratio)}."
            )
        return text
    if model == UNCONSTRAINED:
        count, smallest = (
            parameter("collapse_count"),
            at(view.series("smallest_class", "head.input", view.split), view.end),
        )
        few = f"{number(count)} samples or fewer"
        if at(view.series("weight_budget", "head", view.split, model), view.end) == 0:
            outcome = "all zero is optimal: the decays outweigh all that logits could gain."
        elif smallest is not None and count < smallest:
            outcome = f"no classes coincide: that takes {few}."
        else:
            outcome = f"classes of equal count coincide where they have {few}."
        return (
            f"The unconstrained-features model is given the decays: {number(parameter('weight_decay'))} for the "
            f"classifier, from training, and {number(parameter('feature_decay'))} for features, which balances the "
            f"norms. For it, {outcome}"
        )
    return "SELI is given the class sizes alone, and predicts angles and proportions but no lengths."
