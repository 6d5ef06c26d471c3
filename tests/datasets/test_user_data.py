import sys
import types

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from deepcollapse.datasets import Dataset, UserData, as_dataset, load
from deepcollapse.errors import BatchError, OptionError, UnknownNameError


class Squares(TorchDataset):
    classes = ("even", "odd")

    def __len__(self) -> int:
        return 7

    def __getitem__(self, position: int):
        return torch.full((1, 2, 2), float(position)), position % 2


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(1), 0)])


RETURNS = {
    "dataset": lambda split: as_dataset(torch.zeros(2, 4), [0, 1], name="mine", split=split),
    "pair": lambda split: (torch.zeros(2, 4), torch.tensor([0, 1])),
    "triple": lambda split: (np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1]), ["cat", "dog"]),
    "samples": lambda split: Squares(),
    "loader": lambda split: DataLoader(Squares(), batch_size=3),
    "tensors": lambda split: TensorDataset(torch.zeros(3, 4), torch.tensor([0, 1, 2])),
    "batches": lambda split: [(torch.zeros(2, 4), torch.tensor([0, 1]))],
    "iterator": lambda split: iter([(torch.zeros(2, 4), torch.tensor([0, 1]))]),
    "number": lambda split: 3,
    "text": lambda split: split,
    "single": lambda split: [(torch.zeros(4),), (torch.zeros(4),)],
    "nothing": lambda split: [],
    "not_callable": 3,
    "stream": lambda split: Stream(),
}


@pytest.fixture(autouse=True)
def module(monkeypatch):
    made = types.ModuleType("my_project_data")
    vars(made).update(RETURNS, nested=types.SimpleNamespace(loader=RETURNS["pair"]))
    monkeypatch.setitem(sys.modules, "my_project_data", made)


def test_values_become_data_sets():
    assert load("my_project_data:dataset", "test").split == "test"
    pair = load("my_project_data:pair", "holdout")
    assert isinstance(pair, Dataset)
    assert (pair.name, pair.split, pair.class_names) == ("my_project_data:pair", "holdout", ("0", "1"))
    assert load("my_project_data:triple").class_names == ("cat", "dog")
    assert len(load("my_project_data:nested.loader")) == 2


def test_a_torch_data_set_is_batched_as_asked():
    data = load("my_project_data:samples")
    assert isinstance(data, UserData)
    assert (data.class_names, data.num_classes, data.image_shape, data.digest) == (("even", "odd"), 2, (1, 2, 2), None)
    batches = data.batches(3)
    assert len(batches) == 3
    assert [y.tolist() for _, y in batches] == [y.tolist() for _, y in batches] == [[0, 1, 0], [1, 0, 1], [0]]
    assert len(data.batches(3, drop_last=True)) == 2
    shuffled = data.batches(3, generator=torch.Generator().manual_seed(0))
    one, two = ([int(x[0, 0, 0]) for images, _ in shuffled for x in images] for _ in range(2))
    assert sorted(one) == sorted(two) == list(range(7))
    assert one != two
    for size, drop_last in ((0, False), (8, True)):
        with pytest.raises(OptionError):
            data.batches(size, drop_last=drop_last)
    assert load("my_project_data:tensors").class_names is None


def test_batches_of_ones_own_are_handed_on():
    loader = load("my_project_data:loader")
    assert loader.class_names == ("even", "odd")
    assert [len(y) for _, y in loader.batches(100)] == [3, 3, 1]
    assert loader.note == "read by the user's own code: not hashed"
    listed = load("my_project_data:batches")
    assert (listed.num_classes, listed.image_shape) == (None, (4,))


def test_reading_user_data_draws_nothing_from_the_shared_generator():
    before = torch.get_rng_state()
    list(load("my_project_data:samples").batches(2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "my_project_data:iterator",
            BatchError,
            "my_project_data:iterator returned list_iterator, which can be iterated only once; measuring may need a "
            "second pass. Return a DataLoader, a list of batches, or an object whose __iter__ starts anew.",
        ),
        (
            "my_project_data:number",
            BatchError,
            "my_project_data:number returned int; expected a Dataset, (images, labels), a torch data set with a "
            "length, or an iterable of batches.",
        ),
        (
            "my_project_data:text",
            BatchError,
            "my_project_data:text returned str; expected a Dataset, (images, labels), a torch data set with a "
            "length, or an iterable of batches.",
        ),
        (
            "my_project_data:absent",
            UnknownNameError,
            "my_project_data has no function 'absent'; my_project_data:absent should name a function of a split.",
        ),
        (
            "my_project_data:not_callable",
            UnknownNameError,
            "my_project_data has no function 'not_callable'; my_project_data:not_callable should name a function of a "
            "split.",
        ),
        (
            "no_such_module:loader",
            UnknownNameError,
            "there is no module 'no_such_module' to load data from (no_such_module:loader). Install it, or run from "
            "the folder that it lies in.",
        ),
    ],
)
def test_what_cannot_be_used(name, error, message):
    with pytest.raises(error) as raised:
        load(name)
    assert str(raised.value) == message


def test_the_first_batch_must_be_images_and_labels():
    for name, given in (("nothing", "no batch at all"), ("single", "a first batch of type tuple")):
        with pytest.raises(BatchError) as error:
            _ = load(f"my_project_data:{name}").image_shape
        assert str(error.value) == f"my_project_data:{name} (train) gave {given}; expected batches of (images, labels)."


def test_an_error_inside_the_users_module_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_data.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        load("broken_data:loader")


def test_a_module_in_the_working_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "beside_me.py").write_text(
        "import torch\ndef both(split): return torch.zeros(2, 4), torch.tensor([0, 1])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert len(load("beside_me:both")) == 2


def test_a_loader_that_takes_no_split_is_told_how_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "no_split.py").write_text("def loader(): return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BatchError) as error:
        load("no_split:loader")
    assert str(error.value) == (
        "no_split:loader cannot be called with the name of a split (too many positional arguments). Write it as a "
        "function of one argument, loader(split), that returns (images, labels), a torch data set or a DataLoader for "
        "'train' and 'test'."
    )
