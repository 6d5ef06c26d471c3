"""How much of a class's logit a few of the other classes' logits explain."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from deepcollapse.geometry.independence import independence_deficit

STEPS, STEP = 16, 0.5  # penalties, from the one that leaves no predictor down, and the factor between them

# Samples of a class. Three of nine logits of noise explain all of the variance of 5 samples, in the median 0.7 of that
# of 10, and 0.23 of that of 30, 0.42 at most.
FEWEST_SAMPLES = 30
CLASSES = 100


def explained_by_few(
    logits: Float[Tensor, "n c"],
    labels: Int64[Tensor, " n"],
    most: int = 3,
    classes: int = CLASSES,
    fewest: int = FEWEST_SAMPLES,
) -> Float64[Tensor, " c"]:
    r"""How much of the variance of each class's logit, on the class's own samples, at most `most` others explain.

    The sparse problem of `independence_deficit` is solved on centred logits for penalties from strong to weak; of each
    solution the `most` largest coefficients are kept, as published, and fitted anew by least squares. The best is
    taken. In [0, 1]; NaN for a class whose logit is the same for all samples or of which there are fewer than `fewest`,
    which others fit by chance, and past the first `classes`.

    >>> logits = torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [4.0, 8.0, 1.0]])
    >>> round(explained_by_few(logits, torch.tensor([0, 0, 0]), most=1, fewest=3)[0].item(), 6)
    1.0
    """
    values, count = logits.double(), logits.shape[1]
    found = values.new_full((count,), torch.nan)
    for c in range(min(count, classes)):
        own = values[labels == c]
        if len(own) >= fewest:
            found[c] = _explained(own - own.mean(dim=0), c, most)
    return found


def _explained(centred: Float64[Tensor, "n c"], c: int, most: int) -> Float64[Tensor, ""]:
    f, whose = centred[:, c], torch.full((len(centred),), c)
    if not f.any():
        return f.new_full((), torch.nan)
    others = centred.clone()
    others[:, c] = 0
    penalty = 2 * float((others.T @ f / len(f)).abs().max())
    best = f.new_zeros(())
    for _ in range(STEPS if penalty > 0 else 0):
        penalty *= STEP
        coefficients = independence_deficit(centred, whose, penalty, classes=[c]).coefficients[c]
        kept = coefficients.abs().topk(min(most, len(coefficients) - 1)).indices
        kept = kept[coefficients[kept] != 0]
        if len(kept):
            fitted = torch.linalg.lstsq(others[:, kept], f[:, None], driver="gelsd").solution.flatten()
            rest = f - others[:, kept] @ fitted
            best = torch.maximum(best, 1 - rest.square().sum() / f.square().sum())
    return best.clamp(0, 1)


def shares_of_classes(
    explained: Float64[Tensor, " c"], labels: Int64[Tensor, " n"], at_least: float, classes: int = CLASSES
) -> tuple[float, float]:
    """The share of classes of which at least so much is explained, and of those of which that is undefined.

    Both are of the classes that have samples, among the first `classes`: an undefined one counts as not explained.
    """
    present = explained[labels[labels < classes].unique()]
    return float((present >= at_least).double().mean()), float(present.isnan().double().mean())
