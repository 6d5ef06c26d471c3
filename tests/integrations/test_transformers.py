"""The callback in a real Trainer, on a tiny network with random weights."""

import pytest
import torch
from libraries import one_thread  # noqa: F401 - before the libraries

pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate, which the Trainer needs, is not installed")

import transformers

from deepcollapse import measure
from deepcollapse.integrations import NeuralCollapseTrainerCallback

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")

Y = [i % 3 for i in range(24)]
PIXELS = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + torch.tensor(Y)[:, None, None, None]
DATA = [{"pixel_values": pixels, "labels": y} for pixels, y in zip(PIXELS, Y, strict=True)]


@pytest.fixture(autouse=True)
def no_datasets(monkeypatch) -> None:
    # A folder of tests called datasets is on the path, and the Trainer takes it for the package.
    monkeypatch.setattr("transformers.trainer.is_datasets_available", lambda: False)


def tiny() -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8,
        hidden_dropout_prob=0.1,
    )  # fmt: skip
    config.num_labels = 3
    return transformers.ViTForImageClassification(config)


def trainer(folder, callback: transformers.TrainerCallback, **options) -> transformers.Trainer:
    quiet = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "save_strategy": "no", "logging_strategy": "no"}
    arguments = transformers.TrainingArguments(str(folder), per_device_eval_batch_size=8, **quiet, **options)
    return transformers.Trainer(tiny(), arguments, train_dataset=DATA, eval_dataset=DATA, callbacks=[callback])


def test_evaluate_returns_the_numbers_of_measure(tmp_path):
    callback = NeuralCollapseTrainerCallback(
        log=["within_class_variability", ("cdnv", "head.input"), "no_such_measure"]
    )
    run = trainer(tmp_path, callback)
    metrics = run.evaluate(metric_key_prefix="test")
    model = run.model
    assert model is not None
    expected = measure(model, [{"pixel_values": PIXELS, "labels": torch.tensor(Y)}], split="eval")
    nc1 = expected["within_class_variability"]
    assert metrics["test_within_class_variability"] == pytest.approx(nc1, rel=1e-5)
    assert metrics["test_head.input_cdnv"] == pytest.approx(expected["cdnv"], rel=1e-5)
    assert "test_loss" in metrics
    assert run.state.log_history[-1]["test_within_class_variability"] == metrics["test_within_class_variability"]
    assert callback.measurement is not None
    assert callback.measurement.layers == expected.layers


def test_training_goes_on_as_without_it(tmp_path):
    weights = []
    for callback in (NeuralCollapseTrainerCallback(), transformers.TrainerCallback()):
        run = trainer(tmp_path, callback, eval_strategy="epoch", num_train_epochs=2, seed=0)
        run.train()
        assert run.model is not None
        weights.append(torch.cat([p.detach().flatten() for p in run.model.parameters()]))
        found = [entry["eval_self_duality"] for entry in run.state.log_history if "eval_self_duality" in entry]
        assert len(found) == (2 if isinstance(callback, NeuralCollapseTrainerCallback) else 0)
    assert torch.equal(*weights)


def test_no_data_no_measurement(tmp_path):
    callback = NeuralCollapseTrainerCallback()
    run = trainer(tmp_path, callback)
    callback.on_evaluate(run.args, run.state, run.control, model=run.model, eval_dataloader=None)
    assert callback.measurement is None
