"""Classification dimension: the worked toy, projections taken one by one, and what is degenerate."""

import pytest
import torch
from examples import assert_digits, gaussian, rotation
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers, sampled_from

from deepcollapse import errors
from deepcollapse.geometry import centred_classification_dimension, classification_dimension
from unchecked import shapes_unchecked

BOTH = {False: classification_dimension, True: centred_classification_dimension}


def curve(rows, columns, phase):
    i, j = torch.arange(1, rows + 1).double()[:, None], torch.arange(1, columns + 1).double()
    return torch.sin(phase + i * j**1.5)


def toy():
    n = 12
    y = torch.arange(n) % 3
    blocks = [3.0 * (y == 0), 2.0 * (y == 1), 1.0 * (y == 2), 0.1 * torch.sin(torch.arange(n).double())]
    return torch.stack(blocks, dim=1).double() + 0.2 * curve(n, 4, 0.5), y, torch.eye(4).double()[:3]


def accuracies(features, labels, classifier, bias=None, *, centred=False):
    """The accuracy after projection onto k axes for every k, each by its own projection matrix."""
    mean = features.mean(dim=0)
    axes = torch.linalg.eigh((features - mean).T @ (features - mean)).eigenvectors.flip(1)
    found = []
    for k in range(features.shape[1] + 1):
        onto = axes[:, :k] @ axes[:, :k].T
        projected = (features - mean) @ onto + mean if centred else features @ onto
        logits = projected @ classifier.T + (0 if bias is None else bias)
        found.append((logits.argmax(dim=1) == labels).double().mean().item())
    return found


def test_worked_toy():
    features, labels, classifier = toy()
    assert accuracies(features, labels, classifier) == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])
    assert classification_dimension(features, labels, classifier).item() == 2
    assert classification_dimension(features, labels, classifier, share=0.6).item() == 1
    assert classification_dimension(features, labels, classifier, share=1 / 3).item() == 0
    eigenvalues = torch.linalg.eigvalsh(features.T.cov(correction=0)).flip(0)
    expected = torch.tensor([2.387367419638, 0.790125135058, 0.019122006854, 0.008955849354], dtype=torch.float64)
    assert_digits(eigenvalues, expected, rtol=1e-10)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(seed=integers(0, 2**16), share=sampled_from([0.5, 0.8, 0.95, 1.0]), centred=booleans(), biased=booleans())
def test_the_scan_finds_what_single_projections_say(seed, share, centred, biased):
    labels = torch.arange(40) % 4
    means = 3 * gaussian(seed, 4, 6)
    features = (
        means[labels] + gaussian(seed + 1, 40, 6) * torch.tensor([1.0, 2, 0.5, 3, 1, 0.2]) + gaussian(seed + 3, 6)
    )
    bias = gaussian(seed + 2, 4) if biased else None
    found = accuracies(features, labels, means, bias, centred=centred)
    expected = next(k for k, accuracy in enumerate(found) if accuracy >= share * found[-1] - 1e-9)
    assert BOTH[centred](features, labels, means, bias, share=share).item() == expected


def test_the_scan_goes_upward_where_accuracy_is_not_monotone():
    features, classifier, labels = gaussian(44, 12, 4), gaussian(45, 3, 4), torch.arange(12) % 3
    found = accuracies(features, labels, classifier)
    enough = [accuracy >= 0.95 * found[-1] for accuracy in found]
    assert enough == [False, True, False, False, True], "a bisection would end at 4"
    assert classification_dimension(features, labels, classifier).item() == 1


def test_fewer_samples_than_axes_and_a_mean_that_no_axis_holds():
    # The features vary along e0 alone; what decides is their mean along e2, which no principal axis has.
    features = torch.tensor([[1.0, 0, 5], [-1.0, 0, 5]]).double()
    labels, classifier = torch.tensor([1, 1]), torch.tensor([[0.0, 0, -1], [0, 0, 1]]).double()
    assert classification_dimension(features, labels, classifier).item() == 2
    assert centred_classification_dimension(features, labels, classifier).item() == 0
    one = features[:1]
    assert classification_dimension(one, labels[:1], classifier).item() == 1
    assert centred_classification_dimension(one, labels[:1], classifier).item() == 0


def test_nothing_to_keep():
    features, labels, classifier = toy()
    assert classification_dimension(features[:0], labels[:0], classifier).isnan()
    assert centred_classification_dimension(features[:0], labels[:0], classifier).isnan()
    wrong = torch.full_like(labels, 2)
    assert classification_dimension(features[labels == 0], wrong[labels == 0], classifier).item() == 0
    assert classification_dimension(torch.zeros(4, 4), torch.zeros(4).long(), classifier.float()).item() == 0


def test_rotation_scale_precision_and_shift():
    features, labels, classifier = toy()
    turn, shift = rotation(4, 4), torch.tensor([50.0, -20, 30, 0]).double()
    for dimension in BOTH.values():
        assert dimension(features @ turn, labels, classifier @ turn).item() == 2
        assert dimension(1e150 * features, labels, 1e-3 * classifier, torch.zeros(3).double()).item() == 2
        assert dimension(features.float(), labels, classifier.float()).item() == 2
    assert centred_classification_dimension(features + shift, labels, classifier, -classifier @ shift).item() == 2
    assert classification_dimension(features + shift, labels, classifier, -classifier @ shift).item() > 2


F, Y, W = toy()
ERRORS = {
    "share": (
        lambda: classification_dimension(F, Y, W, share=0.0),
        errors.OptionError,
        "share is a part of the accuracy, above 0 and at most 1; got 0.0.",
    ),
    "shapes": (
        lambda: classification_dimension(F, Y, W[:, :2]),
        errors.ShapeError,
        "features have shape (12, 4), labels (12,), the classifier (3, 2) and the bias (3,); expected (samples, dim), "
        "(samples,), (classes, dim) and (classes,).",
    ),
    "labels": (
        lambda: centred_classification_dimension(F, Y + 1, W),
        errors.LabelError,
        "labels run from 1 to 3; expected 0 to 2, one for each row of the classifier.",
    ),
    "NaN": (
        lambda: classification_dimension(F * torch.nan, Y, W),
        errors.NonFiniteError,
        "features holds 48 NaN or infinite entries; leave out what they belong to.",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error) as found:
        call()
    assert str(found.value) == message
