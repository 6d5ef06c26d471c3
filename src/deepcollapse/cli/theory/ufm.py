"""`deepcollapse theory ufm`: free features and a linear classifier, both with weight decay."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from deepcollapse.cli.terminal import say_json
from deepcollapse.cli.theory.classes import Classes
from deepcollapse.cli.theory.group_table import group_facts, show_groups
from deepcollapse.cli.theory.shown import Facts, degrees, figures, sentence, show_facts, told
from deepcollapse.errors import OptionError

if TYPE_CHECKING:
    from deepcollapse.theory.problems.free_features import FreeFeatures
    from deepcollapse.theory.reduced.groups import Groups


ZERO = "By the unconstrained-features model {}."


@dataclass(frozen=True)
class Ufm:
    """Unconstrained features: which geometry a loss and weight decays lead to."""

    classes: Classes = field(default_factory=Classes)
    """Which classes there are; name them in one way."""
    per_class: int = 1
    """Samples of each class; of each minority class where there are two groups."""
    weight_decay: float = 5e-4
    """Decay of the classifier, as optimisers take it: half of it times the squared weights is the penalty."""
    feature_decay: float = 5e-4
    """Decay of the features of every sample, likewise."""
    loss: Literal["cross-entropy", "label-smoothing", "focal", "mse"] = "cross-entropy"
    """The loss. mse is half the squared error of a sample; for nn.MSELoss multiply decays by half the classes."""
    smoothing: float | None = None
    """How far labels are smoothed, for --loss label-smoothing; 0.1 where not given."""
    focus: float | None = None
    """Exponent of --loss focal; 2 where not given."""
    bias: str = "none"
    """none, free (without decay), or the bias' decay."""
    dim: int | None = None
    """Dimension of the features; the number of classes where not given."""
    json: bool = False
    """Print every digit as JSON."""

    def run(self) -> int:
        """Solve the model and say what it leads to."""
        groups = self.classes.groups(float(self.per_class))
        for flag, value, loss in (("smoothing", self.smoothing, "label-smoothing"), ("focus", self.focus, "focal")):
            if value is not None and self.loss != loss:
                raise OptionError(f"--{flag} goes with --loss {loss}; got --loss {self.loss}.")
        return self._imbalanced(groups) if len(groups.sizes) > 1 else self._balanced(groups)

    def _balanced(self, groups: "Groups") -> int:
        optimum = self._balanced_problem(groups.num_classes, groups.counts[0]).optimum()
        facts = optimum.facts()
        if self.json:
            say_json(facts)
            return 0
        show_facts(facts)
        if optimum.trivial:
            told(ZERO.format(facts["note"]), "What to do: weaken a decay; there is no geometry to see before that.")
            return 0
        told(
            self._shape(groups.num_classes, facts),
            sentence(facts["note"]),
            "What to do: compare a trained network, whose measured numbers stand beside these on the page of "
            "deepcollapse train and deepcollapse measure --out.",
        )
        return 0

    def _shape(self, num_classes: int, facts: Facts) -> str:
        """What the optimum looks like."""
        shape = str(facts.get("structure") or "a simplex ETF")
        if shape.startswith("between"):
            shape = "something between an orthogonal frame and a simplex ETF"
        where = {"a simplex ETF": -1 / (num_classes - 1), "an orthogonal frame": 0.0}.get(shape)
        apart = "" if where is None else f": every two of the {num_classes} classes stand {degrees(where)} apart"
        return (
            f"By the unconstrained-features model ({self.loss}) the samples of a class become one point, features and "
            f"classifier line up, and the classes form {shape}{apart}."
        )

    def _imbalanced(self, groups: "Groups") -> int:
        from deepcollapse.theory.problems.imbalanced import UnconstrainedImbalanced

        if self.loss != "cross-entropy":
            raise OptionError(
                f"classes of different sizes are solved for cross-entropy alone; got --loss {self.loss}. Give "
                "--classes and --per-class for balanced ones."
            )
        optimum = UnconstrainedImbalanced(groups, **self._decays()).optimum()
        facts, each = optimum.facts(), group_facts(groups, optimum.balanced, optimum.collapsed)
        if self.json:
            say_json({**facts, "groups": each})
            return 0
        show_facts(facts)
        show_groups(each)
        told(
            *([sentence(facts["note"])] if optimum.trivial else self._collapse(groups, optimum.problem.collapse_count))
        )
        return 0

    def _collapse(self, groups: "Groups", least: float) -> list[str]:
        """Which classes coincide, by the exact rule, and what would keep them apart."""
        together = [c for size, c in zip(groups.sizes, groups.counts, strict=True) if size > 1 and c <= least]
        rule = f"classes of equal size coincide if they have {figures(least, 4)} samples (N² λ_W λ_H) or fewer"
        if not together:
            return [f"By the unconstrained-features model {rule}: here none do, and all classes stand apart."]
        sizes = " or ".join(map(figures, together))
        return [
            f"By the unconstrained-features model {rule}: here those with {sizes} samples do, so the network "
            "cannot tell them apart.",
            f"What to do: weaken the decays, so that N² λ_W λ_H falls below {figures(min(together))}; or collect or "
            "repeat samples of those classes.",
        ]

    def _balanced_problem(self, num_classes: int, per_class: float) -> "FreeFeatures":
        from deepcollapse.theory.problems.focal import UnconstrainedFocal
        from deepcollapse.theory.problems.squared import UnconstrainedSquared
        from deepcollapse.theory.problems.unconstrained import UnconstrainedFeatures

        if not per_class.is_integer():
            raise OptionError(f"classes have whole numbers of samples here; got {per_class:g}.")
        given = {"num_classes": num_classes, "per_class": int(per_class), **self._decays()}
        if self.loss == "mse":
            return UnconstrainedSquared(**given)
        if self.loss == "focal":
            return UnconstrainedFocal(**given, focus=2.0 if self.focus is None else self.focus)
        smoothing = 0.0 if self.loss == "cross-entropy" else 0.1 if self.smoothing is None else self.smoothing
        return UnconstrainedFeatures(**given, smoothing=smoothing)

    def _decays(self) -> dict[str, Any]:
        """Decays and dimension. Raises OptionError for a bias that is none of those there are."""
        try:
            bias = {"none": None, "free": 0.0}[self.bias] if self.bias in ("none", "free") else float(self.bias)
        except ValueError:
            raise OptionError(f"--bias is none, free or a decay such as 0.01; got {self.bias}.") from None
        decays = {"weight_decay": self.weight_decay, "feature_decay": self.feature_decay}
        return {**decays, "bias_decay": bias, "dim": self.dim}
