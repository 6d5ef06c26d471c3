"""The table of what changed between TPT onset and the end; the page and the terminal both show it."""

import math
from dataclasses import dataclass

import pandas as pd

from deepcollapse.report.view import View, views_of
from deepcollapse.report.words import words_for

# The rows of the table: measure, layer, and whether it is read on the test split too. Those that define collapse first.
_ROWS = (
    ("within_class_variability", "head.input", False),
    ("equinorm_means", "head.input", False),
    ("equinorm_classifier", "head", False),
    ("equiangularity_means", "head.input", False),
    ("equiangularity_classifier", "head", False),
    ("maximal_angle_means", "head.input", False),
    ("maximal_angle_classifier", "head", False),
    ("self_duality", "head.input", False),
    ("nearest_class_mean_disagreement", "head.input", True),
    ("accuracy", "network", True),
    ("loss", "network", True),
    ("cdnv", "head.input", False),
    ("gram_etf_error_means", "head.input", False),
    ("effective_rank_features", "head.input", False),
    ("effective_rank_classifier", "head", False),
)


@dataclass(frozen=True)
class SummaryRow:
    """One measure at TPT onset and at the end; where there was no TPT onset, `start` is the first measured epoch.

    `ratio` is start over end, how many times it fell: 1 where it stayed, below 1 where it rose, infinite where it
    reached 0, NaN where it was 0 all along or either end is missing.
    `collapsed` is the value at full collapse, None where collapse does not fix it; `baselines` what no collapse looks
    like here: (name, value) of each baseline that was measured, such as "untrained".
    """

    run: str
    measure: str
    symbol: str
    plain: str
    layer: str
    split: str | None
    start_epoch: int | None
    end_epoch: int | None
    from_onset: bool
    start: float | None
    end: float
    ratio: float
    collapsed: float | None
    baselines: tuple[tuple[str, float], ...] = ()


def summary_rows(records: pd.DataFrame) -> list[SummaryRow]:
    """The table of one run or of several, from what `read_records` gives; measures that were not recorded are left out.

    `from_onset` says whether `start` is TPT onset; it is None for a network that was measured once.
    """
    return [row for view in views_of(records) for row in rows_of(view)]


def rows_of(view: View) -> list[SummaryRow]:
    """The table of one run."""
    found = []
    for measure, layer, test_too in _ROWS:
        splits = (view.split, "test") if test_too and view.split != "test" else (view.split,)
        found += [row for split in splits if (row := compare(view, measure, layer, split)) is not None]
    return found


def compare(view: View, measure: str, layer: str, split: str | None) -> SummaryRow | None:
    """One measure at the two ends of a run; None where the end was not recorded."""
    series = view.series(measure, layer, split)
    end = at(series, view.end)
    if end is None:
        return None
    start = at(series, view.start)
    words = words_for(measure)
    splits = view.rows(measure, layer, split)["split"].dropna()
    return SummaryRow(
        run=view.label,
        measure=measure,
        symbol=words.symbol,
        plain=words.plain,
        layer=layer,
        split=split if len(splits) else None,
        start_epoch=view.start,
        end_epoch=view.end,
        from_onset=view.from_onset,
        start=start,
        end=end,
        ratio=fall(start, end),
        collapsed=words.target(view.num_classes),
        baselines=_baselines(view, measure, layer, split, end),
    )


def _baselines(view: View, measure: str, layer: str, split: str | None, end: float) -> tuple[tuple[str, float], ...]:
    """The baselines' values, less those that are the network's own: what does not depend on labels is no baseline."""
    known = {name: at(view.series(measure, layer, split, name), view.end) for name in view.baselines}
    return tuple(
        (name, value)
        for name, value in known.items()
        if value is not None and not math.isclose(value, end, rel_tol=1e-9)
    )


def at(series: pd.Series, epoch: int | None) -> float | None:
    """The value at an epoch, or None."""
    return float(series.loc[epoch]) if epoch is not None and epoch in series.index else None  # pyright: ignore[reportArgumentType]


def fall(start: float | None, end: float) -> float:
    """How many times a value fell: start / end, infinite where it reached 0, NaN where that says nothing."""
    if start is None or start == end == 0:
        return math.nan
    return math.inf if end == 0 else start / end
