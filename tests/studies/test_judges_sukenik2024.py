"""The judges on deep collapse at the edges of their criteria: tables and runs made by hand, a step to either side."""

import pandas
import pytest

from deepcollapse.records.study import Judgement
from deepcollapse.studies.charts.deep_collapse import show
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.sukenik2024 import STUDY
from deepcollapse.training import Recipe

SMOKE = STUDY.scales["smoke"]
SIZES = {"num_classes": 10, "depth": 4, "width": 20}
CLAIMS = {claim.id: claim for claim in STUDY.claims}


def judged(claim: str, runs=(), **tables: list[dict]) -> Judgement:
    evidence = Evidence(SMOKE, runs, {name: pandas.DataFrame(rows) for name, rows in tables.items()})
    return CLAIMS[claim].judged(evidence).judgements[0]


def descents(part: str, ratios, kind="low-rank", **more) -> list[dict]:
    """Descents that end at these losses over that of collapse."""
    row = {"part": part, **SIZES, "kind": kind, "lower_bound": 0.01, "ranks": (10, 5, 5, 10), **more}
    return [row | {"loss_ratio": ratio, "loss": 0.05 * ratio} for ratio in ratios]


GONE = descents("two", [float("nan")] * 3, "diverged")


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (descents("two", [1 - 0.9e-6, *[1.2] * 19]), "holds"),
        (descents("two", [1 - 1.1e-6, *[1.2] * 19]), "fails"),
        (descents("two", [1.009, *[1.2] * 19]), "holds"),
        (descents("two", [1.011, *[1.2] * 19]), "inconclusive"),
        (descents("two", [1.0] * 19) + GONE, "not tested"),
    ],
)
def test_for_two_classes_nothing_may_end_below_collapse(rows, verdict):
    assert judged("two", descents=rows).verdict == verdict


def test_descents_that_diverged_are_told_for_two_classes():
    found = judged("two", descents=descents("two", [1.0] * 20) + GONE)
    assert found.measured.endswith("20 of 20 starts end within 1 % of it; 3 diverged of 23 left out")


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (descents("beyond", [0.989, 1.0, 1.0]), "holds"),
        (descents("beyond", [0.991, 1.0, 1.0]), "fails"),
        (descents("beyond", [0.5, 0.5]), "not tested"),
        (descents("beyond", [0.5, 0.5, *[float("nan")] * 9], "diverged"), "not tested"),
        (descents("beyond", [0.5, 0.5]) + descents("beyond", [0.19], "dead class"), "fails"),  # below the lower bound
    ],
)
def test_beyond_two_classes_some_start_of_three_ends_below_collapse(rows, verdict):
    assert judged("beyond", descents=rows).verdict == verdict


def test_descents_that_diverged_say_nothing_and_are_told():
    gone = descents("beyond", [float("nan")] * 9, "diverged")
    for claim in ("beyond", "dnc2"):
        found = judged(claim, descents=gone)
        assert found.why == "the criterion is for at least 3 starts, and 0 came to their end"
        found = judged(claim, descents=descents("beyond", [0.5] * 3) + gone)
        assert found.verdict == "holds"
        assert found.measured.endswith("; 9 diverged of 12 left out")


def test_ranks_between_the_ends_are_to_be_lower_than_the_number_of_classes():
    for rank, verdict in ((9, "holds"), (10, "fails")):
        rows = descents("beyond", [0.9] * 2) + descents("beyond", [0.9], ranks=(10, 5, rank, 10))
        assert judged("dnc2", descents=rows).verdict == verdict


def watched(*largest: float, per_class: int = 5, starts: int | None = None) -> list[dict]:
    kinds, starts = ["low-rank"] * len(largest), starts or len(largest)
    row = {"classes": 10, "per_class": per_class, "depth": 2, "width": 30, "starts": starts, "kind": kinds}
    return [{**row, "dnc1": [[1e-9, value] for value in largest], "history": [], "decay": 0.004}]


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (watched(0.9e-3, 0.9e-3, 0.9e-3), "holds"),
        (watched(1.1e-3, 1.1e-3, 1.1e-3), "fails"),
        (watched(0.9e-3, 0.9e-3, 0.9e-3, 1.1e-3, 1.1e-3), "inconclusive"),
        (watched(1e-9, 1e-9, 1e-9, per_class=4), "not tested"),
        (watched(1e-9, 1e-9, starts=8), "not tested"),
    ],
)
def test_variability_within_classes_is_to_be_a_thousandth_at_most(rows, verdict):
    assert judged("dnc1", watched=rows).verdict == verdict


def test_watched_descents_that_diverged_are_told():
    assert judged("dnc1", watched=watched(1e-6, 1e-6, 1e-6, starts=8)).measured == (
        "largest DNC1 of any layer 1e-06 (1e-06 to 1e-06); 5 diverged of 8 left out"
    )
    assert [*show(Evidence(SMOKE, (), {"watched": pandas.DataFrame(watched(starts=8))}))] == []


def prices(depth: int, ratios: dict[int, float]) -> list[dict]:
    return [{"depth": depth, "classes": classes, "ratio": ratio} for classes, ratio in ratios.items()]


