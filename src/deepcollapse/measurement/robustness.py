"""Robustness: how far images are from being decided otherwise, relative to their size."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import BatchError, OptionError
from deepcollapse.measurement.batches import Batch, ReadBatch, read_batch
from deepcollapse.measurement.deepfool import deepfool
from deepcollapse.measurement.state import undisturbed
from deepcollapse.records import Record


@dataclass(frozen=True)
class Robustness:
    """The mean of |r| / |x|, and how many images it is of; `float(robustness)` is the mean, NaN where none counted.

    Left out are `zero` images, which have no ratio, and `unflipped` ones, which DeepFool moved to no other class.
    """

    mean: float
    images: int
    zero: int = 0
    unflipped: int = 0

    def __float__(self) -> float:
        return self.mean

    @property
    def note(self) -> str:
        """How many images the mean is of, and what was left out, in words."""
        zero = f"; {self.zero} all-zero images left out" if self.zero else ""
        unflipped = f"; {self.unflipped} that reached no other class left out" if self.unflipped else ""
        return f"DeepFool on {self.images} images{zero}{unflipped}"

    def record(self, split: str | None = None) -> Record:
        """The mean as a row of a run."""
        how = {"layer": "network", "split": split, "weighting": "sample", "note": self.note}
        return Record(measure="robustness", value=self.mean, **how)


def robustness(
    network: nn.Module,
    batches: Tensor | Iterable[Any],
    *,
    limit: int | None = 100,
    overshoot: float | int = 0.02,
    max_steps: int = 50,
    candidates: int | None = None,
    read_batch: ReadBatch | None = None,
) -> Robustness:
    r"""Mean |r(x)| / |x| over the first `limit` images: how far they are from another decision, by DeepFool.

    Dimensionless, at least 0, larger for a more robust network; collapse fixes no value. `batches` are images (n, ...)
    or batches as `measure` reads them, from which labels are not used; the paper takes 100 test images. Images that
    are 0 and images that reach no other class are left out and counted. Other arguments and errors are those of
    `deepfool`; BatchError where no image came, or a batch holds more than one input.
    Source: Papyan, Han & Donoho 2020, Fig. 8.

    >>> net = nn.Linear(2, 2, bias=False)
    >>> _ = net.load_state_dict({"weight": torch.eye(2)})
    >>> round(float(robustness(net, torch.tensor([[4.0, 0.0], [0.0, 0.0]]), overshoot=0)), 6)
    0.707107
    """
    if limit is not None and limit < 1:
        raise OptionError(f"limit must be at least 1, or None for all images; got {limit}.")
    ratios, flips = [], []
    with undisturbed(network, batches):
        for images in _images(batches, limit, read_batch):
            found = deepfool(network, images, overshoot=overshoot, max_steps=max_steps, candidates=candidates)
            ratios.append(found.ratio)
            flips.append(found.flipped)
    if not ratios:
        raise BatchError("the batches held no image, so there is no robustness to measure. Is the data loader empty?")
    ratio, flipped = torch.cat(ratios), torch.cat(flips)
    zero = ratio.isnan()
    counted = ratio[flipped & ~zero]
    mean = float(counted.mean()) if len(counted) else math.nan
    return Robustness(mean, len(ratio), zero=int(zero.sum()), unflipped=int((~flipped & ~zero).sum()))


def _images(batches: Any, limit: int | None, custom: ReadBatch | None) -> Iterator[Tensor]:
    """The first `limit` images, batch by batch; a tensor of images is one batch."""
    left = math.inf if limit is None else limit
    for batch in [Batch((batches,))] if isinstance(batches, Tensor) else (read_batch(b, custom) for b in batches):
        images = _only_input(batch)[: None if left == math.inf else int(left)]
        yield images
        left -= len(images)
        if left <= 0:
            return


def _only_input(batch: Batch) -> Tensor:
    inputs = [*batch.args, *batch.kwargs.values()]
    if len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point():
        return inputs[0]
    given = ", ".join(str(v.dtype) if isinstance(v, Tensor) else type(v).__name__ for v in inputs) or "nothing"
    raise BatchError(
        f"a batch came with the inputs {given}; DeepFool moves one floating-point tensor of images. "
        "Pass read_batch=lambda batch: (images, {}, labels), and a network that takes the images alone."
    )
