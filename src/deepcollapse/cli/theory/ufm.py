"""`deepcollapse theory ufm`: free features and a linear classifier, both with weight decay."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from deepcollapse.cli.terminal import say, say_json
from deepcollapse.cli.theory.classes import Classes
from deepcollapse.cli.theory.group_table import group_facts, show_groups, warn_of_time
from deepcollapse.cli.theory.shown import Facts, degrees, figures, of_groups, sentence, show_facts, told
from deepcollapse.cli.theory.verdict import lost, verdict
from deepcollapse.errors import OptionError

if TYPE_CHECKING:
    from deepcollapse.theory.problems.free_features import FreeFeatures
    from deepcollapse.theory.problems.imbalanced import ImbalancedOptimum
    from deepcollapse.theory.reduced.groups import Groups


MODEL = "unconstrained-features"
ZERO = "By the unconstrained-features model {}."


@dataclass(frozen=True)
class Ufm:
    """Unconstrained features: which geometry a loss and weight decays lead to."""

    classes: Classes = field(default_factory=Classes)
    """Which classes there are; name them in one way."""
    per_class: int | None = None
    """Samples of each class; of each minority class where there are two groups. 1 where not given."""
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
        if self.per_class is not None and self.classes.counts:
            raise OptionError("--per-class goes with --classes or --majority; --counts says the samples of each class.")
        if self.per_class is not None and self.per_class < 1:
            raise OptionError(f"--per-class is a number of samples, 1 or more; got {self.per_class}.")
        groups = self.classes.groups(float(self.per_class or 1))
        for flag, value, loss in (("smoothing", self.smoothing, "label-smoothing"), ("focus", self.focus, "focal")):
            if value is not None and self.loss != loss:
                raise OptionError(f"--{flag} goes with --loss {loss}; got --loss {self.loss}.")
        return self._imbalanced(groups) if len(groups.sizes) > 1 else self._balanced(groups)

    def _balanced(self, groups: "Groups") -> int:
        optimum = self._balanced_problem(groups.num_classes, groups.counts[0]).optimum()
        facts = optimum.facts()
        if self.json:
            say_json({**facts, "model": MODEL, "settings": self._settings(groups)})
            return 0
        self._echo(groups)
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
        problem = UnconstrainedImbalanced(groups, **self._decays())
        warn_of_time(len(groups.sizes))
        optimum = problem.optimum()
        facts, each = optimum.facts(), group_facts(optimum)
        if self.json:
            say_json({**facts, "model": MODEL, "settings": self._settings(groups), "groups": each})
            return 0
        self._echo(groups)
        show_facts(of_groups(facts, len(groups.sizes)))
        show_groups(each)
        told(*([sentence(facts["note"])] if optimum.trivial else self._collapse(optimum)))
        return 0

    def _collapse(self, optimum: "ImbalancedOptimum") -> list[str]:
        """Which classes are lost, which coincide by the exact rule, and what would keep them apart."""
        least, groups = optimum.problem.collapse_count, optimum.groups
        rule = f"Classes of equal size coincide if they have {figures(least, 4)} samples (N² λ_W λ_H) or fewer."
        told = [" ".join((*verdict(MODEL, optimum), rule))]
        together = [count for count, one in zip(groups.counts, optimum.collapsed, strict=True) if one]
        if together:
            told.append(
                f"What to do: weaken the decays, so that N² λ_W λ_H falls below {figures(min(together))}; or collect "
                "or repeat samples of those classes."
            )
        elif lost(optimum):
            told.append("What to do: weaken the decays, or collect or repeat samples of those classes.")
        return told

    def _settings(self, groups: "Groups") -> dict[str, Any]:
        """What was solved, given or assumed."""
        settings = {"loss": self.loss, "bias": self.bias, "dim": self.dim or groups.num_classes}
        if self.loss == "label-smoothing":
            settings["smoothing"] = self._smoothing()
        if self.loss == "focal":
            settings["focus"] = self._focus()
        decays = {"weight_decay": self.weight_decay, "feature_decay": self.feature_decay}
        return {"sizes": [*groups.sizes], "counts": [*groups.counts], **decays, **settings}

    def _echo(self, groups: "Groups") -> None:
        """The settings in a line, those assumed as well."""
        samples = f"{figures(groups.counts[0])} sample{'' if groups.counts[0] == 1 else 's'} of each class"
        if len(groups.sizes) > 1:
            samples = f"{figures(groups.counts[-1])} to {figures(groups.counts[0])} samples a class"
        bias = {"none": "no bias", "free": "a free bias"}.get(self.bias, f"a bias of decay {self.bias}")
        say(
            f"Solved for {groups.num_classes} classes, {samples}, {self.loss}, weight decay {self.weight_decay:g}, "
            f"feature decay {self.feature_decay:g}, {bias}."
        )
        print()

    def _smoothing(self) -> float:
        return 0.1 if self.smoothing is None else self.smoothing

    def _focus(self) -> float:
        return 2.0 if self.focus is None else self.focus

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
            return UnconstrainedFocal(**given, focus=self._focus())
        smoothing = 0.0 if self.loss == "cross-entropy" else self._smoothing()
        return UnconstrainedFeatures(**given, smoothing=smoothing)

    def _decays(self) -> dict[str, Any]:
        """Decays and dimension. Raises OptionError for a bias that is none of those there are."""
        try:
            bias = {"none": None, "free": 0.0}[self.bias] if self.bias in ("none", "free") else float(self.bias)
        except ValueError:
            raise OptionError(f"--bias is none, free or a decay such as 0.01; got {self.bias}.") from None
        decays = {"weight_decay": self.weight_decay, "feature_decay": self.feature_decay}
        return {**decays, "bias_decay": bias, "dim": self.dim}
