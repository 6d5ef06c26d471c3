import math
from functools import partial

import pytest
import torch

from deepcollapse import measure_features
from deepcollapse.errors import OptionError, SolveError, TooFewClassesError
from deepcollapse.records import Record, Run
from deepcollapse.records.record import UNCONSTRAINED
from deepcollapse.theory.predictions.alike import alike
from deepcollapse.theory.predictions.forecast import forecast
from deepcollapse.theory.predictions.of_run import budgets_of, counts_of
from deepcollapse.theory.problems.imbalanced import UnconstrainedImbalanced
from deepcollapse.theory.problems.layer_peeled import LayerPeeled

STEP = [500] * 5 + [50] * 5


def peeled(counts, weight_budget=1.0, feature_budget=5.0):
    told = forecast(counts, weight_budget=weight_budget, feature_budget=feature_budget).layer_peeled
    assert told is not None
    return told


def test_two_groups_have_the_exact_thresholds():
    told = peeled(STEP)
    assert (told.phase, told.collapsed, told.ratio, told.oversampling, told.restoring) == ("full", (), 10.0, 1.0, 10.0)
    assert told.threshold_ratio == pytest.approx(12.192447, rel=1e-6)
    assert told.threshold_budget == pytest.approx(2.1339287843, rel=1e-9)
    assert told.budget == 5**0.5
    assert told.cosine == pytest.approx(0.5174962815, abs=1e-9)
    assert told.balanced_cosine == -1 / 9


def test_past_the_threshold_the_small_classes_are_named_wherever_they_stand():
    told = peeled([5, 5000] * 5)
    assert (told.phase, told.collapsed) == ("collapse", (0, 2, 4, 6, 8))
    assert told.cosine == 1
    # repeated so often, or a little more, 1000 times as many samples are just enough: 82 times are not, 83 are
    assert 82 < told.oversampling < 83
    assert peeled([83 * 5, 5000] * 5).phase == "full"
    assert peeled([82 * 5, 5000] * 5).phase == "collapse"


@pytest.mark.parametrize(
    "counts", [[500, 500, 40, 40, 2, 2], [900] * 3 + [100, 30, 4, 4], [1000, 1000, 10, 10, 5, 5], [600] * 9 + [3]]
)
def test_for_more_groups_the_floor_just_parts_the_classes(counts):
    told = peeled(counts, feature_budget=2.0)
    assert told.phase in ("collapse", "erased")
    assert math.isnan(told.threshold_ratio)
    assert set(told.collapsed) >= {len(counts) - 1}
    for factor, full in ((1.0, True), (0.999, False)):
        raised = peeled([max(count, factor * told.floor) for count in counts], feature_budget=2.0)
        assert (raised.rank == len(counts) - 1) is full


def test_raising_the_smallest_classes_alone_is_not_advised_where_it_is_not_enough():
    counts = [1000, 1000, 10, 10, 5, 5]
    told = forecast(counts, weight_budget=1.0, feature_budget=1.0)
    assert told.layer_peeled is not None
    assert told.layer_peeled.floor == pytest.approx(193.87, rel=1e-3)
    assert math.isnan(told.layer_peeled.oversampling)
    assert peeled([1000, 1000, 10, 10, 194, 194], feature_budget=1.0).phase == "collapse"
    assert peeled([1000, 1000, 194, 194, 194, 194], feature_budget=1.0).phase == "full"
    assert told.facts()["factors"] == pytest.approx([1, 1, 19.387, 19.387, 38.774, 38.774], rel=1e-3)
    assert told.sentences()[2] == (
        "Show every class with fewer than 194 samples as often as if it had 194, the smallest 38.8 times as often as "
        "now: that is enough for every class to keep a direction of its own."
    )


def test_what_is_printed_suffices():
    # At exactly its threshold a class ratio collapses; the printed figure is a little beyond, and is enough.
    counts = [500, 500, 50, 50]
    told = peeled(counts, feature_budget=1.0)
    assert told.floor == told.oversampling * 50
    below = told.floor * (1 - 1e-9)
    assert peeled([500, 500, below, below], feature_budget=1.0).phase == "collapse"
    [sentence] = [s for s in forecast(counts, weight_budget=1.0, feature_budget=1.0).sentences() if "enough" in s]
    assert "fewer than 148 samples as often as if it had 148, the smallest 2.961 times" in sentence
    assert peeled([500, 500, 148, 148], feature_budget=1.0).rank == 3
    assert peeled([500, 500, 50 * 2.961, 50 * 2.961], feature_budget=1.0).rank == 3


