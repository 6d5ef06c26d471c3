"""Watching a run: what is told at its start and after each epoch. Imports no torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcollapse.measurement import Measurement
    from deepcollapse.records import Run
    from deepcollapse.training.evaluate import Scores


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to, for whoever watches; `measurement` is that of the training data, where there was one."""

    epoch: int
    epochs: int
    train: "Scores"
    test: "Scores | None"
    tpt_onset: int | None
    measurement: "Measurement | None"


class Watcher:
    """Whoever watches a run: this one looks on in silence. Override what you want to see."""

    def start(self, seconds: float, run: "Run", done: int) -> None:
        """Training is about to begin after epoch `done`, and takes about so many seconds."""
        del seconds, run, done

    def epoch(self, report: EpochReport) -> None:
        """An epoch has ended, and its rows are on the disk."""
        del report
