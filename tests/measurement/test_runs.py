"""One run over the data where features fit the memory budget, two beyond it: the same numbers, in any order."""

import pytest
import torch
from toy import assert_same_numbers, blobs, cut, mlp, raises

from deepcollapse import measure
from deepcollapse.errors import BatchError, OptionError
from deepcollapse.measurement.capture import Captured
from deepcollapse.measurement.passes import Kept


def test_features_kept_and_a_second_run_give_the_same_numbers_and_say_so():
    net, batches = mlp(), cut(*blobs(), 16, 16)
    kept = measure(net, batches, baselines=["untrained", "shuffled labels"])
    again = measure(net, batches, baselines=["untrained", "shuffled labels"], memory_budget="1kB")
    assert_same_numbers(again, kept)
    assert (kept.runs, kept.notes) == (1, ())
    assert again.runs == 4  # the measurement looks twice, and so does its baseline of shuffled labels
    assert again.notes == ("features passed the memory budget of 1000 bytes: the network ran 4 times",)
    assert all(torch.equal(kept.arrays[key], again.arrays[key]) for key in kept.arrays)


class Turning:
    """Batches whose order no random state decides: another one each time."""

    def __init__(self, batches):
        self.batches, self.turns = batches, 0

    def __iter__(self):
        self.turns += 1
        return iter(self.batches[self.turns % 2 :] + self.batches[: self.turns % 2])


def test_a_second_run_in_another_order_still_matches_each_sample_with_its_own_label():
    net, batches = mlp(), cut(*blobs(), 10, 20)
    measured = measure(net, Turning(batches), memory_budget=0)
    assert_same_numbers(measured, measure(net, batches), rel=1e-12)


def test_a_shuffling_loader_gives_the_same_order_in_every_run():
    net, (x, y) = mlp(), blobs()
    data = torch.utils.data.TensorDataset(x, y)
    for generator in (None, torch.Generator().manual_seed(3)):
        loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True, generator=generator)
        one = measure(net, loader, memory_budget=0, baselines=["shuffled labels"])
        assert_same_numbers(measure(net, loader, baselines=["shuffled labels"]), one)


def test_shuffled_labels_want_the_same_order_in_every_run():
    message = (
        "the batches came in another order the second time, so shuffled labels cannot be told from moved samples. "
        "Measure without shuffling (shuffle=False), or raise memory_budget so that one run is enough."
    )
    with raises(BatchError, message):
        measure(mlp(), Turning(cut(*blobs(), 10, 20)), memory_budget=0, baselines=["shuffled labels"])


def test_random_augmentation_draws_the_same_in_every_run():
    class Noisy:
        def __iter__(self):
            return iter([(x + torch.randn_like(x), y)])

    x, y = blobs()
    assert measure(mlp(), Noisy(), memory_budget=0)["within_class_variability"] > 0


def test_data_that_differs_in_the_second_run_is_refused():
    class Drifting:
        turns = 0

        def __iter__(self):
            self.turns += 1
            return iter([(x * self.turns, y)])

    x, y = blobs()
    with pytest.raises(BatchError, match=r"^the second look saw other data than the first: 60 samples"):
        measure(mlp(), Drifting(), memory_budget=0)


@pytest.mark.parametrize("hidden", [False, True])
def test_an_iterator_that_runs_once_is_enough_within_the_budget_and_refused_beyond_it(hidden):
    class Hidden:
        def __init__(self, batches):
            self.batches = iter(batches)

        def __iter__(self):
            return self.batches

    def once():
        batches = iter(cut(*blobs(), 16))
        return Hidden(batches) if hidden else batches

    assert measure(mlp(), once()).runs == 1
    message = (
        "the features take 5760 bytes, more than the memory budget of 1024, so the batches are needed a second time, "
        "and they came as an iterator that runs once. Pass a DataLoader or a list, or raise memory_budget."
    )
    with raises(BatchError, message):
        measure(mlp(), once(), memory_budget="1KiB")


def test_the_memory_budget_bounds_what_is_kept():
    y = torch.zeros(10, dtype=torch.int64)
    kept, batch = Kept(1000), Captured({"a": torch.zeros(10, 5), "b": torch.zeros(10, 5)}, y, y, torch.zeros(10, 2))
    kept.add(batch)
    kept.add(batch)
    assert [b.logits for b in kept.batches] == [None, None]  # logits are never kept
    assert kept.bytes == 800
    kept.add(batch)
    assert kept.batches is None
    kept.add(batch)
    assert kept.batches is None  # and nothing is kept again


@pytest.mark.parametrize("size", ["1 TB", "lots", "-1", -1, "", "nan", "inf"])
def test_a_memory_budget_that_is_no_size(size):
    message = f"memory budget {size!r} is no size; write a number of bytes, or for example '512MiB'."
    with raises(OptionError, message):
        measure(mlp(), [blobs()], memory_budget=size)
