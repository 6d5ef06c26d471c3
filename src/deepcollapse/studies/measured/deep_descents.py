"""Descents of the deep unconstrained-features model: what is searched, what becomes of it, and statistics of it.

Descents are told apart by where they end: a point that is all zero ("trivial") or says nothing of some class ("dead
class") has a low rank for a reason that has nothing to do with collapse, and never counts as a solution of low rank.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas

from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.measured.table import computed
from deepcollapse.studies.study import Scale, Task
from deepcollapse.theory.exploration import explore
from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures
from deepcollapse.theory.solvers import GradientDescent
from deepcollapse.theory.solvers.solve import solve_many

NO_SOLUTION = ("trivial", "dead class", "diverged")
AT_COLLAPSE = 2e-3  # how far from the loss of collapse, as a share of it, a descent may end that counts as collapsed
GROUPS = 4  # into which the starts are dealt, so that an average over starts has a spread
# Microseconds a step and start, near width 20, of ten classes in four layers on one thread of a laptop; see `seconds`.
MICROSECONDS = 15.0


@dataclass(frozen=True)
class DeepModel:
    """What is searched: classes, depth and decay of the paper, and what varies about them.

    `searched` widths are those in which a point below collapse is looked for; decays and rates vary at `width`, and
    `widths` at a setting of their own where one is given. The lower a rate is, the more steps it has, so that all come
    equally far. `simple` are (classes, layers, width) in which collapse is optimal, `further` other ones.
    `watched_width` and `per_class` are those of the descents whose geometry is kept.
    """

    starts: int
    steps: int
    classes: int = 10
    depth: int = 4
    decay: float = 0.004
    width: int = 20
    searched: tuple[int, ...] = (20, 30)
    widths: tuple[int, ...] = (12, 20, 30, 40, 60)
    width_classes: int | None = None
    width_decay: float | None = None
    width_rate: float | None = None
    decays: tuple[float, ...] = (0.001, 0.002, 0.003, 0.004, 0.006, 0.008)
    decay_steps: int | None = None
    rates: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    rate: float = 0.1
    momentum: float = 0.9
    simple: tuple[tuple[int, int, int], ...] = ((2, 4, 6), (10, 2, 12))
    simple_steps: int | None = None
    further: tuple[tuple[int, int, int], ...] = ()
    watched: int = 8
    watched_width: int = 30
    watched_steps: int | None = None
    per_class: int = 5

    def problem(self, width: int, decay: float | None = None, classes: int | None = None) -> DeepUnconstrainedFeatures:
        """The paper's model at a width, and at a decay and with classes of its own where given."""
        decay = self.decay if decay is None else decay
        return DeepUnconstrainedFeatures.uniform(classes or self.classes, self.depth, decay, width)

    def descent(self, steps: int | None = None, rate: float | None = None) -> GradientDescent:
        """The descent: with momentum the rate drops to a tenth for the last fifth of the steps, without it stays."""
        rate = self.rate if rate is None else rate
        drops = ((0.8, 0.1),) if self.momentum else ()
        steps = steps or self.steps
        return GradientDescent(rate=rate, momentum=self.momentum, steps=steps, drops=drops, gradient="by hand")

    def parts(self) -> dict[str, "Part"]:
        """What is searched, by the claim that it is searched for."""
        simple, further = (
            [DeepUnconstrainedFeatures.uniform(k, depth, self.decay, width) for k, depth, width in sizes]
            for sizes in (self.simple, self.further)
        )
        at_decays = [self.problem(self.width, decay) for decay in self.decays]
        at_widths = [self.problem(width, self.width_decay, self.width_classes) for width in self.widths]
        at_rates = [self.descent(round(self.steps * self.rate / rate), rate) for rate in self.rates]
        parts = {
            "two": Part(simple, [self.descent(self.simple_steps)], max(20, self.starts)),
            "beyond": Part([self.problem(width) for width in self.searched], [self.descent()], self.starts),
            "decay": Part(at_decays, [self.descent(self.decay_steps)], self.starts),
            "width": Part(at_widths, [self.descent(rate=self.width_rate)], self.starts),
            "rate": Part([self.problem(self.width)], at_rates, self.starts),
            "further": Part(further, [self.descent()], self.starts),
        }
        return {name: part for name, part in parts.items() if part.problems}


@dataclass(frozen=True)
class Part:
    """Problems, solvers and how many starts: every combination is descended."""

    problems: Sequence[DeepUnconstrainedFeatures]
    solvers: Sequence[GradientDescent]
    starts: int

    @property
    def seconds(self) -> float:
        """About what it takes on one thread: a step costs about (width/20)^1.3 times that at width 20."""
        steps = self.starts * sum(solver.steps for solver in self.solvers)
        return sum(MICROSECONDS * 1e-6 * steps * max(0.4, p.width / 20) ** 1.3 for p in self.problems)


# ------------------------------------------------------------- computations


def descents(task: Task) -> pandas.DataFrame:
    """A row for each descent of each part, as `explore` gives them, with the `part` it belongs to."""
    parts = task.scale["model"].parts()
    whole, done, tables = sum(part.seconds for part in parts.values()), 0.0, []
    for name, part in parts.items():

        def told(share: float, done: float = done, part: Part = part) -> None:
            task.progress((done + share * part.seconds) / whole)

        starts = range(part.starts)
        found = explore(part.problems, part.solvers, starts, path=task.path, device=task.device, progress=told)
        tables.append(found.assign(part=name))
        done += part.seconds
    return pandas.concat(tables, ignore_index=True)


