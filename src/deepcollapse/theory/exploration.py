"""The deep model by gradient descent: what is found from random starts, over widths, decays, rates and seeds.

For more than two layers and more than two classes, descent finds points of lower rank and lower loss than deep neural
collapse :cite:`sukenik2024`. Gradient norms tell little here, as steps chatter about the kinks of the ReLUs: points
are held to closed forms and to the lower bound instead.
"""

import dataclasses
import json
import math
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcollapse.errors import OptionError, RunError
from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures
from deepcollapse.theory.solution import Solution
from deepcollapse.theory.solvers import GradientDescent
from deepcollapse.theory.solvers.ledger import Progress
from deepcollapse.theory.solvers.solve import Member, in_batches

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]
SETTING = ("num_classes", "per_class", "depth", "width", "weight_decays", "feature_decay", "rate")
# Rows are kept after so many starts, some seconds each. Runs of 64 take a third less time at width 20, as much at 40.
KEPT_TOGETHER = 16
MEASURED = ("loss", "collapsed_loss", "loss_ratio", "mean_rank")  # NaN where a run diverged


def explore(
    problems: Sequence[DeepUnconstrainedFeatures],
    solvers: GradientDescent | Sequence[GradientDescent],
    seeds: Sequence[int],
    *,
    path: str | os.PathLike[str] | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> "pandas.DataFrame":
    """Every problem by every solver from every seed: one row each, in that order.

    Columns: the settings (`num_classes`, `per_class`, `depth`, `width`, `first_width`, `weight_decays`,
    `feature_decay`, `rate`, `momentum`, `max_steps`, `drops`, `gradient`, `seed`), then `outcome`, `steps`, `loss`,
    `collapsed_loss` and `loss_ratio` (the loss over that of deep neural collapse), `lower_bound` (no loss lies below),
    `kind` ("trivial", "dead class", "collapsed", "strongly regular graph", "low-rank", "other", or "diverged"),
    `ranks` of the class means before the ReLU by layer, their mean `mean_rank`, and `words`.

    Problems of one size, and solvers that differ in their rate alone, run together. With a `path` they do so 16 at
    most, and the rows of each batch are added to that file as soon as they are there, one JSON object a line; rows that
    the file has already are not computed again: a run that was interrupted goes on, and loses the starts of one batch.
    Folders that are missing are made first. `progress` is called with the share that is done.

    Raises OptionError where nothing is asked for, and RunError for a file that holds something else or cannot be
    written, before anything is computed.

    >>> problem = DeepUnconstrainedFeatures.uniform(2, depth=3, decay=0.01, width=4)
    >>> descent = GradientDescent(rate=0.3, steps=1000, gradient="by hand")
    >>> found = explore([problem], descent, seeds=[0, 1])
    >>> found["kind"].tolist(), bool((found["loss_ratio"] > 1 - 1e-9).all())
    (['collapsed', 'collapsed'], True)
    """
    solvers = [solvers] if isinstance(solvers, GradientDescent) else solvers
    members = [(p, s, seed) for p in problems for s in solvers for seed in seeds]
    if not members:
        missing = "problem" if not problems else "solver" if not solvers else "seed"
        raise OptionError(f"there is nothing to explore: no {missing} was given. Pass at least one.")
    check_path(path)
    known = {_key(row): row for row in _read(path)}
    wanted = {_key(_settings(*member)): member for member in members}
    left = [member for key, member in wanted.items() if key not in known]
    for solutions in _batches(left, device, progress, KEPT_TOGETHER if path is not None else len(left)):
        rows = [_row(solution) for solution in solutions]
        known |= {_key(row): row for row in rows}
        _append(path, rows)
    import pandas

    return pandas.DataFrame([known[_key(_settings(*member))] for member in members])


def kept(
    problems: Sequence[DeepUnconstrainedFeatures],
    solvers: Sequence[GradientDescent],
    seeds: Sequence[int],
    path: str | os.PathLike[str],
) -> int:
    """How many of the starts that `explore` would be asked for the file has already.

    >>> kept([DeepUnconstrainedFeatures.uniform(2, depth=2, decay=0.01, width=3)], [GradientDescent()], [0], "none")
    0
    """
    known = {_key(row) for row in _read(path)}
    return len(known & {_key(_settings(p, s, seed)) for p in problems for s in solvers for seed in seeds})


def check_path(path: str | os.PathLike[str] | None) -> None:
    """Make the folder of a file that rows are to be added to. Raises RunError where they cannot be."""
    if path is None:
        return
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        there = file.exists()
        file.open("a", encoding="utf-8").close()
        if not there:
            file.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: str | os.PathLike[str], error: OSError) -> RunError:
    return RunError(f"what is found cannot be written to {path}: {error.strerror or error}. Name another file.")


