"""The progress of a study: of its runs, then of what it computes from them."""

from deepcollapse.cli.sweep.progress import SECONDS_BETWEEN_LINES, SweepProgress
from deepcollapse.cli.terminal import say


class StudyProgress(SweepProgress):
    """That of a sweep, and beyond it what is computed, by its name."""

    def computing(self, name: str, share: float) -> None:
        """So much of a computation is done."""
        self.conclude()  # of its runs, all of which have come to their end
        text = f"{name.replace('_', ' ')}: {share:.0%}"
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], description=text)
        elif not self.quiet and self.clock() - self.told >= SECONDS_BETWEEN_LINES:
            self.told = self.clock()
            say(text)
