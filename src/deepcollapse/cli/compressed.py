"""What `deepcollapse compress` shows: what is about to happen, what can go and why, and before beside after."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say

if TYPE_CHECKING:
    from deepcollapse.compression.job import Job
    from deepcollapse.records import Run
    from deepcollapse.report.tried import Compression

# A pass that takes so many times as long is worth a word.
SLOWER = 1.25


def announce(job: "Job", name: str, origin: str) -> None:
    """What is about to be compressed, how, on which weights, and how much work that is."""
    chosen = "half the test samples" if job.splits.test else "the training samples, for there are no test samples"
    chosen += ", and because these are few by training samples too" if job.needs_more else ""
    say(f"Compressing {name} on {job.splits.train.name} by {job.method}: {job.target}. Weights: {origin}.")
    say(f"Networks are chosen by {chosen}. {_work(job)}")


def _work(job: "Job") -> str:
    """How many networks are made at most, and what is done with each."""
    from deepcollapse.compression.ladders import coded, low_rank
    from deepcollapse.compression.search import search

    halvings = inspect.signature(search).parameters["refinements"].default
    most, text = 0, ""
    for name in (part.strip() for part in job.method.split("+")):
        if name == "ternary":
            most += 1
            text += f"; ternary weights are searched for up to {job.seconds:g} s"
        else:
            most += len(low_rank.STEPS if name == "low-rank" else coded.STEPS) + halvings
            if name != "low-rank" and job.fine_tune:
                epochs = f"{job.fine_tune} epoch{'s' * (job.fine_tune != 1)}"
                text += f"; those with shared values are trained on for {epochs}, twice"
    return f"At most {most} network{'s are' if most != 1 else ' is'} tried{text}. The best is measured at the end."


def show(run: "Run", page: Path) -> None:
    """The plan, what was tried, before beside after, and where everything is; from the records alone."""
    from deepcollapse.report.tried import Compression
    from deepcollapse.report.view import views

    found = Compression.of(views(run)[0])
    assert found is not None
    if found.low_rank:
        _plan(found)
    elif found.changes:
        _layers(found)
    _before_and_after(found)
    print()
    for text in (found.outcome, *_remarks(found)):
        say(text)
    print()
    for text in _places(run, found):
        say(text)
    print(f"Page: {page}")


def _plan(found: "Compression") -> None:
    """What the spectra say of each layer, and what became of it."""
    from deepcollapse.report.compression import below_proposed, proposed
    from deepcollapse.report.reasons import grouped

    rows = []
    became = {change.layer: change.what for change in found.changes}
    for plan in found.plan:
        ranks = (f"{plan.rank_at_one_percent:g}", f"{plan.energy_rank:g}", proposed(plan))
        rows.append((plan.layer, *ranks, became.get(plan.layer, "as it was")))
    if not rows:
        return
    print()
    columns = ["what can go from", "rank,\n1 %", "99.9 % of\noutput", "proposed", "what was done"]
    show_table(columns, rows, right=(1, 2, 3))
    print()
    for layers, reason in grouped(found.plan):
        say(f"{layers}: {reason}.")
    if text := below_proposed(found):
        say(text)


def _layers(found: "Compression") -> None:
    """What each layer took and takes, where ranks play no part."""
    print()
    rows = [(one.layer, f"{one.before:,.0f}", f"{one.after:,.0f}", one.what) for one in found.changes]
    show_table(["layer", "bytes\nbefore", "bytes\nafter", "what was done"], rows, right=(1, 2))


def _before_and_after(found: "Compression") -> None:
    from deepcollapse.report.compression import lines

    print()
    show_table(["", "before", "after", "before / after"], lines(found), right=(1, 2, 3))


def _remarks(found: "Compression") -> list[str]:
    """What the numbers say that a reader might miss."""
    if not found.changes:
        return []
    times = [(name, found.value(name, before=True), found.value(name)) for name in found.latencies]
    slower = [name.rpartition("_")[2] for name, before, after in times if before and after and after > SLOWER * before]
    if not slower:
        return []
    return [
        f"A batch of {' or '.join(slower)} takes longer than before: dense layers win there, and what is gained is "
        "size."
    ]


def _places(run: "Run", found: "Compression") -> list[str]:
    """Where the network is, if there is one, and what reads it."""
    network, exported = run.path / "compressed.safetensors", run.path / "compressed.pt2"
    places = [f"Network: {network}"] if found.changes and network.is_file() else []
    if exported.is_file():
        places.append(f"For torch.export.load: {exported}{_input_of(exported)}")
    return places


def _input_of(exported: Path) -> str:
    """What an exported network takes, as the file says."""
    import torch

    inputs = torch.export.load(exported).example_inputs
    if inputs is None:
        return ""
    _, *sample = inputs[0][0].shape
    return f" (takes {inputs[0][0].dtype} of shape (samples, {', '.join(map(str, sample))}), standardised)"
