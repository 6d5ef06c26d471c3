"""Training, from first to last line: epochs, evaluation of each, measurements, checkpoints."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy
import torch
from torch import nn

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.errors import DivergedError, NonFiniteError
from deepcollapse.measurement import BASELINES, Measurement, measure
from deepcollapse.records import Run
from deepcollapse.theory.bounds.records import with_bounds
from deepcollapse.theory.predictions.beside import with_predictions
from deepcollapse.training.checkpoint import Checkpoint, latest, save_weights
from deepcollapse.training.data import Split, Splits, prepare, training_batches
from deepcollapse.training.estimate import seconds_of_training
from deepcollapse.training.evaluate import Scores, evaluate
from deepcollapse.training.objective import (
    decay_penalty,
    gradient_decay,
    logits_of,
    loss_function,
    loss_unit,
    optimiser,
)
from deepcollapse.training.opening import build_network, refuse_other_data, refuse_untrainable, seed_everything
from deepcollapse.training.place import Place, serving_threads, threads_before
from deepcollapse.training.recipe import Recipe
from deepcollapse.training.rows import epoch_rows, onset_row
from deepcollapse.training.watch import EpochReport, Watcher


def train(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    device: str | None = None,
    threads: int | None = None,
    resume: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    splits: Splits | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Train the network of a recipe, measure its layers as it goes, and leave a run folder at `out`.

    Accuracy and loss of both splits are recorded after every epoch; every measure at epoch 0, log-spaced epochs, TPT
    onset (the first epoch whose training accuracy in eval mode reaches `recipe.tpt_accuracy`) and the end, there beside
    an untrained copy, shuffled labels, what theory's models predict, and how far each layer's weight is from rank K
    with what weight decay and variability allow. Each measured epoch leaves a checkpoint; with
    `resume` a stopped run goes on from it and ends with the same records, bit for bit on a CPU with as many threads.
    `splits` are the data as `prepare` gives them, where they are at hand already.

    Raises RunError for a folder that is no such run or was begun on other data, DivergedError (what was recorded
    stands), BatchError where there is nothing to train on, and the errors of data sets, networks and measurement.
    """
    splits = splits or prepare(recipe, data_root, download)
    return begin(recipe, splits, out, device=device, threads=threads, resume=resume, watcher=watcher).finish()


def begin(
    recipe: Recipe,
    splits: Splits,
    out: str | os.PathLike[str],
    *,
    device: str | None = None,
    threads: int | None = None,
    resume: bool = False,
    watcher: Watcher | None = None,
    extra: Mapping[str, Any] | None = None,
) -> "Training":
    """A run that is ready to train, in its folder; arguments and errors are those of `train`.

    `extra` joins its provenance.
    """
    network = build_network(recipe, splits)
    place = Place.choose(recipe, device)
    refuse_untrainable(recipe, splits, network)
    if threads is None:
        threads = (threads_before(out) if resume else None) or serving_threads(network, splits.train, recipe.batch)
    place = place.with_threads(threads)
    run = Run.create(
        out,
        recipe=recipe.to_mapping(),
        class_names=splits.class_names,
        data_digest=splits.digests(),
        device=place.describe(),
        seed=recipe.seed,
        extra={"threads": threads, "train_note": splits.train.note, "test_note": splits.untested, **(extra or {})},
        resume=resume,
    )
    refuse_other_data(run, splits)
    return Training(recipe, splits, network, run, place, watcher or Watcher())


