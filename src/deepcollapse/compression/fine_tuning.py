r"""Training a pruned or quantised network on: what is zero stays zero, and the weights of a cluster move together.

A codebook is a parameter c and the weight is W = c[index]; so dL/dc_l = sum over {index = l} of dL/dW. Biases, norms
and layers that are neither pruned nor quantised train on as ordinary parameters.
"""

import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepcollapse.compression.few_values import Codebooks, FewValues, Masks, checked_masks
from deepcollapse.compression.layers import compressible_layers
from deepcollapse.compression.shared_parameters import PrunedWeight, SharedValues
from deepcollapse.errors import BatchError, DivergedError, OptionError
from deepcollapse.measurement.batches import Batch, ReadBatch, network_place, read_batch, to_place
from deepcollapse.measurement.state import Randomness
from deepcollapse.training.objective import logits_of

Loss = Callable[[Tensor, Tensor], Tensor]


class Epoch(NamedTuple):
    """What is told after each epoch: its number from 1, of how many, and the mean loss over its batches."""

    epoch: int
    epochs: int
    loss: float


@dataclass(frozen=True)
class FineTuned(FewValues):
    """A network after fine-tuning, its codebooks as they are now, and the mean loss of every epoch."""

    losses: tuple[float, ...]


@dataclass(frozen=True)
class Descent:
    """Stochastic gradient descent with momentum, perhaps Nesterov's, and weight decay: how `fine_tune` trains.

    A value of a codebook steps by the mean of its weights' gradients: that is the step that the weights would take by
    themselves, projected on moving together, so one rate suits values of ten weights and of ten thousand. With
    `summed` it steps by their sum, which is its own gradient; then the rate has to be much smaller. With `fading` the
    rate falls linearly, step by step, to 0 at the end, so that the noise of single batches settles; batches must then
    have a length. Raises OptionError for a setting outside its range.
    """

    epochs: int = 1
    rate: float | int = 1e-2
    momentum: float | int = 0.9
    nesterov: bool = False
    decay: float | int = 0.0
    summed: bool = False
    fading: bool = False

    def __post_init__(self) -> None:
        """Check the settings, before anything is copied."""
        if self.epochs < 0:
            raise OptionError(f"epochs must be at least 0; got {self.epochs}.")
        if not 0 < self.rate < math.inf:
            raise OptionError(f"rate must be positive and finite; got {self.rate}.")
        if not 0 <= self.momentum < 1:
            raise OptionError(f"momentum must lie in [0, 1); got {self.momentum}.")
        if self.nesterov and self.momentum == 0:
            raise OptionError("nesterov needs momentum above 0; got 0.")
        if not 0 <= self.decay < math.inf:
            raise OptionError(f"decay must be at least 0 and finite; got {self.decay}.")


def fine_tune(
    network: nn.Module,
    batches: Iterable[Any],
    *,
    masks: Masks | None = None,
    codebooks: Codebooks | None = None,
    descent: Descent | None = None,
    loss: Loss = functional.cross_entropy,
    seed: int = 0,
    progress: Callable[[Epoch], None] | None = None,
    read: ReadBatch | None = None,
) -> FineTuned:
    """A copy of the network, trained on: pruned weights stay exactly 0, weights of a cluster exactly equal.

    `masks` names layers with pruned weights (`prune`), `codebooks` those of few values (`quantise`), whose pruned
    weights are theirs to say; codebooks that hold the same array of values are one. Afterwards every weight of such a
    layer is exactly its codebook's value, in float32 and in the layer's own type. Frozen parameters stay as they are.

    `batches` are (inputs, labels), or what `read` makes of them, gone through once an epoch; `loss(logits, labels)` is
    the mean over a batch, and `progress` hears of every epoch. The network is in training mode meanwhile, so dropout is
    at work and the statistics of batch norm adapt; modes and all random generators are afterwards as they were. Equal
    seeds and batches give equal networks, on a CPU bit for bit.

    Raises LayerNameError where a mask or codebook belongs to no layer, ShapeError where its shape is another,
    OptionError where nothing can be trained, or a mask and a codebook disagree, BatchError where batches run dry,
    DivergedError for a loss that is no number. Source: :cite:`marino2021,han2016`.

    >>> from deepcollapse.compression.few_values import quantise
    >>> few = quantise(nn.Sequential(nn.Linear(2, 3)), 2)
    >>> batch = (torch.eye(2), torch.tensor([0, 1]))
    >>> tuned = fine_tune(few.network, [batch], codebooks=few.codebooks, descent=Descent(epochs=3))
    >>> tuned.losses[2] < tuned.losses[0], len(tuned.network[0].weight.unique())
    (True, 2)
    """
    descent = descent or Descent()
    trained = copy.deepcopy(network)
    followers, shared = _followers(trained, masks or {}, codebooks or {}, descent)
    for follower in followers:
        follower.follow()
    optimiser = _optimiser(trained, [values for values, _ in shared], descent)
    losses, fade = [], _fade(optimiser, batches, descent)
    with _training(trained, batches, seed):
        for epoch in range(1, descent.epochs + 1):
            _refuse_used_up(batches, epoch)
            losses.append(
                _epoch(trained, (read_batch(item, read) for item in batches), loss, followers, optimiser, fade, epoch)
            )
            if progress is not None:
                progress(Epoch(epoch, descent.epochs, losses[-1]))
    settled = {name: few for values, names in shared for name, few in zip(names, values.settle(), strict=True)}
    trained.zero_grad(set_to_none=True)
    return FineTuned(trained, {name: settled.get(name, few) for name, few in (codebooks or {}).items()}, tuple(losses))


