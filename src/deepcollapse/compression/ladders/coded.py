"""Pruned more and more and trained on in between; at each step shared among few values and coded."""

from dataclasses import dataclass, field

from torch import nn

from deepcollapse.compression.coded_layers import code_layers
from deepcollapse.compression.few_values import Masks, prune, quantise
from deepcollapse.compression.fine_tuning import fine_tune
from deepcollapse.compression.ladders.methods import Material
from deepcollapse.compression.storage.forms import Form

# Per cent of each layer's weights that are pruned. HAC and the like gain little below a half.
STEPS = (0.0, 60.0, 80.0, 90.0, 95.0, 97.5, 98.7, 99.3)


@dataclass
class Coding:
    """Networks of pruned and shared weights, by per cent pruned."""

    network: nn.Module
    material: Material
    form: Form
    pruned: dict[float, nn.Module] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[float, ...]:
        """Per cent pruned, the least first."""
        return STEPS

    def between(self, milder: float, stronger: float) -> float | None:
        """Half-way in what is left: between 90 % and 99 % lie 96.8 %."""
        left = ((100 - milder) * (100 - stronger)) ** 0.5
        return round(100 - left, 2) if stronger - milder > 0.05 else None

    def make(self, step: float) -> tuple[nn.Module, str]:
        """Prune, train on, share, train on, code."""
        m = self.material
        masks = self._pruned(step)
        few = quantise(self.pruned[step], m.values, masks=masks, names=m.layers, seed=m.seed)
        network = few.network
        if m.fine_tune:
            how = {"codebooks": few.codebooks, "descent": m.descent, "loss": m.loss, "seed": m.seed}
            network = fine_tune(network, m.train, **how).network
        setting = f"{step:g} % pruned, {m.values} values"
        return code_layers(network, names=m.layers, form=self.form), setting

    def _pruned(self, step: float) -> Masks:
        """The masks at this step; the network goes on from the strongest milder step that was pruned already."""
        m = self.material
        milder = max((done for done in self.pruned if done <= step), default=None)
        base = self.network if milder is None else self.pruned[milder]
        cut = prune(base, step, names=m.layers)
        trains = m.fine_tune and step > 0 and milder != step
        how = {"masks": cut.masks, "descent": m.descent, "loss": m.loss, "seed": m.seed}
        self.pruned[step] = fine_tune(cut.network, m.train, **how).network if trains else cut.network
        return cut.masks
