"""Figures, tables and one self-contained page, made from records alone: the network is not needed, nor is torch.

`write_page(runs, out)` writes the page, `svg(runs, out)` a picture for a paper, `summary_rows(records)` the table of
what changed between TPT onset and the end, `reading(records)` the same in sentences.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcollapse.report.page import write_page
    from deepcollapse.report.picture import svg
    from deepcollapse.report.sentences import Sentence, reading
    from deepcollapse.report.summary import SummaryRow, summary_rows

# pandas takes a good part of a second to import, and `deepcollapse --help` should not wait for it.
_HOMES = {
    "Sentence": "sentences",
    "SummaryRow": "summary",
    "reading": "sentences",
    "summary_rows": "summary",
    "svg": "picture",
    "write_page": "page",
}

__all__ = ["Sentence", "SummaryRow", "reading", "summary_rows", "svg", "write_page"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"deepcollapse.report.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
