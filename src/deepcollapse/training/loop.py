"""Training, from first to last line: epochs, evaluation of each, measurements, checkpoints."""

import os
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from deepcollapse.errors import DivergedError
from deepcollapse.measurement import BASELINES, Measurement, measure
from deepcollapse.networks import load_network
from deepcollapse.records import Record, Run
from deepcollapse.training.checkpoint import Checkpoint, latest, save_weights
from deepcollapse.training.data import Split, Splits, prepare
from deepcollapse.training.estimate import seconds_of_training
from deepcollapse.training.evaluate import evaluate
from deepcollapse.training.objective import decay_penalty, loss_function, optimiser
from deepcollapse.training.place import Place, serving_threads, threads_before
from deepcollapse.training.recipe import Recipe
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
    watcher: Watcher | None = None,
) -> Run:
    """Train the network of a recipe, measure its layers as it goes, and leave a run folder at `out`.

    Accuracy and loss of both splits are recorded after every epoch; every measure at epoch 0, at log-spaced epochs, at
    the TPT onset (the first epoch whose training accuracy in eval mode reaches `recipe.tpt_accuracy`) and at the end.
    A checkpoint is written after each measured epoch; with `resume` a stopped run goes on from it and ends with the
    same records, bit for bit on a CPU with as many threads.

    Raises RunError for a folder that is no such run, DivergedError where the loss is no number any more (what was
    recorded stands), and the errors of data sets, networks and measurement.
    """
    splits = prepare(recipe, data_root, download)
    network = build_network(recipe, splits)
    place = Place.choose(recipe, device)
    threads = (
        threads or (threads_before(out) if resume else None) or serving_threads(network, splits.train, recipe.batch)
    )
    place = place.with_threads(threads)
    run = Run.create(
        out,
        recipe=recipe.to_mapping(),
        class_names=splits.class_names,
        data_digest=splits.digests(),
        device=place.describe(),
        seed=recipe.seed,
        extra={"threads": place.threads, "train_note": splits.train.note},
        resume=resume,
    )
    with place:
        Training(recipe, splits, network, run, place, watcher or Watcher()).finish()
    return run


def build_network(recipe: Recipe, splits: Splits) -> nn.Module:
    """The network of a recipe with its initial weights, which the seed decides."""
    torch.manual_seed(recipe.seed)
    return load_network(
        recipe.network,
        num_classes=len(splits.class_names),
        image_shape=splits.train.image_shape,
        **recipe.network_parameters(),
    )


def epoch_seed(recipe: Recipe, epoch: int) -> int:
    """The seed of everything random in an epoch: a resumed run needs no generator's state."""
    return recipe.seed * 1_000_003 + epoch


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

    def finish(self) -> None:
        """Go from the latest checkpoint, or from the start, to the last epoch."""
        done = self._restore()
        left = self.recipe.epochs - (done or 0)
        estimate = seconds_of_training(self.recipe, self.splits, self.network, self.place, left)
        self.watcher.start(estimate, self.run, done or 0)
        for epoch in range(0 if done is None else done + 1, self.recipe.epochs + 1):
            if epoch > 0:
                self._train_epoch(epoch)
            self._look(epoch)
        save_weights(self.run, self.network, "weights.safetensors")

    def _train_epoch(self, epoch: int) -> None:
        torch.manual_seed(epoch_seed(self.recipe, epoch))
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate(epoch)
        self.network.train()
        for x, y in self.place.batches(self._training_batches(epoch)):
            with self.place.autocast():
                loss = self.loss(self.trained(x), y)
            if not torch.isfinite(loss):
                raise DivergedError(
                    f"the loss became {loss.item()} in epoch {epoch}. Lower the learning rate (now "
                    f"{self.recipe.learning_rate(epoch):g}); everything recorded so far stands in {self.run.path}."
                )
            self.optimiser.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimiser)
            self.scaler.update()

    def _training_batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.Generator().manual_seed(epoch_seed(self.recipe, epoch))
        for x, y in self.splits.train.batches(self.recipe.batch, generator=order):
            if len(y) > 1:  # batch norm has no variance of a single sample
                yield x, y

    def _look(self, epoch: int) -> None:
        """Evaluate, and measure where it is time; the pass over the data is the same."""
        measurement = self._measure(epoch) if epoch in self.measured else None
        accuracy, loss = self._scores(self.splits.train, measurement)
        strict = epoch > 0 and self.tpt_onset_strict is None and accuracy >= 1
        onset = epoch > 0 and self.tpt_onset is None and accuracy >= self.recipe.tpt_accuracy
        if onset and measurement is None:
            measurement = self._measure(epoch)
        test = self._measure(epoch, measurement) if measurement and self.splits.test else None
        test_scores = self._scores(self.splits.test, test) if self.splits.test else None
        self._record(epoch, (accuracy, loss), test_scores, measurement, test)
        if onset:
            self.tpt_onset = epoch
            self._note_onset("tpt_onset", epoch, self.recipe.tpt_accuracy)
            save_weights(self.run, self.network, "weights-tpt-onset.safetensors")
        if strict:
            self.tpt_onset_strict = epoch
            self._note_onset("tpt_onset_strict", epoch, 1.0)
        if measurement:
            self._checkpoint(epoch)
        test_accuracy = test_scores[0] if test_scores else None
        self.watcher.epoch(
            EpochReport(epoch, self.recipe.epochs, accuracy, test_accuracy, loss, self.tpt_onset, measurement)
        )

    def _measure(self, epoch: int, train: Measurement | None = None) -> Measurement:
        """Measure the training data, or the test data against `train`'s class means."""
        split = self.splits.train if train is None else self.splits.test
        assert split is not None
        last = epoch == self.recipe.epochs and train is None
        return measure(
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

    def _scores(self, split: Split | None, measurement: Measurement | None) -> tuple[float, float]:
        """Accuracy and loss in eval mode: those of the measurement, or of a plain pass."""
        if measurement is not None:
            return measurement["accuracy", "network"], measurement["loss", "network"]
        assert split is not None
        return evaluate(self.network, self.place.batches(split.batches(self.place.evaluation_batch)), self.loss)

    def _record(
        self,
        epoch: int,
        train: tuple[float, float],
        test: tuple[float, float] | None,
        measurement: Measurement | None,
        test_measurement: Measurement | None,
    ) -> None:
        network, records = {"epoch": epoch, "layer": "network"}, []
        for split, scores, measured in (("train", train, measurement), ("test", test, test_measurement)):
            if scores is not None and measured is None:  # a measurement brings these two with it
                how = {"split": split, "weighting": "sample", **network}
                records += [Record(measure="accuracy", value=scores[0], **how)]
                records += [Record(measure="loss", value=scores[1], unit="nat", **how)]
        penalised = train[1] + decay_penalty(self.recipe, self.network)
        records.append(Record(measure="loss_with_decay", value=penalised, unit="nat", split="train", **network))
        rate = self.recipe.learning_rate(max(1, epoch))
        records.append(Record(measure="learning_rate", value=rate, **network))
        self.run.append(records)
        for measured in (measurement, test_measurement):
            if measured is not None:
                measured.write(self.run, epoch=epoch)

    def _note_onset(self, measure: str, epoch: int, threshold: float) -> None:
        note = f"first epoch with training accuracy of at least {threshold:.1%} in eval mode"
        self.run.append(
            [Record(layer="network", measure=measure, value=epoch, unit="epoch", epoch=epoch, split="train", note=note)]
        )

    # --- stopping and going on ---------------------------------------------------------------------------------------

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

    def _restore(self) -> int | None:
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
