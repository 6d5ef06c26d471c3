"""What each model of theory holds to be optimal in a network's setting: a classifier, and one feature vector a class.

The models disagree where classes are imbalanced, so each prediction bears its model's name and what went into it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from deepcollapse.errors import OptionError
from deepcollapse.geometry import ClassMoments, SpanScatter
from deepcollapse.geometry.moments import Weighting
from deepcollapse.records.record import LAYER_PEELED, SELI, UNCONSTRAINED
from deepcollapse.theory.predictions.alike import alike
from deepcollapse.theory.predictions.setting import Setting
from deepcollapse.theory.problems.imbalanced import UnconstrainedImbalanced
from deepcollapse.theory.problems.layer_peeled import LayerPeeled
from deepcollapse.theory.problems.seli import Seli
from deepcollapse.theory.problems.squared import UnconstrainedSquared
from deepcollapse.theory.problems.unconstrained import UnconstrainedFeatures
from deepcollapse.theory.reduced.groups import Groups

# Past so many classes the measures of three optima take minutes.
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Predicted:
    """One model's optimum in the order of the setting's classes.

    Attributes:
        classifier, features: W (K, d) and one feature vector a class (K, d). `bias` (K,), where the model has one.
        gap: the certificate of the optimum, as `Optimum.gap`.
        parameters: the model's, by name: (value, unit, how it was come by).
        sized: whether lengths are predicted too, or only directions and proportions.
        given: the measures that the model was given, and so does not predict.
        note: what else a reader must know.
    """

    classifier: Float64[Tensor, "k d"]
    features: Float64[Tensor, "k d"]
    gap: float
    parameters: dict[str, tuple[float, str, str]]
    bias: Float64[Tensor, " k"] | None = None
    sized: bool = True
    given: frozenset[str] = frozenset()
    note: str = ""

    def moments(self, counts: tuple[int, ...], weighting: Weighting, centre: Weighting) -> ClassMoments:
        """The moments of features that all lie on the vector of their class."""
        dim, zero = self.features.shape[1], torch.zeros(len(counts), dtype=torch.float64)
        nothing = torch.zeros(dim, dim, dtype=torch.float64)
        span = SpanScatter(weighting, centre, zero, nothing[: len(counts) - 1, : len(counts) - 1])
        return ClassMoments(torch.tensor(counts), self.features, zero, nothing, "pooled", span=span)

    def loss(self, counts: tuple[int, ...], kind: str) -> float:
        """The training loss without decays, as PyTorch averages it; NaN where the model leaves sizes open."""
        if not self.sized:
            return math.nan
        logits = self.features @ self.classifier.T + (0.0 if self.bias is None else self.bias)
        share = torch.tensor(counts, dtype=torch.float64) / sum(counts)
        if kind == "mse":
            return float(share @ (logits - torch.eye(len(logits), dtype=torch.float64)).square().mean(dim=1))
        return -float(share @ logits.log_softmax(dim=1).diagonal())


def layer_peeled(setting: Setting) -> Predicted:
    """The Layer-Peeled Model with the measured budgets of classifier and features."""
    _refuse(setting, "the layer-peeled model")
    groups, members, note = _grouped(setting)
    optimum = LayerPeeled(groups, setting.weight_budget, setting.feature_budget).optimum()
    parameters = {
        "weight_budget": (setting.weight_budget, "weight^2", "E_W, as measured"),
        "feature_budget": (setting.feature_budget, "feature^2", "E_H, as measured about the mean of all samples"),
        "class_ratio": _class_ratio(setting),
    }
    # Of counts that were merged into two the threshold would be that of other classes.
    if len(set(setting.counts)) == 2 and not math.isnan(threshold := optimum.threshold_ratio):
        parameters["collapse_ratio"] = (threshold, "1", "from this class ratio on the small classes coincide")
    given = frozenset({"weight_budget", "feature_budget"})
    return Predicted(*optimum.factors(members), optimum.gap, parameters, given=given, note=note)


def unconstrained(setting: Setting) -> Predicted:
    """The unconstrained-features model with the recipe's decay and the feature decay that balances the norms."""
    decay, feature_decay = setting.model_decay, setting.feature_decay
    if not decay or not feature_decay:
        raise OptionError(
            "the unconstrained-features model needs the weight decay that was trained with, above 0 and part of the "
            "loss's gradient (as in SGD and Adam); "
            + ("none was given." if setting.weight_decay is None else f"got {setting.weight_decay:g}.")
        )
    _refuse(setting, "the unconstrained-features model", squared=True)
    how = "lH = lW |W|^2 / |H|^2, as at the optimum"
    if setting.biased:
        how += "; an approximation, for beside a bias H is taken about the mean of samples"
    parameters = {
        "weight_decay": (decay, "1", "lW, the optimiser's" + ("" if setting.loss != "mse" else " times C/2")),
        "feature_decay": (feature_decay, "1", how),
        "collapse_count": (
            sum(setting.counts) ** 2 * decay * feature_decay,
            "samples",
            "N^2 lW lH: classes of so many samples or fewer coincide with others of as many",
        ),
    }
    bias_decay = decay if setting.biased else None
    if setting.balanced:
        kind = UnconstrainedSquared if setting.loss == "mse" else UnconstrainedFeatures
        sizes = {
            "num_classes": setting.num_classes,
            "per_class": setting.counts[0],
            "dim": min(setting.dim, setting.num_classes),
        }
        optimum = kind(**sizes, weight_decay=decay, feature_decay=feature_decay, bias_decay=bias_decay).optimum()
        bias = torch.full((setting.num_classes,), optimum.bias, dtype=torch.float64) if setting.biased else None
        return Predicted(*optimum.factors(), optimum.gap, parameters, bias, note=str(optimum.facts()["note"] or ""))
    groups, members, note = _grouped(setting)
    optimum = UnconstrainedImbalanced(groups, decay, feature_decay, bias_decay).optimum()
    note = "; ".join(filter(None, (note, optimum.note)))
    bias = None if optimum.bias is None else torch.from_numpy(optimum.bias[members])
    return Predicted(*optimum.factors(members), optimum.gap, parameters, bias, note=note)


