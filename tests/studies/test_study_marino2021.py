"""Coded networks: the study's claims on digits, and that they fail without pruning and with random weights."""

from dataclasses import replace

import numpy
import pandas
import pytest
import torch
from study_runs import verdicts_on

from deepcollapse.compression.storage.container import Container
from deepcollapse.records.study import StudyRecord
from deepcollapse.studies import marino2021
from deepcollapse.studies.judging.evidence import Evidence
from deepcollapse.studies.marino2021 import SCALES, STUDY, recipes
from deepcollapse.studies.measured import coded_networks
from deepcollapse.studies.measured.coded_matrices import sizes
from deepcollapse.studies.measured.coded_networks import Pruning
from deepcollapse.studies.reproduce import Setting, reproduce
from deepcollapse.sweeps.engines.in_process import InProcess

SMOKE = SCALES["smoke"]
SETTING = Setting(device="cpu", threads=1, engine=InProcess())
MLP = "digits, mlp"
HALF = {"percents": (50.0,), "values": (32,), "protocol": {"epochs": 4, "sharing_epochs": 2}}


def scale_of(**settings):
    small = SMOKE["recipe"] | {"width": 48, "epochs": 12}
    return replace(SMOKE, settings={**SMOKE.settings, "recipe": small, **HALF, **settings})


@pytest.fixture(scope="module")
def healthy(folder):
    return reproduce(STUDY, folder, scale=scale_of(), setting=SETTING)


@pytest.fixture
def a_quarter(monkeypatch):
    """Half of a small network's weights are left: hold it to a quarter of the space, not to a hundredth."""
    monkeypatch.setattr(marino2021, "TINY", 0.25)


def judged_anew(folder):
    """What the criteria say of the rows that are there."""
    table = pandas.read_json(folder / "tables" / "networks.jsonl", lines=True)
    return marino2021.CLAIMS[0].judged(Evidence(SMOKE, (), {"networks": table}))


def test_a_small_network_keeps_its_accuracy_in_a_quarter_of_its_space(healthy, folder, a_quarter):
    assert not healthy.failures
    assert judged_anew(folder).verdict == "holds"


def test_half_a_point_is_allowed_whatever_its_rounding():
    drop = 100 * (0.905 - 0.9)
    assert drop > 0.5  # ten of two thousand images
    row = {"dataset": "digits", "network": "mlp", "run": "a", "percent": 99.0, "values": 16, "quantiser": "shared"}
    row |= {"shac": 0.008, "whole": 0.05, "before": 0.905, "accuracy": 0.9}
    for lost, verdict in ((drop, "holds"), (0.55, "fails")):
        table = pandas.DataFrame([row | {"drop": lost, "seed": seed} for seed in range(3)])
        assert marino2021.CLAIMS[0].judged(Evidence(SMOKE, (), {"networks": table})).verdict == verdict


def test_what_one_data_set_lacks_hinders_no_other():
    row = {"network": "mlp", "run": "a", "percent": 99.0, "values": 16, "quantiser": "shared", "product_error": 0.0}
    row |= {
        "shac": 0.008,
        "whole": 0.05,
        "before": 0.9,
        "accuracy": 0.9,
        "drop": 0.0,
        "least_hac": 0.04,
        "nonzero": 0.01,
    }
    rows = [
        row | {"dataset": name, "seed": seed} for name, seeds in (("mnist", 1), ("digits", 3)) for seed in range(seeds)
    ]
    evidence = Evidence(SMOKE, (), {"networks": pandas.DataFrame(rows)})

    def told(claim):
        return [(one.subject, one.verdict) for one in marino2021.CLAIMS[claim].judged(evidence).judgements]

    assert told(0) == [("mnist, mlp", "not tested"), ("digits, mlp", "holds")]
    assert told(1) == [
        ("matrices of 1024 x 1024", "not tested"),
        ("mnist, mlp", "holds"),
        ("digits, mlp", "holds"),
    ]


def test_half_of_a_small_network_is_not_tiny(healthy):
    assert verdicts_on(healthy, MLP)["tiny"] == "fails"
    assert verdicts_on(healthy, MLP)["floor"] == "fails"  # sHAC of half the weights takes more than 1/32
    assert verdicts_on(healthy, "matrices of 1024 x 1024")["floor"] == "holds"
    assert {verdicts_on(healthy, MLP)[claim] for claim in ("bound", "dot")} == {"holds"}


