"""`deepcollapse sweep plan`: write a sweep down, for a cluster's queue to run it one index at a time."""

import shlex
from dataclasses import dataclass

from deepcollapse.cli.sweep.planned import Planned
from deepcollapse.cli.terminal import say, say_json
from deepcollapse.sweeps.folder import SweepFolder


@dataclass(frozen=True)
class SweepPlan(Planned):
    """Write down the runs of a sweep, and say how a Slurm array runs them; nothing is trained.

    Planning again with more seeds or values adds runs at the end: the indices of those before stay.
    """

    def run(self) -> int:
        """Write the plan, and say what to submit."""
        asked = self.sweep()
        folder = SweepFolder(self.folder(asked))
        whole = folder.plan(asked)
        done = len(folder.done(whole))
        last = len(whole.recipes) - 1
        one = self.command_of_one(folder)
        if self.json:
            say_json({"folder": str(folder.path), "runs": last + 1, "done": done, "last_index": last, "command": one})
            return 0
        runs = "1 run, index 0" if last == 0 else f"{last + 1} runs, index 0 to {last}"
        say(f"{folder.path / 'sweep.json'} holds {runs}; {done or 'none'} of them done.")
        print(f"\nAs a Slurm array:\n\n  sbatch --array=0-{last} --cpus-per-task=1 --wrap \\\n    {shlex.quote(one)}\n")
        say("One of them, anywhere: the same command with a number. A run that is done is not run again.")
        return 0

    def command_of_one(self, folder: SweepFolder) -> str:
        """The command that an array runs, once an index."""
        flags = {"--device": self.device, "--threads": self.threads, "--data-root": self.data_root}
        given = [part for flag, value in flags.items() if value is not None for part in (flag, str(value))]
        given += ["--download"] * self.download
        return f"{shlex.join(['deepcollapse', 'run', str(folder.path), *given])} --index $SLURM_ARRAY_TASK_ID"
