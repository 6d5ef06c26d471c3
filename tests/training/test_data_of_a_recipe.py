from dataclasses import replace

import pytest
import torch
from small import series, small

from deepcollapse.datasets import load
from deepcollapse.errors import DataFileError, LayerNameError, OptionError, UnknownNameError
from deepcollapse.training import Recipe, prepare, train

LOADERS = """
import torch
from torch.utils.data import DataLoader, TensorDataset

def blobs(n=40):
    y = torch.arange(n) % 2
    return torch.randn(n, 1, 2, 2, generator=torch.Generator().manual_seed(0)) + 3 * y[:, None, None, None], y

class Named(TensorDataset):
    classes = ["cat", "dog"]

def arrays(split): return (*blobs(), ["cat", "dog"])
def nameless(split): return TensorDataset(*blobs())
def named(split): return Named(*blobs())
def batches(split): return DataLoader(Named(*blobs()), batch_size=8, shuffle=True)
def untested(split): return Named(*blobs()) if split == "train" else None
def singles(split): return DataLoader(Named(*blobs(4)), batch_size=1)
"""


@pytest.fixture
def loaders(tmp_path, monkeypatch):
    (tmp_path / "own_loaders.py").write_text(LOADERS)
    monkeypatch.syspath_prepend(tmp_path)


def own(name, **changes):
    return small(dataset=f"own_loaders:{name}", per_class=None, test_per_class=None, epochs=2, width=8, **changes)


@pytest.mark.usefixtures("loaders")
@pytest.mark.parametrize("name", ["arrays", "named", "batches"])
def test_a_loader_of_the_users_own_is_trained_on(name, tmp_path):
    run = train(own(name), tmp_path / "run")
    assert run.provenance["class_names"] == ["cat", "dog"]
    assert set(series(run, "accuracy", split="test")) == {0, 1, 2}
    hashed = run.provenance["data_digest"]["train"]
    assert (len(hashed) == 64) if name == "arrays" else (hashed == "not hashed: read by the user's own code")


@pytest.mark.usefixtures("loaders")
def test_data_without_class_names_are_refused(tmp_path):
    with pytest.raises(OptionError) as error:
        train(own("nameless"), tmp_path / "run")
    assert str(error.value) == (
        "own_loaders:nameless does not name its classes; give the data a `classes` attribute, "
        "or return a deepcollapse.datasets.Dataset."
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("loaders")
def test_data_without_a_test_split_say_so(tmp_path):
    run = train(own("untested"), tmp_path / "run")
    assert series(run, "accuracy", split="test") == {}
    assert list(run.provenance["data_digest"]) == ["train"]
    assert run.provenance["test_note"].startswith("own_loaders:untested returned NoneType; expected ")


@pytest.mark.usefixtures("loaders")
@pytest.mark.parametrize(
    "changes", [{"imbalance": "step"}, {"label_noise": 0.1}, {"standardise": "channels"}, {"per_class": 3}]
)
def test_data_of_the_users_own_are_taken_as_they_come(changes):
    with pytest.raises(OptionError) as error:
        prepare(Recipe(dataset="own_loaders:named", **changes))
    assert str(error.value) == (
        "own_loaders:named is read by your own code, so subsets, imbalance, label noise and standardisation "
        "are its own affair; leave those settings out."
    )


def test_unknown_names_are_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(UnknownNameError, match=r"^no data set is called 'digit'. Did you mean 'digits'"):
        train(small(dataset="digit"), tmp_path / "run")
    with pytest.raises(UnknownNameError, match=r"^no network is called 'mpl'. Did you mean mlp"):
        train(small(network="mpl"), tmp_path / "run")
    with pytest.raises(LayerNameError, match=r"^no layer matches 'block.7'. Close names: "):
        train(small(layers=("block.7",)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_files_of_a_known_set_are_not_taken_for_a_missing_test_split(monkeypatch):
    def half_there(name, split, **_):
        if split == "test":
            raise DataFileError("t10k-images-idx3-ubyte is missing")
        return load(name, split)

    monkeypatch.setattr("deepcollapse.training.data.load", half_there)
    with pytest.raises(DataFileError, match=r"^t10k-images-idx3-ubyte is missing$"):
        prepare(Recipe())


def test_subsets_are_balanced_and_follow_the_seed():
    splits = prepare(small(per_class=7, test_per_class=3))
    assert splits.train.class_counts().tolist() == [7] * 10
    assert splits.test.class_counts().tolist() == [3] * 10
    other = prepare(small(per_class=7, test_per_class=3, seed=1))
    assert splits.digests() != other.digests()


def test_classes_are_thinned_out_of_the_training_data_alone():
    step = prepare(Recipe(imbalance="step", minority=3, ratio=4.0))
    counts = step.train.class_counts().tolist()
    assert len(set(counts[:7])) == len(set(counts[7:])) == 1
    assert counts[0] / counts[9] == pytest.approx(4, rel=0.02)
    assert step.test.class_counts().tolist() == prepare(Recipe()).test.class_counts().tolist()
    tail = prepare(Recipe(imbalance="long-tailed", ratio=10.0)).train.class_counts().tolist()
    assert tail == sorted(tail, reverse=True)
    assert tail[0] / tail[-1] == pytest.approx(10, rel=0.1)


def test_thinned_out_classes_are_seen_more_often_with_the_same_images():
    thinned = Recipe(imbalance="step", minority=3, ratio=20.0)
    once, often = prepare(thinned).train, prepare(replace(thinned, oversample=20)).train
    before, after = once.class_counts().tolist(), often.class_counts().tolist()
    assert after == [*before[:7], *(20 * count for count in before[7:])]
    x, y = next(iter(often.batches(len(often))))
    first, labels = next(iter(once.batches(len(once))))
    assert torch.equal(x[: len(once)], first)  # standardised by the data as they are, not as often as they are seen
    assert torch.equal(y[: len(once)], labels)
    assert {tuple(image) for image in x[labels.numel() :].flatten(1).tolist()} <= {
        tuple(image) for image in first[labels > 6].flatten(1).tolist()
    }


def test_label_noise_changes_training_labels_alone():
    clean, noisy = prepare(Recipe()), prepare(Recipe(label_noise=0.25))
    assert (clean.train.labels != noisy.train.labels).double().mean() == pytest.approx(0.25, abs=1e-3)
    assert (clean.test.labels == noisy.test.labels).all()
    assert "labels changed (0.25 of all)" in noisy.train.note


@pytest.mark.parametrize(("how", "dims"), [("pixels", (0,)), ("channels", (0, 2, 3))])
def test_images_are_standardised_by_the_training_data(how, dims):
    splits = prepare(Recipe(standardise=how))
    x, _ = next(iter(splits.train.batches(2000)))
    assert x.mean(dims).abs().max() < 1e-5  # float32 sums over 1438 images
    assert ((x.std(dims) - 1).abs() < 1e-2).sum() + (x.std(dims) == 0).sum() == x.std(dims).numel()
    raw, _ = next(iter(prepare(Recipe(standardise="none")).test.batches(2000)))
    tested, _ = next(iter(splits.test.batches(2000)))
    train_raw, _ = next(iter(prepare(Recipe(standardise="none")).train.batches(2000)))
    mean, std = train_raw.mean(dims, keepdim=True), train_raw.std(dims, keepdim=True, correction=0)
    expected = (raw - mean) / torch.where(std == 0, 1.0, std)
    torch.testing.assert_close(tested, expected, rtol=1e-4, atol=1e-4)  # float32, statistics summed in another order
