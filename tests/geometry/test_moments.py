"""Class moments: worked examples, merging, far offsets, every precision, and every bad input."""

import functools
import itertools
import re

import pytest
import torch
from examples import D1, D1_LABELS, D2, D2_LABELS, assert_digits, gaussian
from hypothesis import given, settings
from hypothesis.strategies import integers, lists, sampled_from

from deepcollapse import errors
from deepcollapse.geometry import ClassMoments, RunningMoments, collect, sum_over_processes
from deepcollapse.linalg import memory_of
from unchecked import shapes_unchecked

LEVELS = ["none", "pooled", "per_class"]


def blobs(seed: int, offset: float = 0.0, samples: int = 60, dim: int = 4, classes: int = 3):
    labels = torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(seed))
    return gaussian(seed, samples, dim) + 3 * gaussian(seed + 1, classes, dim)[labels] + offset, labels


def naive(features, labels, num_classes):
    """Count, mean and every class's scatter, each from its definition in turn."""
    h = features.double()
    count = torch.stack([(labels == c).sum() for c in range(num_classes)])
    mean = torch.stack([h[labels == c].mean(dim=0) if count[c] else 0 * h[0] for c in range(num_classes)])
    scatter = torch.stack([(h[labels == c] - mean[c]).T @ (h[labels == c] - mean[c]) for c in range(num_classes)])
    return count, mean, scatter


def assert_same(a: ClassMoments, b: ClassMoments, rtol=1e-10, atol=1e-10):
    assert a.count.tolist() == b.count.tolist()
    for name in ("mean", "trace", "scatter"):
        mine, theirs = getattr(a, name), getattr(b, name)
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert_digits(mine, theirs, rtol, atol)