def summarise(found: "pandas.DataFrame") -> "pandas.DataFrame":
    """How the seeds of each problem and rate ended, and how low and of what rank.

    Columns: those of the setting (classes, depth, width, decays, rate); the counts `seeds`, `diverged`, `collapsed` (by
    kind), `at_collapse` (by loss alone: within 2e-3 of that of collapse, its geometry may still lag behind) and `below`
    (lower than collapse by more than 1e-4 of its loss); `best` and `median` of the loss over that of collapse and
    `mean_rank`, over the seeds that did not diverge, and NaN where all did.

    >>> problem = DeepUnconstrainedFeatures.uniform(2, depth=2, decay=0.01, width=3)
    >>> summarise(explore([problem], GradientDescent(rate=0.3, steps=50), seeds=[0, 1]))["seeds"].tolist()
    [2]
    """
    import pandas

    settings: dict[tuple[object, ...], list[Row]] = {}
    for row in found.to_dict("records"):
        settings.setdefault(tuple(row[name] for name in SETTING), []).append(dict(row))
    return pandas.DataFrame([dict(zip(SETTING, of, strict=True)) | _counts(rows) for of, rows in settings.items()])


def _counts(rows: Sequence[Row]) -> Row:
    ended = [row for row in rows if row["kind"] != "diverged"]
    ratios = [row["loss_ratio"] for row in ended]
    return {
        "seeds": len(rows),
        "diverged": len(rows) - len(ended),
        "collapsed": sum(row["kind"] == "collapsed" for row in ended),
        "at_collapse": sum(abs(ratio - 1) < 2e-3 for ratio in ratios),
        "below": sum(ratio < 1 - 1e-4 for ratio in ratios),
        "best": min(ratios, default=math.nan),
        "median": statistics.median(ratios) if ratios else math.nan,
        "mean_rank": statistics.fmean(row["mean_rank"] for row in ended) if ended else math.nan,
    }


def _batches(
    members: Sequence[Member], device: str | None, progress: Progress | None, most: int
) -> Iterator[list[Solution]]:
    """Members of one program together, `most` of them at once."""
    programs: dict[tuple[object, ...], list[Member]] = {}
    for member in members:
        programs.setdefault((member[0].program(), member[1].program()), []).append(member)
    done = 0
    for together in (of[i : i + most] for of in programs.values() for i in range(0, len(of), most)):

        def told(share: float, done: int = done, count: int = len(together)) -> None:
            if progress is not None:
                progress((done + count * share) / len(members))

        yield from in_batches(together, device=device, progress=told)
        done += len(together)


def _settings(problem: DeepUnconstrainedFeatures, solver: GradientDescent, seed: int) -> Row:
    """What decides a row."""
    asked = dataclasses.asdict(problem) | {"depth": problem.depth} | dataclasses.asdict(solver)
    asked["max_steps"] = asked.pop("steps")
    return asked | {"seed": seed}


def _row(solution: Solution) -> Row:
    problem, solver = solution.problem, solution.solver
    assert isinstance(problem, DeepUnconstrainedFeatures)
    assert isinstance(solver, GradientDescent)
    row = _settings(problem, solver, solution.seed) | {"outcome": solution.outcome, "steps": solution.steps}
    row |= {"lower_bound": problem.lower_bound(), "words": solution.words}
    if solution.outcome == "diverged":
        return row | {"kind": "diverged", "ranks": ()} | dict.fromkeys(MEASURED, math.nan)
    seen = problem.classify(solution.point)
    ranks = seen.ranks[: problem.depth]
    numbers = (solution.objective, solution.objective / seen.loss_ratio, seen.loss_ratio, sum(ranks) / len(ranks))
    return row | {"kind": seen.kind, "ranks": ranks} | dict(zip(MEASURED, numbers, strict=True))


def _key(row: Row) -> str:
    names = [field.name for field in dataclasses.fields(DeepUnconstrainedFeatures)]
    names += [field.name for field in dataclasses.fields(GradientDescent) if field.name != "steps"]
    return json.dumps([row[name] for name in (*names, "max_steps", "seed")])


def _read(path: str | os.PathLike[str] | None) -> list[Row]:
    """The rows of a file, if there is one; a last line that a crash tore is left out, and cut off."""
    if path is None or not Path(path).exists():
        return []
    text = Path(path).read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    try:
        rows = [_as_read(json.loads(line)) for line in whole.splitlines()]
        _ = [_key(row) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} holds no rows of an exploration. Name a file that is not there yet.") from error
    if whole != text:
        Path(path).write_text(whole, encoding="utf-8")
    return rows


def _append(path: str | os.PathLike[str] | None, rows: Sequence[Row]) -> None:
    """Numbers that are none become null, as strict JSON has it."""
    if path is not None:
        strict = [row | {name: row[name] if row[name] == row[name] else None for name in MEASURED} for row in rows]
        try:
            with Path(path).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in strict)
        except OSError as error:
            raise _unwritable(path, error) from error


def _as_read(row: Row) -> Row:
    """A row as it was before it was written."""
    lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
    lists["drops"] = tuple(tuple(drop) for drop in row["drops"])
    return row | lists | {name: math.nan if row[name] is None else row[name] for name in MEASURED}
