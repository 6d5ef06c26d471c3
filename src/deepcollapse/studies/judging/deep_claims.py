"""What descents of the deep unconstrained-features model say on the claims that are made of it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pandas
from scipy import stats

from deepcollapse.records.study import Judgement
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.criteria import FEWEST_SEEDS, falls_with, median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence
from deepcollapse.studies.judging.of_tables import each_group
from deepcollapse.studies.judging.over_settings import rises_with
from deepcollapse.studies.measured.deep_descents import (
    GROUPS,
    average_rank,
    by_group,
    collapsed_share,
    of_part,
    solutions,
    without,
)

FEWEST_STARTS, FEWEST_RATES = 20, 4
BELOW = 0.99  # of the loss of collapse: descents that end lower are told apart from those that creep towards it


def _sizes(row: Any) -> str:
    return f"{row['num_classes']} classes, {row['depth']} layers, width {row['width']}"


def _problems(table: pandas.DataFrame, part: str) -> dict[str, pandas.DataFrame]:
    """The descents of each size of problem in a part, under its name."""
    groups = of_part(table, part).groupby(["num_classes", "depth", "width"], sort=False)
    return {_sizes(rows.iloc[0]): rows for _, rows in groups}


def judge_two(evidence: Evidence) -> Iterable[Judgement]:
    """The lowest loss over that of collapse. Where no descent came near it, nothing was found out."""
    return each_group(_problems(evidence.table("descents"), "two"), _two)


def _two(subject: str, rows: pandas.DataFrame) -> Judgement:
    ended = _ended(rows, FEWEST_STARTS)["loss_ratio"].tolist()
    best = min(ended)
    near = sum(abs(ratio - 1) < 1e-2 for ratio in ended)
    verdict = "fails" if best < 1 - 1e-6 else "holds" if near else "inconclusive"
    told = f"best loss 1 {best - 1:+.1e} times that of collapse; {near} of {len(ended)} starts end within 1 % of it"
    told += without(rows, ("diverged",))
    return Judgement(subject, verdict, told, {"best": best, "near": near, "starts": len(ended)})


def _ended(rows: pandas.DataFrame, fewest: int) -> pandas.DataFrame:
    """The descents that did not diverge, wherever they ended. Raises MissingEvidence where these are too few."""
    kept: Any = rows[rows["kind"] != "diverged"]
    if len(kept) < fewest:
        raise MissingEvidence(f"the criterion is for at least {fewest} starts, and {len(kept)} came to their end")
    return kept


def judge_beyond(evidence: Evidence) -> Iterable[Judgement]:
    """The lowest loss of a point that says something of every class, over that of collapse."""
    return each_group(_problems(evidence.table("descents"), "beyond"), _beyond)


def _beyond(subject: str, rows: pandas.DataFrame) -> Judgement:
    ended = _ended(rows, FEWEST_SEEDS)  # of whatever kind: the bound is for all parameters
    ratios = solutions(ended)["loss_ratio"].tolist()
    best = min(ratios, default=1.0)
    above: bool = all(ended["loss"] >= ended["lower_bound"] * (1 - 1e-9))
    below = sum(ratio < BELOW for ratio in ratios)
    verdict = "holds" if best < BELOW and above else "fails"
    told = f"best loss {best:.4f} of that of collapse, {below} of {len(rows)} starts end more than 1 % below it"
    told += ("; none below the lower bound" if above else "; SOME BELOW THE LOWER BOUND") + without(rows)
    return Judgement(subject, verdict, told, {"best": best, "below": below, "starts": len(rows)})


def judge_dnc1(evidence: Evidence) -> Iterator[Judgement]:
    """The largest ratio of variability within classes to that between them, over layers, of each start."""
    row: Any = evidence.table("watched").to_dict("records")[0]
    subject = f"{row['classes']} classes of {row['per_class']}, {row['depth']} layers, width {row['width']}"
    if row["per_class"] < 5:
        raise MissingEvidence(f"the criterion is for at least 5 samples a class; there were {row['per_class']}")
    kept = [max(by_layer) for by_layer, kind in zip(row["dnc1"], row["kind"], strict=True) if _speaks(kind)]
    # Descents that diverged left nothing behind but their absence.
    kinds = [*row["kind"], *["diverged"] * (row["starts"] - len(row["kind"]))]
    told = f"largest DNC1 of any layer {middle(kept)}{without(pandas.DataFrame({'kind': kinds}))}"
    yield Judgement(subject, settled(kept, at_most=1e-3), told, {"dnc1": median(kept), "starts": len(kept)})


def _speaks(kind: str) -> bool:
    return len(solutions(pandas.DataFrame({"kind": [kind]}))) > 0


def judge_dnc2(evidence: Evidence) -> Iterable[Judgement]:
    """The largest rank of class means in the layers between the first and the last, of each start below collapse."""
    return each_group(_problems(evidence.table("descents"), "beyond"), _dnc2)


def _dnc2(subject: str, rows: pandas.DataFrame) -> Judgement:
    found = solutions(_ended(rows, FEWEST_SEEDS))
    below: Any = found[found["loss_ratio"] < BELOW]
    classes = int(rows["num_classes"].iloc[0])
    largest = [max(ranks[1:-1]) for ranks in below["ranks"]]
    verdict = "holds" if largest and max(largest) < classes else "fails"
    told = f"rank at most {middle(largest)} of {classes}" if largest else "no start ends below collapse"
    numbers = {"largest_rank": max(largest, default=None), "below": len(largest), "starts": len(rows)}
    return Judgement(subject, verdict, told + without(rows), numbers)


def judge_graph(evidence: Evidence) -> Iterator[Judgement]:
    """The price of the construction over that of collapse, which no decay changes."""
    table = evidence.table("graph")
    yield from each_group({f"{depth} layers": rows for depth, rows in table.groupby("depth")}, _over_classes)
    yield from each_group({"over depth": table}, _over_depth)


def _over_classes(subject: str, rows: pandas.DataFrame) -> Judgement:
    fewest = 10 if rows["depth"].iloc[0] == 3 else 6
    claimed = rows[rows["classes"] >= fewest]["ratio"].tolist()
    ordered = rows.sort_values("classes")["ratio"].tolist()
    if not claimed or len(ordered) < 2:
        raise MissingEvidence(
            f"the criterion is for {fewest} classes and more, of several sizes; the largest here is "
            f"{max(rows['classes'])}, of {len(ordered)}"
        )
    verdict = "holds" if max(claimed) < 1 and _falling(ordered) else "fails"
    told = f"from {ordered[0]:.4f} at {min(rows['classes'])} classes to {ordered[-1]:.4f} at {max(rows['classes'])}"
    return Judgement(subject, verdict, told, {"largest": max(claimed), "last": ordered[-1]})


def _over_depth(subject: str, table: pandas.DataFrame) -> Judgement:
    by_size = [rows.sort_values("depth")["ratio"].tolist() for _, rows in table.groupby("classes")]
    if min(map(len, by_size)) < 2:
        raise MissingEvidence("the criterion is for several depths of every number of classes")
    falling = all(map(_falling, by_size))
    told = "the ratio falls with depth for every number of classes" if falling else "it does not fall with depth"
    return Judgement(subject, "holds" if falling else "fails", told)


def _falling(values: list[float]) -> bool:
    return all(after < before for before, after in pairwise(values))


def judge_decay(evidence: Evidence) -> Iterator[Judgement]:
    """The rank, averaged over the starts of a group, against weight decay."""
    rows = of_part(evidence.table("descents"), "decay")
    points = by_group(rows, "feature_decay", average_rank)
    yield _over_groups(falls_with(_sizes(rows.iloc[0]), points, "weight decay"), rows, points, "average rank")


def judge_width(evidence: Evidence) -> Iterator[Judgement]:
    """The share of collapsed descents in a group of starts against width."""
    rows = of_part(evidence.table("descents"), "width")
    points = by_group(rows, "width", collapsed_share)
    subject = f"{rows['num_classes'].iloc[0]} classes, {rows['depth'].iloc[0]} layers"
    yield _over_groups(rises_with(subject, points, "width"), rows, points, "share of collapsed descents")


def _over_groups(judged: Judgement, rows: pandas.DataFrame, points: dict[int, Any], what: str) -> Judgement:
    """The judgement in words that name groups of starts, with the first and the last value averaged over them."""
    ends = [[own[end][1] for own in points.values()] for end in (0, -1)]
    first, last = (sum(values) / len(values) for values in ends)
    told = f"{what} from {first:.3g} to {last:.3g}, rank correlation {judged.numbers['correlation']:.2f} in the median "
    told += f"of {len(points)} groups of {len(set(rows['seed'])) // GROUPS} starts{without(rows)}"
    numbers = {name: value for name, value in judged.numbers.items() if name != "seeds"}
    return replace(judged, measured=told, numbers={**numbers, "first": first, "last": last, "groups": len(points)})


def judge_rate(evidence: Evidence) -> Iterator[Judgement]:
    """Whether ranks at different rates could be draws of one kind: Kruskal and Wallis's test.

    Each rate had its own number of steps: with as many for all, descents at small rates would not have come as far.
    """
    rows = of_part(evidence.table("descents"), "rate")
    by_rate = {rate: found["mean_rank"].tolist() for rate, found in solutions(rows).groupby("rate")}
    if len(by_rate) < FEWEST_RATES or min(map(len, by_rate.values())) < 5:
        raise MissingEvidence(f"the criterion is for at least {FEWEST_RATES} rates with 5 starts each")
    alike = len({rank for ranks in by_rate.values() for rank in ranks}) == 1
    chance = 1.0 if alike else float(stats.kruskal(*by_rate.values()).pvalue)
    means = {f"rank at rate {rate:g}": sum(ranks) / len(ranks) for rate, ranks in by_rate.items()}
    told = ", ".join(f"{name} {value:.2f}" for name, value in means.items()) + f"; p = {chance:.1e}{without(rows)}"
    yield Judgement(_sizes(rows.iloc[0]), "holds" if chance < 0.01 else "fails", told, {**means, "p": chance})
