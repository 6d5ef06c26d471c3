"""Minority collapse: the study's claims on digits, and that they fail where nothing is imbalanced."""

import math
from dataclasses import replace
from typing import Any

import numpy
import pandas
import pytest
from made_runs import judged, made_run
from study_runs import judgement_on, verdicts_on

from deepcollapse.records.study import StudyRecord
from deepcollapse.studies import fang2021
from deepcollapse.studies.fang2021 import SCALES, STUDY, recipes
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.measured import minority_runs
from deepcollapse.studies.reproduce import Setting, reproduce
from deepcollapse.sweeps.engines.stacked import Stacked

SMOKE = SCALES["smoke"]
MEASURES = ["maximal_angle"]  # cosines are kept with any
SETTING = Setting(threads=1, engine=Stacked())
MEASURED_OF_THE_MODEL = (
    ("etf", "off_etf"),
    ("etf", "gap"),
    ("threshold", "below"),
    ("threshold", "above"),
    ("decay", "collapse_ratio"),
    ("oversample", "cosine"),
)


@pytest.fixture(scope="module")
def kept():
    """The evidence of the healthy run, as the charts are given it."""
    return []


@pytest.fixture(scope="module")
def healthy(tmp_path_factory, kept):
    def show(evidence: Evidence):
        kept.append(evidence)
        return STUDY.show(evidence)

    return reproduce(replace(STUDY, show=show), tmp_path_factory.mktemp("fang"), scale="smoke", setting=SETTING)


def test_every_claim_is_settled_on_digits(healthy):
    assert not healthy.failures
    assert verdicts_on(healthy, "digits, mlp") == dict.fromkeys(
        ["etf", "rise", "threshold", "accuracy", "decay", "oversample"], "holds"
    )
    assert verdicts_on(healthy, "layer-peeled model") == dict.fromkeys(
        ["etf", "threshold", "decay", "oversample"], "holds"
    )


def test_the_model_gives_the_known_thresholds(healthy):
    numbers = judgement_on(healthy, "threshold", "layer-peeled model").numbers
    known = {
        "R0, K_A 3, E_H 5": 245.49693,
        "R0, K_A 5, E_H 5": 12.192447,
        "R0, K_A 7, E_H 5": 4.0004667,
        "R0, K_A 3, E_H 10": 6350.8465,
        "R0, K_A 5, E_H 10": 81.102206,
        "R0, K_A 7, E_H 10": 13.665857,
    }
    assert numbers == pytest.approx(known, rel=1e-6)


@pytest.mark.usefixtures("healthy")
def test_descent_from_random_starts_finds_the_cosines_of_the_reduced_model(kept):
    descent, exact = kept[0].table("model by descent"), kept[0].table("model over ratios")
    both = descent.merge(exact, on=["budget", "majority", "ratio"], suffixes=("", "_exact")).dropna()
    assert len(both) > 15
    assert (both["cosine"] - both["cosine_exact"]).abs().max() < 1e-3  # descent stops at a gap of 1e-9 nat


def test_the_model_over_sampled_has_the_known_cosines(kept, healthy):
    assert healthy.runs == len(recipes(SMOKE))
    rows = kept[0].table("model over-sampled").set_index("times")["cosine"].to_dict()
    assert [rows[times] for times in (1, 82, 83, 100, 200, 500, 1000)] == pytest.approx(
        [1, 1, 0.954851, 0.517496, 0.072527, -0.067283, -1 / 9], abs=1e-6
    )


def test_the_record_comes_back_with_its_charts(healthy, tmp_path):
    healthy.write(tmp_path)
    again = StudyRecord.read(tmp_path)
    assert [shown.title for shown in again.shown] == [
        "The layer-peeled model, 10 classes, E_W = 1",
        "Over-sampling in the model",
        "Minority classes close up as the imbalance grows",
        "Accuracy on test data",
        "Weight decay, at R = 40",
        "Over-sampling, at R = 40",
        "Cosines between classifiers",
        "Networks over the class ratio",
    ]
    assert verdicts_on(again, "digits, mlp") == verdicts_on(healthy, "digits, mlp")