def seli(setting: Setting) -> Predicted:
    """The simplex-encoded-labels interpolation: where cross-entropy without any decay points to, but for its size."""
    _refuse(setting, "SELI")
    groups, members, note = _grouped(setting)
    optimum = Seli(groups).optimum()
    parameters = {"class_ratio": _class_ratio(setting)}
    return Predicted(*optimum.factors(members), optimum.gap, parameters, sized=False, note=note)


PREDICTORS: dict[str, Callable[[Setting], Predicted]] = {
    LAYER_PEELED: layer_peeled,
    UNCONSTRAINED: unconstrained,
    SELI: seli,
}


def _refuse(setting: Setting, model: str, squared: bool = False) -> None:
    """Raise OptionError where the model does not speak of such a network."""
    if setting.num_classes > setting.dim + 1:
        raise OptionError(
            f"{model} needs as many dimensions as classes less one; here are {setting.num_classes} classes in "
            f"{setting.dim} dimensions."
        )
    if setting.num_classes > MOST_CLASSES:
        raise OptionError(f"predictions are made for up to {MOST_CLASSES} classes; here are {setting.num_classes}.")
    if setting.loss == "mse" and not squared:
        raise OptionError(f"{model} speaks of cross-entropy; the network was trained with the squared error.")
    if setting.loss == "mse" and not setting.balanced:
        raise OptionError(f"for the squared error {model} is known for balanced classes only; these are not.")


def _class_ratio(setting: Setting) -> tuple[float, str, str]:
    """Of the counts as they are, whatever was merged."""
    return max(setting.counts) / min(setting.counts), "1", "samples of the largest over the smallest class"


def _grouped(setting: Setting) -> tuple[Groups, Int64[np.ndarray, " k"], str]:
    """Like classes put together, the group of each class, and what was done to counts that are nearly equal."""
    taken = alike(setting.counts)
    groups = Groups.of(taken.counts)
    return groups, groups.members(taken.counts), taken.note
