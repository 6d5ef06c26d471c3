"""Watching a sweep: what is told of its runs as they go. Imports no torch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcollapse.sweeps.job import Outcome
    from deepcollapse.sweeps.sweep import Sweep


class SweepWatcher:
    """Whoever watches a sweep: this one looks on in silence. Override what you want to see."""

    def start(self, sweep: "Sweep", done: int) -> None:
        """So many of the sweep's runs are done already; the others are about to begin."""
        del sweep, done

    def epoch(self, key: str, epoch: int, epochs: int) -> None:
        """A run has reached an epoch."""
        del key, epoch, epochs

    def computing(self, name: str, share: float) -> None:
        """So much of something that is no run is done; sweeps alone have nothing of the kind."""
        del name, share

    def ended(self, outcome: "Outcome") -> None:
        """A run has come to its end, or was found there."""
        del outcome