class Training:
    """One run under way."""

    def __init__(
        self, recipe: Recipe, splits: Splits, network: nn.Module, run: Run, place: Place, watcher: Watcher
    ) -> None:
        self.recipe, self.splits, self.run, self.place, self.watcher = recipe, splits, run, place, watcher
        self.network = place.settle(network)
        self.trained = torch.compile(self.network) if recipe.compile else self.network
        self.loss, self.optimiser = loss_function(recipe), optimiser(recipe, self.network)
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=recipe.precision == "float16")
        self.measured = set(recipe.measured_epochs())
        self.tpt_onset: int | None = None
        self.tpt_onset_strict: int | None = None

    def finish(self) -> Run:
        """Go from the latest checkpoint, or from the start, to the last epoch."""
        with self.place:
            self._finish()
        return self.run

    def _finish(self) -> None:
        done = self.restore()
        left = range(0 if done is None else done + 1, self.recipe.epochs + 1)
        seconds = seconds_of_training(self.recipe, self.splits, self.network, self.place, left)
        self.watcher.start(seconds, self.run, done or 0)
        for epoch in left:
            seed = seed_everything(self.recipe, epoch)
            if epoch > 0:
                self.train_epoch(epoch, torch.Generator().manual_seed(seed))
            self.look(epoch)
        self.keep_weights()

    def keep_weights(self) -> None:
        """Write down the weights at the end of training."""
        save_weights(self.run, self.network, "weights.safetensors")

    def train_epoch(self, epoch: int, order: torch.Generator) -> None:
        """One pass over the training data."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate(epoch)
        self.network.train()
        for x, y in self.place.batches(training_batches(self.recipe, self.splits, self.network, order)):
            with self.place.autocast():
                loss = self.loss(logits_of(self.trained(x)), y)
            if not torch.isfinite(loss):
                raise self.diverged(epoch, f"the loss is {loss.item()}")
            self.optimiser.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimiser)
            self.scaler.update()

    def look(self, epoch: int, known: Mapping[str, Scores] | None = None) -> None:
        """Evaluate, and measure where it is time; the pass over the data is the same.

        `known` are scores of splits that were found already, which an epoch without a measurement takes.
        """
        known = known or {}
        measured = self._measure(epoch) if epoch in self.measured else None
        scores = self._scores(epoch, self.splits.train, measured, known.get("train"))
        onset = epoch > 0 and self.tpt_onset is None and scores.accuracy >= self.recipe.tpt_accuracy
        strict = epoch > 0 and self.tpt_onset_strict is None and scores.accuracy >= 1
        if onset and measured is None:
            measured = self._measure(epoch)
        test = self._measure(epoch, measured) if measured and self.splits.test else None
        test_scores = self._scores(epoch, self.splits.test, test, known.get("test")) if self.splits.test else None
        penalty = decay_penalty(self.recipe, self.network)
        # A measurement brings accuracy and loss with it.
        beside = {"train": None if measured else scores, "test": None if test else test_scores}
        self.run.append(epoch_rows(self.recipe, epoch, beside, penalised=scores.loss + penalty))
        for measurement in (measured, test):
            if measurement is not None:
                measurement.write(self.run, epoch=epoch)
        if onset:
            self.tpt_onset = epoch
            self.run.append([onset_row("tpt_onset", epoch, self.recipe.tpt_accuracy)])
            save_weights(self.run, self.network, "weights-tpt-onset.safetensors")
        if strict:
            self.tpt_onset_strict = epoch
            self.run.append([onset_row("tpt_onset_strict", epoch, 1.0)])
        if measured:
            self._checkpoint(epoch)
        self.watcher.epoch(EpochReport(epoch, self.recipe.epochs, scores, test_scores, self.tpt_onset, measured))

    def _measure(self, epoch: int, train: Measurement | None = None) -> Measurement:
        """Measure the training data, or the test data against `train`'s class means."""
        split = self.splits.train if train is None else self.splits.test
        assert split is not None
        last = epoch == self.recipe.epochs and train is None
        try:
            measurement = measure(
                self.network,
                self.place.batches(split.batches(self.place.evaluation_batch)),
                num_classes=len(self.splits.class_names),
                layers=self.recipe.layers or None,
                split="train" if train is None else "test",
                means_of=train,
                weighting=self.recipe.weighting,
                baselines=BASELINES if last else (),
                loss=self.loss,
                class_names=self.splits.class_names,
                seed=self.recipe.seed,
            )
        except NonFiniteError as error:
            if epoch == 0:
                raise  # nothing was trained yet: the data are to blame
            raise self.diverged(epoch, "features are NaN or infinite") from error
        unit = loss_unit(self.recipe)
        records = (replace(row, unit=unit) if row.measure == "loss" else row for row in measurement.records)
        found = replace(measurement, records=tuple(records))
        return self._beside_theory(found) if last else found

    def _beside_theory(self, measured: Measurement) -> Measurement:
        """With what models predict of the head, and what bounds allow the rank of every layer."""
        found = with_predictions(measured, loss=self.recipe.loss, weight_decay=gradient_decay(self.recipe))
        return with_bounds(
            found,
            self.network,
            self.place.batches(self.splits.train.batches(self.place.evaluation_batch)),
            self.loss,
            self.recipe.decay,
            decoupled=gradient_decay(self.recipe) is None,
            augmented=not isinstance(self.splits.train, Dataset),
        )

    def _scores(self, epoch: int, split: Split, measurement: Measurement | None, known: Scores | None) -> Scores:
        """Accuracy and loss in eval mode: those of the measurement, those known already, or of a plain pass."""
        if measurement is not None:
            return Scores(measurement["accuracy", "network"], measurement["loss", "network"])
        batches = self.place.batches(split.batches(self.place.evaluation_batch))
        scores = known or evaluate(self.network, batches, self.loss)
        if not numpy.isfinite(scores.loss) and split is self.splits.train:
            raise self.diverged(epoch, f"the loss is {scores.loss}")
        return scores

    def diverged(self, epoch: int, what: str) -> DivergedError:
        """The error of a run whose training diverged."""
        return DivergedError(
            f"training diverged in epoch {epoch}: {what}. Lower the learning rate (now "
            f"{self.recipe.learning_rate(epoch):g}); the epochs before stand in {self.run.path}."
        )

    def _checkpoint(self, epoch: int) -> None:
        Checkpoint(
            epoch=epoch,
            network=self.network.state_dict(),
            optimiser=self.optimiser.state_dict(),
            scaler=self.scaler.state_dict(),
            position=self.run.position(),
            tpt_onset=self.tpt_onset,
            tpt_onset_strict=self.tpt_onset_strict,
        ).save(self.run)

    def restore(self) -> int | None:
        """Put the latest checkpoint back; returns its epoch, or None to start from the beginning."""
        saved = latest(self.run)
        if saved is None:
            self.run.rewind(0)
            return None
        self.network.load_state_dict(saved.network)
        self.optimiser.load_state_dict(saved.optimiser)
        self.scaler.load_state_dict(saved.scaler)
        self.tpt_onset, self.tpt_onset_strict = saved.tpt_onset, saved.tpt_onset_strict
        self.run.rewind(saved.position)
        return saved.epoch
