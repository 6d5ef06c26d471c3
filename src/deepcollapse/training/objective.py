"""Losses and optimisers that a recipe names."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepcollapse.training.recipe import Recipe


def logits_of(output: Any) -> Tensor:
    """The logits in what a network gave: itself, or its `logits`, as an attribute or in a mapping."""
    if isinstance(output, Mapping):
        return output["logits"]
    return getattr(output, "logits", output)


def mean_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean squared error to one-hot labels, over samples and classes.

    >>> mean_squared_error(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).item()
    1.0
    """
    return functional.mse_loss(logits, functional.one_hot(labels, logits.shape[1]).to(logits.dtype))


def loss_function(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a recipe: (logits, labels) -> mean over the batch."""
    return {"cross-entropy": functional.cross_entropy, "mse": mean_squared_error}[recipe.loss]


def loss_unit(recipe: Recipe) -> str:
    """The unit of a recipe's loss: nats, or squared outputs, which have none."""
    return "nat" if recipe.loss == "cross-entropy" else "1"


def optimiser(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a recipe, with weight decay on all parameters as the papers have it."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=recipe.rate, momentum=recipe.momentum, weight_decay=recipe.decay)
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return kind(parameters, lr=recipe.rate, weight_decay=recipe.decay)


def gradient_decay(recipe: Recipe) -> float | None:
    """The weight decay that is part of the loss's gradient; None for AdamW, whose decay stands apart from it.

    >>> gradient_decay(Recipe(decay=0.5)), gradient_decay(Recipe(optimiser="adamw"))
    (0.5, None)
    """
    return None if recipe.optimiser == "adamw" else recipe.decay


def decay_penalty(recipe: Recipe, network: nn.Module) -> float:
    """(decay / 2) times the sum of squared parameters: what weight decay adds to the loss under plain descent.

    >>> layer = nn.Linear(1, 1)
    >>> _ = nn.init.ones_(layer.weight), nn.init.ones_(layer.bias)
    >>> decay_penalty(Recipe(decay=0.5), layer)
    0.5
    """
    with torch.no_grad():
        return recipe.decay / 2 * sum(float(p.double().square().sum()) for p in network.parameters() if p.requires_grad)
