"""What sweeps in tests measure after training, and how they come to grief; imported by worker processes too."""

import math
import os
import signal
import sys
from dataclasses import replace

import torch

from deepcollapse.records import Record
from deepcollapse.sweeps import Sweep
from deepcollapse.training import Recipe

TINY = Recipe(epochs=2, width=8, depth=1, per_class=5, test_per_class=5, measurements=2, rate=0.01)
SWEEP = Sweep.grid(TINY, seed=(0, 1))
KEYS = list(SWEEP.named())


def look_again(trained):
    """Rows and arrays that depend on weights, data, and draws from the global generator."""
    network = trained.network()
    for number in range(6):
        draw = torch.rand(1)
        with torch.no_grad():
            batches = list(trained.batches(trained.splits.train, 10)) * 20
            loss = sum(network(x + draw).square().mean() for x, _ in batches)
        stem = f"again-{number}"
        references = trained.run.write_arrays(stem, {"draw": draw})
        yield Record(layer="network", measure="noisy_loss", value=float(loss), split="train", epoch=number)
        yield Record(layer="network", measure="draw", value=None, array=references["draw"])


def own_data(split):
    """Batches that only this code can read."""
    return [(torch.eye(4).reshape(4, 1, 2, 2), torch.tensor([0, 1, 0, 1]))]


class Guarded(torch.nn.Module):
    """A network with a guard as people write them, which torch cannot map over the members of a stack."""

    def __init__(self, num_classes, image_shape):
        super().__init__()
        self.flat, self.head = torch.nn.Flatten(), torch.nn.Linear(math.prod(image_shape), num_classes)

    def forward(self, x):
        """Logits, if they are not beyond measure."""
        logits = self.head(self.flat(x))
        return logits * 0 if logits.abs().max() > 1e9 else logits


def troubled(trained):
    """By the seed: 0 goes well, 1 is killed the first time, 2 each time, 3 wants to leave, 4 leaves without a word."""
    seed, sign = trained.recipe.seed, trained.run.path / "was-here"
    if seed == 2 or (seed == 1 and not sign.exists()):
        sign.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 3:
        sys.exit("no more")
    if seed == 4:
        os._exit(0)
    return list(look_again(trained))


def tree(sweep_folder):
    """The bytes of every file of a sweep's runs but those that tell of times; what was left half-written counts too."""
    runs = sweep_folder / "runs"
    files = [file for file in runs.rglob("*") if file.is_file()]
    timed = {"provenance.json", "latest.pt"}
    return {str(file.relative_to(runs)): file.name in timed or file.read_bytes() for file in files}


def swept(*, runs: int, **changes) -> Sweep:
    """A sweep of so many tiny runs that look again."""
    return Sweep.grid(replace(TINY, **changes), seed=range(runs), afterwards="sweep_extras:look_again")
