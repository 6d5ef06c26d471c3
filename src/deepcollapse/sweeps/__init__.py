"""Many runs: a list of recipes, each run addressed by its recipe's digest, on one machine or on many.

A `Sweep` is a list of recipes (`Sweep.grid` makes one of every combination). `run_sweep(sweep, out)` runs what is not
there yet and returns an `Outcome` for each; engines say where: in this process, in worker processes, as one stacked
program, or on a Ray cluster.
"""

import importlib
from typing import TYPE_CHECKING

from deepcollapse.sweeps.sweep import Sweep, key_of

if TYPE_CHECKING:
    from deepcollapse.sweeps.folder import SweepFolder
    from deepcollapse.sweeps.job import Job, Outcome, do
    from deepcollapse.sweeps.running import run_sweep
    from deepcollapse.sweeps.trained import Trained

# torch is imported with the first of these that is used.
_HOMES = {"SweepFolder": "folder", "run_sweep": "running", "Job": "job", "Outcome": "job", "do": "job"}
_HOMES |= {"Trained": "trained"}

__all__ = ["Sweep", "key_of", "SweepFolder", "run_sweep", "Job", "Outcome", "do", "Trained"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse.sweeps' has no attribute {name!r}")
    return getattr(importlib.import_module(f"deepcollapse.sweeps.{_HOMES[name]}"), name)
