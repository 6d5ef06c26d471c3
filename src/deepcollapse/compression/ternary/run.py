"""One run from one start: sweeps until nothing changes or the budget ends."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from deepcollapse.compression.ternary.chain import Chain
from deepcollapse.compression.ternary.engines import engine_for
from deepcollapse.compression.ternary.point import Engine, Move, Point, chosen, margin
from deepcollapse.compression.ternary.settings import Settings, check_labels
from deepcollapse.compression.ternary.stages import stages_of
from deepcollapse.compression.ternary.trials import mean_loss

_PIECE, _PIECE_SECONDS = 64, 0.3  # coordinates between looks at the clock at first, and then so long


@dataclass(frozen=True)
class Sweep:
    """What one sweep did.

    Attributes:
        loss: the mean loss on all samples after it.
        changes: weights changed.
        evaluations: losses evaluated: one for each weight tried and value that it has not got. What an engine tries
            ahead in vain is not counted.
        seconds: since the start of all.
    """

    loss: float
    changes: int
    evaluations: int
    seconds: float


class _OutOfTimeError(Exception):
    """The budget of seconds is spent."""


class Run:
    """A point on its way down."""

    def __init__(
        self, chain: Chain, features: Tensor, labels: Tensor, values: Tensor, settings: Settings, seed: int
    ) -> None:
        self.settings, self.features = settings, features
        self.generator = torch.Generator().manual_seed(seed)
        stages = stages_of(chain.links, features)
        self.labels = check_labels(labels, stages[-1].columns)
        self.point = Point(stages, values, settings.scale, settings.biases)
        self.point.start(settings.initial, self.generator)
        self.fixed_order = self._drawn() if settings.order == "random once" else None
        self.engine: Engine | None = None
        self.start_loss = self.loss = self._full_loss()
        self.best: tuple[float, Tensor] | None = None
        self.sweeps: list[Sweep] = []
        self.moves: list[Move] = []
        self.tried = 0  # coordinates of the present sweep
        self.outcome = "local minimum"

    def search(self, started: float, progress: Callable[[Sweep], None] | None) -> None:
        """Sweep until done, and leave the point at the best met."""
        self.started = started
        self.best = (self.loss, self.point.flat.clone())
        everything = False
        try:
            while not self._spent():
                share = None if everything else self.settings.screening
                changes = self._sweep(self._coordinates(share), progress)
                tried_all = share is None or share == 1
                if changes == 0 and tried_all and self.settings.batch_size is None:
                    break
                everything = changes == 0 and not tried_all
        except KeyboardInterrupt:
            self.outcome = "interrupted"
        except _OutOfTimeError:
            self.outcome = "out of time"
        self._settle()

    def _spent(self) -> bool:
        if self.settings.sweeps is not None and len(self.sweeps) >= self.settings.sweeps:
            self.outcome = "out of sweeps"
        self._look_at_clock()
        return self.outcome != "local minimum"

    def _look_at_clock(self) -> None:
        if self.settings.seconds is not None and time.monotonic() - self.started >= self.settings.seconds:
            raise _OutOfTimeError

    def _settle(self) -> None:
        # Codes are written before anything that follows from them, so whatever was broken off is made good from them.
        self.point.put_all()
        self.loss = self._full_loss()
        assert self.best is not None
        if self.settings.batch_size is not None and self.best[0] < self.loss:
            self.loss = self.best[0]
            self.point.restore(self.best[1])

    def _full_loss(self) -> float:
        a = self.features.transpose(0, 1)
        for stage in self.point.stages:
            a = stage.passed(stage.mapped(stage.inputs(a), stage.places(a)))
        return float(mean_loss(a[:, None], self.labels, self.settings.squared)[0])

    def _drawn(self) -> Tensor:
        return torch.randperm(self.point.count, generator=self.generator)

    def _coordinates(self, share: float | None) -> Tensor:
        """The coordinates to try in this sweep, in their order."""
        if self.settings.order == "rows":
            order = torch.arange(self.point.count)
        else:
            order = self._drawn() if self.fixed_order is None else self.fixed_order
        if share is None or share == 1:
            return order
        kept = max(1, round(share * len(order)))
        foretold = self._foretold()
        promising = torch.zeros(len(order), dtype=torch.bool)
        promising[foretold.argsort(stable=True)[:kept]] = True
        return order[promising[order]]

    def _foretold(self) -> Tensor:
        """The lowest g * delta of each coordinate, with g the gradient of the loss: at most 0."""
        point = self.point
        a, weights = self.features.transpose(0, 1), []
        for stage in point.stages:
            weights.append(stage.weight.clone().requires_grad_())
            x = stage.inputs(a)
            a = stage.passed((weights[-1].T @ x.flatten(1)).reshape(stage.columns, x.shape[1], *stage.places(a)))
        loss = mean_loss(a[:, None], self.labels, self.settings.squared)[0]
        found = []
        for gradient, weight, codes, scale in zip(
            torch.autograd.grad(loss, weights), weights, point.codes, point.scales, strict=True
        ):
            delta = scale * point.values - weight.detach()[: len(codes), :, None]
            found.append((gradient[: len(codes), :, None] * delta).amin(dim=2).flatten())
        return torch.cat(found)

    def _sweep(self, coordinates: Tensor, progress: Callable[[Sweep], None] | None) -> int:
        engine, before, self.tried = self._ready(), len(self.moves), 0
        loss, codes = engine.loss, self.point.flat.clone()
        try:
            (self._best_of if self.settings.moves == "best" else self._in_turn)(engine, coordinates)
        finally:  # a sweep that was broken off is one too
            if len(self.moves) > before and self.settings.batch_size is None:
                self._keep_if_lower(engine, loss, codes, before)
            self._record(engine, len(self.moves) - before)
        if progress is not None:
            progress(self.sweeps[-1])
        return len(self.moves) - before

    def _keep_if_lower(self, engine: Engine, loss: float, codes: Tensor, moves: int) -> None:
        """Take a sweep back that did not lower the loss as it is without drift: else rounding could go in circles."""
        self.point.put_all()
        if engine.refresh() >= loss:
            self.point.restore(codes)
            del self.moves[moves:]
            engine.refresh()

    def _record(self, engine: Engine, changes: int) -> None:
        whole = self.settings.batch_size is None
        self.loss = engine.loss if whole else self._full_loss()
        if not whole and self.best is not None and self.loss < self.best[0]:
            self.best = (self.loss, self.point.flat.clone())
        evaluations = self.tried * (len(self.point.values) - 1)
        self.sweeps.append(Sweep(self.loss, changes, evaluations, time.monotonic() - self.started))

    def _ready(self) -> Engine:
        """The engine, with all that it keeps made anew: of the same samples, or of a new batch."""
        if self.settings.batch_size is not None:
            batch = torch.randperm(len(self.labels), generator=self.generator)[: self.settings.batch_size]
            self.engine = engine_for(self.point, self.features[batch], self.labels[batch], self.settings)
        elif self.engine is None:
            self.engine = engine_for(self.point, self.features, self.labels, self.settings)
        return self.engine

    def _pieces(self, coordinates: Tensor) -> Iterator[Tensor]:
        """The coordinates in pieces that take a fraction of a second, so that clock and keyboard are heeded."""
        at, size = 0, _PIECE
        while at < len(coordinates):
            since = time.monotonic()
            yield coordinates[at : at + size]
            self.tried += len(coordinates[at : at + size])
            at += size
            taken = time.monotonic() - since
            size = max(1, int(size * min(4.0, _PIECE_SECONDS / max(taken, 1e-9))))
            self._look_at_clock()

    def _in_turn(self, engine: Engine, coordinates: Tensor) -> None:
        for piece in self._pieces(coordinates):
            engine.sweep(piece, self.moves)

    def _best_of(self, engine: Engine, coordinates: Tensor) -> None:
        best: Move | None = None
        for piece in self._pieces(coordinates):
            choice, losses = chosen(engine.losses(piece), self.point.flat[piece], engine.loss, engine.least)
            first = int((losses <= losses.min() + margin(engine.loss, engine.least)).nonzero()[0])
            bound = engine.loss if best is None else best.loss
            if losses[first] < bound - margin(engine.loss, engine.least):
                best = Move(int(piece[first]), int(choice[first]), float(losses[first]))
        if best is not None:
            engine.apply(best.coordinate, best.value)
            self.moves.append(best)
