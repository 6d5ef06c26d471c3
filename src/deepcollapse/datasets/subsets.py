"""Subsets, imbalance, label noise and standardisation: seeded, and the order of the data is kept.

The seeds drive numpy's RandomState, whose streams are frozen: the same seed gives the same samples on every machine and
in every version.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.errors import OptionError, TooFewClassesError


def class_balanced(dataset: Dataset, per_class: int, seed: int) -> Dataset:
    """`per_class` samples of each class, drawn without replacement.

    The protocol of :cite:`papyan2020` takes 5000 a class of MNIST, 4600 of SVHN and 600 of ImageNet.

    >>> from deepcollapse.datasets import load
    >>> class_balanced(load("digits"), 100, seed=0).class_counts().tolist()
    [100, 100, 100, 100, 100, 100, 100, 100, 100, 100]

    Raises:
        OptionError: `per_class` is below 1, or more than some class has.
    """
    if per_class < 1:
        raise OptionError(f"per_class is {per_class}; expected at least 1.")
    chosen = _draw(dataset, [per_class] * dataset.num_classes, seed)
    return dataset.select(chosen).noted(f"{per_class} samples of each class, seed {seed}")


def step_imbalance(dataset: Dataset, minority: int | Sequence[int], ratio: int | float, seed: int) -> Dataset:
    """Majority classes of n samples and minority classes of n / ratio, as in minority collapse :cite:`fang2021`.

    `minority` is the classes that lose samples, or a number k for the last k classes. n is the smallest number of
    samples in a majority class, so that the ratio is the same for every pair of classes; n / ratio is rounded.

    >>> from deepcollapse.datasets import load
    >>> step_imbalance(load("digits"), 3, ratio=10, seed=0).class_counts().tolist()
    [142, 142, 142, 142, 142, 142, 142, 14, 14, 14]

    Raises:
        OptionError: no class or every class in the minority, a ratio below 1, or too few samples for it.
    """
    classes, few = dataset.num_classes, _few(dataset, minority)
    _check_ratio(ratio)
    counts = dataset.class_counts().tolist()
    many = min(count for c, count in enumerate(counts) if c not in few)
    wanted = [round(many / ratio) if c in few else many for c in range(classes)]
    _refuse_empty(dataset, wanted, ratio, many)
    shown = ", ".join(dataset.class_names[c] for c in few)
    remark = f"step imbalance {ratio:g}: {wanted[few[0]]} samples of {shown}, {many} of the others, seed {seed}"
    return dataset.select(_draw(dataset, wanted, seed)).noted(remark)


def repeat_minority(dataset: Dataset, minority: int | Sequence[int], times: int) -> Dataset:
    """Each sample of the minority classes `times` times over: over-sampling :cite:`fang2021`.

    `minority` is as `step_imbalance` takes it. The copies come after the data, one pass over the minority after the
    other; the samples themselves stay in their order.

    >>> from deepcollapse.datasets import load
    >>> thinned = step_imbalance(load("digits"), 3, ratio=10, seed=0)
    >>> repeat_minority(thinned, 3, times=10).class_counts().tolist()
    [142, 142, 142, 142, 142, 142, 142, 140, 140, 140]

    Raises:
        OptionError: no class or every class in the minority, or times below 1.
    """
    few = torch.tensor(_few(dataset, minority))
    if times < 1:
        raise OptionError(f"times is {times}; expected how often each minority sample is seen, at least 1.")
    if times == 1:
        return dataset
    again = torch.isin(dataset.labels, few).nonzero().flatten()
    chosen = torch.cat([torch.arange(len(dataset)), again.repeat(times - 1)])
    return dataset.select(chosen).noted(f"minority samples {times} times over")


def long_tailed(dataset: Dataset, ratio: int | float, seed: int) -> Dataset:
    """Class sizes that fall exponentially from n in the first class to n / ratio in the last :cite:`cui2019`.

    Class c of C keeps floor(n ratio^(-c / (C - 1))) samples; n is the smallest number of samples in a class.

    >>> from deepcollapse.datasets import load
    >>> long_tailed(load("digits"), ratio=10, seed=0).class_counts().tolist()
    [139, 107, 83, 64, 49, 38, 29, 23, 17, 13]

    Raises:
        TooFewClassesError: fewer than two classes.
        OptionError: a ratio below 1, or too few samples for it.
    """
    classes = dataset.num_classes
    if classes < 2:
        raise TooFewClassesError(f"{dataset.name} has {classes} class; a long tail needs at least two.")
    _check_ratio(ratio)
    many = int(dataset.class_counts().min())
    # The sum keeps floor from losing one to rounding where the power is a whole number.
    wanted = [int(many * ratio ** (-c / (classes - 1)) + 1e-9) for c in range(classes)]
    _refuse_empty(dataset, wanted, ratio, many)
    return dataset.select(_draw(dataset, wanted, seed)).noted(f"long-tailed, ratio {ratio:g}, seed {seed}")


def label_noise(dataset: Dataset, share: int | float, seed: int) -> Dataset:
    """A share of the samples, rounded to a whole number, is given another label, each other class alike.

    Every one of them is wrong afterwards; where a uniformly random label is wanted, which is right by chance, take
    share (C - 1) / C.

    >>> from deepcollapse.datasets import load
    >>> train = load("digits")
    >>> int((label_noise(train, 0.1, seed=0).labels != train.labels).sum())
    144

    Raises:
        OptionError: a share outside [0, 1].
        TooFewClassesError: fewer than two classes.
    """
    if not 0 <= share <= 1:
        raise OptionError(f"share is {share}; expected the part of the labels to change, from 0 to 1.")
    if dataset.num_classes < 2:
        raise TooFewClassesError(f"{dataset.name} has {dataset.num_classes} class; wrong labels need at least two.")
    random = _random(seed)
    hit = random.permutation(len(dataset))[: round(share * len(dataset))]
    shift = random.randint(1, dataset.num_classes, size=len(hit))
    labels = dataset.labels.clone()
    labels[torch.from_numpy(hit)] = (labels[torch.from_numpy(hit)] + torch.from_numpy(shift)) % dataset.num_classes
    return replace(dataset, labels=labels).noted(f"{len(hit)} labels changed ({share:g} of all), seed {seed}")


def train_test(dataset: Dataset, test_share: int | float, seed: int) -> tuple[Dataset, Dataset]:
    """Split into a training and a test set, each class in the same proportion, to the nearest sample.

    >>> from deepcollapse.datasets import load
    >>> train, test = train_test(load("digits"), 0.5, seed=0)
    >>> len(train), len(test)
    (719, 719)

    Raises:
        OptionError: a share outside (0, 1).
    """
    if not 0 < test_share < 1:
        raise OptionError(f"test_share is {test_share}; expected a part between 0 and 1.")
    held_out = _draw(dataset, [round(count * test_share) for count in dataset.class_counts().tolist()], seed)
    kept = torch.ones(len(dataset), dtype=torch.bool)
    kept[held_out] = False
    return (
        replace(dataset.select(kept.nonzero().flatten()), split="train"),
        replace(dataset.select(held_out), split="test"),
    )


def _random(seed: int) -> np.random.RandomState:
    if not 0 <= seed < 2**32:
        raise OptionError(f"seed is {seed}; expected a whole number from 0 to {2**32 - 1}.")
    return np.random.RandomState(seed)


def _draw(dataset: Dataset, wanted: Sequence[int], seed: int) -> torch.Tensor:
    """Positions, in the order of the data, of `wanted[c]` samples of each class c."""
    random = _random(seed)
    counts = dataset.class_counts().tolist()
    short = [f"{dataset.class_names[c]} ({have})" for c, have in enumerate(counts) if have < wanted[c]]
    if short:
        raise OptionError(
            f"{dataset.name} ({dataset.split}) has fewer samples than asked for ({max(wanted)}) in: "
            f"{', '.join(short)}. The most that every class has is {min(counts)}."
        )
    chosen = [
        random.permutation((dataset.labels == c).nonzero().flatten().numpy())[:number]
        for c, number in enumerate(wanted)
    ]
    return torch.from_numpy(np.sort(np.concatenate(chosen)))


def _few(dataset: Dataset, minority: int | Sequence[int]) -> list[int]:
    """The minority classes, rising: those given, or the last so many."""
    classes = dataset.num_classes
    few = sorted(set(range(max(0, classes - minority), classes) if isinstance(minority, int) else minority))
    if not 0 < len(few) < classes or few[0] < 0 or few[-1] >= classes or (isinstance(minority, int) and minority < 1):
        raise OptionError(
            f"minority is {minority!r}; expected 1 to {classes - 1} of the {classes} classes, as a number of "
            f"classes or as indices from 0 to {classes - 1}."
        )
    return few


def _check_ratio(ratio: int | float) -> None:
    if not 1 <= ratio < float("inf"):
        raise OptionError(f"ratio is {ratio}; expected the largest class over the smallest, at least 1.")


def _refuse_empty(dataset: Dataset, wanted: Sequence[int], ratio: int | float, many: int) -> None:
    if min(wanted) < 1:
        raise OptionError(
            f"ratio is {ratio:g}, and {dataset.name} ({dataset.split}) has {many} samples for its largest class: the "
            f"smallest would have none. Choose a ratio of at most {many}."
        )
