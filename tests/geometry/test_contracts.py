"""What every measure declares of itself holds: one set of tests for all of `METRICS`, and for any that is added."""

import math
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from examples import assert_digits
from scenario import Scenario, aligned, collapsed, ordinary

from deepcollapse import geometry
from deepcollapse.geometry import METRICS, Metric
from deepcollapse.geometry.metric import INVARIANCES, NEEDS, UNITS

ORDINARY = [ordinary(0), ordinary(1), ordinary(2, num_classes=7, dim=3), ordinary(3, num_classes=3, dim=2)]
COLLAPSED = [collapsed(3, 5, size=2.0), collapsed(4, 8, size=0.5)]
ALIGNED = aligned()
MOVES = {"rotation": Scenario.turned, "scale": Scenario.scaled, "translation": Scenario.shifted}
# Formulas in C that measures declare for their value at collapse.
FORMULAS = {
    "C-1": lambda c: c - 1,
    "ceil(0.99 (C-1))": lambda c: math.ceil(0.99 * (c - 1)),
    "-1/(C-1)": lambda c: -1 / (c - 1),
    "C/(C-1)": lambda c: c / (c - 1),
    "sqrt(2-2 sqrt(1-1/C))": lambda c: math.sqrt(2 - 2 * math.sqrt(1 - 1 / c)),
    "-log(2C/(C-1))/2": lambda c: -math.log(2 * c / (c - 1)) / 2,
    "(2C/(C-1))^(-s/2)": lambda c: (2 * c / (c - 1)) ** -0.5,  # s = 1 by default
}
REFERENCES = Path(__file__).parents[2] / "docs" / "references.bib"

every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices this small are slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def numbers(scenario: Scenario, metric: Metric) -> dict[str, torch.Tensor]:
    """The measure's values; numbers of classes in ascending order, since classes have none of their own."""
    return {what: value.flatten().sort().values for what, value in scenario.values(metric).items()}


@cache
def usual_size(metric: Metric) -> float:
    """The largest value on data that are not collapsed: beside it, rounding is told from a change."""
    return max(float(value.abs().max()) for s in (*ORDINARY, ALIGNED) for value in s.values(metric).values())


def assert_unchanged(metric: Metric, before: Scenario, after: Scenario, rtol: float = 1e-9) -> None:
    old, new = numbers(before, metric), numbers(after, metric)
    for what in old:
        assert_digits(new[what], old[what], rtol=rtol, atol=rtol / 100 * usual_size(metric))


@every_metric
def test_values_are_float64_and_in_range(metric):
    low, high = metric.range
    for scenario in ORDINARY:
        for what, value in scenario.values(metric).items():
            assert value.dtype == torch.float64, what
            assert value.ndim == 0 or value.ndim == 1, what
            assert value.isfinite().all(), (what, value)
            assert ((value >= low - 1e-12) & (value <= high + 1e-12)).all(), (what, value)


@every_metric
def test_value_at_full_collapse(metric):
    assert metric.collapsed is not None or metric.collapsed_formula in {"", *FORMULAS}, (
        f"add the formula {metric.collapsed_formula!r} to FORMULAS in {Path(__file__).name}"
    )
    found = [numbers(scenario, metric) for scenario in COLLAPSED]
    if metric.at_collapse:
        formula = FORMULAS.get(metric.collapsed_formula, lambda c: metric.collapsed)
        for scenario, values in zip(COLLAPSED, found, strict=True):
            for value in values.values():
                expected = torch.full_like(value, formula(scenario.num_classes))
                assert_digits(value, expected, rtol=1e-9, atol=1e-9 * min(usual_size(metric), 1))
        return
    # Collapsed alike, of another size, elsewhere: what does not move is fixed. RankMe reads features as they are; in
    # three dimensions, rank 2 is more than half, so that no median is left to tell noise by.
    for other in [
        collapsed(3, 8, size=0.7),
        collapsed(3, 3, size=0.7),
        replace(COLLAPSED[0].shifted(), offset=float(metric.name == "rankme")),
    ]:
        try:
            assert_unchanged(metric, COLLAPSED[0], other, rtol=1e-6)
        except AssertionError:
            return
    pytest.fail(f"collapse fixes {metric.name} at {numbers(COLLAPSED[0], metric)}: declare it")


