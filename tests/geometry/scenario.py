"""One imagined layer and its head, from which every measure finds its arguments by their names."""

# ruff: noqa: B019 - the few scenarios there are live as long as the tests

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch
from examples import doubles, gaussian, rotation
from torch import Tensor

from deepcollapse import collect
from deepcollapse.geometry import (
    ClassMoments,
    Metric,
    least_squares_classifier,
    linear_decisions,
    nearest_class_means,
    simplex_etf,
)


@dataclass(frozen=True, eq=False)  # one scenario equals itself alone, so that what it gives can be cached
class Scenario:
    """Features (n, d) of labelled samples, the head (C, d), samples from elsewhere, and regression targets (n, C)."""

    features: Tensor
    labels: Tensor
    classifier: Tensor
    bias: Tensor
    foreign: Tensor
    targets: Tensor
    subset: tuple[int, ...] = (0, 1)
    offset: Tensor | float = 0.0  # how far a translation has moved what measures take as given: `rows` and `matrix`
    cut: int = 0  # where the samples are split in two, for moments that are merged

    @cached_property
    def moments(self) -> ClassMoments:
        parts = (slice(None, self.cut), slice(self.cut, None))
        first, second = (
            collect(self.features[p], self.labels[p], self.num_classes, scatter="per_class") for p in parts
        )
        return first.merge(second)

    @property
    def num_classes(self) -> int:
        return len(self.classifier)

    @cached_property
    def known(self) -> dict[str, object]:
        """What each parameter's name stands for."""
        return {
            "moments": self.moments,
            "features": self.features,
            "labels": self.labels,
            "classifier": self.classifier,
            "bias": self.bias,
            "means": self.moments.centred_means(),
            "class_means": self.moments.class_means(),
            "centre": self.moments.global_mean(),
            "decisions": linear_decisions(self.features, self.classifier, self.bias),
            "probed": linear_decisions(self.features, *least_squares_classifier(self.moments)),
            "nearest": nearest_class_means(self.features, self.moments),
            "foreign_mean": self.foreign.mean(dim=0),
            "targets": self.targets,
            "subset": self.subset,
        }

    @cached_property
    def choices(self) -> dict[str, dict[str, object]]:
        """Parameters that can stand for several things, all of which are tried."""
        matrix = self.features - self.features.mean(dim=0)
        return {
            "rows": {"means": self.moments.centred_means() + self.offset, "classifier": self.classifier + self.offset},
            "matrix": {"features": matrix + self.offset, "classifier": self.classifier + self.offset},
            "weighting": {"class": "class", "sample": "sample"},
        }

    @cache
    def values(self, metric: Metric) -> dict[str, Tensor]:
        """The measure of everything here that it can be taken of; a parameter nobody knows fails the test."""
        return {what: metric.function(**arguments) for what, arguments in self._calls(metric)}

    def _calls(self, metric: Metric) -> Iterator[tuple[str, dict[str, object]]]:
        parameters = inspect.signature(metric.function).parameters
        optional = {p.name for p in parameters.values() if p.default is not p.empty}
        unknown = sorted(parameters.keys() - optional - self.known.keys() - self.choices.keys())
        assert not unknown, (
            f"measure {metric.name!r} asks for {unknown}, which no contract can be tested with. Add each to "
            f"Scenario.known in tests/geometry/scenario.py, and have turned, scaled and shifted move it. "
            f"Known: {sorted({*self.known, *self.choices})}."
        )
        arguments = {name: value for name, value in self.known.items() if name in parameters.keys() - optional}
        several = next((name for name in self.choices if name in parameters), None)
        if several is None:
            yield metric.name, arguments
        else:
            yield from ((what, arguments | {several: value}) for what, value in self.choices[several].items())

    # --- the same layer, seen otherwise ---------------------------------------------------------------------------

    @cache
    def turned(self) -> "Scenario":
        turn = rotation(5, self.features.shape[1])
        return replace(
            self, features=self.features @ turn, classifier=self.classifier @ turn, foreign=self.foreign @ turn
        )

    @cache
    def scaled(self) -> "Scenario":
        return replace(
            self,
            features=8.5 * self.features,
            foreign=8.5 * self.foreign,
            classifier=0.3 * self.classifier,
            bias=8.5 * 0.3 * self.bias,
        )

    @cache
    def shifted(self) -> "Scenario":
        shift = gaussian(6, self.features.shape[1])
        return replace(
            self,
            features=self.features + shift,
            foreign=self.foreign + shift,
            bias=self.bias - self.classifier @ shift,
            offset=shift,
        )

    @cache
    def shuffled(self) -> "Scenario":
        """The samples in another order, and their moments merged from two parts."""
        order = gaussian(7, len(self.labels)).argsort()
        features, labels, targets = self.features[order], self.labels[order], self.targets[order]
        return replace(self, features=features, labels=labels, targets=targets, cut=len(labels) // 3)

    @cache
    def renamed(self) -> "Scenario":
        """Other numbers for the classes."""
        order = torch.arange(self.num_classes).roll(1)  # class order[i] is now called i
        names = order.argsort()
        return replace(
            self,
            labels=names[self.labels],
            classifier=self.classifier[order],
            bias=self.bias[order],
            targets=self.targets[:, order],
            subset=tuple(names[list(self.subset)].tolist()),
        )

    @cache
    def single(self) -> "Scenario":
        """All in float32."""
        names = ("features", "classifier", "bias", "foreign", "targets")
        return replace(self, **{name: getattr(self, name).float() for name in names})


def ordinary(seed: int, num_classes: int = 4, dim: int = 6) -> Scenario:
    """Imbalanced classes about means of their own, away from 0, in a slightly flat space; a head that is not theirs."""
    labels = torch.arange(num_classes).repeat_interleave(torch.arange(num_classes) + 5)
    means = 2 * gaussian(seed, num_classes, dim) + gaussian(seed + 1, dim)
    flat = torch.ones(dim, dtype=torch.float64)
    flat[-1] = 0.01
    return Scenario(
        features=flat * (means[labels] + 0.7 * gaussian(seed + 2, len(labels), dim)),
        labels=labels,
        classifier=gaussian(seed + 3, num_classes, dim),
        bias=gaussian(seed + 4, num_classes),
        foreign=gaussian(seed + 5, 9, dim),
        targets=gaussian(seed + 6, len(labels), num_classes),
        subset=tuple(range(num_classes - 1)),
    )


def aligned() -> Scenario:
    """Two classes in one direction from the centre, for means and head alike."""
    means = doubles((1, 2, 0, 0, 1, 0), (2, 4, 0, 0, 2, 0), (0, -3, 1, 1, 0, 2), (-3, -3, -1, -1, -3, -2))
    labels = torch.arange(4).repeat_interleave(4)
    head = doubles((2, 1, 0, 1, 0, 0), (4, 2, 0, 2, 0, 0), (0, -1, 1, 0, 3, 1), (-2, 0, 2, -1, 0, 1))
    noise = torch.tensor([1, -1, 1, -1]).repeat(4)[:, None] * (labels + 1)[:, None] * torch.eye(6)[labels].double()
    return replace(ordinary(0), features=means[labels] + noise / 8, labels=labels, classifier=head,
                   targets=gaussian(8, 16, 4))  # fmt: skip


def collapsed(num_classes: int, dim: int, size: float) -> Scenario:
    """Every sample on its vertex of a simplex ETF about 0, the head proportional to it, one-hot targets."""
    labels = torch.arange(num_classes).repeat_interleave(4)
    vertices = size * simplex_etf(num_classes, dim)
    return Scenario(
        features=vertices[labels],
        labels=labels,
        classifier=vertices / 3,
        bias=torch.full((num_classes,), 0.1 * size, dtype=torch.float64),
        foreign=gaussian(num_classes, 9, dim),
        targets=torch.eye(num_classes, dtype=torch.float64)[labels],
    )
