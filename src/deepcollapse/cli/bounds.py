"""The table of `deepcollapse measure --bounds`: how far each layer is from rank K, beside what bounds allow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say

if TYPE_CHECKING:
    from deepcollapse.records import Record

DISTANCE = "relative_distance_to_rank_k_weight"
COLUMNS = {
    "rank_collapse_groups_weight": "k",
    DISTANCE: "distance",
    "rank_collapse_bound_alignment_weight": "align-\nment",
    "rank_collapse_bound_weight": "bound",
    "rank_collapse_bound_product_weight": "product",
    "rank_collapse_bound_variability_weight": "varia-\nbility",
    "stationarity_residual_weight": "resi-\ndual",
}
LONGEST = 21  # of a layer's name, for 80 columns in all


def show_bounds(records: "Sequence[Record]") -> None:
    """A row a layer, then what is not as the bounds assume, each reason once with the layers that it is for."""
    from deepcollapse.report.words import number

    cells = {(r.layer, r.measure): r for r in records if r.measure in COLUMNS}
    layers = list(dict.fromkeys(r.layer for r in cells.values()))
    if not layers:
        return
    told = [layer for layer in layers if (layer, "rank_collapse_groups_weight") in cells]
    if told:
        rows = [(_short(layer), *(number(_value(cells.get((layer, m)))) for m in COLUMNS)) for layer in told]
        print()
        show_table(["weight of", *COLUMNS.values()], rows, right=range(1, len(COLUMNS) + 1))
        print()
        say(
            "Distance of each weight to rank k, and what bounds it: shares of the weight's own norm. Above 1 a bound "
            "says nothing. The residual is what is left of the gradient, decay included, in units of decay times norm."
        )
    for reason, where in _reasons(cells, layers).items():
        say(f"note: {', '.join(where)}: {reason}")


def _value(record: "Record | None") -> float | None:
    return None if record is None or record.value is None else float(record.value)


def _short(layer: str) -> str:
    return layer if len(layer) <= LONGEST else "…" + layer[1 - LONGEST :]


def _reasons(cells: "dict[tuple[str, str], Record]", layers: Sequence[str]) -> dict[str, list[str]]:
    """What the notes say of each layer after its k, by reason."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        note = (record.note or "") if (record := cells.get((layer, DISTANCE))) else ""
        head, colon, rest = note.partition(": ")
        reasons = rest.split("; ") if head.startswith("k = ") else [note]
        for reason in reasons:
            if reason and (colon or not head.startswith("k = ")):
                found.setdefault(reason, []).append(layer)
    return found
