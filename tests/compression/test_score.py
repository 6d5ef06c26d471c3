import math

import pytest
import torch
from torch import nn

from deepcollapse.compression.files import file_of
from deepcollapse.compression.score import Score, hits, standard_error
from deepcollapse.errors import BatchError, LabelError


def test_hits_are_told_sample_by_sample_and_unlabelled_ones_left_out():
    batches = [(torch.eye(3), torch.tensor([0, 2, -100])), (torch.eye(3)[:1], torch.tensor([0]))]
    right, labels = hits(nn.Identity(), batches)
    assert right.tolist() == [True, False, True]
    assert labels.tolist() == [0, 2, 0]


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
    network = nn.Linear(2, 2, bias=False)
    nn.init.eye_(network.weight)
    score = Score(network, [(torch.eye(2), torch.tensor([0, 1]))], torch.eye(2), seen.append)
    pair = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    original, other = score(network, "original"), score(pair, "other")
    assert (original.accuracy, original.doubt, original.samples) == (1.0, 0.0, 2)
    assert other.doubt == standard_error(torch.tensor([True, True]), hits(other.network, score.choosing)[0])
    assert seen == [original, other]
    assert score.classes == 2
    assert (original.stored_bytes, other.stored_bytes) == (len(file_of(network)), len(file_of(pair, [""])))


def test_samples_in_another_order_are_refused():
    passes = iter([[0, 1], [1, 0]])

    class Shuffled:
        def __iter__(self):
            order = torch.tensor(next(passes))
            return iter([(torch.eye(2)[order], order)])

    score = Score(nn.Identity(), Shuffled(), torch.eye(2), None)
    score(nn.Identity(), "original")
    with pytest.raises(BatchError) as raised:
        score(nn.Identity(), "other")
    assert str(raised.value) == (
        "the batches that a network is chosen by came in another order this time, and networks are compared sample by "
        "sample. Pass a list, or a loader that does not shuffle."
    )


def test_labels_without_an_output_are_refused():
    with pytest.raises(LabelError) as raised:
        hits(nn.Identity(), [(torch.eye(2), torch.tensor([0, 5]))])
    assert str(raised.value) == (
        "labels run up to 5, and the network has 2 outputs, for classes 0 to 1. Take the data that it was trained on."
    )