def test_advice_does_not_jump_where_two_counts_become_different():
    told = forecast([500, 500, 50, 49], weight_budget=1.0, feature_budget=1.0)
    assert told.layer_peeled is not None
    assert (told.layer_peeled.phase, told.layer_peeled.collapsed, told.layer_peeled.rank) == ("full", (), 2)
    assert told.layer_peeled.floor == pytest.approx(peeled([500, 500, 50, 50], feature_budget=1.0).floor, rel=1e-3)
    assert told.sentences()[:3] == [
        "The layer-peeled model, at this budget of classifier and features, expects no two classes to coincide, but "
        "their classifiers to span 2 dimensions in place of 3.",
        "The closest two classifiers point in the same direction, with different lengths; with balanced classes their "
        "cosine would be -0.3333.",
        "Show every class with fewer than 148 samples as often as if it had 148, the smallest 3.021 times as often as "
        "now: that is enough for every class to keep a direction of its own.",
    ]


def test_balanced_classes_have_nothing_to_fear():
    told = peeled([70] * 4)
    assert (told.phase, told.oversampling, told.restoring) == ("full", 1.0, 1.0)
    assert told.cosine == pytest.approx(-1 / 3, abs=1e-12)


def test_repeating_up_to_the_largest_class_restores_the_angles():
    told = peeled([500, 500, 50, 50, 5, 5])
    assert told.restoring == 100
    assert told.cosine > 0.9
    assert peeled([500] * 6).cosine == pytest.approx(told.balanced_cosine, abs=1e-12)


def test_the_rule_of_unconstrained_features_is_told_beside():
    # N = 2750: N^2 lW lH = 50 at a product of decays of 50/2750^2
    product = 50 / 2750**2
    for factor, collapsed in ((0.99, ()), (1.01, (5, 6, 7, 8, 9))):
        told = forecast(STEP, weight_decay=5e-4, feature_decay=factor * product / 5e-4)
        assert told.layer_peeled is None
        assert told.unconstrained is not None
        assert told.unconstrained.threshold_count == pytest.approx(50 * factor)
        assert told.unconstrained.collapsed == collapsed
        assert told.facts()["ufm_collapsed"] == list(collapsed)


def test_a_class_alone_with_its_count_has_none_to_coincide_with():
    told = forecast([500, 500, 5], weight_decay=1.0, feature_decay=1.0)
    assert told.unconstrained is not None
    assert told.unconstrained.collapsed == (0, 1)


def test_words_name_the_model_and_what_helps():
    told = forecast([5, 5000] * 5, weight_budget=1.0, feature_budget=5.0, weight_decay=5e-4, feature_decay=1e-5)
    assert told.sentences() == [
        "The layer-peeled model, at this budget of classifier and features, expects minority collapse: the classifiers "
        "of 5 classes coincide with others of their count, and all together span 5 dimensions in place of 9.",
        "Its threshold is a class ratio of 12.19; yours is 1000, 82 times beyond it. At your ratio the budget "
        "sqrt(E_W E_H) must exceed 4.352; it is 2.236.",
        "The closest two classifiers have a cosine of 1; with balanced classes it would be -0.1111.",
        "Show every class with fewer than 410.1 samples as often as if it had 410.1, the smallest 82.03 times as often "
        "as now: that is enough for every class to keep a direction of its own.",
        "Seeing every class as often as the largest, the smallest 1000 times as often as now, restores the angles of "
        "balanced classes.",
        "The unconstrained-features model, at these decays: classes of equal count coincide from 3.131 samples "
        "downwards; your smallest class has 5.",
    ]


def test_words_for_a_threshold_that_is_far_away_and_for_classes_that_vanish():
    assert forecast(STEP, weight_budget=100.0, feature_budget=1000.0).sentences()[1] == (
        "Its threshold is a class ratio of 6.309e+290; yours is 10, 6.31e+289 times below it. At your ratio the budget "
        "sqrt(E_W E_H) must exceed 2.134; it is 316.2."
    )
    assert forecast([600] * 9 + [3], weight_budget=1.0, feature_budget=5.0).sentences()[0] == (
        "The layer-peeled model, at this budget of classifier and features, expects small classes to vanish: of 1 "
        "class classifiers are zero, or coincide."
    )


def test_many_different_counts_are_taken_together_and_that_is_said():
    told = forecast([1000 - 9 * i for i in range(100)], weight_budget=1.0, feature_budget=50.0)
    assert told.note == "class counts taken as 39 different ones, each within 3% of its own"
    assert told.sentences()[-1] == f"Note: {told.note}."


