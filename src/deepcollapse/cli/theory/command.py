"""`deepcollapse theory`: the models of theory, each a sub-command."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from deepcollapse.cli.theory.deep_ufm import DeepUfm
from deepcollapse.cli.theory.forecast import Forecast
from deepcollapse.cli.theory.layer_peeled import LayerPeeled
from deepcollapse.cli.theory.phase_diagram import PhaseDiagram
from deepcollapse.cli.theory.seli import Seli
from deepcollapse.cli.theory.sgd_rank import SgdRank
from deepcollapse.cli.theory.ufm import Ufm


@dataclass(frozen=True)
class Theory:
    """Say what is optimal for a loss, weight decay and balance of classes."""

    model: (
        Annotated[Ufm, tyro.conf.subcommand("ufm")]
        | Annotated[LayerPeeled, tyro.conf.subcommand("layer-peeled")]
        | Annotated[Seli, tyro.conf.subcommand("seli")]
        | Annotated[DeepUfm, tyro.conf.subcommand("deep-ufm")]
        | Annotated[Forecast, tyro.conf.subcommand("forecast")]
        | Annotated[SgdRank, tyro.conf.subcommand("sgd-rank")]
        | Annotated[PhaseDiagram, tyro.conf.subcommand("phase-diagram")]
    )

    def run(self) -> int:
        """Run the sub-command."""
        return self.model.run()
