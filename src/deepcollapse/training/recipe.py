"""A recipe: everything that decides what a training run gives, as one frozen value. Imports no torch."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from deepcollapse.errors import OptionError
from deepcollapse.training.kinds import fits, in_words, plain

# Settings that recipes of earlier versions do not have.
LATER = ("oversample",)


@dataclass(frozen=True)
class Recipe:
    """A training set-up that can be written down; the defaults are the demo.

    The default is one in which neural collapse happens within half a minute on a CPU: batch norm, weight decay and two
    drops of the learning rate are what it takes. Settings are in the order in which people reach for them.

    Raises OptionError for a value out of its range; names of data sets and networks are looked up when they are used.

    >>> Recipe(epochs=3).learning_rate(1)
    0.05
    """

    dataset: str = "digits"
    """Data set: a name of `deepcollapse list datasets`, folder:PATH, hf:NAME or package.module:loader."""
    network: str = "mlp"
    """Network: a name of `deepcollapse list networks`, package.module:factory, or timm:, torchvision: or hf:NAME."""
    width: int | None = None
    """The network's width; its own default where not given."""
    depth: int | None = None
    """The network's depth, for families that have one."""
    parameters: tuple[str, ...] = ()
    """Further parameters of the network as name=value, for example batch_norm=false."""
    epochs: int = 200
    """Passes over the training data."""
    batch: int = 128
    """Batch size. A last batch of one sample is skipped where the network has batch norm."""
    seed: int = 0
    """Of the initial weights, of the order of samples, and of every draw from the data."""

    loss: Literal["cross-entropy", "mse"] = "cross-entropy"
    """Cross-entropy, or the mean squared error to one-hot labels."""
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    """Stochastic gradient descent, Adam (decay in the gradient), or AdamW (decay apart)."""
    rate: float = 0.05
    """Learning rate at the start."""
    momentum: float = 0.9
    """Momentum of stochastic gradient descent."""
    decay: float = 5e-3
    """Weight decay, on all parameters."""
    drops: tuple[float, ...] = (1 / 3, 2 / 3)
    """Where in training the learning rate drops, as shares of the epochs."""
    drop_factor: float = 0.1
    """What the learning rate is multiplied with at each drop."""

    measurements: int = 40
    """About so many epochs are measured, log-spaced; the first, the last and the TPT onset always are."""
    layers: tuple[str, ...] = ()
    """Layers to measure beside the head's input, names or patterns; the network's blocks where not given."""
    weighting: Literal["class", "sample"] = "class"
    """How classes count in the measures: equally, or by their samples."""
    tpt_accuracy: float = 0.999
    """Training accuracy at which the terminal phase of training (TPT) begins."""

    standardise: Literal["pixels", "channels", "none"] = "pixels"
    """Subtract the training mean and divide by the deviation, of each pixel or of each channel."""
    per_class: int | None = None
    """Train on so many samples of each class, drawn at random; all where not given."""
    test_per_class: int | None = None
    """Test on so many samples of each class."""
    imbalance: Literal["none", "step", "long-tailed"] = "none"
    """Thin out classes of the training data: the last `minority` ones, or geometrically from first to last."""
    ratio: float = 10.0
    """Largest over smallest class, where classes are thinned out."""
    minority: int = 5
    """How many classes a step imbalance thins out."""
    oversample: int = 1
    """How often each sample of the classes that a step imbalance thins out is seen in an epoch."""
    label_noise: float = 0.0
    """Share of training labels that are replaced by other ones."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the forward pass in training, on CUDA; measuring is always in float32."""
    channels_last: bool = False
    """Memory layout of images, faster for convolutions on CUDA."""
    compile: bool = False
    """Compile the network for training."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is loaded."""
        positive = {"rate": self.rate, "drop_factor": self.drop_factor, "batch": self.batch, "epochs": self.epochs}
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                raise OptionError(f"{name} must be a positive number; got {value}.")
        for name in ("momentum", "decay", "measurements"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise OptionError(f"{name} must be 0 or more; got {getattr(self, name)}.")
        if not all(0 < drop < 1 for drop in self.drops):
            shown = ", ".join(f"{drop:g}" for drop in self.drops)
            raise OptionError(f"drops are shares of the epochs between 0 and 1; got {shown}.")
        if self.oversample < 1:
            raise OptionError(f"oversample must be at least 1; got {self.oversample}.")
        if self.oversample > 1 and self.imbalance != "step":
            raise OptionError(
                f"oversample is {self.oversample}, and imbalance is {self.imbalance!r}: samples are repeated of the "
                "classes that imbalance='step' thins out."
            )
        if not 0 < self.tpt_accuracy <= 1:
            raise OptionError(f"tpt_accuracy must lie above 0 and be at most 1; got {self.tpt_accuracy}.")
        if not 0 <= self.seed < 2**32:
            raise OptionError(f"seed must be a whole number from 0 to {2**32 - 1}; got {self.seed}.")
        self.network_parameters()

    def learning_rate(self, epoch: int) -> float:
        """The learning rate in an epoch (the first is 1)."""
        passed = sum(epoch > round(share * self.epochs) for share in self.drops)
        return self.rate * self.drop_factor**passed

    def measured_epochs(self) -> tuple[int, ...]:
        """The epochs that are measured whatever happens: 0 (before training), then log-spaced to the last.

        >>> Recipe(epochs=100, measurements=6).measured_epochs()
        (0, 1, 3, 10, 32, 100)
        """
        count = max(2, self.measurements - 1)
        spaced = (self.epochs ** (i / (count - 1)) for i in range(count))
        return tuple(sorted({0, self.epochs, *(round(epoch) for epoch in spaced)}))

    def network_parameters(self) -> dict[str, Any]:
        """Width, depth and further parameters of the network, those that were given."""
        given = {name: getattr(self, name) for name in ("width", "depth") if getattr(self, name) is not None}
        for text in self.parameters:
            name, equals, value = text.partition("=")
            if not (equals and name.strip() and value.strip()):
                raise OptionError(f"parameters are written name=value, for example batch_norm=false; got {text!r}.")
            try:
                given[name.strip()] = tomllib.loads(f"value = {value}")["value"]
            except tomllib.TOMLDecodeError:
                given[name.strip()] = value.strip()  # a bare word, such as activation=tanh
        return given

    def to_mapping(self) -> dict[str, Any]:
        """The recipe as TOML holds it: settings that are not given are left out, and rate=1 is the same as rate=1.0.

        So are those that came later, where they are as if there were none: digests of recipes stay what they were.
        """
        given = {
            field.name: plain(getattr(self, field.name), field.type)
            for field in fields(self)
            if field.name not in LATER or getattr(self, field.name) != field.default
        }
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        return {name: value for name, value in lists.items() if value is not None}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_mapping` wrote, or that was written by hand.

        Raises OptionError for a setting that there is not, and for a value of another kind than the setting has.
        """
        kinds = {field.name: field.type for field in fields(cls)}
        for name, value in values.items():
            if name not in kinds:
                raise OptionError(f"a recipe has no setting {name!r}; it has {', '.join(sorted(kinds))}.")
            if not fits(value, kinds[name]):
                raise OptionError(f"the recipe's {name} is {value!r}; it must be {in_words(kinds[name])}.")
        return cls(**{name: plain(value, kinds[name]) for name, value in values.items()})
