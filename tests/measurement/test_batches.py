"""What a batch may look like, and what is said of one that may not."""

import math

import numpy
import pytest
import torch
from torch import nn
from toy import CLASSES, assert_same_numbers, blobs, cut, mlp, raises

from deepcollapse import measure
from deepcollapse.errors import BatchError, CaptureError, LabelError, NonFiniteError, OptionError
from deepcollapse.geometry import METRICS
from deepcollapse.measurement.batches import network_place, read_batch, to_place


class Two(nn.Module):
    """A network of two inputs, by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, left, right=None):
        return self.body(torch.cat([left, right], dim=1))


def test_pairs_mappings_several_inputs_and_the_user_s_own_kind_are_read_alike():
    net, (x, y) = Two(), blobs()
    left, right = x[:, :2], x[:, 2:]
    expected = measure(net, [((left, right), y)], layers="body.1")
    for batch in (
        ([left, right], y),
        {"left": left, "right": right, "labels": y},
        {"left": left, "right": right, "y": y},
    ):
        assert_same_numbers(measure(net, [batch], layers="body.1"), expected)
    own = measure(net, [(y, x)], layers="body.1", read_batch=lambda b: ((b[1][:, :2],), {"right": b[1][:, 2:]}, b[0]))
    assert_same_numbers(own, expected)
    assert_same_numbers(measure(net.body, [{"image": x, "label": y}], layers="1", measures=["cdnv"]),
                        measure(net.body, [(x, y)], layers="1", measures=["cdnv"]))  # fmt: skip


@pytest.mark.parametrize("make", [list, numpy.asarray, lambda y: y.to(torch.uint8), lambda y: y[:, None]])
def test_labels_may_be_lists_arrays_bytes_or_columns(make):
    net, (x, y) = mlp(), blobs()
    assert_same_numbers(measure(net, [(x, make(y))]), measure(net, [(x, y)]))


def test_batches_of_another_kind():
    x, y = blobs()
    message = (
        "a batch came as tuple of 3; expected (inputs, labels) or a mapping with labels. Pass read_batch=lambda batch: "
        "(args, kwargs, labels) for any other kind."
    )
    with raises(BatchError, message):
        measure(mlp(), [(x, y, y)])
    with raises(BatchError, message.replace("tuple of 3", "Tensor of shape (60, 4)")):
        measure(mlp(), [x])
    message = (
        "a batch came as a mapping with the keys 'x', 'klass'; the labels must be under one of labels, label, y, "
        "target, targets. Pass read_batch=lambda batch: (args, kwargs, labels) for other names."
    )
    with raises(BatchError, message):
        measure(mlp(), [{"x": x, "klass": y}])
    with raises(BatchError, "read_batch gave tuple of 2; expected a tuple (args, kwargs, labels)."):
        measure(mlp(), [(x, y)], read_batch=lambda batch: batch)


@pytest.mark.parametrize("baselines", [(), ("shuffled labels",)])
def test_an_empty_loader(baselines):
    message = "the batches held nothing, so there is nothing to measure. Is the data loader empty?"
    with raises(BatchError, message):
        measure(mlp(), [], baselines=baselines)


def test_an_empty_batch_is_no_matter():
    x, y = blobs()
    assert_same_numbers(measure(mlp(), cut(x, y, 0, 30, 0)), measure(mlp(), cut(x, y, 30)))


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        (["cat", "dog"], BatchError, "the labels of a batch came as list of 2, which is no tensor of whole numbers. "
         "Turn class names into class indices, or pass read_batch=lambda batch: (args, kwargs, labels)."),
        (None, BatchError, "the labels of a batch came as NoneType, which is no tensor of whole numbers. Turn class "
         "names into class indices, or pass read_batch=lambda batch: (args, kwargs, labels)."),
        (3, BatchError, "labels came as a single number (3); expected one for each sample, (n,)."),
        ([0, 3], LabelError, "1 of 2 labels lie outside 0..2, the first is 3. Check num_classes=3, or mark samples "
         "without a label with ignore_index=-100."),
        ([0, -1], LabelError, "1 of 2 labels lie outside 0..2, the first is -1. Check num_classes=3, or mark samples "
         "without a label with ignore_index=-100."),
        ([0.0, 1.0], LabelError, "labels are torch.float32; expected whole numbers from 0 to 2. Convert them with "
         ".long()."),
        ([[0.5, 0.5], [0.0, 1.0]], LabelError, "labels are torch.float32 of shape (2, 2); expected whole numbers, or "
         "soft labels of shape (samples, 3)."),
        ([0, 1, 2], CaptureError, "layer '1' gave features of shape (2, 8) for 3 labels; the first axis must be the "
         "samples. Set batch_first=True in sequence models, or choose another layer."),
    ],
)  # fmt: skip
def test_labels_that_cannot_be(labels, kind, message):
    with raises(kind, message):
        measure(mlp(), [(torch.randn(2, 4), labels)])


def test_soft_labels_count_by_their_largest_share_with_one_warning():
    net, (x, y) = mlp(), blobs()
    soft = nn.functional.one_hot(y, CLASSES) * 0.9 + 0.1 / CLASSES
    with pytest.warns(UserWarning, match="^soft labels were read as hard ones: the class with the largest") as caught:
        measured = measure(net, cut(x, soft, 20), baselines=["shuffled labels"], memory_budget=0)
    assert len(caught) == 1
    assert measured.notes[0] == "soft labels were read as hard ones: the class with the largest share counts"
    assert_same_numbers(measured, measure(net, cut(x, y, 20), baselines=["shuffled labels"]))


def test_the_ignore_index_is_left_out_and_counted():
    net, (x, y) = mlp(), blobs()
    kept = torch.arange(60) >= 15
    expected = measure(net, [(x[kept], y[kept])])
    for index in (-100, -1, 255):
        measured = measure(net, [(x, torch.where(kept, y, index))], ignore_index=index)
        assert_same_numbers(measured, expected, rel=1e-6)  # float32 forward passes of another batch size
        assert measured.notes == ("15 samples without a label (ignore_index) are left out",)
        assert measured.moments["1"].ignored == 15


# --- numbers that are none -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_feature_that_is_no_number_is_refused_with_layer_batch_and_count(bad):
    x, y = blobs()
    x[35:37] = bad
    message = (
        "layer '0', batch 2: 2 of 20 samples have NaN or infinite features. Look for a diverged network or "
        "half-precision overflow, or leave such samples out with on_nonfinite='skip' (they are counted)."
    )
    with raises(NonFiniteError, message):
        measure(mlp(), cut(x, y, 10, 20 - 3, 20), layers="0")


@pytest.mark.parametrize("budget", ["1GiB", 0])
def test_samples_that_are_no_numbers_are_skipped_in_every_layer_and_counted(budget):
    class Overflowing(nn.Module):
        """A layer that fails for some samples, and one after it that hides that."""

        def forward(self, x):
            return torch.where(x[:, :1].abs() > 3, torch.inf, x)

    body = mlp()
    net = nn.Sequential(Overflowing(), nn.Hardtanh(), *body)
    x, y = blobs()
    good = x[:, 0].abs() <= 3
    bad = int((~good).sum())
    assert 0 < bad < 30
    how = {"layers": ["0", "1"], "memory_budget": budget}
    measured = measure(net, cut(x, y, 25), on_nonfinite="skip", **how)
    expected = measure(net, [(x[good], y[good])], **how)
    assert_same_numbers(measured, expected, rel=1e-6)
    assert measured.moments["1"].skipped == bad
    assert f"{bad} samples with NaN or infinite features are left out" in measured.notes
    record = next(r for r in measured.records if r.measure == "equinorm_means")
    assert record.note == f"{bad} samples with NaN or infinity left out"


def test_a_layer_of_nothing_but_nan_leaves_nothing_and_every_number_says_why():
    x, y = blobs()
    measured = measure(mlp(), [(x * math.nan, y)], on_nonfinite="skip", baselines=["shuffled labels"])
    at_layer = [r for r in measured.records if (r.layer, r.baseline) == ("1", None)]
    sizes = {r.measure: r.value for r in at_layer if r.measure not in METRICS and not math.isnan(r.value)}
    assert sizes.items() >= {"present_classes": 0, "smallest_class": 0, "largest_class": 0, "dimension": 8}.items()
    undefined = [r for r in at_layer if r.measure not in sizes]
    assert len(undefined) > 20
    assert all(math.isnan(r.value) for r in undefined)
    record = next(r for r in measured.records if r.measure == "within_class_variability")
    assert record.note == (
        "0 of 3 classes have samples; the geometry of classes needs at least two. Check the labels, or measure more "
        "data."
    )


def test_an_unknown_answer_to_non_finite_features():
    with raises(OptionError, "on_nonfinite must be 'raise' or 'skip'; got 'ignore'."):
        measure(mlp(), [blobs()], on_nonfinite="ignore")


# --- moving --------------------------------------------------------------------------------------------------------


def test_inputs_follow_the_network_s_first_parameter():
    mixed = nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.LayerNorm(2))
    assert network_place(mixed) == (torch.device("cpu"), torch.bfloat16)
    assert network_place(nn.ReLU()) == (torch.device("cpu"), None)
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 2)])
    value = {"a": torch.ones(2), "b": [torch.arange(2), ("c", None)], "p": packed}
    moved = to_place(value, torch.device("cpu"), torch.float64)
    assert (moved["a"].dtype, moved["b"][0].dtype, moved["b"][1]) == (torch.float64, torch.int64, ("c", None))
    assert isinstance(moved["p"], nn.utils.rnn.PackedSequence)


def test_a_lone_input_goes_by_position_unless_hugging_face_names_it():
    assert read_batch({"anything": 1, "target": 2}).args == (1,)
    assert read_batch({"pixel_values": 1, "labels": 2}).kwargs == {"pixel_values": 1}
