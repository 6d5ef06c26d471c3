"""`deepcollapse theory forecast`: whether minority classes will collapse, for the user's own class counts."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say_json
from deepcollapse.cli.theory.shown import figures, told
from deepcollapse.errors import OptionError

if TYPE_CHECKING:
    from deepcollapse.theory.predictions.forecast import PeeledForecast

# E_W and E_H of the experiments that found minority collapse, where nothing is known of a network.
BUDGETS = {"weight_budget": 1.0, "feature_budget": 5.0}
ROWS = {
    "ratio": ("R", "samples of the largest over the smallest class"),
    "threshold_ratio": ("R0", "ratio from which the smallest classes coincide"),
    "budget": ("s", "budget √(E_W E_H)"),
    "threshold_budget": ("s0", "budget up to which the smallest classes coincide"),
    "cosine": ("", "cosine of the two closest classifiers"),
    "balanced_cosine": ("", "the same for balanced classes"),
    "rank": ("", "dimensions that the classifiers span"),
    "floor": ("", "show classes of fewer samples as if they had more than"),
    "restoring": ("", "how often to show the smallest for balanced angles"),
}


@dataclass(frozen=True)
class Forecast:
    """Forecast minority collapse for your own class counts, and what would prevent it."""

    counts: tuple[float, ...] = ()
    """Samples of each class, one number a class; those of the run where one is named."""
    folder: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """Take class counts, budgets and decays from this run of deepcollapse train or measure."""
    weight_budget: float | None = None
    """Mean squared length of the classifier's rows (E_W); 1 where nothing else is given."""
    feature_budget: float | None = None
    """Mean squared length of features about their mean (E_H); 5 where nothing else is given."""
    weight_decay: float | None = None
    """Decay of the classifier: asks the unconstrained-features model too, together with --feature-decay."""
    feature_decay: float | None = None
    """Decay of the features, likewise."""
    json: bool = False
    """Print every digit as JSON."""

    def run(self) -> int:
        """Say what is to be expected, and why."""
        from deepcollapse.theory.predictions.forecast import forecast

        counts: tuple[float, ...] = self.counts
        if not counts and self.folder is not None:
            from deepcollapse.theory.predictions.of_run import counts_of

            counts = counts_of(self.folder)
        if not counts:
            raise OptionError(
                "say how many samples each class has, for example --counts 500 500 50 50, or name a run with --run."
            )
        parameters, assumed = self._parameters()
        found = forecast(counts, **parameters)
        if self.json:
            say_json({**parameters, **found.facts()})
            return 0
        if found.layer_peeled:
            _show(found.layer_peeled)
        told(" ".join(found.sentences()))
        if assumed:
            told(
                "These are the budgets E_W = 1 and E_H = 5 of the experiments that found minority collapse. For a "
                "network of your own, name its run with --run, or its budgets: deepcollapse measure tells them."
            )
        return 0

    def _parameters(self) -> tuple[dict[str, float], bool]:
        """Budgets and decays as given, else those of the run, else the usual budgets; and whether they are those."""
        from deepcollapse.theory.predictions.of_run import budgets_of

        names = (*BUDGETS, "weight_decay", "feature_decay")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        known = {} if self.folder is None else budgets_of(self.folder)
        if not given and not known:
            return dict(BUDGETS), True
        return known | given, False


def _show(found: "PeeledForecast") -> None:
    rows = [(symbol, words, figures(getattr(found, name))) for name, (symbol, words) in ROWS.items()]
    show_table(("", "by the layer-peeled model", "value"), rows, right=(2,))
