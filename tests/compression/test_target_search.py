from dataclasses import dataclass, field

from torch import nn

from deepcollapse.compression.search import Candidate, chosen, pareto, search
from deepcollapse.compression.target import Target

ORIGINAL = Candidate("original", nn.Identity(), 0.98, 1000, 250, 250)


@dataclass
class Stairs:
    """Networks of `1000 / step` bytes whose accuracy a table gives; it remembers what was made."""

    accuracies: dict[float, float]
    made: list[float] = field(default_factory=list)

    @property
    def steps(self):
        return (1.0, 2.0, 4.0, 8.0, 16.0)

    def make(self, step):
        self.made.append(step)
        return nn.Identity(), f"{step:g}"

    def between(self, milder, stronger):
        middle = (milder * stronger) ** 0.5
        return middle if stronger > 1.01 * milder else None

    def score(self, network, setting):
        step = float(setting)
        accuracy = self.accuracies.get(step, self.accuracies.get("else"))
        return Candidate(setting, network, accuracy, round(1000 / step), 1, 1)


def look(stairs, target, refinements=0):
    return search(stairs, stairs.score, target, ORIGINAL, refinements)


def test_strength_rises_until_two_in_a_row_lose_too_much():
    stairs = Stairs({1.0: 0.98, 2.0: 0.97, 4.0: 0.98, 8.0: 0.5, 16.0: 0.4})
    found = look(stairs, Target(accuracy_drop=0.005))
    assert stairs.made == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert chosen(found, Target(accuracy_drop=0.005), ORIGINAL).setting == "4"


def test_nothing_is_tried_after_two_misses():
    stairs = Stairs({1.0: 0.98, "else": 0.5})
    look(stairs, Target(accuracy_drop=0.005))
    assert stairs.made == [1.0, 2.0, 4.0]


def test_the_gap_between_keeping_and_missing_is_halved():
    stairs = Stairs({1.0: 0.98, 2.0: 0.98, "else": 0.5})
    look(stairs, Target(accuracy_drop=0.005), refinements=2)
    assert stairs.made[4:] == [8.0**0.5, (2 * 8.0**0.5) ** 0.5]
    assert len(stairs.made) == len(set(stairs.made))


def test_for_a_size_the_search_ends_at_the_first_that_fits():
    stairs = Stairs({"else": 0.9})
    found = look(stairs, Target(size=0.3), refinements=1)
    assert stairs.made == [1.0, 2.0, 4.0, 8.0**0.5]
    assert {one.setting for one in found} == {"1", "2", "4", "2.82843"}


def test_of_those_that_fit_the_most_accurate_is_chosen_and_of_equals_the_smaller():
    made = [
        Candidate(str(i), nn.Identity(), a, b, 1, 1) for i, (a, b) in enumerate([(0.9, 90), (0.95, 99), (0.95, 60)])
    ]
    assert chosen(made, Target(size=0.1), ORIGINAL).setting == "2"
    assert chosen(made, Target(size=0.01), ORIGINAL) is None


def test_what_is_no_smaller_than_the_original_is_never_chosen():
    same = Candidate("same", nn.Identity(), 0.98, 1000, 1, 1)
    assert chosen([same], Target(accuracy_drop=0.5), ORIGINAL) is None
    assert chosen([same], Target(size=1.0), ORIGINAL) is None


def test_where_all_miss_there_is_no_edge_to_refine():
    stairs = Stairs({"else": 0.1})
    assert chosen(look(stairs, Target(accuracy_drop=0.01), 3), Target(accuracy_drop=0.01), ORIGINAL) is None
    assert stairs.made == [1.0, 2.0]


def test_the_front_holds_what_nothing_beats():
    made = [
        Candidate(str(i), nn.Identity(), a, b, 1, 1)
        for i, (a, b) in enumerate([(0.9, 50), (0.8, 60), (0.95, 70), (0.9, 40)])
    ]
    assert [one.setting for one in pareto(made)] == ["3", "2"]


def test_a_drop_is_believed_no_further_than_its_standard_error():
    original = Candidate("original", nn.Identity(), 0.98, 1000, 1, 1, samples=5000)
    lucky = Candidate("lucky", nn.Identity(), 0.979, 10, 1, 1, doubt=0.0015, samples=5000)
    sure = Candidate("sure", nn.Identity(), 0.979, 20, 1, 1, doubt=0.0009, samples=5000)
    assert chosen([lucky, sure], Target(accuracy_drop=0.002), original) is sure


def test_where_samples_are_too_few_to_tell_none_is_added():
    original = Candidate("original", nn.Identity(), 0.98, 1000, 1, 1, samples=180)
    same = Candidate("same", nn.Identity(), 0.98, 10, 1, 1, doubt=0.008, samples=180)
    assert chosen([same], Target(accuracy_drop=0.002), original) is same
