import random
import sys
import types

import numpy as np
import pytest
import torch
from dataset_files import encoded, pixels

from deepcollapse.datasets import load, mnist1d
from deepcollapse.errors import DataFileError, MissingExtraError


def shared_states() -> tuple[list[int], list[int]]:
    # Of Python's state the words only, not the position in them: the type checks of the tests draw from it as well.
    return np.random.get_state()[1].tolist(), list(random.getstate()[1][:-1])  # noqa: NPY002


def test_mnist1d_is_generated_and_leaves_shared_generators_alone():
    pytest.importorskip("mnist1d", exc_type=ImportError)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    random.random()
    before = shared_states()
    mnist1d._generate.cache_clear()
    train, test = load("mnist1d"), load("mnist1d", "test")
    assert shared_states() == before
    assert (len(train), len(test), train.image_shape) == (4000, 1000, (1, 1, 40))
    assert (train.class_counts() + test.class_counts()).tolist() == [500] * 10
    everything = torch.cat([train.images, test.images])
    assert abs(everything.mean()) < 1e-6
    assert abs(everything.std(correction=0) - 1) < 1e-6


def test_without_the_mnist1d_package(monkeypatch):
    mnist1d._generate.cache_clear()
    monkeypatch.setitem(sys.modules, "mnist1d", None)
    with pytest.raises(MissingExtraError) as error:
        load("mnist1d")
    assert str(error.value) == "MNIST-1D needs the mnist1d package: pip install 'deepcollapse[mnist1d]'."


@pytest.mark.parametrize(
    "importable", [None, types.ModuleType("datasets")], ids=["not installed", "a folder of that name"]
)
def test_without_the_datasets_package(monkeypatch, importable):
    monkeypatch.setitem(sys.modules, "datasets", importable)
    with pytest.raises(MissingExtraError) as error:
        load("hf:mnist")
    assert str(error.value) == "hf: data sets need the datasets package: pip install 'deepcollapse[hf]'."


class Image:
    def __init__(self, decode: bool = True):
        self.decode = decode


class ClassLabel:
    names = ("cat", "dog")
    dtype = "int64"


class Table:
    """As much of the package's table as is used."""

    def __init__(self, columns: dict[str, list], features: dict[str, object]):
        self.columns, self.features = columns, features

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        return {name: column[key] for name, column in self.columns.items()}

    def select_columns(self, names):
        return Table({name: self.columns[name] for name in names}, self.features)

    def cast_column(self, name, feature):
        assert not feature.decode
        return self

    def with_format(self, _):
        return self

    def select(self, positions):
        return Table({name: [column[i] for i in positions] for name, column in self.columns.items()}, self.features)


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the `datasets` package that serves `splits` and remembers what it was asked."""
    package = types.ModuleType("datasets")
    package.Image, package.splits, package.asked = Image, {}, []
    package.config = types.SimpleNamespace(HF_HUB_OFFLINE=False)

    def load_dataset(path, configuration, *, cache_dir):
        package.asked.append((path, configuration, cache_dir, package.config.HF_HUB_OFFLINE))
        if path == "absent":
            raise ConnectionError("cannot reach the hub")
        return package.splits

    package.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", package)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", types.SimpleNamespace(HF_HUB_OFFLINE=False))
    pytest.importorskip("PIL", exc_type=ImportError)
    return package


def table(*sizes: tuple[int, int], grey: bool = False, labels: list[int] | None = None) -> Table:
    shape = () if grey else (3,)
    images = [{"bytes": encoded(pixels(1, *size, *shape, seed=i)[0]), "path": None} for i, size in enumerate(sizes)]
    return Table(
        {"image": images, "label": labels or [i % 2 for i in range(len(sizes))]},
        {"image": Image(), "label": ClassLabel()},
    )


def test_hub_images_of_one_size_are_decoded_once(hub, tmp_path):
    hub.splits = {"train": table((5, 6), (5, 6), (5, 6)), "validation": table((5, 6), grey=True)}
    train = load("hf:owner/name:small", root=tmp_path)
    assert train.image_shape == (3, 5, 6)
    assert torch.equal(train.images[1], torch.from_numpy(pixels(1, 5, 6, 3, seed=1)[0]).permute(2, 0, 1))
    assert train.class_names == ("cat", "dog")
    test = load("hf:owner/name", "test", root=tmp_path, download=True)
    assert (test.image_shape, test.note) == ((1, 5, 6), "the split 'validation' of the source")
    cache = str(tmp_path / "huggingface")
    assert hub.asked == [("owner/name", "small", cache, True), ("owner/name", None, cache, False)]
    assert hub.config.HF_HUB_OFFLINE is False


def test_hub_images_of_a_stated_size_are_decoded_when_needed(hub):
    hub.splits = {"train": table((5, 6), (9, 7))}
    train = load("hf:owner/name@4")
    images, labels = next(iter(train.batches(2)))
    assert images.shape == (2, 3, 4, 4)
    assert labels.tolist() == [0, 1]
    assert train.select([1]).digest == load("hf:owner/name@4").select([1]).digest != train.digest


def test_hub_data_that_cannot_be_used(hub):
    cases = {
        "hf:absent": (
            None,
            "hf:absent could not be loaded: ConnectionError: cannot reach the hub. Allow the download with "
            "download=True (--download).",
        ),
        "hf:other": ({"extra": table((5, 6))}, "hf:other has no split 'train'; it has extra."),
        "hf:mixed": (
            {"train": table((5, 6), (9, 7))},
            "hf:mixed, row 1: an image of 9 x 7, the first is 5 x 6. Say one size for all, as hf:mixed@5.",
        ),
        "hf:text": (
            {"train": Table({"text": ["a"]}, {"text": ClassLabel()})},
            "hf:text has the columns text (ClassLabel); expected one of type Image and one of type ClassLabel (or "
            "whole numbers called label). Load other data with a function of your own, package.module:loader.",
        ),
        "hf:hidden": (
            {"train": table((5, 6), (5, 6), labels=[0, -1])},
            "hf:hidden: 1 of 2 rows have no label in 'label'; choose another split.",
        ),
    }
    for name, (splits, message) in cases.items():
        hub.splits = splits
        with pytest.raises(DataFileError) as error:
            load(name)
        assert str(error.value) == message


def test_the_real_package_reads_a_local_folder(tmp_path, monkeypatch):
    pytest.importorskip("datasets.arrow_dataset", exc_type=ImportError, reason="the hf extra is not installed")
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": table((5, 6), (5, 6)).columns["image"], "label": [1, 0]}
    (tmp_path / "local").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "local" / "train.parquet")
    train = load(f"hf:{tmp_path / 'local'}", root=tmp_path / "root")
    assert (train.image_shape, train.labels.tolist(), train.class_names) == ((3, 5, 6), [1, 0], ("cat", "dog"))
