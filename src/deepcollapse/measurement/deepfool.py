"""DeepFool: the smallest perturbations of images that change a network's decision, to first order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from deepcollapse.errors import CaptureError, NonFiniteError, OptionError, ShapeError
from deepcollapse.linalg import as_float64, first_largest
from deepcollapse.measurement.batches import network_place
from deepcollapse.measurement.state import undisturbed


@dataclass(frozen=True)
class Perturbations:
    """The smallest perturbations that DeepFool found, one an image.

    Attributes:
        perturbation: (n, ...) r, in the unit of the images, `overshoot` included.
        ratio: (n,) |r| / |x|, dimensionless; NaN where the image is 0.
        steps: (n,) linearisations taken; 0 for an image that lies on a boundary already.
        original: (n,) the network's decision on the image. final: (n,) the class it was moved to; for an image that
            reached no other class it is `original` still, and its r is only as far as DeepFool came.
    """

    perturbation: Float64[Tensor, "n ..."]
    ratio: Float64[Tensor, " n"]
    steps: Int64[Tensor, " n"]
    original: Int64[Tensor, " n"]
    final: Int64[Tensor, " n"]

    @property
    def flipped(self) -> Bool[Tensor, " n"]:
        """Which images reached another class, (n,)."""
        return self.final != self.original


def deepfool(
    network: nn.Module,
    images: Float[Tensor, "n ..."],
    *,
    overshoot: float | int = 0.02,
    max_steps: int = 50,
    candidates: int | None = None,
) -> Perturbations:
    r"""Small perturbations r that change a network's decision on each image, by DeepFool.

    With k0 = argmax f(x), each step takes f as linear: of the boundaries to the classes k, at the distances
    |f_k - f_k0| / |w_k| with w_k = grad f_k - grad f_k0, the nearest one, l, is approached by
    |f_l - f_k0| w_l / |w_l|^2. It stops where argmax f(x + (1 + overshoot) sum r_i) is another class, or after
    `max_steps`. For an affine f one step is exact: |r| is (1 + overshoot) times the distance to the nearest boundary.

    Classes with w_k = 0 are passed over. An image nearer to a boundary than its own rounding lies on it: it takes no
    further step, and its `final` class is the one beyond. The network runs in eval mode in its own precision, steps
    add up in float64; its mode, its gradients and all random generators are afterwards as they were.

    Args:
        network: images (n, ...) to logits (n, C), or an output that holds `logits`; each image decided on its own.
        images: as the network takes them (standardised), of any floating type.
        overshoot: how far past the boundary, as a share of r.
        max_steps: linearisations at most.
        candidates: consider only so many classes beside k0, those of the largest logits; by default all of them. Each
            costs a backward pass a step. The authors' code takes 9.

    Raises ShapeError for images or logits of another shape, OptionError, NonFiniteError for a network that diverged.
    Source: Moosavi-Dezfooli, Fawzi & Frossard 2016.

    >>> net = nn.Linear(2, 2, bias=False)
    >>> _ = net.load_state_dict({"weight": torch.eye(2)})
    >>> found = deepfool(net, torch.tensor([[3.0, 1.0]]), overshoot=0)
    >>> found.perturbation.tolist(), found.final.tolist()
    ([[-1.0, 1.0]], [1])
    """
    _check_options(overshoot, max_steps, candidates)
    if images.ndim < 2 or len(images) == 0:
        raise ShapeError(f"images have shape {tuple(images.shape)}; expected (n, ...) with at least one image.")
    with undisturbed(network), torch.enable_grad():
        return _Search(network, images, overshoot, candidates).run(max_steps)


class _Search:
    """Images on their way to a boundary; those that got there are left out of further passes."""

    def __init__(self, network: nn.Module, images: Tensor, overshoot: float | int, candidates: int | None) -> None:
        self.network, self.stretch, self.candidates = network, 1 + overshoot, candidates
        self.device, dtype = network_place(network)
        self.dtype = dtype or images.dtype
        self.start = as_float64(images.detach().to(self.device))
        self.total = torch.zeros_like(self.start)
        self.steps = torch.zeros(len(images), dtype=torch.int64, device=self.start.device)
        self.original, self.final = self.steps.clone(), self.steps.clone()

    def run(self, max_steps: int) -> Perturbations:
        """Step until every image has flipped, is stuck, or has taken `max_steps`."""
        moving = torch.arange(len(self.start), device=self.start.device)
        order = moving.new_empty(0, 0)
        for step in range(max_steps + 1):
            x, logits = self._forward(moving)
            if step == 0:
                order = self._classes(logits)
                self.original = self.final = order[:, 0]
            decision = first_largest(as_float64(logits.detach()))
            self.final = self.final.index_copy(0, moving, decision)
            going = decision == self.original[moving]
            if step == max_steps or not going.any():
                break
            r, nearest, on_boundary = self._step(x, logits, order[moving])
            there = going & on_boundary
            self.final[moving[there]] = nearest[there]
            # Where no class has a gradient of its own, no step leads anywhere.
            going &= ~on_boundary & r.flatten(1).any(dim=1)
            moving, r = moving[going], r[going]
            self.total[moving] += r
            self.steps[moving] += 1
            if len(moving) == 0:
                break
        perturbation = self.stretch * self.total
        norm, size = perturbation.flatten(1).norm(dim=1), self.start.flatten(1).norm(dim=1)
        ratio = torch.where(size > 0, norm / size, torch.nan)
        return Perturbations(perturbation, ratio, self.steps, self.original, self.final)

    def _forward(self, moving: Tensor) -> tuple[Tensor, Tensor]:
        """The moved images as the network takes them, and their logits."""
        x = (self.start[moving] + self.stretch * self.total[moving]).to(self.device, self.dtype).requires_grad_()
        # A copy: a first layer that works in place may not write over a leaf.
        logits = _logits(self.network(x.clone()))
        if logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
            raise ShapeError(
                f"the network gave logits of shape {tuple(logits.shape)} for {len(x)} images; expected "
                f"({len(x)}, C) with at least two classes."
            )
        if not logits.requires_grad:
            raise CaptureError(
                "the network's logits carry no gradient back to the images. "
                "Pass a network that does not detach them or run under no_grad inside."
            )
        if not torch.isfinite(logits).all():
            wrong = int((~torch.isfinite(logits).all(dim=1)).sum())
            raise NonFiniteError(
                f"{wrong} of {len(x)} images have NaN or infinite logits. "
                "Look for a diverged network, half-precision overflow or NaN in the images."
            )
        return x, logits

    def _classes(self, logits: Tensor) -> Int64[Tensor, "n k"]:
        """The classes to consider for each image by falling logit, its own decision in front."""
        scores = as_float64(logits.detach())
        scores = scores.scatter(1, first_largest(scores)[:, None], torch.inf)
        order = scores.argsort(dim=1, descending=True, stable=True)
        return order if self.candidates is None else order[:, : self.candidates + 1]

    def _step(self, x: Tensor, logits: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The step to the nearest boundary (n, ...), the class beyond it (n,), and whether x lies on it (n,)."""
        order = order.to(logits.device)
        own = self._gradient(x, logits, order[:, 0])
        n = len(x)
        best = torch.full((n,), torch.inf, dtype=torch.float64, device=own.device)
        nearest, r = order[:, 0].to(own.device), torch.zeros_like(own)
        chosen = as_float64(logits.detach().gather(1, order))
        for rank in range(1, order.shape[1]):
            w = self._gradient(x, logits, order[:, rank]) - own
            gap, squared = (chosen[:, rank] - chosen[:, 0]).abs(), w.square().sum(dim=1)
            distance = torch.where(squared > 0, gap / squared.sqrt(), torch.inf)
            closer = distance < best
            best = torch.where(closer, distance, best)
            nearest = torch.where(closer, order[:, rank].to(own.device), nearest)
            r = torch.where(closer[:, None], w * (gap / squared)[:, None], r)
        rounding = torch.finfo(self.dtype).eps * as_float64(x.detach()).flatten(1).norm(dim=1)
        return r.reshape(x.shape), nearest, best <= rounding

    @staticmethod
    def _gradient(x: Tensor, logits: Tensor, classes: Tensor) -> Float64[Tensor, "n d"]:
        """grad of each image's logit for its own class in `classes`, flattened."""
        total = logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True, materialize_grads=True)
        return as_float64(gradient).flatten(1)


def _check_options(overshoot: float | int, max_steps: int, candidates: int | None) -> None:
    if not 0 <= overshoot < math.inf:
        raise OptionError(f"overshoot must be at least 0 and finite; got {overshoot}.")
    if max_steps < 1:
        raise OptionError(f"max_steps must be at least 1; got {max_steps}.")
    if candidates is not None and candidates < 1:
        raise OptionError(f"candidates must be at least 1, or None for all classes; got {candidates}.")


def _logits(output: Any) -> Tensor:
    """The logits in what a network gave, still with their gradient."""
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    if isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise ShapeError(f"the network gave {type(output).__name__}; expected logits (n, C), or an output with them.")
    return output
