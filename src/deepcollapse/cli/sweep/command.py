"""`deepcollapse sweep`: many runs, on one machine or on many."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from deepcollapse.cli.sweep.page import SweepPage
from deepcollapse.cli.sweep.plan import SweepPlan
from deepcollapse.cli.sweep.run import SweepRun
from deepcollapse.cli.sweep.status import SweepStatusOf


@dataclass(frozen=True)
class Sweeps:
    """Run every combination of settings, on one machine or on many, and compare what comes of them."""

    what: (
        Annotated[SweepRun, tyro.conf.subcommand("run")]
        | Annotated[SweepPlan, tyro.conf.subcommand("plan")]
        | Annotated[SweepStatusOf, tyro.conf.subcommand("status")]
        | Annotated[SweepPage, tyro.conf.subcommand("page")]
    )

    def run(self) -> int:
        """Run the sub-command."""
        return self.what.run()
