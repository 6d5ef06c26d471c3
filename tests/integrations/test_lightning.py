"""The callback in a real Lightning Trainer: the numbers, the log, several loaders, and no hook left behind."""

import re
import warnings
from functools import partial

import pytest
import torch
from libraries import one_thread  # noqa: F401 - before the libraries
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

import lightning.pytorch as pl

from deepcollapse import Monitor, errors, measure
from deepcollapse.integrations import NeuralCollapseCallback

# Lightning's own remarks on loaders without workers, missing loggers and the like are none of ours.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")

Y = torch.arange(48) % 3
X = torch.randn(48, 6, generator=torch.Generator().manual_seed(0)) + Y[:, None]
LOADER = DataLoader(TensorDataset(X, Y), batch_size=16)


class Plain(pl.LightningModule):
    """Calls `self.net(x)`, and breaks at the batch that it is told."""

    def __init__(self, breaks_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3))
        self.loss, self.breaks_at = nn.CrossEntropyLoss(), breaks_at

    def training_step(self, batch, _):
        return self.loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index, dataloader_idx=0):
        if index == self.breaks_at:
            raise ZeroDivisionError
        self.log("loss", self.loss(self.net(batch[0]), batch[1]), add_dataloader_idx=False)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Split(Plain):
    """Two parts with parameters, behind a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = self.net[:3], self.net[3]
        del self.net

    def forward(self, x):
        return self.head(self.body(x))

    def validation_step(self, batch, index, dataloader_idx=0):
        self(batch[0])


def trainer(callback: pl.Callback, **options) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", enable_model_summary=False, callbacks=[callback], **quiet, **options)


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_the_numbers_are_those_of_measure():
    module, callback = Plain(), NeuralCollapseCallback(log=["cdnv", ("cdnv", "1"), "self_duality", "accuracy"])
    run = trainer(callback, max_epochs=2)
    run.fit(module, LOADER, LOADER)
    expected = measure(module.net, LOADER)
    assert callback.measurement is not None
    assert callback.measurement["cdnv"] == pytest.approx(expected["cdnv"], rel=1e-9)
    splits = {record.split for record in callback.measurement.records if "_weight" not in record.measure}
    assert splits == {"validation"}
    logged = {name: value.item() for name, value in run.callback_metrics.items()}
    assert logged["neural_collapse/cdnv"] == pytest.approx(expected["cdnv"], rel=1e-6)
    assert logged["neural_collapse/1/cdnv"] == pytest.approx(expected["cdnv", "1"], rel=1e-6)
    assert logged["neural_collapse/accuracy"] == pytest.approx(expected["accuracy"])
    assert hooks(module) == 0
    # Made in inference mode, it serves outside of it.
    assert callback.measurement.moments["1"].merge(callback.measurement.moments["1"]).num_samples == 96


def test_a_module_with_its_own_forward_and_one_of_two_loaders():
    options = partial(Monitor, head="head", layers="body.*", num_classes=3)
    callback = NeuralCollapseCallback(monitor=options, dataloader=1, prefix="nc/")
    module, other = Split(), DataLoader(TensorDataset(X + 1, Y), batch_size=16)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the monitored network ran without")
        found = trainer(callback).validate(module, [LOADER, other], verbose=False)
    expected = measure(module, other, head="head", layers="body.*")["within_class_variability"]
    assert found[0]["nc/within_class_variability"] == pytest.approx(expected, rel=1e-6)


def test_no_hook_is_left_where_a_batch_fails():
    module, callback = Plain(breaks_at=1), NeuralCollapseCallback()
    with pytest.raises(ZeroDivisionError):
        trainer(callback).validate(module, LOADER, verbose=False)
    assert hooks(module) == 0
    assert callback.measurement is None
    module.breaks_at = None
    trainer(callback).validate(module, LOADER, verbose=False)
    assert callback.measurement is not None


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        ("backbone", errors.LayerNameError, "Plain has no module 'backbone'; it has net, loss."),
        (
            "loss.unused",
            errors.CaptureError,
            "validation_step did not call loss.unused as a module, so nothing was measured. "
            "Pass NeuralCollapseCallback(network=...) the attribute that it calls, self.NAME(x).",
        ),
    ],
)
def test_errors(network, error, message):
    module = Plain()
    module.loss.unused = nn.Sequential(nn.Linear(6, 3))
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        trainer(NeuralCollapseCallback(network=network)).validate(module, LOADER, verbose=False)
    assert hooks(module) == 0
