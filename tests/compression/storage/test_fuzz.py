import fuzz

from unchecked import shapes_unchecked


def test_mutated_containers_are_refused_or_are_what_the_table_says(capsys):
    with shapes_unchecked():  # as a user's process runs, whose time and memory are what the budget is of
        outcome = fuzz.fuzz(count=2000, seed=1)
    with capsys.disabled():
        print(f"\n{outcome}")
    assert outcome.counts.total() == 2000
    # All that can happen did: otherwise the mutations are not what they are meant to be.
    assert set(outcome.counts) == {"ContainerError", "MemoryBudgetError", "taken", "taken, but not as we code"}
