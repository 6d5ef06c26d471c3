import pytest
from torch import nn

from deepcollapse.compression.job import UNTOUCHED, Finished, verdict
from deepcollapse.compression.outcome import Compressed
from deepcollapse.compression.search import Candidate
from deepcollapse.compression.target import Target
from deepcollapse.training.evaluate import Scores


def candidate(setting, accuracy, size, samples=5000):
    return Candidate(setting, nn.Identity(), accuracy, size, 1, 1, samples=samples)


def told(
    target="accuracy-drop=1%", *, test=(0.98, 0.98), others=(0.98, 0.98), size=100, met=True, samples=5000, tried=()
):
    original, chosen = candidate("original", 0.98, 1000, samples), candidate("small", 0.98, size, samples)
    found = Compressed(
        nn.Identity(), "low-rank", Target.parse(target), met, "small", original, chosen if met else original,
        tuple(tried), (), (), 10,
    )  # fmt: skip
    scores = {"test": test, UNTOUCHED: others}
    by_time = {
        split: {"before": Scores(before, 0.0), "after": Scores(after, 0.0)} for split, (before, after) in scores.items()
    }
    return verdict(Finished(found, nn.Identity(), b"", by_time, {}))


def test_a_target_that_is_met_everywhere():
    facts = told(test=(0.98, 0.975), others=(0.97, 0.972))
    assert facts["met"] is True
    assert facts["outcome"] == (
        "10.0 times smaller (100 of 1,000 bytes), accuracy on the test samples -0.50 points. The target (accuracy "
        "falls by at most 1 points) is met. On the half of them that it was not chosen by: +0.20 points."
    )


def test_the_half_that_nothing_was_chosen_by_decides_too():
    facts = told(test=(0.98, 0.972), others=(0.98, 0.965))
    assert facts["met"] is False
    assert (
        "is met there, and not on the other half. On the half of them that it was not chosen by: -1.50 points."
        in (facts["outcome"])
    )


def test_a_target_that_is_missed_on_all_test_samples():
    facts = told(test=(0.98, 0.96))
    assert facts["met"] is False
    assert "The target (accuracy falls by at most 1 points) is not met." in facts["outcome"]


def test_few_samples_are_said_to_be_few_and_do_not_decide():
    facts = told("accuracy-drop=0.2%", test=(0.98, 0.98), others=(0.98, 0.97), samples=180)
    assert facts["met"] is True
    assert facts["outcome"].endswith("It was chosen by 180 samples, 0.56 points each: too few to tell such a drop.")


def test_a_size_is_told_by_bytes_alone():
    facts = told("size=10%", test=(0.98, 0.5), others=(0.98, 0.4))
    assert facts["met"] is True
    assert told("size=10%", size=970)["met"] is False
    assert told("size=99%", size=970)["outcome"].startswith("3.0 % smaller (970 of 1,000 bytes)")


def test_where_nothing_keeps_to_it_the_closest_is_named():
    tried = [candidate("mild", 0.96, 500), candidate("strong", 0.5, 50)]
    assert told(met=False, tried=tried)["outcome"] == (
        "Nothing that was tried keeps to the target (accuracy falls by at most 1 points); the network is as it was. "
        "Closest comes mild: 50 % of the bytes at -2.00 points."
    )
    assert (
        "Closest comes strong: 5 % of the bytes at -48.00 points." in told("size=1%", met=False, tried=tried)["outcome"]
    )
    assert told(met=False)["outcome"].endswith("There is nothing that this method could try.")


@pytest.mark.parametrize(("accuracy", "warned"), [(0.1, True), (0.15, True), (0.3, False)])
def test_an_original_that_guesses_is_doubted(accuracy, warned):
    words = told(test=(accuracy, accuracy), others=(accuracy, accuracy))["outcome"]
    assert ("hardly more than chance: was it trained, on these data and so standardised?" in words) is warned
