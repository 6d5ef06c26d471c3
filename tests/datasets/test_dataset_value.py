import hashlib

import numpy as np
import pytest
import torch

from deepcollapse.datasets import Dataset, as_dataset, load
from deepcollapse.errors import LabelError, NonFiniteError, OptionError, ShapeError


def bytes_data(count: int = 7) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 2, 2), generator=generator, dtype=torch.uint8)
    return as_dataset(images, torch.arange(count) % 3, ["cat", "dog", "fox"], "animals")


def test_batches_are_scaled_and_can_be_iterated_again():
    data = bytes_data()
    batches = data.batches(3)
    first, second = list(batches), list(batches)
    assert len(batches) == 3
    assert [len(labels) for _, labels in first] == [3, 3, 1]
    images = torch.cat([x for x, _ in first])
    assert images.dtype == torch.float32
    assert torch.equal(images, data.images.float() / 255)
    assert torch.equal(torch.cat([y for _, y in first]), data.labels)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))


def test_a_generator_shuffles_anew_on_each_pass_and_reproducibly():
    data = bytes_data(50)

    def passes(seed: int) -> list[list[int]]:
        position = as_dataset(torch.arange(50.0).reshape(50, 1), data.labels)
        batches = position.batches(8, generator=torch.Generator().manual_seed(seed))
        return [torch.cat([x for x, _ in batches]).flatten().int().tolist() for _ in range(2)]

    one, two = passes(0)
    assert sorted(one) == sorted(two) == list(range(50))
    assert one != two
    assert passes(0) == [one, two]
    assert passes(1) != [one, two]


def test_shuffled_images_keep_their_labels():
    data = as_dataset(torch.arange(20.0).reshape(20, 1), torch.arange(20))
    for images, labels in data.batches(6, generator=torch.Generator().manual_seed(1)):
        assert torch.equal(images.flatten().long(), labels)


def test_drop_last_leaves_the_short_batch_out():
    batches = bytes_data().batches(3, drop_last=True)
    assert [len(labels) for _, labels in batches] == [3, 3]
    assert len(batches) == 2


def test_writing_into_a_batch_leaves_the_data_alone():
    data = as_dataset(torch.ones(4, 1, 2, 2), [0, 1, 0, 1])
    images, labels = next(iter(data.batches(4)))
    images.zero_()
    labels.zero_()
    assert data.images.min() == 1
    assert data.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("size", "drop_last", "message"),
    [
        (0, False, "batch_size is 0; expected at least 1."),
        (
            8,
            True,
            "animals (train) has 7 samples, which gives no batch of 8. "
            "Choose a smaller batch_size, or leave drop_last off.",
        ),
    ],
)
def test_batches_that_cannot_be(size, drop_last, message):
    with pytest.raises(OptionError) as error:
        bytes_data().batches(size, drop_last=drop_last)
    assert str(error.value) == message


def test_digest_is_of_the_values():
    data = bytes_data()
    plain = hashlib.sha256(f"torch.uint8 {tuple(data.images.shape)}".encode())
    plain.update(data.images.numpy().tobytes() + data.labels.numpy().astype("<i8").tobytes())
    assert data.digest == plain.hexdigest()
    assert data.select(range(7)).digest == data.digest
    others = [data.select([1, 0, 2, 3, 4, 5, 6]), data.select(range(6)), as_dataset(data.images, data.labels + 1)]
    assert len({data.digest, *(other.digest for other in others)}) == 4


def test_digest_takes_floats_and_views():
    images = torch.rand(5, 3, 4, 4).permute(0, 2, 3, 1)
    assert as_dataset(images, torch.zeros(5, dtype=torch.long)).digest == (
        as_dataset(images.contiguous(), torch.zeros(5, dtype=torch.long)).digest
    )


