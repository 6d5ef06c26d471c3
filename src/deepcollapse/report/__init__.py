"""Figures, tables and one self-contained page, made from records alone: the network is not needed, nor is torch.

`write_page(runs, out)` writes the page, `svg(runs, out)` a picture for a paper, `summary_rows(records)` the table of
what changed between TPT onset and the end, `reading(records)` the same in sentences. `write_study_page(folder, out)`
writes the page of a study, `write_sweep_page(folder, out)` the one that compares the runs of a sweep.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcollapse.report.page import write_page
    from deepcollapse.report.picture import svg
    from deepcollapse.report.sentences import Sentence, reading
    from deepcollapse.report.study import is_study, write_study_page
    from deepcollapse.report.summary import SummaryRow, summary_rows
    from deepcollapse.report.sweep import is_sweep, write_sweep_page

# pandas takes a good part of a second to import, and `deepcollapse --help` should not wait for it.
_HOMES = {
    "Sentence": "sentences",
    "SummaryRow": "summary",
    "is_study": "study",
    "is_sweep": "sweep",
    "reading": "sentences",
    "summary_rows": "summary",
    "svg": "picture",
    "write_page": "page",
    "write_study_page": "study",
    "write_sweep_page": "sweep",
}

__all__ = [
    "Sentence",
    "SummaryRow",
    "is_study",
    "is_sweep",
    "reading",
    "summary_rows",
    "svg",
    "write_page",
    "write_study_page",
    "write_sweep_page",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"deepcollapse.report.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
