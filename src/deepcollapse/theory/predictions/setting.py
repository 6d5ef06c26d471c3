"""What the models of theory need to know of a trained network: class sizes, budgets and decays, estimated from it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from deepcollapse.errors import OptionError
from deepcollapse.geometry.moments import Weighting
from deepcollapse.measurement import HEAD, HEAD_INPUT, Measurement
from deepcollapse.measurement.evidence import FIXED_MODES
from deepcollapse.records import Record
from deepcollapse.theory.problems.squared import decay_of_mse_loss

Loss = Literal["cross-entropy", "mse"]


def require_training(loss: str, weight_decay: float | None) -> None:
    """Raises OptionError for a loss that no model knows, and for a decay below 0."""
    if loss not in get_args(Loss):
        raise OptionError(f"theory knows the losses {' and '.join(map(repr, get_args(Loss)))}; got {loss!r}.")
    if weight_decay is not None and not 0 <= weight_decay < math.inf:
        raise OptionError(f"weight_decay is the optimiser's, a finite number of 0 or more; got {weight_decay:g}.")


@dataclass(frozen=True)
class Setting:
    r"""A network as the models see it. K counts the classes that have samples.

    Attributes:
        counts: samples of each class that has any.
        absent: how many classes have none; the models leave them out.
        dim: d, the length of a feature vector.
        weight_budget: E_W, the mean squared length of the classifier's rows.
        feature_budget: E_H, the mean over classes of the mean squared distance from the mean of all samples.
        feature_energy: |H|^2, the sum over all samples of the squared distance from 0 where there is no bias, and from
            their mean where a bias can make a common offset good.
        biased: whether the classifier has a bias.
        weighting, centre: how the measures weight classes, and about which mean.
        loss: what was minimised; "mse" is the mean over samples and outputs of the squared error to one-hot labels.
        weight_decay: the optimiser's, on weights and bias alike; None where it is not known.
    """

    counts: tuple[int, ...]
    absent: int
    dim: int
    weight_budget: float
    feature_budget: float
    feature_energy: float
    biased: bool
    weighting: Weighting = "class"
    centre: Weighting = "class"
    loss: Loss = "cross-entropy"
    weight_decay: float | None = None

    @classmethod
    def of(cls, measurement: Measurement, loss: Loss = "cross-entropy", weight_decay: float | None = None) -> "Setting":
        """What a measurement of the training data tells.

        Raises OptionError where it lacks the budgets or the head, for another loss, and for a decay below 0.
        """
        require_training(loss, weight_decay)
        numbers = {(r.measure, r.layer): r for r in measurement.records if r.baseline is None and r.array is None}
        budgets = [numbers.get(key) for key in (("weight_budget", HEAD), ("feature_budget", HEAD_INPUT))]
        values = [float("nan") if record is None or record.value is None else record.value for record in budgets]
        if not all(value > 0 for value in values):
            raise OptionError(
                "predictions need the head's weight_budget and feature_budget, both above 0; got "
                f"{values[0]:g} and {values[1]:g}. Measure a network with its head, these two among the measures."
            )
        moments = measurement.moments[HEAD_INPUT]
        weighting, centre = _modes(numbers.values())
        biased = ("bias_norm", HEAD) in numbers
        energy = moments.within_trace("sample") + moments.between_trace("sample")
        # Without a bias an offset is part of the features that the logits are made of, and of what decay has shrunk.
        energy = energy if biased else energy + moments.global_mean("sample").square().sum()
        return cls(
            counts=tuple(moments.count[moments.present].tolist()),
            absent=moments.num_classes - moments.num_present,
            dim=moments.dim,
            weight_budget=float(values[0]),
            feature_budget=float(values[1]),
            feature_energy=moments.num_samples * float(energy),
            biased=biased,
            weighting=weighting,
            centre=centre,
            loss=loss,
            weight_decay=weight_decay,
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def balanced(self) -> bool:
        """Whether all classes have equally many samples."""
        return len(set(self.counts)) == 1

    @property
    def model_decay(self) -> float | None:
        """lW, the classifier's decay in the models' objectives: that of the optimiser, or C/2 times it for "mse".

        PyTorch averages squared errors over the C outputs as well; the models sum over these and halve.
        """
        if self.weight_decay is None or self.loss == "cross-entropy":
            return self.weight_decay
        return decay_of_mse_loss(self.weight_decay, self.num_classes + self.absent)

    @property
    def feature_decay(self) -> float | None:
        """lH, from lW |W|^2 = lH |H|^2: the balance of both penalties that holds wherever their sum is least.

        With a bias it is an approximation: a trained network's features have an offset, which the bias makes good and
        |H|^2 here leaves out, while the model's features may have one of their own.
        """
        if self.model_decay is None:
            return None
        return self.model_decay * self.num_classes * self.weight_budget / self.feature_energy


def _modes(records: Iterable[Record]) -> tuple[Weighting, Weighting]:
    """How the measures at the head's input weight classes, and about which mean, where that can be chosen."""
    chosen = [
        record
        for record in records
        if record.layer == HEAD_INPUT and record.measure not in FIXED_MODES and not record.measure.endswith("_features")
    ]
    weighting = {record.weighting for record in chosen if record.centre}
    centre = {record.centre for record in chosen}
    return "sample" if "sample" in weighting else "class", "sample" if "sample" in centre else "class"
