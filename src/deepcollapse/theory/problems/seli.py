r"""SELI: the geometry of the least norms that separate every class by a margin of one, whatever the class counts.

    min 1/2 (|W|^2 + |H|^2)   over   (w_y - w_c) h_i >= 1 for every sample i, its class y and any other class c

:cite:`thrampoulidis2022`. All its minimisers have the same logits, the simplex-encoded labels (I - J/K) Y, and it is
where unconstrained features tend as their weight decay goes to 0, at a logarithmic pace. Unlike the layer-peeled model
it never collapses, and features of minority classes are the longer ones.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64
from torch import Tensor

from deepcollapse.errors import OptionError
from deepcollapse.theory.problem import gap_above
from deepcollapse.theory.problems.group_optimum import Facts, GroupOptimum
from deepcollapse.theory.reduced.cross_entropy import centring
from deepcollapse.theory.reduced.groups import GroupMatrix, Groups


@dataclass(frozen=True)
class Seli:
    """Least (|W|^2 + |H|^2)/2 with margins of one: the simplex-encoded-labels interpolation.

    Classes lie in `groups`; their counts may be any numbers above 0 (OptionError otherwise). Not a problem that descent
    solves: its constraints are hard. `dim` is the width of `factors`, None for K.

    >>> facts = Seli(Groups.two(5, 5, 10.0)).optimum().facts()
    >>> round(facts["cos_w_minority"], 12), round(facts["nuclear_norm"], 12)
    (0.033368868361, 18.994318520585)
    """

    groups: Groups
    dim: int | None = None

    def __post_init__(self) -> None:
        if 0 in self.groups.counts:
            raise OptionError(
                f"SELI needs samples of every class: counts must be above 0; got {self.groups.counts}. "
                "LayerPeeled takes classes without samples."
            )
        if self.dim is not None and self.dim < 1:
            raise OptionError(f"dim must be at least 1; got {self.dim}.")

    def optimum(self) -> "SeliOptimum":
        """In closed form; OptionError where `dim` is below K-1."""
        found = SeliOptimum(self)
        found.check_width(self.dim or self.groups.num_classes)
        return found


@dataclass(frozen=True)
class SeliOptimum(GroupOptimum):
    """Zhat = (I - J/K) Y with Zhat = V S U^T: W W^T = V S V^T and H^T H = U S U^T."""

    problem: Seli

    @property
    def groups(self) -> Groups:
        """Those of the problem."""
        return self.problem.groups

    @property
    def logits(self) -> GroupMatrix:
        """The simplex-encoded labels of one sample a class, I - J/K."""
        return centring(self.groups.sizes)

    @property
    def weight_scale(self) -> float:
        """1: classifier and features weigh the same."""
        return 1.0

    @property
    def column_counts(self) -> Float64[np.ndarray, " g"]:
        """Samples a class."""
        return np.array(self.groups.counts)

    @cached_property
    def _stretched(self) -> GroupMatrix:
        return self.logits.scaled_columns(np.sqrt(self.column_counts))

    @property
    def value(self) -> float:
        """|Zhat|_*, the least 1/2 (|W|^2 + |H|^2)."""
        return self._stretched.nuclear_norm

    @property
    def gap(self) -> float:
        """`value` less the dual objective at the polar factor of Zhat; NaN where that is no dual point.

        The dual asks for a matrix of spectral norm 1 at most whose columns sum to zero, negative off the labels, and
        counts its entries on the labels.
        """
        block = self._stretched.block
        left, values, right = np.linalg.svd(block)
        kept = values > 1e-12 * max(values[0], 1e-300)
        polar = GroupMatrix(self.groups.sizes, np.sign(self._stretched.contrast), left[:, kept] @ right[kept])
        exists = np.array(self.groups.sizes)[:, None] - np.eye(len(values)) > 0
        if (polar.other[exists] > 1e-12).any():
            return float("nan")
        dual = float((np.array(self.groups.sizes) * np.sqrt(self.column_counts)) @ polar.own)
        return gap_above(self.value, dual)

    def facts(self) -> Facts:
        """The nuclear norm of Zhat (at the counts as given), cosines, gap, and lengths. They hold for any scale."""
        facts: Facts = {"nuclear_norm": self.value, **self._classifier_cosines(), "gap": self.gap}
        return {**facts, **self._more_geometry(), "rank": self.rank}

    def factors(
        self, members: Int64[np.ndarray, " k"] | None = None
    ) -> tuple[Float64[Tensor, "k d"], Float64[Tensor, "k d"]]:
        """W and one feature vector a class, in rows: in the order of the groups, or of `members`."""
        return self._factors(self.problem.dim or self.groups.num_classes, members)
