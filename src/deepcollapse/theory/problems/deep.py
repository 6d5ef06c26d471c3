r"""The deep unconstrained-features model: free features, then L linear layers with ReLUs between them.

Classes, samples and features lie in rows: the papers' matrices transposed. Sources: Súkeník, Mondelli & Lampert 2023
and Súkeník, Lampert & Mondelli 2024.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from deepcollapse.errors import OptionError, TooFewClassesError
from deepcollapse.theory.problem import Point, Problem
from deepcollapse.theory.problems.scalar_problem import checked_depth, solve_scalar
from deepcollapse.theory.problems.structures import Construction, collapsed_structure, price


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

        The ReLU of layer l counts as flat at 0, as PyTorch has it; `slopes` (of layers 2 to L, in [0, 1]) gives other
        elements of its subdifferential, for entries within `kink` of 0.
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
                back *= h > kink if slopes is None else (h > kink) + slopes[layer - 2] * (h.abs() <= kink)
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

    @cached_property
    def _lower_bound(self) -> float:
        sizes = (float(self.num_classes) ** 2, *(1.0 for _ in self.weight_decays))
        return solve_scalar(price(self.factor_decays, sizes), self.depth)[1]

    def lower_bound(self) -> float:
        """A loss that no point falls below: the scalar problem with kappa = (K^2 n lH prod l_l)^{1/(L+1)}.

        Tight for one layer. It holds since a ReLU never makes a matrix longer, and l/2 |W|^2 + m/2 |A|^2 is at least
        sqrt(l m) times the nuclear norm of W A. Derived here.
        """
        return self._lower_bound

    def collapsed(self) -> Construction:
        """Deep neural collapse: every class an axis of its own in each layer, at the best scales.

        Raises OptionError where the layers are narrower than the number of classes. Source: Súkeník, Mondelli &
        Lampert 2023.
        """
        structure = collapsed_structure(self.num_classes, self.depth)
        return structure.at_best_scales(self, self.factor_decays, self.lower_bound())

    def optimum(self) -> Construction:
        """The best point that is known."""
        return self.collapsed()

    def gap(self, point: Mapping[str, Tensor]) -> float:
        """The objective at `point` less the lower bound."""
        return self.value(point) - self.lower_bound()

    def geometry(self, point: Mapping[str, Tensor]) -> dict[str, float]:
        """Measures of every layer."""
        return {}


@lru_cache(maxsize=32)
def one_hot(num_classes: int, per_class: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The targets (N, K) of balanced samples in class order."""
    return torch.eye(num_classes, dtype=dtype, device=device).repeat_interleave(per_class, dim=0)
