"""The plain recipe that one finds in scripts: three float32 passes, one-hot class sums, a d x d pseudo-inverse.

Kept plain on purpose: it is what `deepcollapse` is held against, in time, memory and error.
"""

import torch
from torch import Tensor


def plain_recipe(h: Tensor, y: Tensor, W: Tensor, b: Tensor, num_classes: int, tile: int = 4096) -> dict[str, float]:
    """NC1 to NC4, mean CDNV and nearest-centre accuracy of features h (n, d), by their definitions."""
    n, d = h.shape
    count, sums = torch.zeros(num_classes), torch.zeros(num_classes, d)
    for rows, labels in zip(h.split(tile), y.split(tile), strict=True):
        one_hot = torch.nn.functional.one_hot(labels, num_classes).float()
        count, sums = count + one_hot.sum(dim=0), sums + one_hot.T @ rows
    means = sums / count[:, None]
    centred = means - means.mean(dim=0)

    within, trace = torch.zeros(d, d), torch.zeros(num_classes)
    for rows, labels in zip(h.split(tile), y.split(tile), strict=True):
        residual = rows - means[labels]
        within += (residual / count[labels, None]).T @ residual / num_classes
        trace.index_add_(0, labels, residual.square().sum(dim=1))
    between = centred.T @ centred / num_classes

    disagree = right = 0
    for rows, labels in zip(h.split(tile), y.split(tile), strict=True):
        nearest = torch.cdist(rows, means).argmin(dim=1)
        disagree += int(((rows @ W.T + b).argmax(dim=1) != nearest).sum())
        right += int((nearest == labels).sum())

    norms, cosines, off = centred.norm(dim=1), _cosines(centred), ~torch.eye(num_classes, dtype=torch.bool)
    return {
        "within_class_variability": float((within @ torch.linalg.pinv(between)).trace() / num_classes),
        "cdnv": _mean_cdnv(means, trace / count),
        "equinorm_means": float(norms.std(correction=0) / norms.mean()),
        "equiangularity_means": float(cosines[off].std(correction=0)),
        "maximal_angle_means": float((cosines[off] + 1 / (num_classes - 1)).abs().mean()),
        "self_duality": float((W / W.norm() - centred / centred.norm()).square().sum()),
        "nearest_class_mean_disagreement": disagree / n,
        "nearest_class_mean_accuracy": right / n,
    }


def _cosines(rows: Tensor) -> Tensor:
    unit = rows / rows.norm(dim=1, keepdim=True)
    return unit @ unit.T


def _mean_cdnv(means: Tensor, variances: Tensor, tile: int = 32) -> float:
    """All C x C x d differences, a few rows at a time."""
    total, c = 0.0, len(means)
    for i in range(0, c, tile):
        squared = (means[i : i + tile, None] - means).square().sum(dim=2)
        pairs = (variances[i : i + tile, None] + variances) / (2 * squared)
        rows = torch.arange(len(pairs))
        pairs[rows, i + rows] = 0.0
        total += float(pairs.sum())
    return total / (c * (c - 1))
