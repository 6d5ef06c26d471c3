"""What each of several processes does in the tests of measuring together; run by `torch.multiprocessing`.

Spawned processes import this file alone, so it holds its own network and data.
"""

import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from deepcollapse import measure
from deepcollapse.errors import BatchError

CLASSES, DIM = 5, 16
MEASURES = ["within_class_variability", "cdnv", "equinorm", "self_duality", "nearest_class_mean_*", "effective_rank"]


class Net(nn.Module):
    """Blocks whose weights are sharded one by one, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(DIM, DIM), nn.Tanh()) for _ in range(3)))
        self.head = nn.Linear(DIM, CLASSES)

    def forward(self, x):
        return self.head(self.blocks(x))


def data(n: int = 1003) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples whose number no two processes can share evenly."""
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(CLASSES, (n,), generator=generator)
    centres = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    return centres[y] + torch.randn(n, DIM, generator=generator, dtype=torch.float64), y


def start(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(minutes=2))


def sharded(rank: int, world: int, folder: str) -> None:
    """Measure a sharded network on uneven shares, in batches of which the processes have 13 and 8."""
    from torch.distributed.fsdp import fully_shard

    start(rank, world, folder)
    try:
        net = Net().double()
        for block in net.blocks:
            fully_shard(block)
        fully_shard(net)
        x, y = data()
        mine = slice(0, 620) if rank == 0 else slice(620, None)
        batches = list(zip(x[mine].split(50), y[mine].split(50), strict=True))
        found = {}
        for name, budget in (("kept", "1GiB"), ("again", 0), ("uneven", "1GiB" if rank else 0)):
            measured = measure(
                net, batches, distributed=True, memory_budget=budget, measures=MEASURES,
                loss=nn.functional.cross_entropy, baselines=["shuffled labels"] if name == "kept" else [],
            )  # fmt: skip
            found[name] = (measured.records, measured.runs, measured.notes, measured.moments["blocks.1"].count)
        found["empty"] = refusal(net, batches if rank == 0 else [])
        torch.save(found, Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def refusal(net: nn.Module, batches: list) -> str:
    try:
        measure(net, batches, distributed=True, measures=MEASURES)
    except BatchError as error:
        return str(error)
    return "nothing was raised"
