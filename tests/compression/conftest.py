import pytest
import torch
from torch import nn

from deepcollapse.datasets import load
from shared_fixtures import one_thread  # noqa: F401 - taken by this folder's tests


@pytest.fixture(scope="session")
def digits():
    """Batches of training and of test digits."""
    splits = {name: list(load("digits", name).batches(128)) for name in ("train", "test")}
    mean = torch.cat([x for x, _ in splits["train"]]).mean()
    return {name: [(x - mean, y) for x, y in batches] for name, batches in splits.items()}


@pytest.fixture(scope="session")
def trained(digits):
    """A small network that has learnt the digits, with a weight decay that leaves it few ranks; not to be changed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10)
        )
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
        for _ in range(40):
            for x, y in digits["train"]:
                optimiser.zero_grad()
                nn.functional.cross_entropy(network(x), y).backward()
                optimiser.step()
    return network.eval()
