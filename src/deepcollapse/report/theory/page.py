"""The page of theory: one offline file, drawn from tables, in the frame that the page of runs has."""

import math
import os
from pathlib import Path
from typing import Any

from deepcollapse.records import atomic_write
from deepcollapse.report import frame, html
from deepcollapse.report.figures.style import Section
from deepcollapse.report.theory import angles, depths, thresholds
from deepcollapse.report.theory.diagram import Diagram
from deepcollapse.report.words import number

_LEAD = (
    "What geometry a loss, a weight decay and a balance of classes should lead to, by the models of theory: each "
    "number is a closed form or comes with a certificate. Point at a curve for its digits."
)


def write_theory_page(diagram: Diagram, out: str | os.PathLike[str]) -> Path:
    """Write the page of theory to `out`; returns its path. Raises RunError where it cannot be written."""
    return atomic_write(out, page(diagram).encode())


def page(diagram: Diagram) -> str:
    """The page's HTML."""
    found = (angles.section(diagram), thresholds.section(diagram), depths.section(diagram))
    sections = [(f"part-{i}", part) for i, part in enumerate((part for part in found if part), start=1)]
    body = [
        f'<h1>What is optimal</h1><p class="lead">{html.escape(_LEAD)}</p>',
        frame.contents([(anchor, part.title) for anchor, part in sections]),
        frame.NO_SCRIPT,
        *(_section(anchor, part) for anchor, part in sections),
        "<h2>Numbers and settings</h2>",
        html.folded("Thresholds", _thresholds(diagram)),
        html.facts("Settings", diagram.settings),
        "<footer>Made by deepcollapse theory phase-diagram.</footer>",
    ]
    return frame.whole("What is optimal: deepcollapse theory", "".join(body))


def _section(anchor: str, part: Section) -> str:
    return html.section(part, anchor=anchor)


def _thresholds(diagram: Diagram) -> str:
    head = ["majority + minority classes", "feature budget", "budget s", "R0, collapse", "R1, erasure"]
    rows = []
    for row in diagram.thresholds:
        name = f"{row['majority']} + {row['minority']}"
        rows.append([name, number(row["feature_budget"]), *(_shown(row[c]) for c in ("budget", *_RATIOS))])
    return html.table(head, rows)


_RATIOS = ("collapse_ratio", "erasure_ratio")


def _shown(value: Any) -> str:
    return "never" if math.isinf(value) else number(value, 8)
