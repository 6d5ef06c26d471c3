import re

import pytest
from sample import EPOCHS, make_run

from deepcollapse.records import Record
from deepcollapse.report import bounds
from deepcollapse.report.page import page
from deepcollapse.report.view import views

ROWS = {
    "relative_distance_to_rank_k_weight": 0.25,
    "rank_collapse_bound_weight": 0.5,
    "rank_collapse_bound_product_weight": 2.0,
    "rank_collapse_bound_variability_weight": None,
    "rank_collapse_bound_alignment_weight": 0.4,
    "stationarity_residual_weight": 0.01,
    "rank_collapse_groups_weight": 4,
}


def add(run, layer, note="k = 4", **changed):
    values = {**ROWS, **changed}
    last = {"epoch": EPOCHS[-1], "split": "train", "layer": layer}
    run.append([Record(measure=name, value=value, note=note, **last) for name, value in values.items()])


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "bounded")


def seen(run):
    [view] = views(run)
    return view


def test_a_layer_has_its_distance_and_each_bound_that_there_is_in_one_column(run):
    add(run, "blocks.0.linear")
    add(run, "blocks.1.linear", note="k = 4: not stationary: <b> is 0.8", rank_collapse_bound_weight=3.0)
    part = bounds.section(seen(run))
    [figure] = part.figures
    drawn = {trace["name"]: (trace["x"], trace["y"]) for trace in figure.frames[0].data}
    layers = ["blocks.0.linear", "blocks.1.linear"]
    assert drawn == {
        "distance to rank k": (layers, [0.25, 0.25]),
        "bound without decay": (layers, [0.4, 0.4]),
        "bound": (layers, [0.5, 3.0]),
        "product bound": (layers, [2.0, 2.0]),
    }
    assert figure.layout["yaxis"]["type"] == "log"
    assert [key.label for key in part.legend] == [*drawn]


def test_the_tables_hold_both_sides_and_what_is_not_as_assumed(run):
    add(run, "blocks.0.linear")
    add(run, "blocks.1.linear", note="k = 4: not stationary: <b> is 0.8")
    run.append([Record(epoch=EPOCHS[-1], split="train", layer="head", measure="relative_distance_to_rank_k_weight",
                       note="its weight is frozen")])  # fmt: skip
    html = bounds.tables(seen(run))
    cells = re.findall(r"<tr><td>blocks.0.linear</td>(.*?)</tr>", html)[0]
    assert re.findall(r">([^<]+)</td>", cells) == ["4", "0.25", "0.4", "0.5", "2", "–", "0.01"]
    reasons = ["blocks.1.linear: not stationary: &lt;b&gt; is 0.8", "classifier: its weight is frozen"]
    assert re.findall(r"<li>(.*?)</li>", html) == reasons


def test_layers_of_weights_are_no_depth_and_the_part_stands_on_the_page(run):
    before = seen(run).layers
    add(run, "blocks.0.linear")
    view = seen(run)
    assert view.layers == before
    assert ">Rank against its bound</h2>" in page([view])


def test_where_all_distances_are_zero_it_is_said_and_nothing_drawn(run):
    add(run, "blocks.0.linear", relative_distance_to_rank_k_weight=0.0)
    part = bounds.section(seen(run))
    assert (part.figures, part.legend) == ([], [])
    assert part.intro.endswith("Here every weight has rank k or less, or is too small to have more.")


def test_a_run_without_bounds_has_no_such_part(run):
    assert bounds.section(seen(run)) is None
    assert bounds.tables(seen(run)) == ""
    assert "Rank against its bound" not in page([seen(run)])
