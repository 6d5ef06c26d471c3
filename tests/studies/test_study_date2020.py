"""Ternary training: its claims hold on a small scale, and fail where the search does nothing or starts from nothing."""

import copy
import dataclasses

import pytest
import safetensors.torch
import torch
from made_runs import judged, made_run
from study_runs import HERE, as_json, judgement_on, verdicts_on

from deepcollapse.compression.coded_layers import code_layers
from deepcollapse.compression.files import file_of
from deepcollapse.compression.ternary import train_discrete
from deepcollapse.records.study import StudyRecord
from deepcollapse.studies import date2020, find
from deepcollapse.studies.judging.evidence import Evidence
from deepcollapse.studies.reproduce import reproduce

STUDY = find("date2020")


@pytest.fixture(scope="module")
def whole(folder):
    return reproduce(STUDY, folder, scale="smoke", setting=HERE)


def only_digits(**settings):
    scale = STUDY.scales["smoke"]
    return dataclasses.replace(scale, datasets=("digits",), settings={**scale.settings, **settings})


def test_ternary_networks_are_at_par_and_beat_rounding(whole):
    for subject in ("iris, mlp", "digits, mlp"):
        found = verdicts_on(whole, subject)
        assert [found[claim] for claim in ("par", "better", "monotone")] == ["holds"] * 3


def test_the_headers_of_so_small_networks_cost_more_than_the_claim_allows(whole):
    claim = next(claim for claim in whole.claims if claim.id == "memory")
    times = {one.subject: one.numbers["times_float64"] for one in claim.judgements}
    assert 3 < times["iris, mlp"] < 5
    assert 20 < times["digits, mlp"] < 26
    assert claim.verdict == "fails"


def test_the_record_is_read_back_as_it_was_written(whole, folder):
    again = StudyRecord.read(folder)
    assert as_json(again) == as_json(whole)
    assert [type(shown).__name__ for shown in again.shown] == ["Chart", "Table"]


def test_without_sweeps_nothing_is_better_than_rounding(tmp_path, monkeypatch):
    monkeypatch.setattr(date2020, "SWEEPS", {"digits": 0})
    record = reproduce(STUDY, tmp_path, scale=only_digits(epochs=10), setting=HERE)
    assert verdicts_on(record, "digits, mlp")["better"] == "fails"
    monotone = judgement_on(record, "monotone", "digits, mlp")
    assert (monotone.verdict, monotone.why) == (
        "not tested",
        "no move was accepted, so that none could raise the loss",
    )


def test_from_all_zeros_no_single_weight_helps(tmp_path, monkeypatch):
    def from_zeros(network, inputs, labels, **how):
        wiped = copy.deepcopy(network)
        with torch.no_grad():
            for parameter in wiped.parameters():
                parameter.zero_()
        return train_discrete(wiped, inputs, labels, scale=1.0, **how)

    monkeypatch.setattr(date2020, "train_discrete", from_zeros)
    record = reproduce(STUDY, tmp_path, scale=only_digits(epochs=10), setting=HERE)
    assert verdicts_on(record, "digits, mlp")["par"] == "fails"


def of_runs(claim, rows, dataset="digits"):
    """What is judged of runs that ended with these values, one row a seed."""
    found = [
        made_run({(name, "network", None): value for name, value in row.items()}, dataset=dataset, seed=seed)
        for seed, row in enumerate(rows)
    ]
    return judged(STUDY, claim, Evidence(STUDY.scales["smoke"], found))[f"{dataset}, mlp"]


def path(rise, end=0.5):
    return {"ternary_largest_rise": rise, "ternary_start_loss": 1.0, "ternary_end_loss": end}


@pytest.mark.parametrize(
    ("rises", "verdict"),
    [
        ((-0.1, -0.1, 0.0), "holds"),
        ((-0.1, -0.1, 1e-12), "fails"),
        ((-0.1,), "not tested"),
        ((-0.1, -0.1), "not tested"),
        ((1e-12,), "fails"),  # once is enough
    ],
)
def test_a_loss_that_rises_for_any_seed_fails_and_few_seeds_are_not_tested(rises, verdict):
    assert of_runs("monotone", [path(rise) for rise in rises]).verdict == verdict


def test_where_no_move_was_accepted_none_could_raise_the_loss():
    found = of_runs("monotone", [path(0.0, end=1.0)] * 3)
    assert (found.verdict, found.why) == ("not tested", "no move was accepted, so that none could raise the loss")


@pytest.mark.parametrize(
    ("stored", "verdict"),
    [((10, 10, 10), "holds"), ((10.1, 10.1, 10.1), "fails"), ((9, 10, 12), "inconclusive"), ((10,), "not tested")],
)
def test_memory_is_held_to_a_32nd_of_float64_and_told_beside_float32(stored, verdict):
    rows = [{"bytes_as_float64": 320, "bytes_as_float32": 170, "bytes_as_stored": size} for size in stored]
    found = of_runs("memory", rows)
    assert found.verdict == verdict
    if stored == (10, 10, 10):
        assert found.numbers == {"bytes": 10, "times_float64": 32, "times_float32": 17}


@pytest.mark.parametrize(("dataset", "points"), [("iris", 0.02), ("digits", 0.02), ("mnist", 0.03)])
def test_par_is_within_points_of_full_precision(dataset, points):
    def found(drop):
        values = {("full_precision_accuracy", "network", "test"): 0.9}
        values["ternary_accuracy", "network", "test"] = 0.9 - drop
        runs = [made_run(values, dataset=dataset, seed=seed) for seed in range(3)]
        return judged(STUDY, "par", Evidence(STUDY.scales["smoke"], runs))[f"{dataset}, mlp"].verdict

    assert [found(points), found(points + 1e-4)] == ["holds", "fails"]


def test_the_bytes_of_a_network_are_those_of_its_tensors_with_biases():
    network = torch.nn.Sequential(torch.nn.Linear(20, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    labels = torch.arange(12) % 3
    found = train_discrete(network, torch.randn(12, 20), labels, sweeps=0, order="random", seed=0)
    double, single, stored = (record.value for record in date2020._bytes(network, found))
    parameters = 20 * 6 + 6 + 6 * 3 + 3
    assert (double, single) == (8 * parameters, 4 * parameters)
    coded = code_layers(copy.deepcopy(found.network), names=tuple(found.codes))
    tensors = safetensors.torch.load(file_of(coded, tuple(found.codes)))
    assert sorted(tensors) == ["0.bias", "0.code", "2.bias", "2.code"]
    assert stored == len(tensors["0.code"]) + len(tensors["2.code"]) + 4 * (6 + 3)
    assert next(network.parameters()).dtype == torch.float32  # the network itself is left alone


def test_what_one_data_set_lacks_hinders_no_other():
    values = {dataset: path(-0.1, end) for dataset, end in (("iris", 1.0), ("digits", 0.5))}
    found = [
        made_run({(name, "network", None): value for name, value in own.items()}, dataset=dataset, seed=seed)
        for dataset, own in values.items()
        for seed in range(3)
    ]
    told = judged(STUDY, "monotone", Evidence(STUDY.scales["smoke"], found))
    assert {subject: one.verdict for subject, one in told.items()} == {
        "iris, mlp": "not tested",
        "digits, mlp": "holds",
    }


def test_a_loss_that_rises_once_is_told():
    assert date2020.largest_rise((1.0, 0.5, 0.75, 0.5)) == 0.25
    assert date2020.largest_rise((1.0,)) == 0.0
