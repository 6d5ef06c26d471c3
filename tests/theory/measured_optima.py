"""Measurements of features that lie on the points of an optimum, for tests of predictions."""

import torch
from torch.nn import functional

from deepcollapse import measure_features

# Small classes first, last and between: predictions must come back in the order of the classes.
COUNTS = (4, 12, 4, 12, 4)
BALANCED = (6, 6, 6, 6)


def features_of(classes, counts, dim=None):
    """Every sample on its class's vector, in `dim` dimensions and away from 0."""
    samples = classes.repeat_interleave(torch.tensor(counts), dim=0)
    padded = functional.pad(samples, (0, (dim or samples.shape[1]) - samples.shape[1]))
    return padded, torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def measured(classifier, classes, counts, bias=None, shift=0.0, **how):
    """A measurement of collapsed features; a shift of them all is made good by the bias, as in a network."""
    x, y = features_of(classes, counts)
    if shift:
        bias = (torch.zeros(len(counts), dtype=torch.float64) if bias is None else bias) - classifier.sum(1) * shift
    return measure_features(x + shift, y, num_classes=len(counts), classifier=classifier, bias=bias, **how)


def toy(counts=BALANCED, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = features_of(torch.randn(len(counts), dim, generator=generator, dtype=torch.float64), counts)
    head = torch.randn(len(counts), dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return measure_features(x + noise / 9, y, num_classes=len(counts), classifier=head)
