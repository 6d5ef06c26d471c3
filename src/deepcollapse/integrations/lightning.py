"""Neural collapse after every validation epoch of a Lightning Trainer, from the same forward passes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from deepcollapse.errors import CaptureError, LayerNameError, UnknownNameError
from deepcollapse.integrations.extras import missing_extra
from deepcollapse.measurement import Measurement, Monitor
from deepcollapse.measurement.batches import ReadBatch, read_batch
from deepcollapse.measurement.measurement import PAPYAN
from deepcollapse.measurement.state import exact

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except (ImportError, RuntimeError, OSError) as error:
    raise missing_extra("NeuralCollapseCallback", "lightning", "lightning", error) from error

VALIDATION = partial(Monitor, split="validation")


class NeuralCollapseCallback(Callback):
    """Measures what the validation epoch runs through the network, and logs it under "neural_collapse/...".

    The last epoch's `Measurement` is `callback.measurement`, None before the first; the sanity check is left out.
    Hooks are in place only while a batch runs, and removed whatever happens. On several devices the numbers are those
    of all data together, in which Lightning's sampler may repeat a few samples to fill the last batch.

    Args:
        network: the attribute of the LightningModule that `validation_step` calls; by default its only child with
            parameters, or the module itself where there are several (then `validation_step` calls `self(x)`).
        monitor: makes the Monitor of a network; `partial(Monitor, layers="blocks.*")` passes options.
        log: measures to log, at the head's input or the network, or pairs (measure, layer); those absent are left out.
        prefix: of the logged names.
        dataloader: which of several validation loaders to measure.
        read_batch: batch -> (args, kwargs, labels), for batches that are no (inputs, labels) or mapping with labels.

    Raises CaptureError where `validation_step` does not call the network, LayerNameError for an unknown attribute.

    >>> callback = NeuralCollapseCallback(network="backbone", monitor=partial(Monitor, num_classes=10))
    >>> callback.measurement is None
    True
    """

    def __init__(
        self,
        *,
        network: str | None = None,
        monitor: Callable[[nn.Module], Monitor] = VALIDATION,
        log: Sequence[str | tuple[str, str]] = PAPYAN,
        prefix: str = "neural_collapse/",
        dataloader: int = 0,
        read_batch: ReadBatch | None = None,
    ) -> None:
        super().__init__()
        self.network, self.monitor, self.names, self.prefix = network, monitor, tuple(log), prefix
        self.dataloader, self.read_batch = dataloader, read_batch
        self.measurement: Measurement | None = None
        self._epoch: Monitor | None = None  # of the validation epoch under way
        self._open: Monitor | None = None  # the same one, while a batch runs

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make a monitor of the network."""
        if trainer.sanity_checking:
            return
        self._epoch = self.monitor(self._network(pl_module))
        if trainer.world_size > 1:
            self._epoch.settings = replace(self._epoch.settings, distributed=True)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Hook the network and say the labels."""
        if self._epoch is not None and dataloader_idx == self.dataloader:
            labels = read_batch(batch, self.read_batch).labels
            self._open = self._epoch.__enter__()
            self._open.labels(labels)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remove the hooks."""
        try:
            self._close(None)
        except CaptureError as error:
            raise CaptureError(
                f"validation_step did not call {self.network or 'the network'} as a module, so nothing was measured. "
                "Pass NeuralCollapseCallback(network=...) the attribute that it calls, self.NAME(x)."
            ) from error

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, keep the measurement, and log."""
        if self._epoch is None:
            return
        # Lightning validates in inference mode, and perhaps in autocast; the measurement is used outside of both.
        with exact():
            self.measurement = self._epoch.compute()
        self._epoch = None
        values = {}
        for key in self.names:
            name = key if isinstance(key, str) else f"{key[1]}/{key[0]}"
            try:
                values[self.prefix + name] = self.measurement[key]
            except UnknownNameError:
                continue  # measures of a head, where there is none
        pl_module.log_dict(values, sync_dist=trainer.world_size > 1)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no hook behind."""
        self._close(exception)
        self._epoch = None

    def _close(self, exception: BaseException | None) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.__exit__(type(exception) if exception else None, exception, None)

    def _network(self, pl_module: LightningModule) -> nn.Module:
        children = {n: m for n, m in pl_module.named_children() if any(True for _ in m.parameters())}
        if self.network is None:
            return next(iter(children.values())) if len(children) == 1 else pl_module
        try:
            return pl_module.get_submodule(self.network)
        except AttributeError as error:
            raise LayerNameError(
                f"{type(pl_module).__name__} has no module {self.network!r}; it has {', '.join(children) or 'none'}."
            ) from error