def test_worked_example():
    moments = collect(D1, D1_LABELS, 3)
    assert_digits(moments.class_means(), [[4, 0, 1, 0], [0, 4, 0, 1], [-3, -3, 1, 1]])
    assert_digits(moments.global_mean(), [1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert_digits(moments.within_trace(), 8 / 3)
    assert_digits(moments.between_trace(), 152 / 9)
    assert_digits(moments.total_scatter().trace(), 176 / 9)


def test_imbalanced_worked_example_in_both_weightings():
    moments = collect(D2, D2_LABELS, 4)
    assert moments.num_present == 3
    assert_digits(moments.class_variances(), [2.5, 2, 0])
    assert_digits(moments.global_mean("class"), [2 / 3, 1, 7 / 3])
    assert_digits(moments.global_mean("sample"), [12 / 7, 10 / 7, 11 / 7])
    assert_digits(torch.stack([moments.within_trace("class"), moments.between_trace("class")]), [1.5, 124 / 9])
    assert_digits(moments.within_trace("sample"), 2)
    assert_digits(moments.between_trace("sample"), 8.69387755102041)


@pytest.mark.parametrize("weighting", ["class", "sample"])
def test_total_scatter_is_the_weighted_covariance(weighting):
    h, y = blobs(3)
    moments = collect(h, y, 3)
    pi = torch.full((3,), 1 / 3, dtype=torch.float64) if weighting == "class" else moments.count.double() / len(y)
    weights = (pi / moments.count)[y]
    centred = h - weights @ h
    assert_digits(moments.total_scatter(weighting), centred.T @ (weights[:, None] * centred), 1e-9, 1e-12)


@settings(max_examples=25, derandomize=True, deadline=None)
@given(seed=integers(0, 2**16), cuts=lists(integers(0, 60), max_size=4), level=sampled_from(LEVELS))
def test_any_split_and_any_order_gives_the_whole(seed, cuts, level):
    h, y = blobs(seed, offset=1e4)  # far from the origin, where sums of squares lose digits
    edges = [0, *sorted(cuts), 60]
    parts = [collect(h[a:b], y[a:b], 3, scatter=level) for a, b in itertools.pairwise(edges)]
    whole = collect(h, y, 3, scatter=level)
    assert_same(functools.reduce(ClassMoments.merge, parts), whole, 1e-9, 1e-9)
    assert_same(functools.reduce(ClassMoments.merge, reversed(parts)), whole, 1e-9, 1e-9)
    running = RunningMoments(3, scatter=level)
    for a, b in itertools.pairwise(edges):
        running.update(h[a:b], y[a:b])
    assert_same(running.compute(), whole, 1e-9, 1e-9)


def test_streamed_moments_are_those_of_the_definition():
    h, y = blobs(11, samples=500)
    running = RunningMoments(3, scatter="per_class")
    for rows in torch.arange(500).split(7):
        running.update(h[rows], y[rows])
    count, mean, scatter = naive(h, y, 3)
    moments = running.compute()
    assert moments.count.tolist() == count.tolist()
    assert_digits(moments.mean, mean, 1e-10, 1e-12)
    assert_digits(moments.scatter, scatter, 1e-10, 1e-10)
    assert_digits(moments.trace, scatter.diagonal(dim1=1, dim2=2).sum(dim=1), 1e-10)


def test_class_weighted_scatter_streams_and_merges_with_counts_known_beforehand():
    h, y = blobs(5, samples=50)
    counts = torch.bincount(y, minlength=3)
    parts = [collect(h[rows], y[rows], 3, class_counts=counts) for rows in torch.arange(50).split(13)]
    merged = functools.reduce(ClassMoments.merge, parts)
    assert merged.level == "class_weighted"
    assert_digits(merged.within_scatter("class"), collect(h, y, 3, scatter="per_class").within_scatter("class"), 1e-9)


def test_broken_promise_of_class_counts_is_told():
    h, _ = blobs(5, samples=6, classes=2)
    moments = collect(h, torch.tensor([0, 0, 0, 1, 1, 1]), 2, class_counts=torch.tensor([3, 4]))
    with pytest.raises(errors.MergeError) as caught:
        moments.within_scatter("class")
    assert str(caught.value) == (
        "class-weighted scatter was collected for other class counts than came: class 1 was to have 4 samples and has "
        "3 (1 classes differ). Pass the true class_counts, or collect with scatter='per_class'."
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_precision_is_measured_as_it_is(dtype):
    h, y = blobs(2, offset=5.0)
    h = h.to(dtype)
    moments = collect(h, y, 3)
    assert moments.dtype == dtype
    assert_same(moments, collect(h.double(), y, 3))


def test_float32_features_of_a_collapsed_class_keep_their_digits():
    # Means near 30, spread 1e-3: E[hh] - mu mu in float32 gives a negative variance here.
    h = (30 + 1e-3 * gaussian(0, 300, 64)).float()
    y = torch.zeros(300, dtype=torch.long)
    naive_float32 = (h.square().mean(dim=0) - h.mean(dim=0).square()).sum()
    exact = (h.double() - h.double().mean(dim=0)).square().sum() / 300
    assert abs(naive_float32 / exact - 1) > 1  # the trap is there
    assert_digits(collect(h, y, 1).class_variances(), exact[None], 1e-12)


def test_a_shift_by_1e4_changes_nothing_beyond_rounding():
    h, y = blobs(7)
    near, far = collect(h, y, 3), collect(h + 1e4, y, 3)
    assert_digits(far.scatter, near.scatter, 1e-7, 1e-7)
    assert_digits(far.centred_means(), near.centred_means(), 1e-7)


def test_absent_and_single_classes():
    moments = collect([[1.0, 2.0], [3.0, 2.0], [9.0, 9.0]], [0, 0, 3], num_classes=5)
    assert moments.present.tolist() == [True, False, False, True, False]
    assert moments.class_variances().tolist() == [1.0, 0.0]
    with pytest.raises(errors.TooFewClassesError) as caught:
        collect([[1.0]], [0], num_classes=3).class_weights()
    assert str(caught.value) == (
        "1 of 3 classes have samples; the geometry of classes needs at least two. "
        "Check the labels, or measure more data."
    )


def test_unlabelled_samples_are_left_out_and_counted():
    h, y = blobs(1)
    y[::3] = -100
    moments = collect(h, y, 3)
    assert moments.ignored == 20
    assert_same(moments, collect(h[y >= 0], y[y >= 0], 3))


def test_non_finite_features_raise_or_are_skipped_and_counted():
    h, y = blobs(1)
    h[3, 1], h[7, 0] = torch.nan, torch.inf
    with pytest.raises(errors.NonFiniteError) as caught:
        collect(h, y, 3)
    assert str(caught.value) == (
        "features, batch 0: 2 of 60 samples have NaN or infinite features. Look for a diverged network or "
        "half-precision overflow, or leave such samples out with on_nonfinite='skip' (they are counted)."
    )
    kept = torch.isfinite(h).all(dim=1)
    moments = collect(h, y, 3, on_nonfinite="skip")
    assert moments.skipped == 2
    assert_same(moments, collect(h[kept], y[kept], 3))


def test_float16_features_whose_sum_overflows_are_finite():
    h = torch.full((2, 4), 6e4, dtype=torch.float16)
    assert collect(h, [0, 1], 2).skipped == 0
    assert collect(torch.full((2, 4), 3e38), [0, 1], 2).mean[0, 0] > 2e38


def test_soft_labels_count_by_their_largest_entry_with_a_warning():
    with pytest.warns(
        UserWarning, match=r"^labels of shape \(2, 3\) were read as soft labels: the largest entry counts.$"
    ):
        moments = collect([[1.0], [2.0]], torch.tensor([[0.1, 0.8, 0.1], [1.0, 0.0, 0.0]]), 3)
    assert moments.count.tolist() == [1, 1, 0]


def test_uint8_labels_do_not_overflow():
    assert collect(torch.ones(3, 1), torch.tensor([200, 255, 200], dtype=torch.uint8), 256).count[200] == 2


@pytest.mark.parametrize(
    ("features", "labels", "error", "message"),
    [
        (
            torch.ones(2, 3), [0, 5], errors.LabelError,
            "1 of 2 labels lie outside 0..2, the first is 5. Check num_classes=3, or mark samples without a label with "
            "ignore_index=-100.",
        ),
        (
            torch.ones(2, 3), [0.0, 1.0], errors.LabelError,
            "labels are torch.float32; expected whole numbers from 0 to 2. Convert them with .long().",
        ),
        (
            torch.ones(2, 3), [[0], [1]], errors.LabelError,
            "labels have shape (2, 1); expected (samples,) with whole numbers from 0 to 2, or soft labels of shape "
            "(samples, 3).",
        ),
        (
            torch.ones(2, 3), [0, 1, 2], errors.ShapeError,
            "features have 2 rows and 3 labels came with them; they must match.",
        ),
        (
            torch.ones(2, 3, 4, 4), [0, 1], errors.ShapeError,
            "features have shape (2, 3, 4, 4) and type torch.float32; expected floating-point (samples, dim). Pool or "
            "flatten other axes first, for example features.mean(dim=(2, 3)).",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_answered(features, labels, error, message):
    with pytest.raises(error) as caught:
        collect(features, labels, 3)
    assert str(caught.value) == message


def test_dimension_must_stay():
    running = RunningMoments(2)
    running.update(torch.ones(1, 3), torch.tensor([0]))
    with pytest.raises(errors.ShapeError) as caught:
        running.update(torch.ones(1, 4), torch.tensor([0]))
    assert str(caught.value) == (
        "features had dimension 3 before and 4 in batch 1; moments need one dimension throughout."
    )


def test_no_batch_is_told():
    with pytest.raises(errors.LabelError) as caught:
        RunningMoments(2).compute()
    assert str(caught.value) == "features: no batch has come, so there are no moments. Is the data loader empty?"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1; got 0."),
        (
            {"scatter": "full"},
            "scatter must be one of 'none', 'pooled', 'class_weighted', 'per_class'; got 'full'.",
        ),
        ({"on_nonfinite": "drop"}, "on_nonfinite must be 'raise' or 'skip'; got 'drop'."),
        (
            {"scatter": "class_weighted"},
            "scatter='class_weighted' came without class_counts; class-weighted scatter needs the counts of the whole "
            "data set beforehand, no other level takes them.",
        ),
    ],
)
def test_bad_options_are_answered(options, message):
    with shapes_unchecked(), pytest.raises(errors.OptionError) as caught:
        RunningMoments(**({"num_classes": 2} | options))
    assert str(caught.value) == message


def test_memory_is_asked_before_it_is_taken():
    have = memory_of(torch.device("cpu")) / 1e9
    with pytest.raises(errors.MemoryBudgetError) as caught:
        collect(torch.ones(2, 1_000_000), [0, 1], 2, scatter="pooled")
    assert str(caught.value) == (
        "features: moments of 2 classes in dimension 1000000 with scatter='pooled' take 8000.0 GB, and cpu has "
        f"{have:.1f} GB in all. Keep a cheaper level of scatter, or pool the features."
    )


def test_too_little_scatter_says_which_level_would_do():
    h, y = blobs(4, samples=31)
    with pytest.raises(errors.ScatterLevelError) as caught:
        collect(h, y, 3, scatter="pooled").within_scatter("class")
    assert str(caught.value) == (
        "the class-weighted within-class scatter needs more than these moments hold (scatter='pooled', classes "
        "imbalanced). Collect with scatter='per_class', or 'class_weighted' with class_counts; for NC1 alone a second "
        "look in the span of the class means is enough: look_again(moments, batches)."
    )
    balanced = collect(torch.cat([h, h]), torch.arange(62) % 2, 2, scatter="pooled")
    assert_digits(balanced.within_scatter("class"), balanced.within_scatter("sample"))


def test_moments_that_differ_in_kind_do_not_merge():
    with pytest.raises(errors.MergeError) as caught:
        collect(torch.ones(2, 3), [0, 1], 2).merge(collect(torch.ones(2, 4), [0, 1], 2, scatter="none"))
    assert str(caught.value) == (
        "cannot merge moments of 2 classes, dimension 3, scatter='per_class' with moments of 2 classes, dimension 4, "
        "scatter='none'; collect both alike."
    )


@pytest.mark.parametrize("level", LEVELS)
def test_files_hold_the_moments_to_the_bit(tmp_path, level):
    h, y = blobs(9)
    moments = collect(h.float(), y, 3, scatter=level)
    moments.save(tmp_path / "moments.safetensors")
    loaded = ClassMoments.load(tmp_path / "moments.safetensors")
    assert_same(loaded, moments, rtol=0, atol=0)
    assert (loaded.level, loaded.dtype) == (level, torch.float32)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "not.safetensors"
    path.write_bytes(b"not a header")
    with pytest.raises(errors.DataFileError, match=re.escape(f"{path} cannot be read as class moments: ")):
        ClassMoments.load(path)
    from safetensors.torch import save_file

    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(errors.DataFileError) as caught:
        ClassMoments.load(path)
    assert str(caught.value) == (
        f"{path} holds no class moments of version 1; its header says nothing. Write one with ClassMoments.save."
    )


def test_a_spectrum_leaves_out_what_is_rounding():
    h, y = blobs(9, samples=40, dim=6)
    h[:, 3:] = h[:, :3] @ gaussian(1, 3, 3)  # three true directions
    spectrum = collect(h, y, 3).feature_spectrum(centred=True)
    exact = torch.linalg.svdvals(h - h.mean(dim=0))
    assert_digits(spectrum[:3], exact[:3], 1e-9)
    assert spectrum[3:].tolist() == [0, 0, 0]


def _process(rank: int, path: str, level: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{path}/store", rank=rank, world_size=2)
    h, y = blobs(21, offset=1e4)
    share = slice(0, 17) if rank == 0 else slice(17, 60)
    moments = sum_over_processes(collect(h[share], y[share], 3, scatter=level))
    moments.save(f"{path}/{level}-{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.parametrize("level", ["per_class"])
def test_processes_add_up_to_the_whole(tmp_path, level):
    torch.multiprocessing.spawn(_process, (str(tmp_path), level), nprocs=2)
    h, y = blobs(21, offset=1e4)
    whole = collect(h, y, 3, scatter=level)
    for rank in range(2):
        assert_same(ClassMoments.load(tmp_path / f"{level}-{rank}.safetensors"), whole, 1e-8, 1e-7)