@every_metric
@pytest.mark.parametrize("move", MOVES)
def test_declared_invariances_hold_and_no_others_do(metric, move):
    scenarios = [*ORDINARY[:2], ALIGNED]
    if move in metric.invariant_to:
        for scenario in scenarios:
            assert_unchanged(metric, scenario, MOVES[move](scenario))
        return
    for scenario in [*scenarios, *COLLAPSED]:
        try:
            assert_unchanged(metric, scenario, MOVES[move](scenario), rtol=1e-6)
        except AssertionError:
            return  # one case that changes is enough
    pytest.fail(f"{metric.name} never changed under {move}: declare it in invariant_to")


@every_metric
def test_order_and_split_of_samples_and_numbers_of_classes_change_nothing(metric):
    for scenario in ORDINARY[:2]:
        assert_unchanged(metric, scenario, scenario.shuffled())
        assert_unchanged(metric, scenario, scenario.renamed())


@every_metric
def test_float32_gives_float64_to_its_own_digits(metric):
    single = ORDINARY[0].single()
    assert all(value.dtype == torch.float64 for value in single.values(metric).values())
    if metric.name != "rounding_floor":  # which measures the precision that features came in
        assert_unchanged(metric, ORDINARY[0], single, rtol=1e-4)


@every_metric
def test_facts_are_in_the_words_agreed(metric):
    assert metric.function is getattr(geometry, metric.name)
    assert metric.name in geometry.__all__
    assert metric.needs
    assert metric.unit in UNITS
    assert metric.range[0] < metric.range[1]
    assert metric.collapsed is None or metric.range[0] <= metric.collapsed <= metric.range[1]
    assert 0 < len(metric.symbol) <= 20
    assert (metric.unit == "1") == ("scale" in metric.invariant_to), "dimensionless means unchanged by scale"
    assert list(metric.invariant_to) == [name for name in INVARIANCES if name in metric.invariant_to]
    assert re.fullmatch(r"O\([ NCdBtsmn_c^0-9+()\w,]+\)", metric.cost), metric.cost
    assert f"{{{metric.source}," in REFERENCES.read_text(encoding="utf-8"), f"{metric.source} is not in {REFERENCES}"


def test_symbols_are_unique():
    assert [symbol for symbol, count in Counter(m.symbol for m in METRICS.values()).items() if count > 1] == []


@every_metric
def test_docstrings_say_what_a_reader_needs(metric):
    text = metric.function.__doc__
    assert metric.definition.endswith("."), "the first paragraph is the definition, a sentence"
    assert len(metric.definition) <= 160, "the definition is a line in a table"
    assert re.search(r"(?i)dimensionless|in (the|their) unit|in one over|in units|whole number|range", text)
    assert re.search(r"[Ss]ource", text), "names no source"
    assert ">>> " in text, "shows no example"


def test_no_two_measures_are_one_quantity():
    found = {}
    for metric in METRICS.values():
        values = torch.cat([value.flatten() for s in [*ORDINARY, ALIGNED] for value in s.values(metric).values()])
        found.setdefault(str(values.tolist()), []).append(metric.name)
    assert [names for names in found.values() if len(names) > 1] == []


def test_every_word_of_the_vocabulary_is_in_use():
    assert {need for metric in METRICS.values() for need in metric.needs} == set(NEEDS)
    assert {metric.unit for metric in METRICS.values()} == set(UNITS)


def test_a_parameter_that_no_contract_knows_is_not_skipped():
    stranger = replace(METRICS["cdnv"], function=lambda velocity, weighting="class": velocity)
    with pytest.raises(AssertionError, match=r"measure '<lambda>' asks for \['velocity'\].*Add each to Scenario.known"):
        ORDINARY[0].values(stranger)


@pytest.mark.parametrize("slip", [{"needs": ("moment",)}, {"unit": "px"}, {"invariant_to": ("mirror",)},
                                  {"collapsed_formula": "C"}])  # fmt: skip
def test_a_slip_in_the_facts_fails_at_import(slip):
    with pytest.raises(ValueError, match="measure 'cdnv' declares"):
        replace(METRICS["cdnv"], **slip)
