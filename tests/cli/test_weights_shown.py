"""The table of `deepcollapse measure` on weights, made from records alone."""

import torch
from torch import nn

from deepcollapse.cli.measured import show_weights
from deepcollapse.measurement import measure, measure_weights
from deepcollapse.records import Record


def printed(capsys, monkeypatch, records):
    monkeypatch.setenv("COLUMNS", "80")
    show_weights(records)
    return capsys.readouterr().out


def test_ranks_of_weights_stand_beside_their_shapes_the_classifier_last(capsys, monkeypatch):
    weight = torch.diag(torch.tensor([4.0, 2.0, 2.0, 0.001]))
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    net.get_parameter("0.weight").data = weight
    net.get_parameter("2.weight").data = weight[:3]
    records = measure(net, [(torch.randn(12, 4), torch.arange(12) % 3)]).records
    lines = printed(capsys, monkeypatch, [records[-1], *records]).splitlines()
    assert [line.split() for line in lines if line.strip() and "─" not in line][-2:] == [
        ["0", "4", "x", "4", "4", "3", "1.5", "2.83", "0"],
        ["head", "3", "x", "4", "3", "3", "1.5", "2.83", "0"],
    ]
    assert "ranks of weights" in lines[2] or "ranks of weights" in lines[1]
    assert max(map(len, lines)) <= 80


def test_layers_of_any_name_fit_beside_the_numbers(capsys, monkeypatch):
    net = nn.ModuleDict({"blocks": nn.ModuleList([nn.ModuleDict({"shortcut": nn.Conv2d(24, 32, 3)})])})
    out = printed(capsys, monkeypatch, measure_weights(net).records)
    assert max(map(len, out.splitlines())) <= 80
    assert "blocks.0.shortcut" in out
    assert "32 x 216" in out


def test_nothing_is_printed_where_no_weights_were_measured(capsys, monkeypatch):
    assert printed(capsys, monkeypatch, []) == ""
    row = Record(layer="head", measure="stable_rank_classifier", value=2.0)
    assert printed(capsys, monkeypatch, [row]) == ""
