"""What Papyan, Han & Donoho ran and found: depths, balanced subsets, learning rates, and the accuracies of Table 1."""

from dataclasses import dataclass

from deepcollapse.training.recipe import Recipe

# The depth of each family by data set, as the paper chose it.
_DEPTHS = {
    "mnist": ("vgg11", "resnet18", "densenet40"),
    "svhn": ("vgg11", "resnet18", "densenet40"),
    "fashion-mnist": ("vgg11", "resnet18", "densenet250"),
    "cifar10": ("vgg13", "resnet18", "densenet40"),
    "cifar100": ("vgg13", "resnet50", "densenet250"),
    "stl10": ("vgg13", "resnet50", "densenet250"),
    "imagenet": ("vgg19", "resnet152", "densenet201"),
}
FAMILIES = ("vgg", "resnet", "densenet")
DATASETS = tuple(_DEPTHS)

# Samples of each class in the balanced subsets; the other sets are balanced as they are.
PER_CLASS = {"mnist": 5000, "svhn": 4600, "imagenet": 600}

# Table 1: test accuracy in per cent at the onset of the terminal phase and at the last epoch, by family.
_ACCURACIES = {
    "mnist": ((99.40, 99.56), (99.32, 99.71), (99.65, 99.70)),
    "fashion-mnist": ((92.92, 93.31), (93.29, 93.64), (94.18, 94.35)),
    "svhn": ((93.82, 94.53), (94.64, 95.70), (95.87, 95.93)),
    "cifar10": ((87.85, 88.65), (88.72, 89.44), (91.14, 91.19)),
    "cifar100": ((63.03, 63.85), (66.19, 66.21), (77.19, 76.56)),
    "stl10": ((65.15, 68.00), (69.99, 70.24), (67.79, 70.81)),
    "imagenet": ((47.26, 50.12), (65.41, 64.45), (65.04, 62.38)),
}


@dataclass(frozen=True)
class Accuracy:
    """Published test accuracy in per cent, at the onset of the terminal phase and at the last epoch."""

    onset: float
    end: float


def network_of(family: str, dataset: str) -> str:
    """The network of a family that the paper has for a data set; a name that is no family is a network's own.

    Data sets that are not in the paper get the networks of CIFAR-10.

    >>> network_of("resnet", "stl10"), network_of("vgg11", "stl10"), network_of("densenet", "digits")
    ('resnet50', 'vgg11', 'densenet40')
    """
    if family not in FAMILIES:
        return family
    return _DEPTHS.get(dataset, _DEPTHS["cifar10"])[FAMILIES.index(family)]


def accuracy_of(dataset: str, network: str) -> Accuracy | None:
    """The entry of Table 1 for a data set and network; None where it has none.

    >>> accuracy_of("mnist", "resnet18"), accuracy_of("mnist", "resnet50")
    (Accuracy(onset=99.32, end=99.71), None)
    """
    depths = _DEPTHS.get(dataset, ())
    return Accuracy(*_ACCURACIES[dataset][depths.index(network)]) if network in depths else None


def learning_rates(dataset: str) -> tuple[float, ...]:
    """The learning rates that were tried: 25 from 1e-4 to 0.25, for ImageNet 10 from 0.01, log-spaced.

    >>> len(learning_rates("mnist")), round(learning_rates("mnist")[20], 7), learning_rates("imagenet")[0]
    (25, 0.0678604, 0.01)
    """
    lowest, count = (0.01, 10) if dataset.startswith("imagenet") else (1e-4, 25)
    return tuple(float(f"{lowest * (0.25 / lowest) ** (i / (count - 1)):.6g}") for i in range(count))


def published(dataset: str, family: str) -> Recipe:
    """The published set-up of a data set and network, at the tuned rate of the authors' notebook."""
    large = dataset.startswith("imagenet")
    return Recipe(
        dataset=dataset,
        network=network_of(family, "imagenet" if large else dataset),
        epochs=300 if large else 350,
        batch=256 if large else 128,
        rate=0.0678604,
        momentum=0.9,
        decay=1e-4 if large else 5e-4,
        drops=(1 / 2, 3 / 4) if large else (1 / 3, 2 / 3),
        measurements=50,
        tpt_accuracy=0.996 if large else 0.999,
        per_class=PER_CLASS["imagenet"] if large else PER_CLASS.get(dataset),
    )
