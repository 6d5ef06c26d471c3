import subprocess
import sys

import pytest
import torch
from small import SMALL, series, small

from deepcollapse.errors import BatchError, DivergedError, OptionError, RunError
from deepcollapse.records import Run
from deepcollapse.training import prepare, train
from deepcollapse.training.data import training_batches
from deepcollapse.training.loop import build_network

PLAIN = ("batch_norm=false",)


def test_divergence_is_told_and_what_was_recorded_stands(tmp_path):
    recipe = small(parameters=PLAIN, optimiser="sgd", rate=1e6, loss="mse", layers=("head.input",), measurements=2)
    with pytest.raises(DivergedError) as error:
        train(recipe, tmp_path / "run")
    assert str(error.value) in [
        f"training diverged in epoch 1: the loss is {loss}. Lower the learning rate (now 1e+06); the epochs before "
        f"stand in {tmp_path}/run."
        for loss in ("nan", "inf")
    ]
    assert set(series(Run.open(tmp_path / "run"), "accuracy")) == {0}


@pytest.mark.parametrize("measured", [True, False])
def test_weights_that_are_no_numbers_after_the_last_step_are_divergence_too(measured, tmp_path, monkeypatch):
    real = torch.optim.SGD.step

    def spoil(self, *args, **kwargs):
        real(self, *args, **kwargs)
        if self.param_groups[0]["lr"] < 0.05:  # after the drop, so in epoch 2
            for group in self.param_groups:
                group["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.SGD, "step", spoil)
    recipe = small(batch=200, epochs=8, drops=(0.125,), measurements=40 if measured else 2)
    with pytest.raises(DivergedError) as error:
        train(recipe, tmp_path / "run")
    what = "features are NaN or infinite" if measured else "the loss is nan"
    assert str(error.value) == (
        f"training diverged in epoch 2: {what}. Lower the learning rate (now 0.005); the epochs before stand in "
        f"{tmp_path}/run."
    )
    assert set(series(Run.open(tmp_path / "run"), "accuracy")) == {0, 1}


def sizes(recipe):
    splits = prepare(recipe)
    return [len(y) for _, y in training_batches(recipe, splits, build_network(recipe, splits))]


def test_a_last_batch_of_one_is_left_out_for_batch_norm_alone():
    assert sizes(small(batch=199)) == [199]
    assert sizes(small(batch=199, parameters=PLAIN)) == [199, 1]
    assert sizes(small(batch=198)) == [198, 2]


def test_a_last_batch_of_one_does_not_stop_training(tmp_path):
    run = train(small(batch=199, epochs=1), tmp_path / "run")
    assert set(series(run, "loss")) == {0, 1}


def test_batches_of_one_are_refused_for_batch_norm(tmp_path):
    with pytest.raises(BatchError) as error:
        train(small(batch=1), tmp_path / "run")
    assert str(error.value) == (
        "digits gives no batch to train on: there is none at all, or every one holds a single sample, in which batch "
        "norm finds no variance. Choose a batch above 1, or another network."
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("tpu", "PyTorch knows none of that name; "),
        ("cuda:99", ""),
        ("meta", "Tensor.item() cannot be called on meta tensors"),
    ],
)
def test_a_device_that_is_not_there(device, reason, tmp_path):
    with pytest.raises(OptionError) as error:
        train(SMALL, tmp_path / "run", device=device)
    assert str(error.value).startswith(f"there is no device '{device}' here ({reason}")
    assert str(error.value).endswith("). Try --device cpu.")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_is_for_cuda(precision, tmp_path):
    with pytest.raises(OptionError) as error:
        train(small(precision=precision), tmp_path / "run", device="cpu")
    assert str(error.value) == f"precision '{precision}' is for CUDA; on cpu use --precision float32."


@pytest.mark.parametrize("threads", [0, -2])
def test_threads_are_at_least_one(threads, tmp_path):
    with pytest.raises(OptionError) as error:
        train(SMALL, tmp_path / "run", threads=threads)
    assert str(error.value) == f"threads must be at least 1; got {threads}."


def test_a_small_network_is_given_one_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert train(small(epochs=1, layers=("head.input",)), tmp_path / "run").provenance["threads"] == 1


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError) as error:
        train(SMALL, tmp_path)
    assert str(error.value) == (f"{tmp_path} holds files and is not a run. Choose a new or empty folder with --out.")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_recipes_are_read_without_torch():
    code = "import sys; from deepcollapse.training import Recipe, Watcher; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"precision": "float16"}, {"channels_last": True}])
def test_on_cuda(changes, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA here")
    recipe = small(network="resnet", width=8, depth=None, **changes)
    run = train(recipe, tmp_path / "run", device="cuda")
    assert series(run, "loss")[9] < series(run, "loss")[0]
    assert run.provenance["device"] == torch.cuda.get_device_name()


def test_channels_last_gives_the_same_numbers_but_for_rounding(tmp_path):
    recipe = small(network="resnet", width=4, depth=None, epochs=1, layers=("head.input",))
    plain = train(recipe, tmp_path / "plain")
    last = train(small(**{**vars(recipe), "channels_last": True}), tmp_path / "last")
    # float32 sums in another order, over one epoch of steps
    assert series(last, "loss") == pytest.approx(series(plain, "loss"), rel=1e-3)