def seconds(scale: Scale) -> float:
    """About what `descents` takes."""
    return sum(part.seconds for part in scale["model"].parts().values())


def watched(task: Task) -> pandas.DataFrame:
    """Descents with several samples a class, whose way and geometry are kept: one row for all starts.

    Columns besides the setting: `loss` and `kind` by start, `history` as [step, loss] of each start, `dnc1` by start
    and layer (before the ReLU, from the features on), and `singular_values` of the class means by start and layer.
    """
    model: DeepModel = task.scale["model"]
    setting = {
        "classes": model.classes,
        "per_class": model.per_class,
        "depth": model.depth,
        "width": model.watched_width,
        "decay": model.decay,
        "rate": model.rate,
        "momentum": model.momentum,
        "steps": model.watched_steps or model.steps,
        "starts": model.watched,
    }
    return computed(task.path, [setting], lambda _: _watched(model, task), task.progress)


def _watched(model: DeepModel, task: Task) -> dict[str, Any]:
    problem = DeepUnconstrainedFeatures.uniform(
        model.classes, model.depth, model.decay, model.watched_width, model.per_class
    )
    solver = model.descent(model.watched_steps)
    solutions = solve_many([problem], solver, range(model.watched), device=task.device, progress=task.progress)
    ended = [solution for solution in solutions if solution.outcome != "diverged"]
    layers = [f"H{layer}" for layer in range(1, model.depth + 1)]
    return {
        "loss": [solution.objective for solution in ended],
        "kind": [problem.classify(solution.point).kind for solution in ended],
        "history": [[list(entry) for entry in solution.history] for solution in ended],
        "dnc1": [[solution.geometry[f"trace_ratio.{name}"] for name in layers] for solution in ended],
        "singular_values": [_spectra(problem, solution.point) for solution in ended],
    }


def _spectra(problem: DeepUnconstrainedFeatures, point: Mapping[str, Any]) -> list[list[float]]:
    """Singular values of the class means in layers 1 to L, before the ReLU, over the largest of each."""
    found = []
    for features in problem.layers(point)[:-1]:
        values = features.unflatten(0, (problem.num_classes, -1)).mean(dim=1).svd().S
        found.append((values / values[0].clamp(min=1e-300)).tolist())
    return found


def graph(task: Task) -> pandas.DataFrame:
    """What the low-rank construction costs over deep collapse, by number of vertices and depth: closed forms."""
    settings = [
        {"vertices": vertices, "depth": depth} for depth in task.scale["depths"] for vertices in task.scale["vertices"]
    ]
    return computed(task.path, settings, _price, task.progress)


def _price(setting: Mapping[str, Any]) -> dict[str, Any]:
    vertices, depth = setting["vertices"], setting["depth"]
    classes = vertices * (vertices - 1) // 2
    width = max(classes, math.comb(vertices, math.ceil(vertices / 2)))
    # Which of the two is cheaper depends on no decay; this one is small enough for all of them to fit.
    problem = DeepUnconstrainedFeatures.uniform(classes, depth, 1e-4, width)
    collapsed, construction = problem.collapsed(), problem.strongly_regular()
    price = construction.kappa / collapsed.kappa
    return {"classes": classes, "ratio": price, "loss_ratio": construction.loss / collapsed.loss}


# ------------------------------------------------------------- statistics


def solutions(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The rows whose end says something of every class: neither trivial nor with a dead class, nor diverged."""
    kept: Any = rows[~rows["kind"].isin(NO_SOLUTION)]
    return kept


def without(rows: pandas.DataFrame, told: Sequence[str] = NO_SOLUTION) -> str:
    """What was left out, in words; empty where nothing was.

    >>> without(pandas.DataFrame({"kind": ["trivial", "collapsed", "dead class", "trivial"]}))
    '; 2 trivial, 1 dead class of 4 left out'
    """
    kinds = rows["kind"].tolist()
    counts = [(kind, kinds.count(kind)) for kind in told]
    named = ", ".join(f"{count} {kind}" for kind, count in counts if count)
    return f"; {named} of {len(rows)} left out" if named else ""


def of_part(table: pandas.DataFrame, part: str) -> pandas.DataFrame:
    """The descents of a part. Raises MissingEvidence where there are none."""
    rows: Any = table[table["part"] == part]
    if not len(rows):
        raise MissingEvidence(f"no descent was made for {part!r} at this scale")
    return rows


def by_group(
    rows: pandas.DataFrame, setting: str, value: Callable[[pandas.DataFrame], float]
) -> dict[int, list[tuple[float | int, float | int]]]:
    """The points (setting, value of the rows there) of each group of starts; settings without a solution left out."""
    groups: dict[int, list[tuple[float | int, float | int]]] = {}
    for group in range(GROUPS):
        own: Any = rows[rows["seed"] % GROUPS == group]
        points = [(float(x), value(found)) for x, found in own.groupby(setting)]
        groups[group] = [(x, y) for x, y in points if not math.isnan(y)]
    return groups


def average_rank(rows: pandas.DataFrame) -> float:
    """The rank of class means before the ReLU, averaged over layers and solutions; NaN where there is no solution."""
    found = solutions(rows)["mean_rank"].tolist()
    return statistics.fmean(found) if found else math.nan


def collapsed_share(rows: pandas.DataFrame) -> float:
    """The share of descents that end at the loss of deep collapse, within 2 parts in a thousand."""
    return sum(abs(ratio - 1) < AT_COLLAPSE for ratio in solutions(rows)["loss_ratio"].tolist()) / len(rows)
