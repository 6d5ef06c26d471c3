"""Ternary training: its claims hold on a small scale, and fail where the search does nothing or starts from nothing."""

import copy
import dataclasses

import pandas
import pytest
import torch
from study_runs import HERE, as_json, judgement_on, verdicts_on

from deepcollapse.compression.ternary import train_discrete
from deepcollapse.records.study import StudyRecord
from deepcollapse.studies import date2020, find
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.reproduce import reproduce
from deepcollapse.training import Recipe


@pytest.fixture(scope="module")
def whole(folder):
    return reproduce(find("date2020"), folder, scale="smoke", setting=HERE)


def only_digits(**settings):
    scale = find("date2020").scales["smoke"]
    return dataclasses.replace(scale, datasets=("digits",), settings={**scale.settings, **settings})


def test_ternary_networks_are_at_par_and_beat_rounding(whole):
    for subject in ("iris, mlp", "digits, mlp"):
        found = verdicts_on(whole, subject)
        assert [found[claim] for claim in ("par", "better", "monotone")] == ["holds"] * 3


def test_the_headers_of_so_small_networks_cost_more_than_the_claim_allows(whole):
    claim = next(claim for claim in whole.claims if claim.id == "memory")
    times = {one.subject: one.numbers["times_float64"] for one in claim.judgements}
    assert 4 < times["iris, mlp"] < 6
    assert 28 < times["digits, mlp"] < 32
    assert claim.verdict == "fails"


def test_the_record_is_read_back_as_it_was_written(whole, folder):
    again = StudyRecord.read(folder)
    assert as_json(again) == as_json(whole)
    assert [type(shown).__name__ for shown in again.shown] == ["Chart", "Table"]


def test_without_sweeps_nothing_is_better_than_rounding(tmp_path, monkeypatch):
    monkeypatch.setattr(date2020, "SWEEPS", {"digits": 0})
    record = reproduce(find("date2020"), tmp_path, scale=only_digits(epochs=10), setting=HERE)
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
    record = reproduce(find("date2020"), tmp_path, scale=only_digits(epochs=10), setting=HERE)
    assert verdicts_on(record, "digits, mlp")["par"] == "fails"


def test_what_one_data_set_lacks_hinders_no_other(tmp_path):
    def run(dataset, seed, end):
        values = {"ternary_largest_rise": -0.1, "ternary_start_loss": 1.0, "ternary_end_loss": end}
        rows = pandas.DataFrame({"measure": [*values], "value": [*values.values()]})
        rows = rows.assign(layer="network", split=None, baseline=None, epoch=1, array=None)
        return Finished(Recipe(dataset=dataset, network="mlp", seed=seed), tmp_path / f"{dataset}-{seed}", rows)

    found = [run(dataset, seed, end) for dataset, end in (("iris", 1.0), ("digits", 0.5)) for seed in range(3)]
    study = find("date2020")
    claim = next(claim for claim in study.claims if claim.id == "monotone")
    judged = claim.judged(Evidence(study.scales["smoke"], found)).judgements
    assert [(one.subject, one.verdict) for one in judged] == [("iris, mlp", "not tested"), ("digits, mlp", "holds")]


def test_a_loss_that_rises_once_is_told():
    assert date2020.largest_rise((1.0, 0.5, 0.75, 0.5)) == 0.25
    assert date2020.largest_rise((1.0,)) == 0.0
