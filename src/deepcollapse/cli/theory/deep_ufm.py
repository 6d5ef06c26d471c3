"""`deepcollapse theory deep-ufm`: deep neural collapse beside solutions of lower rank, by formula or by descent."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import Interrupted, say, say_json
from deepcollapse.cli.theory.shown import figures, told
from deepcollapse.errors import OptionError

if TYPE_CHECKING:
    import pandas

    from deepcollapse.theory.problems.deep.conditions import Verdict
    from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures
    from deepcollapse.theory.problems.deep.structures import Construction
    from deepcollapse.theory.solvers import GradientDescent


SYMBOLS = " (kappa_lower >= kappa_star)", ", which is that of all zero"  # to be read in a terminal as words
COLLAPSED = "collapsed"  # what deep neural collapse is called among the known solutions


@dataclass(frozen=True)
class DeepUfm:
    """Deep unconstrained features: is deep neural collapse optimal, or lower rank?"""

    classes: int = 10
    """Number of classes."""
    depth: int = 4
    """Number of weight matrices; between them lie ReLUs."""
    decay: float = 4e-3
    """Weight decay of every layer; also of the features, where --feature-decay is not given."""
    feature_decay: float | None = None
    """Decay of the features of every sample."""
    per_class: int = 1
    """Samples of each class."""
    width: int | None = None
    """Width of every layer; as much as the solutions need where not given."""
    search: bool = False
    """Also look for solutions by gradient descent from random starts; takes seconds to minutes."""
    widths: tuple[int, ...] = ()
    """Search: widths; --width, else twice the classes, where not given."""
    decays: tuple[float, ...] = ()
    """Search: weight decays; --decay where not given."""
    rates: tuple[float, ...] = ()
    """Search: learning rates; 0.1 where not given."""
    seeds: int | None = None
    """Search: random starts of each width, decay and rate; 10 where not given."""
    steps: int | None = None
    """Search: steps of each; 20,000 where not given."""
    out: Path | None = None
    """Search: what was found, a line a start; deep-ufm.jsonl where not given. A stopped search goes on from there."""
    json: bool = False
    """Print every digit as JSON."""

    def run(self) -> int:
        """Show the known solutions and which is best; then, where asked, what descent finds."""
        from deepcollapse.theory.problems.deep.conditions import collapse_wins

        self._check()
        problem = self._problem(most_width(self.classes) if self.width is None else self.width, self.decay)
        known, missing = solutions(problem)
        best = problem.optimum()
        # Where layers are too narrow for collapse, its loss is still what others are held to.
        collapsed = replace(problem, width=max(problem.width, self.classes)).collapsed().loss
        facts = {"lower_bound": problem.lower_bound(), "best": best.name, "optimal": best.optimal}
        general = collapse_wins(self.classes, self.depth)
        facts |= {"because": best.because, "collapse_wins": vars(general)}
        facts["solutions"] = [_facts(one, collapsed) for one in known]
        if not self.json:
            _show(known, collapsed)
            told(*_verdict(problem, best, collapsed), *missing)
            if best.optimal != "yes":
                told(_in_general(general))
            if best.optimal != "yes" and not self.search:
                told("What to do: --search looks for lower points by gradient descent.")
        if self.search:
            facts["search"] = self._search()
        if self.json:
            settings = {"classes": self.classes, "depth": self.depth, "per_class": self.per_class}
            settings |= {"weight_decays": [*problem.weight_decays], "feature_decay": problem.feature_decay}
            say_json({**facts, "model": "deep-ufm", "settings": settings | {"width": problem.width}})
        return 0

    def _check(self) -> None:
        """Raises OptionError for flags of the search without it, RunError where its file cannot be written."""
        from deepcollapse.theory.exploration import check_path

        for name in ("widths", "decays", "rates", "seeds", "steps", "out"):
            value = getattr(self, name)
            if not self.search and value is not None and value != ():
                raise OptionError(f"--{name} goes with --search.")
        if self.search:
            check_path(self._out)

    @property
    def _out(self) -> Path:
        return self.out or Path("deep-ufm.jsonl")

    def _problem(self, width: int, decay: float) -> "DeepUnconstrainedFeatures":
        from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures

        features = decay if self.feature_decay is None else self.feature_decay
        return DeepUnconstrainedFeatures(self.classes, self.per_class, (decay,) * self.depth, features, width)

    def _search(self) -> list[dict[str, Any]]:
        """What descent finds from every start, shown as it is asked for."""
        from deepcollapse.cli.theory.search import Bar, show_found
        from deepcollapse.theory.exploration import explore, kept

        problems, solvers, seeds = self._starts()
        starts = len(problems) * len(solvers) * len(seeds)
        before = kept(problems, solvers, seeds, self._out)
        if not self.json:
            print()
            going_on = f", of which {self._out} has {before} already" if before else ""
            steps = solvers[0].steps if solvers else 0
            say(f"Searching from {starts} random starts{going_on}, {steps} steps each. Ends are written to {self._out}")
        try:
            with Bar(quiet=self.json) as bar:
                found = explore(problems, solvers, seeds, path=self._out, progress=bar.update)
        except KeyboardInterrupt:
            done = kept(problems, solvers, seeds, self._out)
            words = f"Stopped; {self._out} keeps {done} of {starts} starts. The same command goes on from there."
            raise Interrupted(words if done else "Stopped before any start was written; nothing is kept.") from None
        if not self.json:
            show_found(found)
        return _rows(found)

    def _starts(self) -> "tuple[list[DeepUnconstrainedFeatures], list[GradientDescent], range]":
        """Problems, solvers and seeds; what is named twice is searched once."""
        from deepcollapse.theory.solvers import GradientDescent

        widths = dict.fromkeys(self.widths or (2 * self.classes if self.width is None else self.width,))
        decays = dict.fromkeys(self.decays or (self.decay,))
        steps = 20_000 if self.steps is None else self.steps
        solvers = [
            GradientDescent(rate=r, steps=steps, gradient="by hand") for r in dict.fromkeys(self.rates or (0.1,))
        ]
        problems = [self._problem(width, decay) for width in widths for decay in decays]
        return problems, solvers, range(10 if self.seeds is None else self.seeds)


def most_width(classes: int) -> int:
    """A width in which every known solution fits: one neuron a class, and the graphs' widest layers beside it."""
    vertices = (1 + math.isqrt(1 + 8 * classes)) // 2 + 1  # of the smallest graph with more edges than classes
    return classes + 4 * math.comb(vertices, vertices // 2)


def solutions(problem: "DeepUnconstrainedFeatures") -> "tuple[list[Construction], list[str]]":
    """Deep neural collapse and the other known solutions, each once; and what does not fit, in words."""
    from deepcollapse.theory.problems.deep.strongly_regular import vertices_of

    ways = [problem.collapsed]
    if vertices_of(problem.num_classes) and problem.depth > 1:
        ways += [problem.strongly_regular, problem.refined]
    ways.append(problem.optimum)
    known: dict[str, Construction] = {}
    missing = []
    for way in ways:
        try:
            found = way()
            known.setdefault(found.name, found)
        except OptionError as error:
            missing.append(f"Left out: {error}")
    return [*known.values()], [*dict.fromkeys(missing)]


def _facts(one: "Construction", collapsed_loss: float) -> dict[str, Any]:
    return {**one.facts(), "loss_ratio": one.loss / collapsed_loss, "ranks": [*one.ranks], "widths": [*one.widths]}


def _rows(found: "pandas.DataFrame") -> list[dict[str, Any]]:
    return found.to_dict("records")  # pyright: ignore[reportReturnType]


def _show(known: "list[Construction]", collapsed_loss: float) -> None:
    rows = []
    for one in known:
        ranks = " ".join(map(str, one.ranks))
        rows.append((figures(one.loss), figures(one.loss / collapsed_loss), str(one.width), ranks, one.name))
    heads = ("loss", "over\ncollapse", "width\nneeded", "rank by layer,\nthen outputs", "solution")
    show_table(heads, rows, right=(0, 1, 2))


def _in_general(verdict: "Verdict") -> str:
    """What holds at these numbers of classes and layers, whatever the decays, with its source."""
    says = {"yes": "collapse is optimal", "no": "collapse is not optimal", "unknown": "it is not known which wins"}
    return (
        f"In general, for wide layers and decays weak enough for collapse, {says[verdict.answer]}: {verdict.because} "
        f"(source: {verdict.source})."
    )


def _verdict(problem: "DeepUnconstrainedFeatures", best: "Construction", collapsed_loss: float) -> list[str]:
    """Whether collapse is optimal, how far off the best known solution may be, and what to do."""
    layers = f"{problem.depth} layer{'s' if problem.depth > 1 else ''}"
    where = f"By the deep unconstrained-features model with {problem.num_classes} classes and {layers}"
    name = "deep neural collapse" if best.name == COLLAPSED else f'the solution "{best.name}"'
    because = best.because.replace(*SYMBOLS)
    if not best.nontrivial:
        return [f"{where} {because if best.optimal == 'yes' else 'nothing better than all zero is known'}."]
    if best.optimal == "yes":
        return [f"{where} {name} is optimal: {because}."]
    if best.loss < (1 - 1e-9) * collapsed_loss:
        ratio = figures(best.loss / collapsed_loss, 4)
        first = f"deep neural collapse is not optimal: {name} has {ratio} times its loss"
    elif best.loss > (1 + 1e-9) * collapsed_loss:
        first = f"deep neural collapse needs more width; {name} is the best known solution that fits"
    else:
        first = "none of these solutions is below deep neural collapse"
    return [
        f"{where} {first}. No loss lies below {figures(best.lower)}, so this one is at most {figures(best.gap)} from "
        "optimal; whether anything is lower is unknown."
    ]
