import pytest
import torch

from deepcollapse.datasets import (
    Dataset,
    as_dataset,
    class_balanced,
    label_noise,
    load,
    long_tailed,
    repeat_minority,
    step_imbalance,
    train_test,
)
from deepcollapse.errors import OptionError, TooFewClassesError


def data(*counts: int) -> Dataset:
    """Counts per class, shuffled, each image holding its own position."""
    labels = torch.cat([torch.full((count,), c) for c, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    names = [f"class {c}" for c in range(len(counts))]
    return as_dataset(torch.arange(float(len(labels)))[:, None], labels, names, "toy")


CHANGES = [
    lambda d, seed: class_balanced(d, 10, seed),
    lambda d, seed: step_imbalance(d, [0, 2], 4, seed),
    lambda d, seed: long_tailed(d, 5, seed),
    lambda d, seed: train_test(d, 0.3, seed)[0],
]


@pytest.mark.parametrize("change", CHANGES)
def test_subsets_keep_order_and_labels_and_follow_the_seed(change):
    whole = data(40, 30, 50, 20)
    one, again, other = change(whole, 1), change(whole, 1), change(whole, 2)
    positions = one.images.flatten().long()
    assert (positions.diff() > 0).all()
    assert torch.equal(one.labels, whole.labels[positions])
    assert one.digest == again.digest != other.digest
    assert one.class_counts().tolist() == other.class_counts().tolist()


def test_subsets_leave_the_random_state_of_others_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for change in CHANGES:
        change(data(40, 30, 50, 20), 1)
    label_noise(data(4, 4), 0.5, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_class_balanced():
    balanced = class_balanced(data(5, 9, 7), 5, seed=0)
    assert balanced.class_counts().tolist() == [5, 5, 5]
    assert balanced.note == "5 samples of each class, seed 0"


def test_step_imbalance_of_named_and_of_last_classes():
    named = step_imbalance(data(40, 40, 40, 40), [1], 10, seed=0)
    assert named.class_counts().tolist() == [40, 4, 40, 40]
    assert named.note == "step imbalance 10: 4 samples of class 1, 40 of the others, seed 0"
    assert step_imbalance(data(40, 40, 40, 40), 2, 8, seed=0).class_counts().tolist() == [40, 40, 5, 5]
    assert step_imbalance(data(40, 50, 3), 1, 40, seed=0).class_counts().tolist() == [40, 40, 1]


def test_long_tail_reaches_its_ratio():
    counts = long_tailed(data(*[500] * 10), 100, seed=0).class_counts().tolist()
    assert counts == [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]


def test_label_noise_changes_exactly_its_share_and_always_to_another_class():
    clean = data(300, 300, 300)
    noisy = label_noise(clean, 0.4, seed=5)
    changed = noisy.labels != clean.labels
    assert int(changed.sum()) == 360
    assert torch.equal(noisy.images, clean.images)
    assert noisy.digest == label_noise(clean, 0.4, seed=5).digest != clean.digest
    moves = torch.stack([torch.bincount(noisy.labels[changed & (clean.labels == c)], minlength=3) for c in range(3)])
    assert (moves.diagonal() == 0).all()
    assert ((moves + 1000 * torch.eye(3)) > 30).all()
    assert noisy.note == "360 labels changed (0.4 of all), seed 5"
    assert torch.equal(label_noise(clean, 0, seed=5).labels, clean.labels)


def test_train_test_is_a_partition():
    whole = data(10, 20)
    train, test = train_test(whole, 0.3, seed=0)
    assert sorted([*train.images.flatten().tolist(), *test.images.flatten().tolist()]) == list(range(30))
    assert test.class_counts().tolist() == [3, 6]
    assert (train.split, test.split) == ("train", "test")


IMPOSSIBLE = [
    (lambda: class_balanced(data(5, 5), 0, 0), "per_class is 0; expected at least 1."),
    (
        lambda: class_balanced(data(5, 3, 2), 4, 0),
        "toy (train) has fewer samples than asked for (4) in: class 1 (3), class 2 (2). "
        "The most that every class has is 2.",
    ),
    (lambda: class_balanced(data(5, 5), 1, -1), "seed is -1; expected a whole number from 0 to 4294967295."),
    (
        lambda: step_imbalance(data(5, 5, 5), 3, 2, 0),
        "minority is 3; expected 1 to 2 of the 3 classes, as a number of classes or as indices from 0 to 2.",
    ),
    (
        lambda: step_imbalance(data(5, 5, 5), [3], 2, 0),
        "minority is [3]; expected 1 to 2 of the 3 classes, as a number of classes or as indices from 0 to 2.",
    ),
    (
        lambda: step_imbalance(data(5, 5, 5), -1, 2, 0),
        "minority is -1; expected 1 to 2 of the 3 classes, as a number of classes or as indices from 0 to 2.",
    ),
    (
        lambda: step_imbalance(data(5, 5, 5), 1, 0.5, 0),
        "ratio is 0.5; expected the largest class over the smallest, at least 1.",
    ),
    (
        lambda: step_imbalance(data(5, 5, 5), 1, 20, 0),
        "ratio is 20, and toy (train) has 5 samples for its largest class: the smallest would have none. "
        "Choose a ratio of at most 5.",
    ),
    (
        lambda: long_tailed(data(5, 5, 5), 6, 0),
        "ratio is 6, and toy (train) has 5 samples for its largest class: the smallest would have none. "
        "Choose a ratio of at most 5.",
    ),
    (lambda: long_tailed(data(5), 2, 0), "toy has 1 class; a long tail needs at least two."),
    (lambda: label_noise(data(5, 5), 1.5, 0), "share is 1.5; expected the part of the labels to change, from 0 to 1."),
    (lambda: label_noise(data(5), 0.5, 0), "toy has 1 class; wrong labels need at least two."),
    (lambda: train_test(data(5, 5), 1.0, 0), "test_share is 1.0; expected a part between 0 and 1."),
]


@pytest.mark.parametrize(("ask", "message"), IMPOSSIBLE)
def test_impossible_requests(ask, message):
    with pytest.raises((OptionError, TooFewClassesError)) as error:
        ask()
    assert str(error.value) == message


def test_the_streams_are_frozen():
    chosen = class_balanced(load("digits"), 1, seed=7)
    position = [int((load("digits").images == image).flatten(1).all(1).nonzero()[0]) for image in chosen.images]
    assert position == [204, 243, 339, 385, 469, 791, 795, 1005, 1148, 1409]


def test_minority_samples_are_repeated_and_nothing_else_changes():
    whole = data(6, 2, 5, 3)
    seen = repeat_minority(whole, [1, 3], 3)
    positions = seen.images.flatten().long().tolist()
    few = [place for place in range(16) if int(whole.labels[place]) in (1, 3)]
    assert positions == [*range(16), *few, *few]
    assert torch.equal(seen.labels, whole.labels[torch.tensor(positions)])
    assert seen.class_counts().tolist() == [6, 6, 5, 9]
    assert repeat_minority(whole, 1, 2).class_counts().tolist() == [6, 2, 5, 6]
    assert repeat_minority(whole, 2, 1) is whole


@pytest.mark.parametrize(
    ("minority", "times", "message"),
    [
        (1, 0, "times is 0; expected how often each minority sample is seen, at least 1."),
        (4, 2, "minority is 4; expected 1 to 3 of the 4 classes, as a number of classes or as indices from 0 to 3."),
        (
            [4],
            2,
            "minority is [4]; expected 1 to 3 of the 4 classes, as a number of classes or as indices from 0 to 3.",
        ),
    ],
)
def test_what_cannot_be_repeated_is_said(minority, times, message):
    with pytest.raises(OptionError) as error:
        repeat_minority(data(6, 2, 5, 3), minority, times)
    assert str(error.value) == message
