"""What the provenance of a run says of the stack that it was trained in."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from deepcollapse.errors import DeepCollapseError
from deepcollapse.records import Run, atomic_write
from deepcollapse.sweeps.stacked.perceptron import Perceptrons
from deepcollapse.sweeps.stacked.program import Member

EXACT = "as in a single run, bit for bit"
AGREES = 1e-6  # of the weights' norm after one step in float32; at most 3e-8 was measured
ROUNDED = f"rounded otherwise than in a single run: weights agree to {AGREES:g} of their norm after a step"


def note_together(members: Sequence[Member]) -> None:
    """Note with each member that has epochs left how many it is trained with, and whether that changes any number."""
    for member in members:
        if member.under_way:
            training = member.training
            plain = training.place.device.type == "cpu" and training.place.threads == 1
            arithmetic = EXACT if plain and Perceptrons.exact(training.network) else ROUNDED
            try:
                note(training.run, stacked={"members": len(members), "arithmetic": arithmetic})
            except DeepCollapseError as error:
                member.error = error


def note_failed(member: Member, reason: str, untouched: bool) -> None:
    """Note that a member goes on alone, and why; where the stack gave it no epoch, it was never in one."""
    with contextlib.suppress(DeepCollapseError):  # on a full disk the run's own turn tells of it
        note(member.training.run, not_stacked=reason, **({"stacked": None} if untouched else {}))


def note(run: Run, **facts: Any) -> None:
    """Add facts to the provenance of a run; those that are None are taken out."""
    known = run.provenance | facts
    kept = {name: fact for name, fact in known.items() if fact is not None or name not in facts}
    atomic_write(run.path / "provenance.json", (json.dumps(kept, indent=2) + "\n").encode())
