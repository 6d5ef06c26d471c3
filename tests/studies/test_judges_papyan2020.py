"""The judges on the terminal phase of training at the edges of their criteria: runs made by hand."""

import pandas
import pytest

from deepcollapse.records.study import Judgement
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.papyan2020 import STUDY
from deepcollapse.training import Recipe

SMOKE = STUDY.scales["smoke"]
CLAIMS = {claim.id: claim for claim in STUDY.claims}
EPOCHS = (1, 5, 9)  # measured, the first of them the onset


def run(tmp_path, seed: int, **values: tuple[float, ...]) -> Finished:
    """A run that reached the terminal phase at once, with these quantities, named measure@layer@split."""
    rows = [("tpt_onset", "network", "train", 1, 1.0)]
    for name, series in values.items():
        rows += [(*name.split("__"), epoch, value) for epoch, value in zip(EPOCHS, series, strict=True)]
    frame = pandas.DataFrame(rows, columns=["measure", "layer", "split", "epoch", "value"])
    frame = frame.assign(layer=frame["layer"].replace("features", "head.input"), baseline=None, array=None)
    return Finished(Recipe(epochs=EPOCHS[-1], seed=seed), tmp_path / str(seed), frame)


def judged(claim: str, runs: list[Finished]) -> Judgement:
    (found,) = CLAIMS[claim].judged(Evidence(SMOKE, runs)).judgements
    return found


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ((0.01, 0.02, 0.03), "holds"),
        ((0.0, 0.0, 0.0), "holds"),
        ((-0.001, 0.0, 0.01), "inconclusive"),
        ((-0.001, -0.001, -0.001), "fails"),
        ((-0.001, -0.001, 0.2), "inconclusive"),
        ((0.01, 0.02), "not tested"),
    ],
)
def test_test_accuracy_must_not_decline(tmp_path, changes, verdict):
    runs = [
        run(tmp_path, seed, accuracy__network__test=(0.5, 0.9, 0.5 + change)) for seed, change in enumerate(changes)
    ]
    assert judged("accuracy", runs).verdict == verdict


@pytest.mark.parametrize(("end", "verdict"), [(0.8, "holds"), (0.81, "fails")])
def test_the_trained_loss_is_to_fall_by_a_fifth(tmp_path, end, verdict):
    runs = [
        run(tmp_path, seed, loss_with_decay__network__train=(1.0, 0.9, end), loss__network__train=(1.0, 1.0, 2.0))
        for seed in range(3)
    ]
    assert judged("tpt", runs).verdict == verdict


FALLING = {
    "nc1": ["within_class_variability__features__train"],
    "nc2-norm": ["equinorm_means__features__train", "equinorm_classifier__head__train"],
    "nc2-angle": ["equiangularity_means__features__train", "equiangularity_classifier__head__train"],
    "nc2-max": ["maximal_angle_means__features__train", "maximal_angle_classifier__head__train"],
    "nc3": ["self_duality__features__train"],
    "nc4": ["nearest_class_mean_disagreement__features__train"],
}
TEST_NC4 = {"nearest_class_mean_disagreement__features__test": (0.2, 0.2, 0.2)}


@pytest.mark.parametrize("claim", FALLING)
@pytest.mark.parametrize(
    ("series", "verdict"),
    [((1.0, 0.7, 0.5), "holds"), ((1.0, 0.7, 0.51), "fails"), ((1.0, 0.1, 0.5), "holds"), ((1.0, 2.0, 3.0), "fails")],
)
def test_every_part_of_collapse_is_to_fall_by_half(tmp_path, claim, series, verdict):
    names = FALLING[claim]
    for moved in names:
        values = {name: series if name == moved else (1.0, 0.5, 0.1) for name in names} | TEST_NC4
        assert judged(claim, [run(tmp_path, seed, **values) for seed in range(3)]).verdict == verdict


@pytest.mark.parametrize(("end", "verdict"), [(0.2, "holds"), (0.21, "fails")])
def test_disagreement_on_test_data_is_not_to_rise(tmp_path, end, verdict):
    values = {FALLING["nc4"][0]: (1.0, 0.5, 0.1), next(iter(TEST_NC4)): (0.2, 0.1, end)}
    assert judged("nc4", [run(tmp_path, seed, **values) for seed in range(3)]).verdict == verdict


@pytest.mark.parametrize(("end", "verdict"), [(0.1000001, "holds"), (0.1, "fails")])
def test_robustness_is_to_grow(tmp_path, end, verdict):
    runs = [run(tmp_path, seed, robustness__network__test=(0.1, 0.3, end)) for seed in range(3)]
    assert judged("robust", runs).verdict == verdict
