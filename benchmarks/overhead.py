"""What measuring adds to a bare forward pass of ResNet-18 at 32 x 32: measures of the first pass, one thread.

The bare pass and the measured ones run in turn on the same batch. No features are kept; `compute`, once an epoch, is
not part of a forward pass.
"""

from typing import Any

import torch

import deepcollapse
from deepcollapse.networks import build
from timing import columns, compute_threads, in_turn, ratios, spread

SIZES = {"full": (64, 64, 15), "small": (16, 64, 5), "tiny": (4, 8, 2)}  # batch, width, rounds
FIRST_PASS = ("cdnv", "trace_ratio", "equinorm", "equiangularity", "maximal_angle", "self_duality")
BLOCKS = 8  # "blocks.*" would name their parts too
LAYERS = {"head's input": (), "stem and all blocks": ("stem", *(f"blocks.{i}" for i in range(BLOCKS)))}
LIMITS = {"head's input": 0.03, "stem and all blocks": 0.10}


def run(size: str, threads: int) -> dict:
    """The share that measuring adds, for the head's input alone and for the stem and all blocks, pooled."""
    batch, width, rounds = SIZES[size]
    with compute_threads(threads):
        return {"batch": batch, "width": width, "added": added(batch, width, 10, rounds)}


def added(batch: int, width: int, classes: int, rounds: int) -> dict[str, dict[str, float]]:
    """(measured pass / bare pass) - 1, round by round, by which layers are measured."""
    torch.manual_seed(0)
    network = build("resnet18", num_classes=classes, image_shape=(3, 32, 32), width=width).eval()
    x, y = torch.randn(batch, 3, 32, 32), torch.randint(classes, (batch,))
    tasks: dict[str, Any] = {"bare": lambda: _bare(network, x)}
    for name, layers in LAYERS.items():
        monitor = deepcollapse.Monitor(
            network, num_classes=classes, layers=layers, measures=FIRST_PASS, memory_budget=0
        )
        tasks[name] = lambda monitor=monitor: _measured(network, monitor, x, y)
    seconds = in_turn(tasks, rounds)
    shares = {name: ratios(seconds[name], seconds["bare"]) for name in LAYERS}
    return {name: {key: value - 1 for key, value in share.items()} for name, share in shares.items()}


@torch.no_grad()
def _bare(network: torch.nn.Module, x: torch.Tensor) -> None:
    network(x)


@torch.no_grad()
def _measured(network: torch.nn.Module, monitor: deepcollapse.Monitor, x: torch.Tensor, y: torch.Tensor) -> None:
    with monitor:
        monitor.labels(y)
        network(x)


def table(result: dict) -> str:
    """One line for each choice of layers."""
    rows = [("added to a bare forward pass", "per cent", "aim")]
    for name, share in result["added"].items():
        percent = {key: 100 * value for key, value in share.items()}
        rows.append((name, spread(percent, 1), f"< {100 * LIMITS[name]:.0f}"))
    head = "ResNet-18, width {width}, batches of {batch} at 32 x 32, moments only".format(**result)
    return f"{head}\n{columns(rows, (34, 24, 10))}"
