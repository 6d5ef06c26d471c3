"""How a search goes, checked once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepcollapse.compression.ternary.point import INITIAL
from deepcollapse.errors import LabelError, NonFiniteError, OptionError, ShapeError

CHOICES = {
    "initial": INITIAL,
    "loss": ("cross_entropy", "squared"),
    "order": ("rows", "random", "random once"),
    "moves": ("in turn", "best"),
    "engine": ("auto", "compiled", "torch"),
}


@dataclass(frozen=True)
class Settings:
    """The options of `train_discrete`, or OptionError."""

    initial: str = "round"
    scale: float | int | None = None
    biases: bool = False
    loss: str = "cross_entropy"
    order: str = "rows"
    moves: str = "in turn"
    screening: float | int | None = None
    batch_size: int | None = None
    sweeps: int | None = None
    seconds: float | int | None = None
    restarts: int = 1
    seed: int = 0
    engine: str = "auto"

    def __post_init__(self) -> None:
        """Hold every option to its range."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}.")
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise OptionError(f"scale must be above 0 and finite, or None for one a layer; got {self.scale}.")
        if self.screening is not None and not 0 < self.screening <= 1:
            raise OptionError(f"screening is a share of the weights, above 0 and at most 1; got {self.screening}.")
        if self.sweeps is not None and self.sweeps < 0:
            raise OptionError(f"sweeps must be at least 0, or None for no limit; got {self.sweeps}.")
        if self.seconds is not None and not self.seconds > 0:
            raise OptionError(f"seconds must be above 0, or None for no limit; got {self.seconds}.")
        if self.restarts < 1:
            raise OptionError(f"restarts must be at least 1; got {self.restarts}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, or None for all samples; got {self.batch_size}.")
        if self.batch_size is not None and self.sweeps is None and self.seconds is None:
            # Each batch has a local minimum of its own, so nothing else would end the search.
            raise OptionError(
                "with batch_size every sweep sees other samples and no sweep can be the last; give sweeps or seconds."
            )

    @property
    def squared(self) -> bool:
        """Whether the loss is squared."""
        return self.loss == "squared"


def check_samples(features: Tensor, labels: Tensor) -> Tensor:
    """The features, or ShapeError, LabelError, NonFiniteError where samples cannot be searched on."""
    if len(features) == 0 or labels.shape != (len(features),):
        raise ShapeError(
            f"{len(features)} inputs came with labels of shape {tuple(labels.shape)}; expected one label for each "
            "input, and at least one of both."
        )
    if not features.isfinite().all():
        count = int((~features.isfinite().flatten(1).all(dim=1)).sum())
        raise NonFiniteError(f"{count} of {len(features)} inputs hold NaN or infinity; leave them out.")
    return features


def check_labels(labels: Tensor, classes: int) -> Tensor:
    """The labels on the CPU, or LabelError where one has no logit."""
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise LabelError(
            f"{int(outside.sum())} of {len(labels)} labels lie outside 0 to {classes - 1}, for which the network has "
            f"logits; the first is {int(labels[torch.nonzero(outside)[0]])}."
        )
    return labels.cpu()
