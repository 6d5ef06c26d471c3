r"""Training with weights from a finite set: coordinate descent over the weights of a chain :cite:`date2020`.

The paper's abstract says that networks with parameters from a finite set are trained coordinate by coordinate; its
pseudo-code was not at hand, so the protocol here is our own and agrees with the abstract as far as that goes.

Each weight of layer l is a_l q with q from the set and the scale a_l fixed. A sweep takes the weights in turn, tries
every other value with all else fixed, and moves to the best where that lowers the mean loss of the samples by more than
1e-12 (for a loss above 1, by more than that share of it, which is past its rounding). The loss never rises, and a
sweep that changes nothing has shown that no single change lowers it.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deepcollapse.compression.ternary.chain import chain_of
from deepcollapse.compression.ternary.projection import TERNARY, checked_values
from deepcollapse.compression.ternary.run import Run, Sweep
from deepcollapse.compression.ternary.settings import Settings, check_samples


@dataclass(frozen=True, eq=False)
class DiscreteResult:
    """A network with weights from a finite set, and how it came about.

    Attributes:
        network: a copy with dense weights scale * value in the network's own type; it loads and runs as any other.
        loss: the mean loss on all samples, in float64. start_loss: that before the first sweep.
        sweeps: what each sweep did. path: the loss after each change of a weight, in order, that of the start first.
        moves: (changes, 4) stage, row (input, or the row after the last for a bias), column (output) and index of the
            new value of each change; stages count the layers from the first that is searched on.
        outcome: "local minimum" (no single change lowers the loss), "out of sweeps", "out of time" or "interrupted".
        values: the set, ascending. scales: of each layer searched. codes: of each, the index of every weight's value in
            the weight's own shape.
        runs: the final loss of each restart; this is the best of them.
        seconds: wall time, all restarts together.
    """

    network: nn.Module
    loss: float
    start_loss: float
    sweeps: tuple[Sweep, ...]
    path: tuple[float, ...]
    moves: Int64[Tensor, "changes 4"]
    outcome: str
    values: tuple[float, ...]
    scales: dict[str, float]
    codes: dict[str, Tensor]
    runs: tuple[float, ...]
    seconds: float

    @property
    def local_minimum(self) -> bool:
        """Whether no single change of a searched weight lowers the loss."""
        return self.outcome == "local minimum"

    @property
    def evaluations(self) -> int:
        """Losses evaluated by the run that is returned."""
        return sum(sweep.evaluations for sweep in self.sweeps)

    @property
    def changes(self) -> int:
        """Changes of weights in the run that is returned; one weight may change several times."""
        return sum(sweep.changes for sweep in self.sweeps)


def train_discrete(
    network: nn.Module,
    inputs: Float[Tensor, "n ..."],
    labels: Int64[Tensor, " n"],
    *,
    values: Sequence[float | int] = TERNARY,
    layers: Sequence[str] | None = None,
    initial: str = "round",
    scale: float | int | None = None,
    biases: bool = False,
    loss: str = "cross_entropy",
    order: str = "rows",
    moves: str = "in turn",
    screening: float | int | None = None,
    batch_size: int | None = None,
    sweeps: int | None = None,
    seconds: float | int | None = None,
    restarts: int = 1,
    seed: int = 0,
    engine: str = "auto",
    progress: Callable[[Sweep], None] | None = None,
) -> DiscreteResult:
    r"""A network whose weights are from a finite set times one scale a layer, by coordinate descent on its loss.

    The network must be a chain from its first searched layer on: linear maps and two-dimensional convolutions with
    channelwise functions between (activations, batch norm in eval mode, pooling, flatten); what comes before that layer
    is run once. It stays as it is. Control-C ends the search and returns the best so far.

    Args:
        network: maps inputs (n, ...) to logits (n, C); trained already for `initial="round"`.
        inputs, labels: the samples whose mean loss is lowered, as the network takes them.
        values: the set; -1, 0, 1 by default.
        layers: names or patterns of the layers searched; by default all linear and convolutional ones.
        initial: "round" projects the network's weights (`ternary_projection`; for other sets the least-squares scale),
            "random" draws each value uniformly and keeps the scales of the projection.
        scale: one scale for all layers in place of the projection's.
        biases: search biases too, with their layer's scale; else they stay as they are.
        loss: "cross_entropy", or "squared": |logits - one-hot|^2 summed over classes; both are means over samples.
        order: "rows" is by layer, input and output; "random" a new order each sweep; "random once" one for the run.
        moves: "in turn", or "best": each sweep evaluates every change and makes the one that lowers the loss most.
        screening: try only this share of the weights in a sweep, those for which the gradient foretells the largest
            decrease; when that finds nothing, all are tried.
        batch_size: draw so many samples anew for each sweep. The loss on all samples may rise then and no local minimum
            is certified; the best point met is returned.
        sweeps, seconds: stop after so many; by default at a local minimum.
        restarts: runs with other orders (and other starts, where these are random); the best is returned.
        seed: decides all that is random.
        engine: "compiled" needs numba and a chain of linear layers; "torch" runs any; "auto" takes the first that can.
        progress: called after each sweep.

    Raises LayerNameError where a module stands in the way, OptionError, ShapeError, LabelError, NonFiniteError,
    MemoryBudgetError where what is kept of all samples would take more than half of the memory, and MissingExtraError
    for `engine="compiled"` without numba. Source: Date et al. 2020.

    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False))
    >>> _ = net.load_state_dict({"0.weight": torch.zeros(2, 2)})
    >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, -1.0]]), torch.tensor([0, 1, 1, 0])
    >>> found = train_discrete(net, x, y, engine="torch")
    >>> found.network[0].weight.tolist(), round(found.loss, 8), found.outcome
    ([[1.0, -1.0], [0.0, 1.0]], 0.19290033, 'local minimum')
    """
    settings = Settings(
        initial, scale, biases, loss, order, moves, screening, batch_size, sweeps, seconds, restarts, seed, engine
    )
    chain = chain_of(network, layers)
    features = check_samples(chain.features(inputs), labels)
    started, best, losses = time.monotonic(), None, []
    for restart in range(restarts):
        run = Run(chain, features, labels, checked_values(values), settings, seed + restart)
        run.search(started, progress)
        losses.append(run.loss)
        if best is None or run.loss < best.loss:
            best = run
        if run.outcome in ("interrupted", "out of time"):
            break
    assert best is not None
    return _result(network, best, tuple(losses), time.monotonic() - started)


def _result(network: nn.Module, run: Run, runs: tuple[float, ...], seconds: float) -> DiscreteResult:
    point, found, scales, codes = run.point, copy.deepcopy(network), {}, {}
    for index, stage in enumerate(point.stages):
        if not stage.chosen:
            continue
        layer, rows = cast(nn.Linear, found.get_submodule(stage.name)), len(stage.weight) - 1
        scales[stage.name] = point.scales[index]
        codes[stage.name] = point.codes[index][:rows].T.reshape(layer.weight.shape).contiguous()
        with torch.no_grad():
            layer.weight.copy_(stage.weight[:rows].T.reshape(layer.weight.shape))
            if len(point.codes[index]) > rows:
                layer.bias.copy_(stage.weight[rows])
    places = point.located(torch.tensor([move.coordinate for move in run.moves], dtype=torch.int64))
    moves = torch.stack([*places, torch.tensor([move.value for move in run.moves], dtype=torch.int64)], dim=1)
    return DiscreteResult(
        network=found,
        loss=run.loss,
        start_loss=run.start_loss,
        sweeps=tuple(run.sweeps),
        path=(run.start_loss, *(move.loss for move in run.moves)),
        moves=moves,
        outcome=run.outcome,
        values=tuple(point.values.tolist()),
        scales=scales,
        codes=codes,
        runs=runs,
        seconds=seconds,
    )
