"""The picture of three classes: features, their means and the classifier in the plane of the class means."""

from collections.abc import Iterator

import numpy

from deepcollapse.records.charts import Axis, Curve, Panel
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.evidence import HEAD_INPUT, Finished
from deepcollapse.studies.judging.subjects import class_names

# A triangle of radius 1, as `geometry.simplex_coordinates` turns the means: closed, so that its edges are drawn.
PLANE = (Axis("first direction of the class means"), Axis("second direction"))


def three_classes(subject: str, run: Finished, epochs: int = 4) -> Iterator[Panel]:
    """A panel for each of a few measured epochs: the first, TPT onset, between, and the last."""
    for epoch, word in _moments(run, epochs).items():
        try:
            yield _panel(f"{subject}, epoch {epoch}{word}", run, epoch)
        except MissingEvidence:
            continue  # at that epoch the means spanned no plane


def _moments(run: Finished, count: int) -> dict[int, str]:
    """The epochs to show, evenly spread over those that were measured, with a word on the onset."""
    rows = run.rows("simplex_3_points")
    measured = sorted({int(epoch) for epoch in rows["epoch"] if epoch > 0})
    if not measured:
        return {}
    onset = run.onset if run.onset in measured else None
    later = [epoch for epoch in measured if onset is None or epoch > onset] or measured[-1:]
    between = [later[round(i * (len(later) - 1) / max(count - 2, 1))] for i in range(1, count - 1)]
    shown: set[int] = {measured[0], *between, *([] if onset is None else [onset])}
    return {epoch: " (TPT onset)" if epoch == onset else "" for epoch in sorted(shown)}


def _panel(title: str, run: Finished, epoch: int) -> Panel:
    points, labels, means = (
        run.array(f"simplex_3_{part}", HEAD_INPUT, epoch=epoch) for part in ("points", "labels", "means")
    )
    names = class_names(run)
    present = list(dict.fromkeys(labels.tolist()))
    curves = [_points(f"class {names[c]}", points[labels == c]) for c in present]
    curves.append(_points("class means", means))
    curves.append(_points("classifiers", run.array("simplex_3_classifier", HEAD_INPUT, epoch=epoch)))
    x, y = _triangle()
    curves.append(Curve("simplex", x, y, kind="prediction"))
    return Panel(title, *PLANE, curves)


def _points(name: str, rows: numpy.ndarray) -> Curve:
    return Curve(name, [round(float(x), 4) for x, _ in rows], [round(float(y), 4) for _, y in rows], kind="points")


def _triangle() -> tuple[list[float], list[float]]:
    """The vertices that the means lie on at collapse."""
    import torch

    from deepcollapse.geometry import simplex_coordinates

    frame = torch.eye(3, dtype=torch.float64) - 1 / 3
    vertices = simplex_coordinates(frame, frame)
    corners = [*range(len(vertices)), 0]
    return [float(vertices[i, 0]) for i in corners], [float(vertices[i, 1]) for i in corners]