def test_a_dozen_and_more_different_counts_are_all_taken_as_they_are():
    counts = [round(500 * 100 ** (-i / 13)) for i in range(14)]
    told = forecast(counts, weight_budget=1.0, feature_budget=1.0)
    assert told.layer_peeled is not None
    found = told.layer_peeled
    assert (found.phase, found.collapsed, found.rank, told.note) == ("full", (), 5, "")
    assert found.cosine == pytest.approx(0.99999996, abs=1e-8)
    assert (found.ratio, found.restoring) == (100, 100)
    assert peeled([max(count, found.floor) for count in counts], feature_budget=1.0).rank == 13
    assert told.sentences()[1] == (
        "The closest two classifiers point in nearly the same direction, with a cosine of 1 less 4e-08; with balanced "
        "classes their cosine would be -0.07692."
    )


def test_merged_counts_make_no_classes_coincide(monkeypatch):
    # Of 20 different counts taken as 8 a pair is equal, among the small: that pair alone may be said to coincide.
    monkeypatch.setattr("deepcollapse.theory.predictions.forecast.alike", partial(alike, most=8))
    counts = [round(50_000 * 1000 ** (-i / 19)) for i in range(19)] + [50, 50]
    told = forecast(counts, weight_budget=1.0, feature_budget=1.0)
    assert told.merged
    assert told.layer_peeled is not None
    assert (told.layer_peeled.phase, told.layer_peeled.collapsed) == ("collapse", (19, 20))
    apart = forecast(counts[:-1], weight_budget=1.0, feature_budget=1.0)
    assert apart.layer_peeled is not None
    assert (apart.layer_peeled.phase, apart.layer_peeled.collapsed) == ("full", ())
    assert apart.layer_peeled.rank < 19
    assert apart.layer_peeled.ratio == apart.layer_peeled.restoring == 1000
    assert apart.sentences()[1].startswith("The closest two classifiers point in nearly the same direction; with")


def unconstrained(counts, weight_decay, feature_decay):
    told = forecast(counts, weight_decay=weight_decay, feature_decay=feature_decay)
    assert told.unconstrained is not None
    return told.unconstrained, told.sentences()


def test_unconstrained_features_say_where_all_zero_is_optimal():
    told, said = unconstrained([100, 60, 30], 0.1, 0.1)
    assert (told.trivial, told.phase, told.rank) == (True, "erased", 0)
    assert math.isnan(told.cosine)
    assert said == [
        "The unconstrained-features model, at these decays: all zero is optimal, for the decays outweigh all that "
        "logits could gain; no class keeps a direction. Weaken a decay."
    ]


def test_unconstrained_features_say_which_directions_are_lost():
    told, said = unconstrained([5000] * 3 + [52, 51, 50], 5e-3, 5.5e-5)
    assert (told.trivial, told.phase, told.collapsed, told.rank) == (False, "full", (), 3)
    assert told.cosine == pytest.approx(1, abs=1e-6)
    assert said == [
        "The unconstrained-features model, at these decays: classes of equal count coincide from 63.14 samples "
        "downwards; your smallest class has 50.",
        "Its classifiers span 3 dimensions in place of 5; the closest two point in the same direction, with different "
        "lengths.",
    ]
    facts = forecast([5000] * 3 + [52, 51, 50], weight_decay=5e-3, feature_decay=5.5e-5).facts()
    assert (facts["ufm_rank"], facts["ufm_phase"], facts["ufm_trivial"]) == (3, "full", False)


def failing(self):
    raise SolveError("the program of 3 groups was not solved.")


def test_a_model_that_was_not_solved_is_a_note_beside_one_that_was(monkeypatch):
    given = {"weight_budget": 1.0, "feature_budget": 5.0, "weight_decay": 5e-4, "feature_decay": 1e-5}
    with monkeypatch.context() as patched:
        patched.setattr(UnconstrainedImbalanced, "optimum", failing)
        told = forecast(STEP, **given)
        assert told.layer_peeled == peeled(STEP)
        assert told.unconstrained is None
        assert told.note == "nothing is known of the unconstrained-features model, for the program of 3 groups was " + (
            "not solved"
        )
        with pytest.raises(SolveError):
            forecast(STEP, weight_decay=5e-4, feature_decay=1e-5)
    monkeypatch.setattr(LayerPeeled, "optimum", failing)
    told = forecast(STEP, **given)
    assert told.layer_peeled is None
    assert told.unconstrained is not None
    assert told.note.startswith("nothing is known of the layer-peeled model, for ")


def test_a_floor_that_was_not_found_is_a_note(monkeypatch):
    solve, calls = LayerPeeled.optimum, []

    def once(self):
        calls.append(self)
        return solve(self) if len(calls) == 1 else failing(self)

    monkeypatch.setattr(LayerPeeled, "optimum", once)
    told = forecast([1000, 1000, 10, 10, 5, 5], weight_budget=1.0, feature_budget=1.0)
    assert told.layer_peeled is not None
    assert told.layer_peeled.phase == "collapse"
    assert math.isnan(told.layer_peeled.floor)
    assert told.note == (
        "nothing is known of the samples that part all classes, for the program of 3 groups was not solved"
    )
    assert not any("Show every class" in sentence for sentence in told.sentences())


