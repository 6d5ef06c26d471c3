"""The metric against moments of all data at once: splits, merges, conversions, and several processes."""

import copy
import pickle
import re

import pytest
import torch
from libraries import one_thread  # noqa: F401 - before the libraries

pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")

from torchmetrics import MetricCollection

from deepcollapse import collect, errors, measure_features
from deepcollapse.integrations import NeuralCollapse


def blobs(samples: int = 101, classes: int = 3, dim: int = 5):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(samples) % classes
    centres = 1e4 + torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    return centres[labels] + 1e-3 * torch.randn(samples, dim, generator=generator, dtype=torch.float64), labels


H, Y = blobs()


def fed(*cuts: slice, **options) -> NeuralCollapse:
    metric = NeuralCollapse(3, 5, scatter="per_class", **options)
    for cut in cuts:
        metric.update(H[cut], Y[cut])
    return metric


def assert_whole(metric: NeuralCollapse) -> None:
    """The numbers are those of all the data at once."""
    expected, found = measure_features(H, Y, num_classes=3), metric.compute()
    for name in ("within_class_variability", "cdnv", "equinorm_means", "participation_ratio_features", "trace_ratio"):
        assert found[name].dtype == torch.float64
        assert found[name].item() == pytest.approx(expected[name], rel=1e-7), name
    moments = collect(H, Y, 3)
    torch.testing.assert_close(metric.moments.mean, moments.mean, rtol=1e-14, atol=0)
    torch.testing.assert_close(metric.moments.scatter, moments.scatter, rtol=1e-6, atol=1e-12)
    assert torch.equal(metric.moments.count, moments.count)


def test_any_split_and_merge_gives_the_whole():
    assert_whole(fed(slice(None)))
    metric = fed(slice(0, 10), slice(10, 11), slice(11, None))
    assert_whole(metric)
    metric.reset()
    assert metric.moments.num_samples == 0
    first, second, empty = fed(slice(0, 30), slice(30, 70)), fed(slice(70, None)), fed()
    before = first.compute()["trace_ratio"]
    first.merge_state(second)
    assert first.compute()["trace_ratio"] != before, "the value computed before the merge was given again"
    first.merge_state(empty)
    assert_whole(first)
    empty.merge_state(first)
    assert_whole(pickle.loads(pickle.dumps(copy.deepcopy(empty))))


def test_forward_gives_the_batch_and_keeps_the_whole():
    metric = fed(slice(0, 60))
    batch = metric(H[60:], Y[60:])
    assert batch["cdnv"].item() == pytest.approx(fed(slice(60, None)).compute()["cdnv"].item())
    assert_whole(metric)


@pytest.mark.parametrize(
    "convert", [lambda m: m.half(), lambda m: m.to(torch.float16), lambda m: m.float(), lambda m: m.bfloat16()]
)
def test_no_conversion_rounds_the_state(convert):
    holder = torch.nn.Module()
    holder.metric = fed(slice(0, 50))
    computed = holder.metric.compute()["cdnv"]
    convert(holder)
    assert holder.metric.compute()["cdnv"] == computed
    convert(holder.metric)
    holder.metric.update(H[50:], Y[50:])
    assert holder.metric.packed.dtype == torch.float64
    assert_whole(holder.metric)


def test_state_moves_with_the_module():
    metric = fed(slice(None)).to("meta")
    assert (metric.packed.device.type, metric.device.type) == ("meta", "meta")


def test_what_came_is_remembered():
    metric = NeuralCollapse(2, 1, on_nonfinite="skip", measures=["cdnv", "equi*y"], sync_on_compute=False)
    metric.update(torch.tensor([[1.0], [torch.nan], [2.0], [3.0]]).half(), torch.tensor([0, 0, 1, -100]))
    metric.update(torch.tensor([[4.0]]), torch.tensor([1]))
    moments = metric.moments
    assert (moments.dtype, moments.ignored, moments.skipped) == (torch.float16, 1, 1)
    assert list(MetricCollection({"nc": metric}).compute()) == ["cdnv", "equiangularity_means"]
    reasons = {record.measure: str(record.note) for record in NeuralCollapse(2, 1, measures=["cdnv"]).records()}
    assert reasons["cdnv"].startswith("0 of 2 classes have samples")


def test_processes_with_unequal_updates_are_gathered_once():
    """The real path over processes, told that there are two, with a gathering that has both at hand."""
    parts = [fed(*[slice(i, i + 1) for i in range(60)]), fed(slice(60, 101)), fed()]
    shared = {"dist_sync_fn": lambda state, group: [p.packed for p in parts], "distributed_available_fn": lambda: True}
    metric = fed(**shared)
    for own in parts:
        metric.reset()
        metric.merge_state(own)
        value = metric.compute()["cdnv"].item()
        assert value == pytest.approx(measure_features(H, Y, num_classes=3)["cdnv"], rel=1e-9)
        assert metric.moments.num_samples == own.moments.num_samples, "its own share comes back after the sum"


ERRORS = {
    "another dimension": (
        lambda: fed().update(H[:, :4], Y),
        errors.ShapeError,
        "features have dimension 4; this metric was made for dim=5.",
    ),
    "class-weighted": (
        lambda: NeuralCollapse(3, 5, scatter="class_weighted"),
        errors.OptionError,
        "dim must be at least 1 and scatter not 'class_weighted'; got 5 and 'class_weighted'.",
    ),
    "beyond moments": (
        lambda: NeuralCollapse(3, 5, measures=["self_duality"]),
        errors.OptionError,
        "self_duality needs more than class moments; measure it with deepcollapse.measure.",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