def _epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    followers: Sequence[PrunedWeight | SharedValues],
    optimiser: torch.optim.Optimizer,
    fade: Callable[[], None],
    epoch: int,
) -> float:
    """One pass over the batches; the mean of their losses."""
    place, losses = network_place(network), []
    for batch in batches:
        args, kwargs = to_place((batch.args, batch.kwargs), *place)
        value = loss(logits_of(network(*args, **kwargs)), torch.as_tensor(batch.labels).to(place[0]))
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise DivergedError(
                f"fine-tuning diverged in epoch {epoch}, batch {len(losses)}: the loss is {losses[-1]}. "
                "Lower the rate, or prune and quantise less."
            )
        network.zero_grad(set_to_none=True)
        value.backward()
        for follower in followers:
            follower.gather()
        optimiser.step()
        fade()
        for follower in followers:
            follower.follow()
    if not losses:
        raise BatchError(f"epoch {epoch} of fine-tuning had no batch. Pass batches that can be gone through again.")
    return sum(losses) / len(losses)


def length_of(batches: Iterable[Any]) -> int | None:
    """How many batches there are, where they tell."""
    try:
        return len(batches)  # pyright: ignore[reportArgumentType]
    except TypeError:
        return None


def _fade(optimiser: torch.optim.Optimizer, batches: Iterable[Any], descent: Descent) -> Callable[[], None]:
    """What makes the rate fall after each step; nothing where it does not."""
    if not descent.fading or not descent.epochs:
        return lambda: None
    if (count := length_of(batches)) is None:
        raise OptionError(
            f"a fading rate needs to know how many batches an epoch has, and a {type(batches).__name__} does not tell. "
            "Pass a list or a data loader, or fading=False."
        )
    steps = max(1, descent.epochs * count)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.0, 1 - step / steps))
    return schedule.step


@contextmanager
def _training(network: nn.Module, batches: object, seed: int) -> Iterator[None]:
    """Training mode, with gradients, and every random generator begun at `seed`; all as it was afterwards."""
    modes = {module: module.training for module in network.modules()}
    randomness = Randomness(network, batches)
    try:
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that transforms draw from
        with torch.inference_mode(False), torch.enable_grad():
            network.train()
            yield
    finally:
        randomness.restore()
        for module, training in modes.items():
            module.training = training


def _followers(
    network: nn.Module, masks: Masks, codebooks: Codebooks, descent: Descent
) -> tuple[list[PrunedWeight | SharedValues], list[tuple[SharedValues, list[str]]]]:
    """What follows in a step, and of those the codebooks, with the names of their layers."""
    layers = compressible_layers(network)
    pruned = checked_masks(layers, masks)
    books = {name: few.mask for name, few in codebooks.items()}
    for name, mask in checked_masks(layers, books).items():
        if name in pruned and (mask & ~pruned[name]).any():
            raise OptionError(
                f"layer {name!r}: its codebook gives values to {int((mask & ~pruned[name]).sum())} weights that its "
                "mask prunes. Quantise with the same masks."
            )
    groups: dict[int, list[str]] = {}
    for name, few in codebooks.items():
        groups.setdefault(id(few.values), []).append(name)
    shared = [
        (SharedValues([(layers[name], codebooks[name]) for name in names], descent.decay, descent.summed), names)
        for names in groups.values()
        if codebooks[names[0]].values.size
    ]
    # A codebook without values prunes its whole layer.
    pruned |= {name: mask for name, mask in books.items() if not mask.any()}
    followers = [PrunedWeight(layers[name].weight, torch.from_numpy(mask)) for name, mask in pruned.items()]
    return [*followers, *(values for values, _ in shared)], shared


def _optimiser(network: nn.Module, shared: Sequence[SharedValues], descent: Descent) -> torch.optim.Optimizer:
    following = {id(weight) for values in shared for weight in values.weights}
    ordinary = [p for p in network.parameters() if p.requires_grad and id(p) not in following]
    values = [group.values for group in shared if all(weight.requires_grad for weight in group.weights)]
    if not ordinary and not values:
        raise OptionError("every parameter of the network is frozen; let some require a gradient before fine-tuning.")
    # A value's decay comes with its weights' gradients.
    return torch.optim.SGD(
        [{"params": ordinary, "weight_decay": descent.decay}, {"params": values, "weight_decay": 0.0}],
        lr=descent.rate,
        momentum=descent.momentum,
        nesterov=descent.nesterov,
    )


def _refuse_used_up(batches: Iterable[Any], epoch: int) -> None:
    if epoch > 1 and isinstance(batches, Iterator):
        raise BatchError(
            f"the batches came as a {type(batches).__name__}, which can be gone through once. Pass a list or a data "
            "loader, or train for one epoch."
        )
