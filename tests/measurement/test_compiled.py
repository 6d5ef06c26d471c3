"""Hooks that compiled code would skip in silence: measuring runs the eager network."""

import pytest
import torch
from torch import nn
from toy import CLASSES, assert_same_numbers, blobs, hooks_of

from deepcollapse import Monitor, measure

pytestmark = [
    pytest.mark.slow,
    # The compiler's own imports warn of things that are none of ours.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Body(nn.Module):
    """Not a Sequential, whose compiled form does run late hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.second = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8)
        self.tanh, self.head = nn.Tanh(), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.tanh(self.second(self.relu(self.first(x)))))


class Whole(nn.Module):
    """A network with a part that may be compiled alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = Body()

    def forward(self, x):
        return self.body(x) + 0.0


def compiled(way: str, backend: str) -> tuple[nn.Module, nn.Module]:
    """A network that was compiled and called before, and its eager twin."""
    net, twin = Whole().eval(), Whole().eval()
    if way == "in place":
        net.compile(backend=backend)
    elif way == "inside":
        net.body = torch.compile(net.body, backend=backend)
    else:
        net = torch.compile(net, backend=backend)
    with torch.no_grad():
        net(blobs()[0])
    return net, twin


@pytest.fixture(autouse=True)
def clean_cache():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("way", ["wrapped", "in place", "inside"])
def test_a_network_compiled_and_called_before_is_measured_as_its_eager_self(way, backend):
    net, twin = compiled(way, backend)
    batches = [blobs()]  # of the shape that was compiled: another one would be compiled anew, hooks and all
    expected = measure(twin, batches, baselines=["untrained"])
    assert expected.layers == ("body.relu", "body.tanh", "head.input")
    assert_same_numbers(measure(net, batches, baselines=["untrained"]), expected)
    assert sum(hooks_of(net)) == 0


@pytest.mark.parametrize("way", ["wrapped", "in place"])
def test_a_monitor_sees_a_compiled_network(way):
    net, twin = compiled(way, "eager")
    x, y = blobs()
    with torch.no_grad(), Monitor(net) as monitor:
        monitor.labels(y)
        net(x)
    assert_same_numbers(monitor.compute(), measure(twin, [(x, y)]))


def test_compiled_code_runs_again_afterwards():
    net, _ = compiled("wrapped", "eager")
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    measure(net, [blobs()])
    calls = []
    net._orig_mod.body.first.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        net(blobs()[0])
    assert calls == []  # a late hook is skipped: the code that was compiled before is still in use
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
