"""`compress`: a trained network in, the smallest one that keeps to a target out, with everything that was tried."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional

from deepcollapse.compression.ladders.methods import METHODS, Material, ladder_of
from deepcollapse.compression.outcome import Compressed, changes
from deepcollapse.compression.plan import first_samples, plan_of
from deepcollapse.compression.score import Score
from deepcollapse.compression.search import Candidate, chosen, search
from deepcollapse.compression.target import Target
from deepcollapse.errors import BatchError, OptionError

Batches = Iterable[tuple[Tensor, Tensor]]
# Of several methods one after the other, the first ones may take this share of the drop that is allowed (for a size,
# of this drop).
FIRST_SHARE, FIRST_DROP = 0.5, 0.01


def compress(
    network: nn.Module,
    train: Batches,
    choosing: Batches,
    *,
    target: Target | str = "accuracy-drop=0.2%",
    method: str = "low-rank",
    layers: Sequence[str] | None = None,
    values: int = 32,
    fine_tune: int = 1,
    rate: float = 0.01,
    seconds: float = 60.0,
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    seed: int = 0,
    bounds: Mapping[str, float] | None = None,
    watch: Callable[[Candidate], None] | None = None,
) -> Compressed:
    """Make a trained network smaller, as far as a target lets it; the network given stays as it is.

    Args:
        network: any classifier of images, tokens or vectors; its linear and convolutional layers are what can go.
        train: batches of (inputs, labels) that can be gone over again: what layers see, and what is fine-tuned on.
        choosing: batches by whose accuracy a network is chosen. Take samples that training never saw, and report the
            accuracy on others still.
        target: `Target(accuracy_drop=0.002)` or "accuracy-drop=0.2%": the smallest network that loses so much at most;
            `Target(size=0.1)` or "size=10%": the most accurate one of so many bytes at most.
        method: a name of `METHODS`, or several joined by "+", one after the other ("low-rank+coded").
        layers: names or patterns of the layers that may change; by default all.
        values: how many values the weights of coded methods take.
        fine_tune: epochs of fine-tuning after pruning and again after sharing values; 0 trains nothing.
        rate: the learning rate of fine-tuning.
        seconds: how long ternary weights are searched.
        loss: (logits, labels) -> mean loss, for fine-tuning.
        seed: of what is drawn.
        bounds: upper bounds on each layer's relative distance to rank C, for the plan; see `plan_of`.
        watch: called with every network that was tried, as soon as it was.

    Raises OptionError for a method or target that there is not, BatchError for empty batches or batches that run once,
    and the errors of `compressible_layers`.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(8, 64, bias=False), nn.Linear(64, 2, bias=False))
    >>> with torch.no_grad():
    ...     _ = net[0].weight.copy_(torch.ones(64, 1) @ torch.ones(1, 8))
    >>> data = [(torch.randn(32, 8), torch.arange(32) % 2)]
    >>> compress(net, data, data, target="accuracy-drop=1%", layers=["0"]).layers[0].what
    'rank 1'
    """
    target = Target.parse(target) if isinstance(target, str) else target
    methods = methods_in(method)
    for name, batches in (("train", train), ("choosing", choosing)):
        if iter(batches) is batches:
            raise BatchError(f"the batches of {name} run once, and are needed again. Pass a list or a data loader.")
    material = Material(train, layers, values, fine_tune, rate, seconds, loss, seed)
    score = Score(network, choosing, first_samples(train)[0][0], watch)
    original = score(network, "original")
    found = _through(network, methods, material, score, target, original)
    best = chosen(found, target, original)
    end = best or replace(original, network=copy.deepcopy(network), setting="as it was")
    return Compressed(
        network=end.network,
        method=method,
        target=target,
        met=best is not None,
        setting=end.setting,
        original=original,
        chosen=end,
        candidates=tuple(found),
        plan=plan_of(network, train, layers, bounds),
        layers=changes(network, end.network),
        classes=score.classes,
    )


def methods_in(method: str) -> list[str]:
    """The names of a method, or of several joined by "+"; OptionError for one that there is not."""
    names = [name.strip() for name in method.split("+")]
    if unknown := [name for name in names if name not in METHODS]:
        raise OptionError(f"there is no method {unknown[0]!r}; choose {', '.join(METHODS)}, or several joined by +.")
    if len(set(names)) < len(names) or any(METHODS[name].codes for name in names[:-1]):
        raise OptionError(f"of several methods only the last may code weights, and none comes twice; got {method}.")
    return names


def _through(
    network: nn.Module, methods: list[str], material: Material, score: Score, target: Target, original: Candidate
) -> list[Candidate]:
    """Every candidate of methods one after the other: each goes on from the best of the one before."""
    found: list[Candidate] = []
    base = replace(original, network=network, setting="")
    for number, name in enumerate(methods):
        last = number == len(methods) - 1
        drop = FIRST_DROP if target.accuracy_drop is None else target.accuracy_drop
        goal = target if last else Target(accuracy_drop=FIRST_SHARE * drop)
        ladder = ladder_of(name, base.network, material)

        def judged(made: nn.Module, setting: str, before: str = base.setting) -> Candidate:
            return score(made, f"{before}; {setting}" if before else setting)

        tried = search(ladder, judged, goal, original)
        found += tried
        base = chosen(tried, goal, original) or base
    return found