def test_without_any_imbalance_nothing_merges(tmp_path, monkeypatch):
    monkeypatch.setattr("deepcollapse.training.data.step_imbalance", lambda data, minority, ratio, seed: data)
    scale = replace(SMOKE, settings={**SMOKE.settings, "decays": (), "times": ()})
    networks = replace(STUDY, computations=(), show=lambda evidence: ())
    found = verdicts_on(reproduce(networks, tmp_path, scale=scale, setting=SETTING), "digits, mlp")
    assert {claim: found[claim] for claim in ("etf", "rise", "threshold", "accuracy")} == {
        "etf": "holds",
        "rise": "fails",
        "threshold": "fails",
        "accuracy": "fails",
    }
    assert (found["decay"], found["oversample"]) == ("not tested", "not tested")


@pytest.mark.usefixtures("healthy")
def test_random_classes_taken_for_the_minority_do_not_merge(kept, monkeypatch):
    def random_classes(recipe, classes):
        return numpy.random.RandomState(recipe.seed).permutation(classes)[: recipe.minority].tolist()

    monkeypatch.setattr(minority_runs, "minority_of", random_classes)
    found = {claim.id: claim.judged(kept[0]).verdict for claim in fang2021.CLAIMS}
    assert (found["threshold"], found["accuracy"]) == ("fails", "fails")


def test_a_classifier_that_vanished_has_no_cosine(healthy, kept, monkeypatch):
    assert healthy.runs
    run = next(run for run in kept[0].runs if run.recipe.ratio == 40)
    assert minority_runs.minority_cosine(run) > 0.4
    lengths = run.array("classifier_lengths", "head").copy()
    lengths[-1] = 1e-4 * lengths[0]
    cosines = run.array("cosines_classifier", "head")
    monkeypatch.setattr(Finished, "array", lambda self, name, *_: lengths if "lengths" in name else cosines)
    assert math.isnan(minority_runs.minority_cosine(run))


def test_each_class_counts_by_its_own_samples(kept, healthy):
    assert healthy.runs
    run = next(run for run in kept[0].runs if run.recipe.ratio == 1)
    accuracy = run.array("class_accuracy", "network", "test")
    counts = run.trained.splits.test.class_counts().numpy()
    assert (accuracy * counts).sum() / counts.sum() == pytest.approx(run.last("accuracy", "network", "test"), abs=1e-12)
    weight = run.trained.network().head.weight.detach().double().norm(dim=1).numpy()
    numpy.testing.assert_allclose(run.array("classifier_lengths", "head"), weight, rtol=1e-6)


def test_runs_at_the_largest_ratio_are_not_replaced_by_those_at_a_smaller_one(tmp_path):
    smaller = [recipe for recipe in recipes(SMOKE) if recipe.ratio < 40]
    runs = [Finished(recipe, tmp_path, pandas.DataFrame()) for recipe in smaller]
    with pytest.raises(MissingEvidence) as threshold:
        fang2021._network_threshold(SMOKE, "digits, mlp", runs)
    assert str(threshold.value) == "no run at the largest class ratio, 40, came to its end"
    with pytest.raises(MissingEvidence) as accuracy:
        fang2021._accuracy(SMOKE, "digits, mlp", runs)
    assert str(accuracy.value) == "no run at class ratio 40 came to its end, and both ends are needed"


@pytest.mark.usefixtures("healthy")
def test_without_runs_the_model_is_judged_and_networks_are_not(kept):
    evidence = Evidence(replace(SMOKE, datasets=()), (), kept[0].tables)
    for claim in ("etf", "threshold", "decay", "oversample"):
        found = judged(STUDY, claim, evidence)
        assert {subject: one.verdict for subject, one in found.items()} == {
            "layer-peeled model": "holds",
            "networks": "not tested",
        }
        assert found["networks"].why == "no run came to its end"
    for claim in ("rise", "accuracy"):
        (one,) = judged(STUDY, claim, evidence).values()
        assert (one.verdict, one.why) == ("not tested", "no run came to its end")
    assert [shown.title for shown in STUDY.show(evidence)] == [
        "The layer-peeled model, 10 classes, E_W = 1",
        "Over-sampling in the model",
    ]


@pytest.mark.usefixtures("healthy")
def test_networks_are_judged_where_nothing_is_known_of_the_model(kept):
    claim = next(claim for claim in fang2021.CLAIMS if claim.id == "threshold")
    found = claim.judged(Evidence(SMOKE, kept[0].runs)).judgements
    assert [(one.subject, one.verdict) for one in found] == [
        ("layer-peeled model", "not tested"),
        ("digits, mlp", "holds"),
    ]
    assert found[0].why == "nothing was computed for 'thresholds' at this scale"