@pytest.mark.parametrize(
    ("rows", "verdicts"),
    [
        (prices(3, {6: 1.1, 10: 0.99}) + prices(4, {6: 0.99, 10: 0.9}), ["holds", "holds", "holds"]),
        (prices(3, {6: 1.1, 10: 1.01}) + prices(4, {6: 1.01, 10: 0.9}), ["fails", "fails", "holds"]),
        (prices(3, {6: 0.8, 10: 0.9}) + prices(4, {6: 0.7, 10: 0.6}), ["fails", "holds", "holds"]),
        (prices(3, {6: 1.1, 10: 0.9}) + prices(4, {6: 0.99, 10: 0.91}), ["holds", "holds", "fails"]),
        (prices(3, {3: 1.2, 6: 1.1}), ["not tested", "not tested"]),
        (prices(4, {6: 0.9}), ["not tested", "not tested"]),
    ],
)
def test_the_construction_is_to_cost_less_and_the_more_so_the_larger_it_is(rows, verdicts):
    found = CLAIMS["graph"].judged(Evidence(SMOKE, (), {"graph": pandas.DataFrame(rows)}))
    assert [one.verdict for one in found.judgements] == verdicts


ORDERS = {"falls": (9, 8, 7, 6, 5), "falls but for two": (9, 7, 8, 6, 5), "hardly": (9, 6, 8, 5, 7), "stays": (7,) * 5}


@pytest.mark.parametrize(
    ("order", "decay", "width"),
    [
        ("falls", "holds", "fails"),
        ("falls but for two", "holds", "fails"),  # correlation -0.9
        ("hardly", "fails", "fails"),  # correlation -0.6
        ("stays", "fails", "fails"),
    ],
)
def test_rank_is_to_fall_with_decay_and_the_share_of_collapse_to_rise_with_width(order, decay, width):
    values = ORDERS[order]
    rows = [row | {"seed": seed, "feature_decay": 0.001 * at, "mean_rank": float(rank)}
            for at, rank in enumerate(values, start=1) for seed in range(8)
            for row in descents("decay", [0.9])]  # fmt: skip
    assert judged("decay", descents=rows).verdict == decay
    assert judged("decay", descents=rows[: 4 * 8]).verdict == "not tested"
    assert judged("width", descents=over_width(values)).verdict == width
    rising = over_width([10 - value for value in values])
    assert judged("width", descents=rising).verdict == ("holds" if decay == "holds" else "fails")
    assert judged("width", descents=rising[: 4 * 40]).verdict == "not tested"


def over_width(tenths) -> list[dict]:
    """Ten starts for each of the four groups, so many tenths of which end at the loss of collapse."""
    return [row | {"seed": seed, "width": 10 * at}
            for at, count in enumerate(tenths, start=1) for seed in range(40)
            for row in descents("width", [1.0019 if seed // 4 < count else 1.0021])]  # fmt: skip


def test_a_descent_a_fifth_of_a_per_cent_above_collapse_has_collapsed():
    """And one a little further away has not: otherwise the share would be the same at all widths."""
    found = judged("width", descents=over_width((1, 3, 5, 7, 9)))
    assert (found.verdict, found.numbers["first"], found.numbers["last"]) == ("holds", 0.1, 0.9)


def heads(tmp_path, weak=(10.0, 1.0), strong=(9.0, 1.0), dnc1=0.1, seeds=3) -> list[Finished]:
    """Heads at two decays, of this rank and training accuracy."""

    def run(decay, seed, rank, accuracy):
        values = {"accuracy": accuracy, "trivial": 0.0, "dead_classes": 0.0}
        rows = [("network", name, value) for name, value in values.items()]
        rows += [("blocks.0.linear", "mean_rank", rank), ("blocks.0.linear", "dnc1", dnc1)]
        rows += [("head.input", "present_classes", 10.0)]
        frame = pandas.DataFrame(rows, columns=["layer", "measure", "value"])
        frame = frame.assign(split="train", baseline=None, epoch=1, array=None)
        return Finished(Recipe(decay=decay, seed=seed), tmp_path / f"{decay}-{seed}", frame)

    return [run(decay, seed, *at) for decay, at in ((1e-4, weak), (1e-3, strong)) for seed in range(seeds)]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "holds"),
        ({"weak": (9.0, 1.0), "strong": (8.0, 1.0)}, "holds"),
        ({"weak": (8.0, 1.0), "strong": (7.0, 1.0)}, "fails"),  # few ranks at the weakest decay already
        ({"weak": (9.0, 1.0), "strong": (9.0, 1.0)}, "fails"),  # no lower at the strongest
        ({"weak": (11.0, 1.0), "strong": (10.0, 1.0)}, "fails"),  # lower, and as many as there are classes
        ({"dnc1": 0.101}, "fails"),
        ({"weak": (10.0, 0.99), "strong": (9.0, 0.99)}, "holds"),
        ({"weak": (10.0, 0.989)}, "fails"),
        ({"strong": (9.0, 0.989)}, "fails"),
        ({"seeds": 2}, "not tested"),
    ],
)
def test_heads_are_to_meet_every_one_of_five_limits(tmp_path, changes, verdict):
    assert judged("real", heads(tmp_path, **changes)).verdict == verdict
