r"""Budgets: how large the classifier and the features are, as models of what is optimal ration them.

The Layer-Peeled Model bounds both numbers; only their product shapes its optimum. Its features are free, so they have
no offset of their own, and a network's are read about the mean of all its samples.
"""

import math
from functools import partial

from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.moments import ClassMoments
from deepcollapse.geometry.simplex import checked_rows

_measure = partial(
    metric,
    source="fang2021",
    range=(0.0, math.inf),
    collapsed=None,
    invariant_to=("rotation", "translation"),
    cost="O(C d)",
)


@_measure(symbol="E_W", unit="weight^2", needs=("classifier",))
def weight_budget(classifier: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""The mean squared length of the classifier's rows: Avg_c |w_c|^2, for W (C, d).

    In the unit of the weights squared, at least 0; 0 for a classifier of zeros. Absent classes are left out of W by
    whoever calls. Raises ShapeError, NonFiniteError, TooFewClassesError below two rows. Source: Fang et al. 2021.

    >>> import torch
    >>> weight_budget(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).item()
    13.0
    """
    return checked_rows(classifier, "classifier").square().sum(dim=1).mean()


@_measure(symbol="E_H", unit="feature^2", needs=("moments",))
def feature_budget(moments: ClassMoments) -> Float64[Tensor, ""]:
    r"""The squared distance of features from their mean, class by class: Avg_c 1/n_c sum_i |h_i - mu_S|^2.

    mu_S is the mean of all samples and the average runs over the present classes alike, however many samples each has,
    so this is no total variance unless classes are balanced. In the unit of the features squared, at least 0; 0 where
    all features coincide. Raises TooFewClassesError below two present classes. Source: Fang et al. 2021.

    >>> from deepcollapse import collect
    >>> feature_budget(collect([[0.0], [2.0], [4.0]], [0, 0, 1], num_classes=2)).item()  # about 2
    3.0
    """
    return moments.within_trace("class") + moments.between_trace("class", "sample")