@pytest.mark.parametrize(
    ("counts", "given", "message"),
    [
        ([5, 0], {"weight_budget": 1.0, "feature_budget": 1.0},
         "samples a class must be finite and above 0; got 0. Leave such classes out."),
        ([5, 5], {"weight_budget": 1.0},
         "weight_budget and feature_budget are given together or not at all; got 1.0 and None."),
        ([5, 5], {"feature_decay": 1.0},
         "weight_decay and feature_decay are given together or not at all; got None and 1.0."),
        ([5, 5], {}, "a forecast needs weight_budget and feature_budget, or weight_decay and feature_decay."),
        ([5, 5], {"weight_decay": 0.0, "feature_decay": 1.0}, "decays must be above 0; got 0 and 1."),
        ([], {"weight_budget": 1.0, "feature_budget": 1.0}, "a forecast needs samples a class; got none."),
    ],
)  # fmt: skip
def test_bad_input(counts, given, message):
    with pytest.raises(OptionError) as error:
        forecast(counts, **given)
    assert str(error.value) == message


def test_one_class_is_too_few():
    with pytest.raises(TooFewClassesError):
        forecast([5], weight_budget=1.0, feature_budget=1.0)


def test_budgets_are_read_from_a_run(tmp_path):
    run = Run.create(tmp_path / "run", recipe={}, class_names=["a", "b"], data_digest={}, device="cpu", seed=None)
    for epoch, scale in ((0, 1.0), (3, 2.0)):
        for split in ("train", "test"):
            place = {"epoch": epoch, "split": split}
            run.append([Record(layer="head", measure="weight_budget", value=scale, **place)])
            run.append([Record(layer="head.input", measure="feature_budget", value=scale + 10, **place)])
            run.append([Record(layer="blocks.0", measure="feature_budget", value=99.0, **place)])
        run.append([Record(layer="head", measure="weight_budget", value=77.0, baseline="untrained", epoch=epoch)])
    assert budgets_of(run) == budgets_of(tmp_path / "run") == {"weight_budget": 2.0, "feature_budget": 12.0}
    for name, value in (("weight_decay", 5e-4), ("feature_decay", 1e-5)):
        run.append([Record(layer="network", measure=name, value=value, baseline=UNCONSTRAINED, epoch=3)])
    assert budgets_of(run)["feature_decay"] == 1e-5
    told = forecast(STEP, **budgets_of(run))
    assert told.layer_peeled is not None
    assert told.unconstrained is not None


def test_a_run_without_budgets_says_so(tmp_path):
    run = Run.create(tmp_path / "run", recipe={}, class_names=["a"], data_digest={}, device="cpu", seed=None)
    run.append([Record(layer="head", measure="equinorm_classifier", value=1.0)])
    with pytest.raises(OptionError) as error:
        budgets_of(run)
    assert str(error.value) == f"{run.path} has no weight_budget in its records; measure it again, with its head."


def test_class_counts_are_read_from_a_run(tmp_path):
    run = Run.create(tmp_path / "run", recipe={}, class_names=["a"], data_digest={}, device="cpu", seed=None)
    run.append([Record(layer="head", measure="weight_budget", value=1.0)])
    with pytest.raises(OptionError) as error:
        counts_of(run)
    assert str(error.value) == (f"{run.path} has no class_counts in its records; measure it again, or give the counts.")
    features = torch.eye(3).double()[[0, 0, 0, 2, 2]]
    measured = measure_features(features, torch.tensor([0, 0, 0, 2, 2]), num_classes=3, classifier=torch.eye(3))
    measured.write(run, epoch=1)
    assert counts_of(run) == counts_of(run.path) == (3, 2)
    assert forecast(counts_of(run), **budgets_of(run)).counts == (3.0, 2.0)


def test_directions_that_are_lost_without_two_classes_coinciding_are_told():
    counts = [round(500 * 100 ** (-i / 11)) for i in range(12)]
    told = forecast(counts, weight_budget=1.0, feature_budget=1.0)
    assert told.layer_peeled is not None
    assert (told.layer_peeled.phase, told.layer_peeled.collapsed) == ("full", ())
    assert told.layer_peeled.rank < 11
    assert told.sentences()[0] == (
        "The layer-peeled model, at this budget of classifier and features, expects no two classes to coincide, but "
        f"their classifiers to span {told.layer_peeled.rank} dimensions in place of 11."
    )
