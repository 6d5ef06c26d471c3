r"""The deep unconstrained-features model: free features, then L linear layers with ReLUs between them.

Classes, samples and features lie in rows: the papers' matrices transposed. Sources: Súkeník, Mondelli & Lampert 2023
and Súkeník, Lampert & Mondelli 2024.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from deepcollapse.errors import OptionError, TooFewClassesError
from deepcollapse.theory.problem import Point, Problem
from deepcollapse.theory.problems.deep.blocks import MOST_CLASSES, best_blocks, of_code
from deepcollapse.theory.problems.deep.classification import Classification, classify_layers, layer_geometry
from deepcollapse.theory.problems.deep.construction import Construction, Judgement, Terms, all_zero
from deepcollapse.theory.problems.deep.homogeneity import homogeneous_scales
from deepcollapse.theory.problems.deep.low_rank import arc_structure, searched_structure
from deepcollapse.theory.problems.deep.scalar_problem import checked_depth, solve_scalar
from deepcollapse.theory.problems.deep.stationarity import clarke_slopes
from deepcollapse.theory.problems.deep.strongly_regular import (
    EdgeCode,
    best_code,
    best_subset,
    fewest_vertices,
    partial_structure,
    refined_code,
    vertices_of,
)
from deepcollapse.theory.problems.deep.structures import (
    collapsed_structure,
    price,
)


@dataclass(frozen=True)
class DeepUnconstrainedFeatures(Problem):
    r"""1/(2N) |out - Y|^2 + sum_l l_l/2 |W_l|^2 + lH/2 |H_1|^2, squared loss on one-hot targets Y (N, K), no biases.

    H_2 = H_1 W_1^T without a ReLU, then H_{l+1} = relu(H_l) W_l^T, and the output is the last of these: L weights and
    L-1 ReLUs. N = `num_classes` x `per_class` samples in class order. `weight_decays` are l_1 to l_L, the depth L
    their number; `feature_decay` is lH. Every layer is `width` wide, save the first where `first_width` says so. Free
    variables are "features" (N, d_1), "W1" (width, d_1), ..., "WL" (K, width). The decays are those of
    torch.optim.SGD(weight_decay=...), the half included.

    Raises TooFewClassesError below two classes, and OptionError for decays that are not positive and finite, no
    layers, or sizes below 1.

    >>> problem = DeepUnconstrainedFeatures.uniform(10, depth=4, decay=0.004, width=30)
    >>> problem.shapes()["W4"], round(problem.collapsed().loss, 12)
    ((10, 30), 0.099179874636)
    """

    num_classes: int
    per_class: int
    weight_decays: tuple[float, ...]
    feature_decay: float
    width: int
    first_width: int | None = None

    def __post_init__(self) -> None:
        checked_depth(self.depth)
        if self.num_classes < 2:
            raise TooFewClassesError(f"theory compares classes: it needs at least 2 of them; got {self.num_classes}.")
        for name in ("per_class", "width", "first_width"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise OptionError(f"{name} must be 1 or more; got {size}.")
        for decay in (*self.weight_decays, self.feature_decay):
            if not 0 < decay < float("inf"):
                raise OptionError(
                    f"every decay must be positive and finite, or the deep model has no least loss; got {decay:g}."
                )

    @classmethod
    def uniform(
        cls, num_classes: int, depth: int, decay: float, width: int, per_class: int = 1
    ) -> "DeepUnconstrainedFeatures":
        """One decay for all weights and the features, as in the papers' experiments."""
        return cls(num_classes, per_class, (decay,) * checked_depth(depth), decay, width)

    @property
    def depth(self) -> int:
        """L, the number of weight matrices."""
        return len(self.weight_decays)

    @property
    def factor_decays(self) -> tuple[float, ...]:
        """c = (n lH, l_1, ..., l_L): what class features and weights cost; losses depend on n through n lH alone."""
        return (self.per_class * self.feature_decay, *self.weight_decays)

    # --- the objective ----------------------------------------------------------------------------------------------

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The free variables, in the order in which they act."""
        first = self.width if self.first_width is None else self.first_width
        sizes = [first, *[self.width] * (self.depth - 1), self.num_classes]
        weights = {f"W{layer}": (sizes[layer], sizes[layer - 1]) for layer in range(1, self.depth + 1)}
        return {"features": (self.num_classes * self.per_class, first), **weights}

    def coefficients(self) -> dict[str, Tensor]:
        """`weight_decays` (L,) and `feature_decay` ()."""
        return {
            "weight_decays": torch.tensor(self.weight_decays, dtype=torch.float64),
            "feature_decay": torch.tensor(self.feature_decay, dtype=torch.float64),
        }

    def layers(self, point: Mapping[str, Tensor]) -> list[Tensor]:
        """H_1, H_2, ..., H_L and the output, before any ReLU, samples in rows; any leading batch dimensions."""
        before = [point["features"]]
        for layer in range(1, self.depth + 1):
            after = before[-1] if layer == 1 else before[-1].relu()
            before.append(after @ point[f"W{layer}"].mT)
        return before

    def objective(self, point: Mapping[str, Tensor], coefficients: Mapping[str, Tensor]) -> Tensor:
        """The objective at each point of a batch, shape (batch,)."""
        out = self.layers(point)[-1]
        error = out - one_hot(self.num_classes, self.per_class, out.dtype, out.device)
        total = error.square().sum(dim=(1, 2)) / out.shape[1]
        total = total + coefficients["feature_decay"].to(out) * point["features"].square().sum(dim=(1, 2))
        decays = coefficients["weight_decays"].to(out)
        for layer in range(1, self.depth + 1):
            total = total + decays[:, layer - 1] * point[f"W{layer}"].square().sum(dim=(1, 2))
        return total / 2

    @torch.no_grad()
    def gradient(
        self,
        point: Mapping[str, Tensor],
        coefficients: Mapping[str, Tensor],
        slopes: Sequence[float] | None = None,
        kink: float = 0.0,
    ) -> Point:
        """The objective's gradient at each point of a batch, written out by hand: half the work of autograd.

        The ReLU counts as flat at 0, as PyTorch has it; `slopes` (of layers 2 to L, in [0, 1]) gives other elements of
        its subdifferential, for entries within `kink` times the largest of their layer.
        """
        before = self.layers(point)
        after = [before[0], *(h.clamp_min(0) for h in before[1:-1])]
        out = before[-1]
        decays = coefficients["weight_decays"].to(out)[:, :, None, None]
        back = (out - one_hot(self.num_classes, self.per_class, out.dtype, out.device)) / out.shape[1]
        gradient = {}
        for layer in range(self.depth, 0, -1):
            weight = point[f"W{layer}"]
            gradient[f"W{layer}"] = torch.addcmul(back.mT @ after[layer - 1], weight, decays[:, layer - 1])
            back = back @ weight
            if layer > 1:
                h = before[layer - 1]
                if slopes is None:
                    back *= h > 0
                else:
                    zero = h.abs() <= kink * h.abs().amax(dim=(1, 2), keepdim=True)
                    back *= ((h > 0) & ~zero) + slopes[layer - 2] * zero
        gradient["features"] = back + coefficients["feature_decay"].to(out)[:, None, None] * point["features"]
        return gradient

    def start(self, generator: torch.Generator, size: float = 0.5) -> Point:
        """Random normal entries: of the features with deviation `size`, of W_l with deviation size sqrt(2/d_l)."""
        return {
            name: torch.randn(shape, generator=generator, dtype=torch.float64)
            * (size if name == "features" else size * (2 / shape[-1]) ** 0.5)
            for name, shape in self.shapes().items()
        }

    # --- what is known ----------------------------------------------------------------------------------------------

    def lower_bound(self) -> float:
        """A loss that no point falls below: the scalar problem with kappa = (K^2 n lH prod l_l)^{1/(L+1)}.

        Tight for one layer. It holds since a ReLU never makes a matrix longer, and l/2 |W|^2 + m/2 |A|^2 is at least
        sqrt(l m) times the nuclear norm of W A. Derived here.
        """
        return self._terms.lower

    @cached_property
    def _terms(self) -> Terms:
        sizes = (float(self.num_classes) ** 2, *(1.0 for _ in self.weight_decays))
        lower = solve_scalar(price(self.factor_decays, sizes), self.depth)[1]
        return Terms(self, self.num_classes, self.width, self.factor_decays, lower)

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        return tuple(shape[1] for name, shape in self.shapes().items() if name != "features")

    def collapsed(self) -> Construction:
        """Deep neural collapse: every class an axis of its own in each layer, at the best scales.

        Raises OptionError where layers are narrower than the number of classes. Source: Súkeník, Mondelli & Lampert
        2023.
        """
        return self._known(collapsed_structure(self.num_classes, self.depth).at_best_scales(self._terms))

    def strongly_regular(self, subset: int | None = None) -> Construction:
        """Classes as the edges of a complete graph on r vertices, at the best scales; see `strongly_regular`.

        `subset` is the number of vertices that a row of the last hidden layer speaks for; by default what is cheapest
        and fits. Raises OptionError where K is not r(r-1)/2 with r >= 4, layers are too narrow or only one, or the
        subset size does not tell the classes apart.
        """
        return self._known(of_code(self._code(subset), self._terms, refined=False))

    def refined(self, subset: int | None = None) -> Construction:
        """`strongly_regular` with ridge last weights, and with the best signs: the same matrices at a lower loss.

        Stationary in Clarke's sense, where the plain one is not. Errors as `strongly_regular`. Derived here.
        """
        code = refined_code(self._code(subset), self.depth, self.factor_decays)
        return self._known(code.structure(self.depth).refined(self._terms))

    def partial_graph(self, subset: int | None = None) -> Construction:
        """Classes as the first K edges of a complete graph that has K or more, refined: for any K of 4 and more.

        Raises OptionError below 4 classes or two layers, and for too narrow layers. Derived here.
        """
        vertices = fewest_vertices(self.num_classes)
        if self.num_classes < 4:
            raise OptionError(f"edges of a graph need 4 classes or more; got {self.num_classes}. See arc().")
        code = best_code(vertices, self.depth, self.width, subset)
        return self._known(partial_structure(self.num_classes, self.depth, code.subset).refined(self._terms))

    def blocks(self, *, refined: bool = False) -> Construction:
        """Classes in blocks that share no coordinates, each at its best; see `best_blocks`.

        Raises OptionError past 1000 classes, or where the first layer is too narrow. Derived here.
        """
        return self._known(best_blocks(self._terms, refined=refined))

    def arc(self) -> Construction:
        """Three classes on an arc in two dimensions; OptionError for other numbers of classes or below three layers."""
        if self.num_classes != 3:
            raise OptionError(f"the arc is a structure of 3 classes; got {self.num_classes}. See low_rank(rank).")
        return self._known(arc_structure(self.factor_decays).refined(self._terms))

    def low_rank(self, rank: int, rows: int | None = None, seeds: int = 8) -> Construction:
        """The best shape of `rank` dimensions, kept by all layers, that a small search from `seeds` starts finds.

        `rows` is how many neurons the last hidden layer may use: by default its width, at most 2K. Takes from a second
        to minutes. Raises OptionError below three layers, for a rank outside 1 to K, or too narrow layers.
        """
        rows = min(self.width, 2 * self.num_classes) if rows is None else rows
        return self._known(
            searched_structure(self.num_classes, rank, rows, self.factor_decays, seeds).refined(self._terms)
        )

    def optimum(self) -> Construction:
        """The best point that is known: single classes, strongly regular graphs, the arc, or blocks of them.

        Its `gap` bounds how far from the least loss it is, and `optimal` says whether it is proved to be the least.
        No search is made: `low_rank` and descent may find better.
        """
        return self._known(self._best)

    @cached_property
    def _best(self) -> Construction:
        found = [all_zero(self._terms), collapsed_structure(self.num_classes, self.depth).at_best_scales(self._terms)]
        vertices = vertices_of(self.num_classes)
        if self.num_classes <= MOST_CLASSES:
            found.append(best_blocks(self._terms, refined=True))
        if vertices and self.depth > 1 and (subset := best_subset(vertices, self.depth, self.width)):
            found.append(of_code(EdgeCode(vertices, subset), self._terms, refined=True))
        best, *others = [construction for construction in found if self._fits(construction)]
        for other in others:  # of those that are equal but for rounding, the first is the simplest
            best = other if other.loss < best.loss * (1 - 1e-12) else best
        return best

    def _code(self, subset: int | None) -> EdgeCode:
        vertices = vertices_of(self.num_classes)
        if vertices is None:
            raise OptionError(
                "a strongly regular graph needs K = r(r-1)/2 classes with r >= 4, as 6, 10, 15 or 21; "
                f"got {self.num_classes}. blocks() takes any number."
            )
        return best_code(vertices, self.depth, self.width, subset)

    def _fits(self, construction: Construction) -> bool:
        return all(needs <= has for needs, has in zip(construction.widths, self._widths, strict=True))

    def _known(self, construction: Construction) -> Construction:
        """The construction, to be judged by this model; OptionError where it does not fit."""
        if not self._fits(construction):
            raise OptionError(
                f"the solution {construction.name!r} needs layers of width {_listed(construction.widths)}; "
                f"got {_listed(self._widths)}."
            )
        return replace(construction, judge=self._judge)

    def _judge(self, construction: Construction) -> Judgement:
        best = self._best
        if construction.loss > best.loss * (1 + 1e-12):
            return "no", f"{best.name!r} has a lower loss, {best.loss:.6g}"
        if not construction.nontrivial and self.lower_bound() == 0.5:
            return "yes", "all zero is optimal, because a lower bound on every loss is 1/2 (kappa_lower >= kappa_star)"
        if self.depth == 1:
            return (
                "yes",
                "with one layer every singular value is chosen on its own, and these are the best (derived here)",
            )
        if self.num_classes == 2 and min(self._widths) > 1:
            what = "collapse" if construction.nontrivial else "all zero, where collapse costs more,"
            return "yes", f"for two classes {what} is optimal (quoted: Súkeník, Mondelli & Lampert 2023)"
        return "unknown", "no better point is known, and no proof that there is none"

    # --- of a given point -------------------------------------------------------------------------------------------

    def gap(self, point: Mapping[str, Tensor]) -> float:
        """The objective at `point` less the lower bound: it is at most this far from optimal."""
        return self.value(point) - self.lower_bound()

    def rescaled(self, point: Mapping[str, Tensor]) -> Point:
        """The same structure at its best scales: each factor times one number; all zero where no scale beats that."""
        sizes = [float(point[name].square().sum()) for name in self.shapes()]
        # The features' norm counts each of n samples, and their decay is per sample.
        decays = (self.feature_decay, *self.weight_decays)
        out = self.layers(point)[-1]
        targets = one_hot(self.num_classes, self.per_class, out.dtype, out.device)
        scales, _ = homogeneous_scales(decays, sizes, out, targets)
        return {name: scale * point[name] for name, scale in zip(self.shapes(), scales, strict=True)}

    def classify(self, point: Mapping[str, Tensor]) -> Classification:
        """What kind of point this is, and its loss over that of `collapsed`; see `Classification`."""
        collapsed = collapsed_structure(self.num_classes, self.depth).at_best_scales(self._terms)
        return classify_layers(self.layers(point), self.num_classes, self.value(point), collapsed.loss)

    def geometry(self, point: Mapping[str, Tensor]) -> dict[str, float]:
        """Deep neural collapse and rank by layer, as "trace_ratio.H2"; see `layer_geometry` for all names.

        >>> problem = DeepUnconstrainedFeatures.uniform(6, depth=3, decay=0.01, width=6)
        >>> seen = problem.geometry(problem.strongly_regular().point())
        >>> seen["numerical_rank.H2"], seen["numerical_rank.relu(H3)"], round(seen["row_alignment.W3"], 12)
        (4.0, 6.0, 0.0)
        """
        return layer_geometry(self.layers(point), point, self.num_classes)

    def stationarity(self, point: Mapping[str, Tensor], kink: float = 1e-9) -> tuple[tuple[float, ...], float]:
        """(slopes, residual): ReLU slopes at 0, one a layer, and the largest entry of the gradient that they leave.

        Near 0 the point is stationary in Clarke's sense, even where PyTorch's slope of 0 at 0 shows a gradient; see
        `clarke_slopes`. Entries within `kink` times the largest of their layer count as 0.
        """
        batch = {name: tensor[None] for name, tensor in point.items()}
        coefficients = {name: c[None] for name, c in self.coefficients().items()}
        return clarke_slopes(lambda slopes: self.gradient(batch, coefficients, slopes, kink), self.depth)


def _listed(widths: tuple[int, ...]) -> str:
    """Widths as a reader likes them: one number where they agree."""
    return str(widths[0]) if len(set(widths)) == 1 else ", ".join(map(str, widths))


@lru_cache(maxsize=32)
def one_hot(num_classes: int, per_class: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The targets (N, K) of balanced samples in class order."""
    return torch.eye(num_classes, dtype=dtype, device=device).repeat_interleave(per_class, dim=0)
