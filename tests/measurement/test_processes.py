"""Networks that are replicated or sharded over processes, and data that is shared out unevenly."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed.device_mesh
import torch.distributed.tensor
import workers
from torch import nn

from deepcollapse import Measurement, Monitor, measure
from deepcollapse.measurement.head import head_weights
from deepcollapse.records import Record


def expected(**how) -> Measurement:
    return measure(workers.Net().double(), [workers.data()], measures=workers.MEASURES, **how)


def assert_agree(found: tuple[Record, ...], wanted: tuple[Record, ...]) -> None:
    """Records that are the same but for rounding of the last digits."""
    assert [{**r.row(), "value": None} for r in found] == [{**r.row(), "value": None} for r in wanted]
    for one, other in zip(found, wanted, strict=True):
        if one.array is None:
            assert math.isclose(one.value, other.value, rel_tol=1e-9, abs_tol=1e-12), (one, other)


@pytest.mark.slow
def test_a_sharded_network_on_two_processes_gives_what_one_process_gives(tmp_path):
    torch.multiprocessing.spawn(workers.sharded, args=(2, str(tmp_path)), nprocs=2)
    wanted = expected(loss=nn.functional.cross_entropy, baselines=["shuffled labels"]).records
    plain = tuple(record for record in wanted if record.baseline is None)
    assert len(plain) < len(wanted)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        for name, runs in (("kept", 1), ("again", 2), ("uneven", 2)):
            records, counted, notes, count = found[name]
            assert_agree(records, wanted if name == "kept" else plain)
            assert counted == runs, (name, rank)
            assert len(notes) == runs - 1
            assert int(count.sum()) == 1003
        assert found["empty"] == "1 of 2 processes have no batch at all; give each at least one."


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """This process, in a group of its own."""
    workers.start(0, 1, str(tmp_path))
    yield
    torch.distributed.destroy_process_group()


def never(*_: object) -> None:
    raise AssertionError("the wrapper itself must not run: it would wait for other processes, or copy their buffers")


@pytest.mark.usefixtures("alone")
def test_a_replicated_network_is_measured_through_its_wrapper():
    net = nn.parallel.DistributedDataParallel(workers.Net().double())
    x, y = workers.data()
    how = {"measures": workers.MEASURES, "baselines": ["untrained"]}
    forward = net.forward
    net.forward = never
    for distributed in (True, False):
        measured = measure(net, [(x, y)], distributed=distributed, **how)
        assert measured.layers == ("blocks.0", "blocks.1", "blocks.2", "head.input")
        assert_agree(measured.records, expected(baselines=["untrained"]).records)
    net.forward = forward
    with torch.no_grad(), Monitor(net.eval(), measures=workers.MEASURES) as monitor:
        monitor.labels(y)
        net(x)
    assert_agree(monitor.compute().records, expected().records)


def test_data_parallel_is_measured_through_its_wrapper():
    net = nn.DataParallel(workers.Net().double())
    net.forward = never
    assert_agree(measure(net, [workers.data()], measures=workers.MEASURES).records, expected().records)


def test_without_a_process_group_one_process_is_all():
    assert_agree(expected(distributed=True).records, expected().records)


@pytest.mark.usefixtures("alone")
def test_a_head_that_is_split_over_processes_is_read_whole():
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    head = nn.Linear(4, 3)
    whole = head.weight.detach().clone()
    split = torch.distributed.tensor.distribute_tensor(whole, mesh, [torch.distributed.tensor.Shard(0)])
    head.weight = nn.Parameter(split)
    weight, _ = head_weights(head, "head")
    assert type(weight) is torch.Tensor
    assert torch.equal(weight, whole.double())


@pytest.mark.usefixtures("alone")
def test_a_sampler_that_repeats_samples_is_told_of():
    x, y = workers.data(61)
    data = torch.utils.data.TensorDataset(x, y)
    sampler = torch.utils.data.DistributedSampler(data, num_replicas=2, rank=0, shuffle=False)
    message = (
        "31 samples were measured and the data set has 61: DistributedSampler repeats or drops some, so that all "
        "processes have as many. Give each process its own, for example Subset(data, range(rank, len(data), "
        "world_size))"
    )
    loader = torch.utils.data.DataLoader(data, batch_size=8, sampler=sampler)
    how = {"measures": ["cdnv"], "distributed": True}
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        measured = measure(workers.Net().double(), loader, **how)
    assert measured.notes == (message,)
    whole = torch.utils.data.DistributedSampler(data, num_replicas=1, rank=0)
    assert measure(workers.Net().double(), torch.utils.data.DataLoader(data, 8, sampler=whole), **how).notes == ()
