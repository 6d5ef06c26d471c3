"""The smallest problem that has everything a solver may ask for: a matrix, taken as a product of two small factors."""

from dataclasses import dataclass

import torch

from deepcollapse.theory.nuclear import nuclear_norm, spectral_norm
from deepcollapse.theory.problem import Optimum, Problem


@dataclass(frozen=True)
class FactorisationOptimum(Optimum):
    value: float = 0.0
    gap: float = 0.0

    def facts(self):
        return {"loss": self.value, "gap": self.gap}


@dataclass(frozen=True)
class Factorisation(Problem):
    """|W H^T - diag(values)|^2 / 2 + decay (|W|^2 + |H|^2) / 2: singular values are shrunk by the decay."""

    values: tuple[float, ...] = (3.0, 2.0, 1.0)
    decay: float = 0.5
    dim: int = 4
    start_scale: float = 1.0

    def shapes(self):
        return {"left": (len(self.values), self.dim), "right": (len(self.values), self.dim)}

    def coefficients(self):
        return {
            "target": torch.tensor(self.values, dtype=torch.float64).diag(),
            "decay": torch.tensor(self.decay, dtype=torch.float64),
        }

    def objective(self, point, coefficients):
        left, right = point["left"], point["right"]
        misfit = left @ right.mT - coefficients["target"]
        size = left.square().sum((1, 2)) + right.square().sum((1, 2))
        return misfit.square().sum((1, 2)) / 2 + coefficients["decay"] * size / 2

    def start(self, generator):
        return {name: self.start_scale * part for name, part in super().start(generator).items()}

    def gradient(self, point, coefficients):
        left, right, decay = point["left"], point["right"], coefficients["decay"][:, None, None]
        misfit = left @ right.mT - coefficients["target"]
        return {"left": misfit @ right + decay * left, "right": misfit.mT @ left + decay * right}

    def sweep(self, point, coefficients):
        right = point["right"]
        left = self._ridge(coefficients["target"], right, coefficients["decay"])
        return {"left": left, "right": self._ridge(coefficients["target"].mT, left, coefficients["decay"])}

    def _ridge(self, target, factor, decay):
        gram = factor.mT @ factor + decay[:, None, None] * torch.eye(self.dim).double()
        return torch.linalg.solve(gram, (target @ factor).mT).mT

    def optimum(self):
        value = sum(self.decay * v - self.decay**2 / 2 if v > self.decay else v**2 / 2 for v in self.values)
        return FactorisationOptimum(value)

    def gap(self, point):
        """Duality for the convex problem in Z = W H^T, whose regulariser is decay times its nuclear norm."""
        target = self.coefficients()["target"]
        dual = target - point["left"] @ point["right"].T
        dual = dual * min(1.0, self.decay / spectral_norm(dual))
        return self.value(point) - float((dual * target).sum() - dual.square().sum() / 2)

    def geometry(self, point):
        return {"nuclear_norm": nuclear_norm(point["left"] @ point["right"].T)}


@dataclass(frozen=True)
class Kink(Problem):
    """1 + |x_1| + |x_2| + x_2^2: no certificate, no gradient of its own, no sweep, and a kink where it is least."""

    size: int = 2

    def shapes(self):
        return {"x": (self.size,)}

    def coefficients(self):
        return {"one": torch.ones(()).double()}

    def objective(self, point, coefficients):
        x = point["x"]
        return coefficients["one"] * (1 + x.abs().sum(1) + x[:, -1] ** 2)

    def optimum(self):
        return None

    def gap(self, point):
        return float("nan")

    def geometry(self, point):
        return {}


def assert_near(point, expected, atol):
    assert point.keys() == expected.keys()
    worst = {name: float((part - expected[name]).abs().max()) for name, part in point.items()}
    assert max(worst.values()) <= atol, worst