def test_without_pruning_and_with_many_levels_nothing_is_saved(tmp_path, a_quarter):
    scale = scale_of(percents=(0.0,), values=(2**16,))
    record = reproduce(STUDY, tmp_path, scale=scale, setting=SETTING)
    assert verdicts_on(record, MLP)["tiny"] == "fails"
    assert next(iter(record.claims[0].judgements)).numbers["occupancy"] > 1


def test_random_weights_at_the_same_sparsity_lose_the_accuracy(tmp_path, monkeypatch, a_quarter):
    whole = Pruning.pruned

    def shuffled(self, percent):
        network, masks = whole(self, percent)
        generator = numpy.random.default_rng(0)
        for name, mask in masks.items():
            weight = network.get_submodule(name).weight
            kept = torch.from_numpy(mask)
            with torch.no_grad():
                weight[kept] = weight[kept][torch.from_numpy(generator.permutation(int(kept.sum())))]
        return network, masks

    monkeypatch.setattr(Pruning, "pruned", shuffled)
    record = reproduce(STUDY, tmp_path, scale=scale_of(), setting=SETTING)
    numbers = record.claims[0].judgements[0].numbers
    assert verdicts_on(record, MLP)["tiny"] == "fails"
    assert numbers["shac"] < 0.25
    assert numbers["drop"] > 5


def test_the_record_comes_back_with_its_charts(healthy, tmp_path):
    healthy.write(tmp_path)
    again = StudyRecord.read(tmp_path)
    titles = ["HAC, sHAC and their bounds", "Accuracy over occupancy", "Pruned, shared and coded networks"]
    assert [shown.title for shown in again.shown] == titles
    assert [claim.verdict for claim in again.claims] == [claim.verdict for claim in healthy.claims]


def test_sizes_are_those_of_containers():
    row = sizes({"side": 64, "values": 8, "share": 0.25})
    matrix = numpy.zeros(64 * 64, numpy.float32)
    matrix[:1024] = 1 + numpy.arange(1024) % 8
    matrix = numpy.random.RandomState(0).permutation(matrix).reshape(64, 64)
    for form in ("hac", "shac"):
        assert row[form] == len(Container.of(matrix, form).to_bytes()) / (4 * 64 * 64)
        assert row[f"{form}_least"] <= row[form] <= row[f"{form}_most"] <= row[f"{form}_bound"]


def test_the_known_sizes_of_a_large_matrix_with_32_values():
    found = {share: sizes({"side": 4096, "values": 32, "share": share}) for share in (0.01, 0.05, 0.1, 1.0)}
    # Payload and indices alone are .0328 .0391 .0469 .1562 and .0068 .0331 .0659 .6565; header and boundaries add.
    assert [found[share]["hac"] for share in found] == pytest.approx([0.0328, 0.0391, 0.0469, 0.1562], abs=2e-4)
    assert [found[share]["shac"] for share in found] == pytest.approx([0.0068, 0.0331, 0.0659, 0.6565], abs=4e-4)


def test_a_product_that_is_off_is_seen():
    matrix = numpy.random.RandomState(0).standard_normal((20, 7)).astype(numpy.float32)
    right = Container.of(matrix, "shac")
    assert coded_networks._product_error(right, matrix) < 1e-6
    matrix[3, 4] += 0.1
    assert coded_networks._product_error(right, matrix) > 1e-3


def test_hac_below_its_floor_would_be_seen():
    rows = [sizes({"side": 256, "values": 16, "share": share}) for share in (0.01, 0.05, 0.2, 1.0)]
    table = [{"side": 256, "values": 16, **row} for row in rows]
    assert marino2021._crossing("matrices", table).verdict == "holds"
    table[0]["hac"] = 0.03
    assert marino2021._crossing("matrices", table).verdict == "fails"


@pytest.mark.parametrize("scale", ["laptop", "gpu", "paper"])
def test_larger_scales_have_wide_layers(scale):
    for recipe in recipes(SCALES[scale]):
        widest = recipe.network_parameters().get("hidden", [recipe.width])
        assert widest[0] >= 256
        assert recipe.dataset in ("mnist", "cifar10")
