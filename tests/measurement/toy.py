"""Small networks and data that the tests of measurement share."""

import contextlib
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from deepcollapse.measurement import Measurement

CLASSES = 3


def mlp(seed: int = 0, *, inputs: int = 4, classes: int = CLASSES) -> nn.Sequential:
    """Layers "0" (linear) to "4" (the head); "1" and "3" are the activations measured by default."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, classes))


def blobs(n: int = 60, *, inputs: int = 4, classes: int = CLASSES, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Points around one centre a class, classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    return 2 * torch.randn(classes, inputs, generator=generator)[y] + torch.randn(n, inputs, generator=generator), y


def cut(x: Tensor, y: Tensor, *sizes: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of these sizes, in order; the last takes the rest."""
    sizes = (*sizes, len(x) - sum(sizes))
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def numbers(measurement: Measurement) -> dict[tuple[str, str, str | None], float]:
    """Every number by (measure, layer, baseline)."""
    return {(r.measure, r.layer, r.baseline): float(r.value) for r in measurement.records if r.array is None}


def assert_same_numbers(found: Measurement, expected: Measurement, rel: float = 0.0) -> None:
    """The same records with values as close as `rel`, NaN for NaN; spectra of zero may differ by rounding."""
    one, other = numbers(found), numbers(expected)
    assert list(one) == list(other)
    different = {
        key: (one[key], other[key])
        for key in one
        if not (
            math.isclose(one[key], other[key], rel_tol=rel, abs_tol=rel)
            or (one[key] != one[key] and other[key] != other[key])
        )
    }
    assert not different


def hooks_of(network: nn.Module) -> list[int]:
    """How many hooks each module has."""
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]


@contextlib.contextmanager
def raises(kind: type[Exception], message: str) -> Iterator[None]:
    """The block raises this kind of error with exactly this message."""
    with pytest.raises(kind) as error:
        yield
    assert str(error.value) == message
