"""What `deepcollapse compress` shows: what is about to happen, what can go and why, and before beside after."""

from pathlib import Path
from typing import TYPE_CHECKING

from deepcollapse.cli.terminal import say, show_table

if TYPE_CHECKING:
    from deepcollapse.compression.job import Job
    from deepcollapse.records import Run
    from deepcollapse.report.tried import Compression


def announce(job: "Job", name: str, origin: str) -> None:
    """What is about to be compressed, how, and on which weights."""
    chosen = "half the test samples" if job.splits.test else "the training samples, for there are no test samples"
    say(f"Compressing {name} on {job.splits.train.name} by {job.method}: {job.target}. Weights: {origin}.")
    say(f"Networks are chosen by {chosen}.")


def show(run: "Run", page: Path) -> None:
    """The plan, what was tried, before beside after, and where everything is; from the records alone."""
    from deepcollapse.report.tried import Compression
    from deepcollapse.report.view import views

    found = Compression.of(views(run)[0])
    assert found is not None
    _plan(found)
    _before_and_after(found)
    print()
    say(str(found.facts["outcome"]))
    for text in _remarks(found):
        say(text)
    print(f"\nNetwork: {run.path / 'compressed.safetensors'}\nPage: {page}")


def _plan(found: "Compression") -> None:
    from deepcollapse.report.compression import proposed

    rows = []
    became = {change.layer: change.what for change in found.changes}
    for plan in found.plan:
        ranks = (f"{plan.rank_at_one_percent:g}", f"{plan.energy_rank:g}", proposed(plan))
        rows.append((plan.layer, *ranks, became.get(plan.layer, "as it was")))
    if not rows:
        return
    print()
    columns = ["what can go from", "rank of\nweight", "99.9 % of\noutput", "proposed\nrank", "what was done"]
    show_table(columns, rows, right=(1, 2, 3))
    print()
    for plan in found.plan:
        say(f"{plan.layer}: {plan.reason}.")


def _before_and_after(found: "Compression") -> None:
    from deepcollapse.report.compression import lines

    print()
    show_table(["", "before", "after", "before / after"], lines(found), right=(1, 2, 3))


def _remarks(found: "Compression") -> list[str]:
    """What the numbers say that a reader might miss."""
    times = [(name, found.value(name, before=True), found.value(name)) for name in found.latencies]
    slower = [name.rpartition("_")[2] for name, before, after in times if before and after and after > 1.1 * before]
    if not slower:
        return []
    return [
        f"A batch of {' or '.join(slower)} takes longer than before: dense layers win there, and what is gained is "
        "size."
    ]
