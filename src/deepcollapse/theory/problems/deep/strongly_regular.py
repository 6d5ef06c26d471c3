r"""Classes as the edges of a complete graph: a solution of the deep model of rank sqrt(2K), often below collapse.

K = r(r-1)/2 classes are the edges of K_r. In all layers but the last the features of a class are the indicator of its
two vertices, so that the rank is r; the Gram matrix is 2I + A with A the adjacency of the triangular graph T_r, which
is strongly regular: srg(K, 2(r-2), r-2, 4). A row of signs for each set S of s vertices, 1/2 on S and -1/2 off it,
then makes relu the indicator of "edge inside S", which is of full rank K. Sources: the solution of Súkeník, Lampert &
Mondelli 2024, whose published properties this one has; layers of signs and their closed forms are derived here.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import torch
from jaxtyping import Float64
from scipy.optimize import minimize_scalar
from torch import Tensor

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.deep.construction import Factors
from deepcollapse.theory.problems.deep.structures import (
    Structure,
    ridge_scale,
    shape_factors,
    shape_ranks,
    shape_structure,
)


def vertices_of(num_classes: int) -> int | None:
    """r with K = r(r-1)/2 and r >= 4, or None where there is none.

    >>> vertices_of(10), vertices_of(11)
    (5, None)
    """
    r = (1 + math.isqrt(1 + 8 * num_classes)) // 2
    return r if r >= 4 and r * (r - 1) == 2 * num_classes else None


def incidence(vertices: int) -> Float64[Tensor, "k r"]:
    """The indicator of each edge's two vertices, edges (0,1), (0,2), ... in rows.

    >>> incidence(3).tolist()
    [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    """
    edges = torch.tensor(list(combinations(range(vertices), 2)))
    return torch.zeros(len(edges), vertices, dtype=torch.float64).scatter_(1, edges, 1.0)


def sign_rows(vertices: int, subset: int, against: float = 1.0) -> Float64[Tensor, "q r"]:
    """A row for each set of `subset` vertices: 1/2 on it and -against/2 off it.

    >>> sign_rows(3, 2).tolist()
    [[0.5, 0.5, -0.5], [0.5, -0.5, 0.5], [-0.5, 0.5, 0.5]]
    """
    sets = torch.tensor(list(combinations(range(vertices), subset)))
    return torch.full((len(sets), vertices), -against / 2, dtype=torch.float64).scatter_(1, sets, 0.5)


def _choose(n: int, k: int) -> int:
    return math.comb(n, k) if 0 <= k <= n else 0


@dataclass(frozen=True)
class EdgeCode:
    """r vertices, subsets of s, and how strongly rows speak against the vertices off their subset (1: equal signs).

    All of it follows from counts: what the eigenvalues are does not need the matrices.

    >>> EdgeCode(5, 3).gram
    ((9.0, 1), (4.0, 4), (1.0, 5))
    """

    vertices: int
    subset: int
    against: float = 1.0

    @property
    def rows(self) -> int:
        """q = C(r, s), the width that the last layer needs."""
        return math.comb(self.vertices, self.subset)

    @property
    def gram(self) -> tuple[tuple[float, int], ...]:
        """Eigenvalues of the Gram matrix after the last ReLU, on T_r's three eigenspaces, with multiplicities."""
        r, s, one = self.vertices, self.subset, (1 - self.against) / 2  # what an edge with one end in S comes to
        same = _choose(r - 2, s - 2) + 2 * _choose(r - 2, s - 1) * one**2
        touching = _choose(r - 3, s - 3) + 2 * _choose(r - 3, s - 2) * one
        touching += (_choose(r - 3, s - 1) + _choose(r - 3, s - 2)) * one**2
        apart = _choose(r - 4, s - 4) + 4 * _choose(r - 4, s - 3) * one + 4 * _choose(r - 4, s - 2) * one**2
        pairs = r * (r - 1) // 2
        return (
            (float(same + 2 * (r - 2) * touching + _choose(r - 2, 2) * apart), 1),
            (float(same + (r - 4) * touching - (r - 3) * apart), r - 1),
            (float(same - 2 * touching + apart), pairs - r),
        )

    def front(self, depth: int) -> tuple[float, ...]:
        """The squared norms of class features and W_1..W_{L-1} at unit scale."""
        r, s = self.vertices, self.subset
        if depth == 2:  # the product is signs times incidence, whose Gram matrices commute
            along, across = self._sign_eigenvalues
            nuclear = math.sqrt(along * 2 * (r - 1)) + (r - 1) * math.sqrt(across * (r - 2))
            return (nuclear, nuclear)
        nuclear = math.sqrt(2 * (r - 1)) + (r - 1) * math.sqrt(r - 2)
        signs = self.rows * (s + (r - s) * self.against**2) / 4
        return (nuclear, nuclear, *[float(r)] * (depth - 3), signs)

    def log_price(self, depth: int) -> float:
        """The logarithm of the product of all factors' squared norms: the code with the least is the cheapest."""
        return math.fsum(math.log(size) for size in self.structure(depth).sizes)

    @property
    def _sign_eigenvalues(self) -> tuple[float, float]:
        """Eigenvalues of the rows' Gram matrix (r, r): on the constant vector, and off it."""
        r, s, b = self.vertices, self.subset, self.against
        own = (_choose(r - 1, s - 1) + _choose(r - 1, s) * b**2) / 4
        pair = (_choose(r - 2, s - 2) - 2 * _choose(r - 2, s - 1) * b + _choose(r - 2, s) * b**2) / 4
        return self.rows * (s - (r - s) * b) ** 2 / (4 * r), own - pair

    def structure(self, depth: int) -> Structure:
        """The code as a structure of the deep model with `depth` weight matrices, at least 2."""
        r, name = self.vertices, f"strongly regular graph, subsets of {self.subset}"
        last = r - 1 if math.isclose(self.subset, (r - self.subset) * self.against) else r

        def build() -> Factors:
            return shape_factors(incidence(r), sign_rows(r, self.subset, self.against), depth)

        ranks = shape_ranks(r, last, r * (r - 1) // 2, depth)
        return Structure(name, self.front(depth), self.gram, ranks, (ranks[0], *[r] * (depth - 2), self.rows), build)


def code_sizes(vertices: int, width: int) -> list[int]:
    """Subset sizes whose code is of full rank and fits into `width`, narrowest first.

    >>> code_sizes(5, 10), code_sizes(6, 15), code_sizes(5, 9)
    ([2, 3], [2, 4], [])
    """
    fitting = []
    for low in range(2, vertices // 2 + 1):  # widths C(r, s) rise to the middle, and fall alike after it
        if math.comb(vertices, low) > width:
            break
        fitting += sorted({low, vertices - low} - {vertices - 1})
    return [s for s in fitting if all(e > 0 for e, _ in EdgeCode(vertices, s).gram)]


def best_code(vertices: int, depth: int, width: int, subset: int | None = None) -> EdgeCode:
    """The cheapest code of equal signs that fits, or the one of the subset size asked for.

    Raises OptionError for fewer than two layers, a width that no code fits, or a subset size without full rank.
    """
    if depth < 2:
        raise OptionError(f"a strongly regular graph needs a ReLU, so two layers or more; got depth={depth}.")
    fitting = code_sizes(vertices, width)
    if subset is not None and not (2 <= subset <= vertices - 2):
        raise OptionError(f"subsets of {vertices} vertices have 2 to {vertices - 2} members here; got subset={subset}.")
    if not fitting or (subset is not None and math.comb(vertices, subset) > width):
        s = 2 if subset is None else subset
        raise OptionError(
            f"the strongly regular graph on {vertices} vertices with subsets of {s} needs layers of width "
            f"{math.comb(vertices, s)}; got {width}."
        )
    return EdgeCode(vertices, subset or best_subset(vertices, depth, width))


def best_subset(vertices: int, depth: int, width: int) -> int:
    """The subset size of the cheapest code of equal signs that fits, 0 where none does."""
    return min(code_sizes(vertices, width), key=lambda s: EdgeCode(vertices, s).log_price(depth), default=0)


def strongly_regular_ratio(vertices: int, depth: int, subset: int | None = None) -> float:
    """kappa of the strongly regular graph over that of collapse; below 1 the graph has the lower loss.

    Dimensionless and positive; the same for all decays and samples a class, wherever neither is all zero. The best
    subset size of any width by default. Raises OptionError. Derived here.

    >>> round(strongly_regular_ratio(5, depth=4), 6), round(strongly_regular_ratio(6, depth=2), 6)
    (0.816808, 0.987499)
    """
    code = best_code(vertices, depth, math.comb(vertices, vertices // 2), subset)
    collapsed = math.log(math.comb(vertices, 2)) * (depth + 1)
    return math.exp((code.log_price(depth) - collapsed) / (depth + 1))


@lru_cache(maxsize=1024)
def partial_structure(num_classes: int, depth: int, subset: int, vertices: int | None = None) -> Structure:
    """The first `num_classes` edges of a complete graph in place of all: a structure for any number of classes.

    On as few vertices as have so many edges, where not told; rows that no edge needs are left out. Its eigenvalues are
    computed, not known by formula. Raises OptionError below two layers. Derived here.

    >>> partial_structure(8, depth=3, subset=3).widths
    (5, 5, 10)
    """
    if depth < 2:
        raise OptionError(f"a strongly regular graph needs a ReLU, so two layers or more; got depth={depth}.")
    r = fewest_vertices(num_classes) if vertices is None else vertices
    shape, signs = incidence(r)[:num_classes], sign_rows(r, subset)
    used = (shape @ signs.T).amax(dim=0) > 0
    name = f"{num_classes} of {math.comb(r, 2)} edges of a strongly regular graph, subsets of {subset}"
    return shape_structure(name, shape, signs[used], depth)


def fewest_vertices(num_classes: int) -> int:
    """The least r of 4 and more with r(r-1)/2 >= K.

    >>> fewest_vertices(10), fewest_vertices(11)
    (5, 6)
    """
    r = max(4, (1 + math.isqrt(8 * num_classes)) // 2)
    return r if math.comb(r, 2) >= num_classes else r + 1


def refined_code(code: EdgeCode, depth: int, decays: tuple[float, ...]) -> EdgeCode:
    """The code with the strength off the subsets that is best once the last weights are ridge weights.

    Equal signs are best for subsets of 3 and more wherever it was tried; subsets of 2 gain from weaker ones.
    """

    def loss(against: float) -> float:
        tried = EdgeCode(code.vertices, code.subset, against)
        return ridge_scale(tried.front(depth), tried.gram, decays)[1]

    found = minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-12})
    weaker = EdgeCode(code.vertices, code.subset, float(found.x))  # type: ignore[union-attr]
    return weaker if loss(weaker.against) < loss(1.0) else code