def test_select_keeps_the_order_given():
    data = bytes_data()
    chosen = data.select(torch.tensor([5, 0, 5]))
    assert chosen.labels.tolist() == [2, 0, 2]
    assert torch.equal(chosen.images, data.images[[5, 0, 5]])
    assert (chosen.name, chosen.split, chosen.class_names) == ("animals", "train", ("cat", "dog", "fox"))
    with pytest.raises(OptionError) as error:
        data.select([0, 7])
    assert str(error.value) == "positions 0 to 7 were selected from the 7 samples of animals (train); expected 0 to 6."


def test_a_class_without_samples_is_counted_as_zero():
    data = as_dataset(np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 0]), ["a", "b"])
    assert data.class_counts().tolist() == [2, 0]
    assert as_dataset(torch.zeros(2, 4), [1, 3]).class_names == ("0", "1", "2", "3")


def test_repr_says_what_it_is():
    data = bytes_data().noted("drawn by hand").noted("twice")
    assert repr(data) == "Dataset(animals, train: 7 samples of shape (1, 2, 2), 3 classes; drawn by hand; twice)"


@pytest.mark.parametrize(
    ("images", "labels", "names", "error", "message"),
    [
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.int64),
            [0, 1],
            None,
            ShapeError,
            "images of data are torch.int64 of shape (2, 1, 2, 2); expected uint8 (0 to 255) or a floating type, of "
            "shape (samples, channels, height, width).",
        ),
        (torch.zeros(3, 4), [0, 1], None, ShapeError, "data has 3 images and 2 labels; every image needs one label."),
        (torch.zeros(0, 4), [], None, ShapeError, "labels of data have shape (0,); expected (samples,), at least one."),
        (
            torch.zeros(2, 4),
            [[0], [1]],
            None,
            ShapeError,
            "labels of data have shape (2, 1); expected (samples,), at least one.",
        ),
        (
            torch.zeros(2, 4),
            [0.0, 1.0],
            None,
            LabelError,
            "labels of data are torch.float32; expected whole numbers that count classes from 0.",
        ),
        (
            torch.zeros(3, 4),
            [0, 2, -1],
            ["a", "b"],
            LabelError,
            "2 of 3 labels of data lie outside 0 to 1 (the first is 2, of sample 1). Give one class name for each "
            "class, and labels that count from 0.",
        ),
        (
            torch.tensor([[0.0], [float("nan")]]),
            [0, 1],
            None,
            NonFiniteError,
            "sample 1 of data holds NaN or infinity. Remove such samples, or replace those values, before making a "
            "data set of them.",
        ),
        (
            torch.zeros(2, 4),
            [0, 1],
            ["a", "a"],
            OptionError,
            "class names of data occur more than once: a. Give each class its own.",
        ),
    ],
)
def test_data_that_do_not_fit(images, labels, names, error, message):
    with pytest.raises(error) as raised:
        as_dataset(images, labels, names)
    assert str(raised.value) == message


def test_digits_are_real_stratified_and_fixed():
    train, test = load("digits"), load("digits", "test")
    assert (len(train), len(test)) == (1438, 359)
    assert train.image_shape == (1, 8, 8)
    assert (train.images.min(), train.images.max()) == (0, 1)
    share = test.class_counts() / (train.class_counts() + test.class_counts())
    assert ((share - 0.2).abs() < 0.005).all()
    # The split belongs to every published number of the demo: it must never change.
    assert train.digest == load("digits").digest
    assert (train.digest[:16], test.digest[:16]) == ("ee14c0c89d2610ba", "763e2eca0086d4d3")


def test_iris_is_stratified_and_fixed():
    train, test = load("iris"), load("iris", "test")
    assert (train.class_counts().tolist(), test.class_counts().tolist()) == ([40] * 3, [10] * 3)
    assert train.class_names == ("setosa", "versicolor", "virginica")
    # Fisher's means over both splits: petals of 1.462, 4.26 and 5.552 cm.
    images, labels = torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])
    means = [images[labels == c, 0, 0, 2].double().mean().item() for c in range(3)]
    assert means == pytest.approx([1.462, 4.26, 5.552], abs=1e-6)
    assert train.digest == load("iris").digest
