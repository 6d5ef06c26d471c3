"""The bounds on rank for every linear and convolutional layer of a network, in one pass over its training data."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from deepcollapse.errors import BatchError, OptionError
from deepcollapse.linalg import as_float64
from deepcollapse.measurement.state import undisturbed
from deepcollapse.measurement.wrappers import eager, refuse_scripted, runnable, unwrapped
from deepcollapse.theory.bounds.assumptions import Loss, Probe, bounded_layers, dropout_of, scale_invariant
from deepcollapse.theory.bounds.group_moments import GroupMoments
from deepcollapse.theory.bounds.rank_collapse import NAN, RankCollapse, from_moments, trivially_true
from deepcollapse.theory.bounds.taps import Layer, Tap

DECOUPLED = "AdamW takes decay apart from the gradient, so that no stationary point balances the two"
UNLABELLED = -100
# Weights with more entries take minutes to decompose.
LARGEST = 1 << 23
# The Gram matrix of back-propagated signals has a row and a column for each output.
MOST_OUTPUTS = 1 << 12


@dataclass(frozen=True)
class NetworkBounds:
    """What `rank_collapse_bounds` found: each layer's two sides, and why other layers have none.

    Attributes:
        layers: by name, in the network's own order, the classifier as "head".
        left_out: layers for which nothing is told, with the reason.
        decay: lambda; None where there is none in the gradient. samples: how many the mean loss is taken over.
        partition: what the groups are, in words. positions: at how many places each layer is applied.

    >>> batches = [(torch.eye(2), torch.arange(2))]
    >>> found = rank_collapse_bounds(nn.Linear(2, 2), batches, nn.functional.cross_entropy, decay=0.01)
    >>> list(found.layers), found.left_out, found.positions
    (['head'], {}, {'head': 1})
    """

    layers: dict[str, RankCollapse]
    left_out: dict[str, str]
    decay: float | None
    samples: int
    partition: str = "classes"
    positions: dict[str, int] = field(default_factory=dict)


def rank_collapse_bounds(
    network: nn.Module,
    batches: Iterable[Any],
    loss: Loss,
    decay: float | int | None,
    *,
    groups: Int64[Tensor, " samples"] | None = None,
    decoupled: bool = False,
    largest: int = LARGEST,
) -> NetworkBounds:
    r"""How far each layer is from rank K, and what decay and variability within K groups allow: see `RankCollapse`.

    The network runs once over the batches, forwards and back, in eval mode and its own precision; moments are float64.
    Its mode, its gradients and all random generators are afterwards as they were. A layer applied at several positions
    (a convolution, or a linear layer on tokens) or called several times has a group for each class and position. Where
    the groups are as many as the weight's smaller side the bound is trivially true and no work is done.

    Assumptions that are not met stand with each layer, in words: decay apart from the gradient, or none; a layer whose
    length the loss does not see, as before batch norm (no stationary point: its bounds are NaN); dropout; a residual
    gradient above 1 %.

    Args:
        network: inputs to logits (n, C), or an output that holds `logits`.
        batches: pairs of inputs and labels (n,); samples labelled -100 are left out.
        loss: loss(logits, labels), the mean over a batch, as training had it.
        decay: lambda; torch's SGD and Adam call it weight_decay. None where it is unknown.
        groups: the group of each sample in the order of the batches, for a partition other than the classes.
        decoupled: whether the optimiser takes decay apart from the gradient, as AdamW does.
        largest: weights with more entries are left out.

    Raises BatchError where there is nothing to measure or `groups` do not fit, OptionError for a decay below 0.
    Source: :cite:`zangrando2024`.

    >>> batches = [(torch.eye(3), torch.arange(3)), (2 * torch.eye(3), torch.arange(3))]
    >>> found = rank_collapse_bounds(nn.Linear(3, 3), batches, nn.functional.cross_entropy, decay=0.01)
    >>> found.layers["head"].assumptions
    ('trivially true: with 3 groups no rank of 3 x 3 lies above',)
    """
    if decay is not None and not 0 <= decay < math.inf:
        raise OptionError(f"decay must be 0 or more; got {decay}.")
    root = unwrapped(network)
    refuse_scripted(root)
    called = runnable(network)
    with undisturbed(network, batches), eager():
        return _Pass(root, called, loss, None if decoupled else decay, decoupled, groups, largest).over(batches)


class _Pass:
    """One pass over the data."""

    def __init__(
        self,
        root: nn.Module,
        called: nn.Module,
        loss: Loss,
        decay: float | int | None,
        decoupled: bool,
        groups: Tensor | None,
        largest: int,
    ) -> None:
        self.root, self.called, self.loss, self.largest = root, called, loss, largest
        self.decay = None if decay is None else float(decay)
        self.why_no_decay = DECOUPLED if decoupled else "the decay is not known"
        self.groups = None if groups is None else torch.unique(groups, return_inverse=True)[1]
        self.layers, self.left_out = bounded_layers(root)
        self.positions: dict[str, int] = {}
        self.unmet: dict[str, str] = {}
        self.found: dict[str, RankCollapse] = {}
        self.taps: dict[str, Tap] = {}
        self.seen = self.samples = 0
        self.invariant: dict[str, str] = {}

    def over(self, batches: Iterable[Any]) -> NetworkBounds:
        """Look at a first batch, then take all of them in, as far as any layer needs them."""
        first = next(self._read(islice(iter(batches), 1)), None)
        if first is None:
            raise BatchError("the batches held nothing, so there is nothing to bound. Is the data loader empty?")
        self._prepare(*first[:2])
        try:
            for x, y, kept in self._read(batches) if self.taps else ():
                self._batch(x, y, kept)
            if self.taps and self.groups is not None and self.seen != len(self.groups):
                raise self._too_few()
            for name, tap in self.taps.items():
                self._finish(name, tap)
        finally:
            for tap in self.taps.values():
                tap.close()
        order = [name for name in self.layers if name in self.found]
        return NetworkBounds(
            {name: self.found[name] for name in order},
            self.left_out,
            self.decay,
            self.samples,
            "classes" if self.groups is None else "given groups",
            self.positions,
        )

    @staticmethod
    def _read(batches: Iterable[Any]) -> Iterator[tuple[Any, Tensor, Tensor]]:
        """Inputs and labels of labelled samples, and which of the batch those are."""
        for batch in batches:
            if not (isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Tensor)):
                raise BatchError(f"a batch came as {type(batch).__name__}; expected a pair (inputs, labels).")
            x, y = batch
            kept = y != UNLABELLED
            if kept.all():
                yield x, y, kept
            elif not isinstance(x, Tensor):
                raise BatchError("a batch has samples without labels among inputs that are no tensor; leave them out.")
            elif kept.any():
                yield x[kept], y[kept], kept

    @staticmethod
    def _logits(network: nn.Module, x: Any) -> Tensor:
        output = network(x)
        return getattr(output, "logits", output)

    def _prepare(self, x: Any, y: Tensor) -> None:
        """Which layers there is work for, and what of each is not as the bound assumes."""
        probe = Probe(self.root, self.layers, len(y))
        try:
            logits = self._logits(self.called, x)
        finally:
            probe.close()
        num_groups = logits.shape[1] if self.groups is None else int(self.groups.max()) + 1
        wanted: dict[str, Layer] = {}
        for name, layer in self.layers.items():
            weight, groups = layer.weight.detach().flatten(1), num_groups * probe.positions.get(name, 0)
            self.positions[name] = probe.positions.get(name, 0)
            if reason := self._why_left_out(name, layer, probe, groups):
                self.left_out[name] = reason
            elif groups >= min(weight.shape):
                self.found[name] = trivially_true(as_float64(weight), groups)
            else:
                wanted[name] = layer
                if probe.calls[name] > 1:
                    self.unmet[name] = f"called {probe.calls[name]} times a pass, each with groups of its own"
        self.invariant = {name: f"its output goes into {probe.norms[name]}" for name in wanted if name in probe.norms}
        others = {name: layer for name, layer in wanted.items() if name not in self.invariant}
        if others:
            self.invariant |= scale_invariant(
                self.called, others, lambda network: self._logits(network, x), lambda logits: self.loss(logits, y)
            )
        for name, layer in wanted.items():
            gone = partial(self.left_out.__setitem__, name)
            self.taps[name] = Tap(layer, self.positions[name], num_groups, gone)

    def _why_left_out(self, name: str, layer: Layer, probe: Probe, groups: int) -> str | None:
        if name in probe.odd:
            return "it is not applied at the same places for every sample"
        if not groups:
            return "it is not applied in the forward pass"
        if groups >= min(layer.weight.flatten(1).shape):
            return None
        if isinstance(layer, nn.Conv3d) or (not isinstance(layer, nn.Linear) and layer.groups > 1):
            return "convolutions in groups or over three axes are not unfolded here"
        if layer.weight.numel() > self.largest:
            return f"its weight has {layer.weight.numel()} entries, more than {self.largest}"
        if layer.weight.shape[0] > MOST_OUTPUTS:
            return f"it has {layer.weight.shape[0]} outputs, more than {MOST_OUTPUTS}"
        return None

    def _batch(self, x: Any, y: Tensor, kept: Tensor) -> None:
        if self.groups is None:
            groups = y
        else:
            groups = self.groups[self.seen : self.seen + len(kept)].to(y.device)
            if len(groups) != len(kept):
                raise self._too_few()
            groups = groups[kept]
        self.seen, self.samples = self.seen + len(kept), self.samples + len(y)
        for tap in self.taps.values():
            tap.expect(groups)
        with torch.enable_grad():
            total = self.loss(self._logits(self.called, x), y) * len(y)  # the sum over samples, so that batches add up
            torch.autograd.grad(total, [tap.layer.weight for tap in self.taps.values()], allow_unused=True)

    def _too_few(self) -> BatchError:
        return BatchError(
            f"{len(self.groups if self.groups is not None else ())} groups were given, and the batches hold another "
            "number of samples. Give one for each, in the order of the batches."
        )

    def _finish(self, name: str, tap: Tap) -> None:
        if name in self.left_out:
            return
        moments = tap.moments
        if moments is None:
            self.left_out[name] = "no gradient comes back to it"
            return
        unmet = [self.unmet[name]] if name in self.unmet else []
        if dropout := dropout_of(self.root):
            unmet.append(f"dropout {dropout!r} is off here and was on in training, whose loss was another")
        weight = as_float64(tap.layer.weight.detach().flatten(1))
        self.found[name] = self._bounded(name, weight, moments.with_signals_times(1 / self.samples), unmet)

    def _bounded(self, name: str, weight: Tensor, moments: GroupMoments, unmet: list[str]) -> RankCollapse:
        why = self.invariant.get(name)
        if why is None:
            return from_moments(weight, moments, self.decay, tuple(unmet), self.why_no_decay)
        unmet.append(f"scale-invariant, so that decay leaves no stationary point: {why}")
        found = from_moments(weight, moments, self.decay, tuple(unmet), self.why_no_decay)
        refused = ("bound_cross", "bound_spectral", "bound_product", "bound_variability")
        return replace(found, **dict.fromkeys(refused, NAN))
