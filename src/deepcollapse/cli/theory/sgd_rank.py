"""`deepcollapse theory sgd-rank`: the rank that batch size, learning rate and weight decay enforce."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say_json
from deepcollapse.cli.theory.shown import figures, told
from deepcollapse.errors import OptionError

# What is taken where neither a flag nor a run says otherwise: those of deepcollapse train.
USUAL = {"rate": 0.05, "decay": 5e-3, "batch": 128, "momentum": 0.9}


@dataclass(frozen=True)
class SgdRank:
    """The rank from which mini-batch descent with weight decay leaves a layer's weight within a small distance."""

    rate: float | None = None
    """Learning rate; that of the run at its end, else 0.05."""
    decay: float | None = None
    """Weight decay, as torch.optim.SGD takes it; that of the run, else 0.005."""
    batch: int | None = None
    """Samples a step; those of the run, else 128."""
    momentum: float | None = None
    """Momentum; that of the run, else 0.9."""
    eps: float = 0.1
    """Distance allowed, as a share of the weight's norm."""
    patches: int = 1
    """Positions at which the layer is applied: 1 for a linear layer, output pixels or tokens for others."""
    shape: tuple[int, int] | None = None
    """Rows and columns of the weight, to tell whether the bound says anything."""
    folder: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """Take rate, decay, batch and momentum from this run of deepcollapse train."""
    json: bool = False
    """Print every digit as JSON."""

    def run(self) -> int:
        """Count the steps after which old weights have faded, and the rank of all steps since."""
        from deepcollapse.theory.bounds.sgd_rank import sgd_rank_bound

        known, note = self._known()
        found = sgd_rank_bound(**known, eps=self.eps, patches=self.patches, shape=self.shape)
        facts: dict[str, Any] = {
            **known,
            "eps": self.eps,
            "patches": self.patches,
            "steps": found.steps,
            "rank": found.rank,
            "fading": found.fading,
            "vacuous": found.vacuous,
        }
        if self.json:
            say_json({**facts, "note": note})
            return 0
        names = {
            "rate": "learning rate",
            "decay": "weight decay",
            "batch": "samples a step",
            "momentum": "momentum",
            "eps": "distance allowed, share of the norm",
            "patches": "positions of the layer",
            "fading": "what a step leaves of old weights",
            "steps": "steps after which they have faded",
            "rank": "rank of all steps since, at most",
        }
        show_table(("by counting steps", "value"), [(names[n], figures(facts[n])) for n in names], right=(1,))
        told(self._meaning(found.rank, found.vacuous), note)
        return 0

    def _meaning(self, rank: int, vacuous: bool | None) -> str:
        if vacuous:
            smaller = min(self.shape or (0, 0))
            return (
                f"A weight whose smaller side is {smaller} has no rank above that, so the bound says nothing here. "
                "Smaller batches, larger rates or more decay would lower it; measured ranks are often far lower anyway."
            )
        end = "" if self.shape else " For a weight whose smaller side is no larger than that it says nothing."
        return (
            f"After long training the weight lies within {figures(self.eps)} of its norm of a matrix of rank {rank:,} "
            f"or less, whatever the data.{end}"
        )

    def _known(self) -> tuple[dict[str, Any], str]:
        """Settings as given, else those of the run, else the usual ones; and where the run's rate is from."""
        given = {name: value for name in USUAL if (value := getattr(self, name)) is not None}
        if self.folder is None:
            return {**USUAL, **given}, ""
        from deepcollapse.records import Run
        from deepcollapse.training.recipe import Recipe

        run = Run.open(self.folder)
        if "measured" in run.provenance:
            raise OptionError(f"{run.path} holds measurements alone, and how the network was trained is not known.")
        recipe = Recipe.from_mapping(run.recipe)
        if recipe.optimiser != "sgd":
            raise OptionError(
                f"the bound is for stochastic gradient descent; {run.path} was trained with {recipe.optimiser}, whose "
                "steps have full rank."
            )
        last = recipe.learning_rate(recipe.epochs)
        theirs = {"rate": last, "decay": recipe.decay, "batch": recipe.batch, "momentum": recipe.momentum}
        note = ""
        if last != recipe.rate and "rate" not in given:
            note = (
                f"The rate is that of the last epochs, {last:g}; it began at {recipe.rate:g}, at which steps faded "
                f"{figures(recipe.rate / last)} times as fast."
            )
        return {**theirs, **given}, note
