"""What training leaves of initial weights, beside descents in which every gradient is 0."""

import pytest
import torch

from deepcollapse.studies.measured.initial_weights import initial_weights_left
from deepcollapse.training import Recipe
from deepcollapse.training.objective import optimiser

SAMPLES = 25


def descended(recipe: Recipe) -> float:
    """What torch's own optimiser leaves of a weight of 1 without a gradient."""
    layer = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    layer.weight.data.fill_(1.0)
    steps = optimiser(recipe, layer)
    for epoch in range(1, recipe.epochs + 1):
        for group in steps.param_groups:
            group["lr"] = recipe.learning_rate(epoch)
        for _ in torch.arange(SAMPLES).split(recipe.batch):
            layer.weight.grad = torch.zeros_like(layer.weight)
            steps.step()
    return abs(layer.weight.item())


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "decay": 2.0},  # which oscillates
        {"momentum": 0.5, "batch": 8},
        {"momentum": 0.0, "batch": 100},
        {"decay": 0.0},
        {"drops": ()},
    ],
)
def test_as_much_is_left_as_of_a_descent_without_gradients(changes):
    recipe = Recipe(**({"epochs": 9, "batch": 5, "rate": 0.1, "decay": 0.3} | changes))
    assert initial_weights_left(recipe, SAMPLES) == pytest.approx(descended(recipe), rel=1e-9)


def test_it_is_about_what_the_sum_of_rates_says():
    recipe = Recipe(epochs=300, batch=5, rate=0.01, decay=0.005, momentum=0.9, drops=())
    rates = 300 * 5 * 0.01
    assert initial_weights_left(recipe, SAMPLES) == pytest.approx(2.718281828 ** (-rates * 0.005 / 0.1), rel=0.01)