@pytest.mark.usefixtures("healthy")
def test_four_ratios_are_too_few_to_follow(kept):
    claim = next(claim for claim in fang2021.CLAIMS if claim.id == "rise")
    (found,) = claim.judged(Evidence(SMOKE, [run for run in kept[0].runs if run.recipe.ratio != 8])).judgements
    assert (found.verdict, found.why) == ("not tested", "the criterion is for at least 5 class ratios, and 4 came out")


@pytest.mark.parametrize("scale", ["laptop", "gpu", "paper"])
def test_larger_scales_make_recipes_with_data_that_they_can_be_had_of(scale):
    found = recipes(SCALES[scale])
    per_class = found[0].per_class or 5000
    assert all(per_class / recipe.ratio >= 1 for recipe in found)
    assert len(found) == len(set(found))
    assert {recipe.seed for recipe in found} == {0, 1, 2}


def test_the_published_networks_have_the_wide_layers_of_the_authors_code():
    found = {(recipe.dataset, recipe.network): recipe for recipe in recipes(SCALES["paper"])}
    assert [*found] == [(d, n) for d, v in (("fashion-mnist", "vgg11"), ("cifar10", "vgg13")) for n in (v, "resnet18")]
    assert found["cifar10", "vgg13"].network_parameters() == {"hidden": [4096, 4096]}


STEP: dict[str, Any] = {"dataset": "digits", "network": "mlp", "imbalance": "step", "minority": 5}
USUAL: dict[str, Any] = {"decay": SMOKE["decay"], "ratio": 40.0}


def test_balanced_networks_are_held_to_a_tenth():
    def found(*distances):
        what = ("maximal_angle_classifier", "head", "train")
        runs = [
            made_run({what: off}, **STEP | USUAL | {"ratio": 1.0, "seed": seed}) for seed, off in enumerate(distances)
        ]
        return judged(STUDY, "etf", Evidence(SMOKE, runs))["digits, mlp"].verdict

    assert [found(0.1, 0.1, 0.1), found(0.101, 0.101, 0.101)] == ["holds", "fails"]
    assert [found(0.05, 0.1, 0.2), found(0.05, 0.05)] == ["inconclusive", "not tested"]


# Cosines and accuracies by the setting that is looked at, the same for each seed or one for each.
OVER_RATIOS, OVER_DECAYS = ([{"ratio": float(r)} for r in SMOKE["ratios"]], [{"decay": d} for d in SMOKE["decays"]])
OVER_TIMES = [{"oversample": 1}, {"oversample": 40}]


@pytest.mark.parametrize(
    ("claim", "settings", "cosines", "accuracies", "verdict"),
    [
        ("rise", OVER_RATIOS, [2, 1, 3, 4, 5], None, "holds"),  # a correlation of 0.9
        ("rise", OVER_RATIOS, [2, 1, 4, 3, 5], None, "fails"),  # of 0.8
        ("threshold", OVER_RATIOS[-1:], [0.9], None, "holds"),
        ("threshold", OVER_RATIOS[-1:], [0.899], None, "fails"),
        ("threshold", OVER_RATIOS[-1:], [(0.8, 0.9, 1.0)], None, "inconclusive"),
        ("accuracy", [OVER_RATIOS[0], OVER_RATIOS[-1]], None, [0.8, 0.4], "holds"),
        ("accuracy", [OVER_RATIOS[0], OVER_RATIOS[-1]], None, [0.8, 0.41], "fails"),
        ("decay", OVER_DECAYS, [2, 1, 4, 3, 5], None, "holds"),  # a correlation of 0.8
        ("decay", OVER_DECAYS, [2, 3, 1, 4, 5], None, "fails"),  # of 0.7
        ("decay", OVER_DECAYS[:4], [1, 2, 3, 4], None, "not tested"),
        ("oversample", OVER_TIMES, [0.5, 0.4], [0.1, 0.2], "holds"),
        ("oversample", OVER_TIMES, [0.5, 0.5], [0.1, 0.2], "fails"),
        ("oversample", OVER_TIMES, [0.5, 0.4], [0.1, 0.1], "fails"),
        ("oversample", OVER_TIMES, [(0.5, 0.5, 0.3), 0.4], [0.1, 0.2], "inconclusive"),
        ("oversample", OVER_TIMES, [0.5, 0.4], [0.1, (0.2, 0.2, 0.1)], "inconclusive"),
        ("oversample", OVER_TIMES[:1], [0.5], [0.1], "not tested"),
    ],
)
def test_networks_are_held_to_each_criterion(claim, settings, cosines, accuracies, verdict, monkeypatch):
    def measured(values):
        known = {} if values is None else dict(zip(map(str, settings), values, strict=True))

        def of(run, of="classifier"):
            del of
            value = next(known[str(own)] for own in settings if own.items() <= vars(run.recipe).items())
            return float(value[run.recipe.seed] if isinstance(value, tuple) else value)

        return of

    for name, values in (("cosine", cosines), ("accuracy", accuracies)):
        monkeypatch.setattr(fang2021, f"minority_{name}", measured(values))
    monkeypatch.setattr(fang2021, "majority_accuracy", lambda run: 1.0)
    runs = [made_run({}, **STEP | USUAL | own | {"seed": seed}) for own in settings for seed in range(3)]
    assert judged(STUDY, claim, Evidence(SMOKE, runs))["digits, mlp"].verdict == verdict


