"""The part of the page that lays each layer's distance to rank k beside what weight decay and variability allow."""

from deepcollapse.report import html
from deepcollapse.report.figures import bounds
from deepcollapse.report.figures.bounds import BOUNDS, DISTANCE, value
from deepcollapse.report.figures.style import Section
from deepcollapse.report.view import View
from deepcollapse.report.words import number

GROUPS, RESIDUAL = "rank_collapse_groups_weight", "stationarity_residual_weight"


def section(view: View) -> Section | None:
    """Figure and introduction; None for a run for which no bound was worked out."""
    if not _layers(view):
        return None
    drawn = bounds.figure(view)
    intro = (
        "Weight decay drives each weight towards the rank k of the gradient between k groups of samples: the classes, "
        "or for convolutions the classes at each position. How far the weight still is from rank k, beside what the "
        "variability within groups, divided by the decay, allows. The bounds hold for every network, as they take in "
        "what is left of the gradient; they say much only where training has become stationary (a small residual)."
    )
    if drawn is None:
        intro += " Here every weight has rank k or less, or is too small to have more."
    return Section(
        "Rank against its bound", intro, [] if drawn is None else [drawn], bounds.keys(view) if drawn else []
    )


def tables(view: View) -> str:
    """Both sides for each layer, and what is not as the bounds assume."""
    layers = _layers(view)
    if not layers:
        return ""
    head = ["weight of", "k", "distance", *(name for name, *_ in BOUNDS.values()), "residual"]
    rows = []
    for layer in layers:
        if value(view, GROUPS, layer) is not None:
            numbers = (value(view, measure, layer) for measure in (GROUPS, DISTANCE, *BOUNDS, RESIDUAL))
            rows.append([view.name_of(layer), *(number(one) for one in numbers)])
    notes = "".join(f"<li>{html.escape(f'{view.name_of(layer)}: {note}')}</li>" for layer, note in _notes(view, layers))
    said = f'<ul class="models">{notes}</ul>' if notes else ""
    return html.folded("Both sides of each bound", html.table(head, rows) if rows else "") + html.folded(
        "What is not as the bounds assume", said
    )


def _layers(view: View) -> list[str]:
    """The layers that have a row, even one that only says why there is no bound."""
    return list(dict.fromkeys(view.frame.loc[view.frame["measure"] == DISTANCE, "layer"]))


def _notes(view: View, layers: list[str]) -> list[tuple[str, str]]:
    """What the records say of each layer beside its k."""
    found = []
    for layer in layers:
        notes = view.rows(DISTANCE, layer, view.split)["note"].dropna()
        note = "" if notes.empty else str(notes.iloc[-1])
        head, colon, rest = note.partition(": ")
        reason = rest if head.startswith("k = ") else note
        if reason and (colon or not head.startswith("k = ")):
            found.append((layer, reason))
    return found
