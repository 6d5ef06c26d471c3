import math

import pytest
import torch
from torch import nn

from deepcollapse.compression.score import Score, hits, standard_error
from deepcollapse.errors import BatchError


def test_hits_are_told_sample_by_sample_and_unlabelled_ones_left_out():
    batches = [(torch.eye(3), torch.tensor([0, 2, -100])), (torch.eye(3)[:1], torch.tensor([0]))]
    assert hits(nn.Identity(), batches).tolist() == [True, False, True]


def test_no_sample_is_nothing_to_choose_by():
    with pytest.raises(BatchError) as raised:
        hits(nn.Identity(), [(torch.eye(2), torch.tensor([-100, -100]))])
    assert str(raised.value) == "there is no sample to choose a network by. Is the data loader empty?"


def test_the_error_is_that_of_the_paired_differences():
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.rand(1000, generator=generator) < share for share in (0.95, 0.94))
    difference = after.double() - before.double()
    expected = difference.std(correction=0).item() / math.sqrt(1000)
    assert standard_error(before, after) == pytest.approx(expected, rel=1e-12)
    assert standard_error(before, before) == 0


def test_the_first_network_is_what_others_are_held_against():
    seen = []
    score = Score([(torch.eye(2), torch.tensor([0, 1]))], torch.eye(2), seen.append)
    original, other = score(nn.Identity(), "original"), score(nn.Linear(2, 2, bias=False), "other")
    assert (original.accuracy, original.doubt, original.samples) == (1.0, 0.0, 2)
    assert other.doubt == standard_error(torch.tensor([True, True]), hits(other.network, score.choosing))
    assert seen == [original, other]
