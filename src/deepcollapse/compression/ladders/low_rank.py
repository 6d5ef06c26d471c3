"""Truncated factors under a smaller and smaller budget of parameters, ranks shared out by what the outputs lose."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from deepcollapse.compression.ladders.methods import Material
from deepcollapse.compression.low_rank.allocation import Spectrum, allocate
from deepcollapse.compression.low_rank.decomposition import LowRank
from deepcollapse.compression.low_rank.truncate import truncate
from deepcollapse.compression.plan import first_samples

# Shares of the layers' parameters; in deeply collapsed networks a hundredth is enough.
STEPS = (0.7, 0.5, 0.35, 0.25, 0.18, 0.13, 0.09, 0.065, 0.045, 0.032, 0.023, 0.016, 0.011, 0.008)


@dataclass(frozen=True)
class Ranks:
    """Networks of truncated layers, by the share of the layers' parameters that is left."""

    network: nn.Module
    batches: list[tuple[Tensor, Tensor]]
    spectra: tuple[Spectrum, ...]

    @classmethod
    def of(cls, network: nn.Module, material: Material) -> "Ranks":
        """Look once at what enters each layer; ranks are shared out by the spectra of their outputs.

        Each spectrum is weighed by its own energy: what counts is the share of a layer's outputs that is lost.
        """
        batches = first_samples(material.train)
        found = LowRank(network, material.layers, batches, how="activations").spectra()
        energies = [float(spectrum.singular_values.square().sum()) for spectrum in found]
        weighed = (
            replace(spectrum, weight=1 / energy if energy > 0 else 0.0)
            for spectrum, energy in zip(found, energies, strict=True)
        )
        return cls(network, batches, tuple(weighed))

    @property
    def steps(self) -> tuple[float, ...]:
        """Shares of parameters from the largest on, as far as they allow rank 1 everywhere."""
        least = sum(min(spectrum.cost, spectrum.dense_cost) for spectrum in self.spectra)
        return tuple(share for share in STEPS if share * self._dense > least)

    @property
    def _dense(self) -> int:
        return sum(spectrum.dense_cost for spectrum in self.spectra)

    def between(self, milder: float, stronger: float) -> float | None:
        """The geometric mean of two shares."""
        return math.sqrt(milder * stronger) if milder > 1.02 * stronger else None

    def make(self, step: float) -> tuple[nn.Module, str]:
        """Share the budget out, then truncate layer after layer on what the truncated ones before hand on."""
        shared = allocate(self.spectra, round(step * self._dense), least=1).ranks
        ranks = {name: rank for name, rank in shared.items() if rank is not None}
        made = truncate(self.network, ranks, self.batches, how="activations")
        return made.network, f"{100 * step:.3g} % of the weights, ranks {_told(ranks)}"


def _told(ranks: Mapping[str, int]) -> str:
    shown = [str(rank) for rank in ranks.values()]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "...", *shown[-2:]]) or "as they were"