def test_over_sampling_that_stopped_short_says_nothing(monkeypatch):
    """With the largest repetition missing, or the runs without any."""
    monkeypatch.setattr(fang2021, "minority_cosine", lambda run: 1 - run.recipe.oversample / 1000)
    monkeypatch.setattr(fang2021, "minority_accuracy", lambda run: run.recipe.oversample / 1000)
    scale = replace(SMOKE, settings={**SMOKE.settings, "times": (10, 20, 40)})

    def found(*times):
        runs = [made_run({}, **STEP | USUAL | {"oversample": n, "seed": seed}) for n in times for seed in range(3)]
        return judged(STUDY, "oversample", Evidence(scale, runs))["digits, mlp"]

    assert found(1, 10, 20, 40).verdict == "holds"
    for times, lacking in (((1, 10, 20), "40"), ((10, 20, 40), "1"), ((10,), "1 or 40")):
        assert (found(*times).verdict, found(*times).why) == (
            "not tested",
            f"no run with minority samples seen {lacking} times came to its end, and both ends are needed",
        )


@pytest.mark.parametrize(
    ("claim", "name", "values", "verdict"),
    [
        ("etf", "off_etf", (1e-9, 0.0), "holds"),
        ("etf", "off_etf", (0.0, 1.1e-9), "fails"),
        ("etf", "gap", (0.0, 1.1e-9), "fails"),
        ("threshold", "below", (0.5, 1 - 2e-6), "holds"),
        ("threshold", "below", (0.5, 1 - 5e-7), "fails"),
        ("threshold", "above", (1.0, 1 - 2e-9), "fails"),
        ("decay", "collapse_ratio", (2.0, 9.0), "holds"),
        ("decay", "collapse_ratio", (9.0, 2.0), "fails"),
        ("decay", "collapse_ratio", (2.0, 2.0), "fails"),
        ("oversample", "cosine", (1 - 5e-10, -1 / 9 + 5e-10), "holds"),
        ("oversample", "cosine", (1 - 2e-9, -1 / 9), "fails"),
        ("oversample", "cosine", (1.0, -1 / 9 + 2e-9), "fails"),
        *((claim, name, (math.nan, 0.0), "not tested") for claim, name in MEASURED_OF_THE_MODEL),
        *((claim, name, (0.0, math.nan), "not tested") for claim, name in MEASURED_OF_THE_MODEL),
    ],
)
def test_the_model_is_held_to_each_criterion(claim, name, values, verdict):
    row = {"majority": 5, "collapse_ratio": 2.0, "below": 0.5, "above": 1.0, "off_etf": 0.0, "gap": 0.0}
    rows = [row | {"budget": budget, name: value} for budget, value in zip((5.0, 10.0), values, strict=True)]
    tables = dict.fromkeys(("thresholds", "thresholds over budgets"), pandas.DataFrame(rows))
    repeated = [{"times": times, name: value} for times, value in zip((1, 1000), values, strict=True)]
    found = judged(STUDY, claim, Evidence(SMOKE, (), tables | {"model over-sampled": pandas.DataFrame(repeated)}))
    assert found["layer-peeled model"].verdict == verdict
