"""Trials of single ternary weights, batched in torch and compiled, beside a forward pass of the network for each.

All of them give the loss of every weight at every other value with all else fixed, in float64, for 64 features that a
relu left, 32 hidden units and 10 classes. The naive trials, of weights drawn from the same ones, change the weight and
run the plain modules: that is what a sweep costs that knows nothing of where a weight acts.
"""

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor, nn

from deepcollapse.compression.ternary.chain import Chain, chain_of
from deepcollapse.compression.ternary.compiled import CompiledTrials
from deepcollapse.compression.ternary.point import Engine, Point
from deepcollapse.compression.ternary.stages import stages_of
from deepcollapse.compression.ternary.trials import TorchTrials
from timing import columns, compute_threads, in_turn, ratios, spread

# Numbers of samples, weights tried naively, rounds.
SIZES = {"full": ((256, 1000), 200, 5), "small": ((256, 1000), 50, 3), "tiny": ((16,), 5, 1)}
WIDTHS = (64, 32, 10)


def run(size: str, threads: int) -> dict:
    """By number of samples: a naive trial's CPU time over each engine's, microseconds a trial, differences."""
    counts, tried, rounds = SIZES[size]
    with compute_threads(threads):
        return {"widths": list(WIDTHS), "samples": {str(n): _timed(n, tried, rounds) for n in counts}}


def _timed(n: int, tried: int, rounds: int) -> dict:
    chain, point, features, labels = problem(n)
    engines: dict[str, Engine] = {"torch": TorchTrials(point, features, labels, squared=False)}
    if importlib.util.find_spec("numba") is not None:
        engines["compiled"] = CompiledTrials(point, features, labels, squared=False)
    everything = torch.arange(point.count)
    some = torch.randperm(point.count, generator=torch.Generator().manual_seed(1))[:tried].sort().values
    plain = naive(chain, point, features, labels, some)
    tasks: dict[str, Callable[[], object]] = {"naive": lambda: naive(chain, point, features, labels, some)}
    tasks |= {name: lambda engine=engine: engine.losses(everything) for name, engine in engines.items()}
    seconds = in_turn(tasks, rounds)
    trials = {name: 2 * (tried if name == "naive" else point.count) for name in tasks}
    each = {name: [taken / trials[name] for taken in seconds[name]] for name in tasks}
    return {
        "naive_over": {name: ratios(each["naive"], each[name]) for name in engines},
        "microseconds": {name: 1e6 * min(taken) for name, taken in each.items()},
        "largest_difference": {
            name: float((engine.losses(some) - plain).abs().max()) for name, engine in engines.items()
        },
    }


def problem(n: int) -> tuple[Chain, Point, Tensor, Tensor]:
    """A random ternary network at which to try, and samples."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n, WIDTHS[0], generator=generator).relu().double()
    labels = torch.randint(WIDTHS[-1], (n,), generator=generator)
    network = nn.Sequential(nn.Linear(*WIDTHS[:2]), nn.ReLU(), nn.Linear(*WIDTHS[1:]))
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
    chain = chain_of(network)
    point = Point(stages_of(chain.links, features), torch.tensor([-1.0, 0.0, 1.0]).double(), None, biases=False)
    for link, stage in zip(chain.links, point.stages, strict=True):
        link.layer.weight.data = stage.weight[:-1].T.contiguous()
    return chain, point, features, labels


def naive(chain: Chain, point: Point, features: Tensor, labels: Tensor, coordinates: Tensor) -> Tensor:
    """Losses (coordinates, values): a forward pass for each value that a weight has not got."""
    present = float(nn.functional.cross_entropy(chain.forward(features), labels))
    found = torch.full((len(coordinates), len(point.values)), present, dtype=torch.float64)
    places = zip(*(part.tolist() for part in point.located(coordinates)), strict=True)
    for at, (stage, row, column) in enumerate(places):
        weight, kept = chain.links[stage].layer.weight, int(point.codes[stage][row, column])
        for value in range(len(point.values)):
            if value != kept:
                weight[column, row] = point.scales[stage] * point.values[value]
                found[at, value] = nn.functional.cross_entropy(chain.forward(features), labels)
        weight[column, row] = point.scales[stage] * point.values[kept]
    return found


def table(result: dict) -> str:
    """A line for each number of samples and engine."""
    rows: list[tuple[object, ...]] = [("samples, engine", "naive over it", "us a trial", "naive")]
    for n, found in result["samples"].items():
        for name, ratio in found["naive_over"].items():
            each = (f"{found['microseconds'][which]:.1f}" for which in (name, "naive"))
            rows.append((f"{n}, {name}", spread(ratio, 1), *each))
    differ = max(max(found["largest_difference"].values()) for found in result["samples"].values())
    widths = "-".join(map(str, result["widths"]))
    return f"{widths}, relu, float64\n{columns(rows, (18, 24, 12, 12))}\nlosses differ by at most {differ:.0e}"
