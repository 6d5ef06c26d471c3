import re

import plotly.graph_objects as go
import pytest

from deepcollapse.records import Record, Run
from deepcollapse.report.figures import over_decay
from deepcollapse.report.page import page
from deepcollapse.report.view import views

EVIL = "<script>alert(1)</script>"


def trained(path, decay, *, layer="blocks.0", cut=True):
    """A run whose rank and cluster variation fall with its decay."""
    recipe = {"network": "mlp", "decay": decay}
    run = Run.create(path, recipe=recipe, class_names=("a", "b"), data_digest={"train": "0"}, device="cpu", seed=0)
    rows = []
    for epoch in (0, 10):
        how = {"epoch": epoch, "split": "train"}
        value = 0.5 if epoch == 0 else 0.4 - 5 * decay
        rows.append(Record(layer=layer, measure="relative_cluster_variation", value=value, **how))
        rows.append(Record(layer="head.input", measure="relative_cluster_variation", value=value / 2, **how))
        rank = 60 if epoch == 0 else 50 - 1000 * decay
        rows.append(Record(layer=f"{layer}.linear", measure="rank_at_one_percent_weight", value=rank, epoch=epoch))
        rows.append(Record(layer="network", measure="accuracy", value=0.9, **how))
        rows.append(Record(layer="network", measure="accuracy", value=0.8 - decay, epoch=epoch, split="test"))
    if cut:
        rows.append(Record(layer="network", measure="truncated_accuracy", value=0.79 - decay, split="test"))
    run.append(rows)
    return run


def sweep(folder, decays, **how):
    return [trained(folder / f"decay-{i}", decay, **how) for i, decay in enumerate(decays)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("sweep"), (0.02, 0.0, 0.01, 0.002))


def test_three_figures_stand_over_decay_from_the_least(runs):
    part = over_decay.section(views(runs))
    assert part is not None
    titles = [
        "Rank of each layer's weight (above 1 %)",
        "Cluster variation of each layer's output",
        "Accuracy, as trained and cut to rank",
    ]
    assert [figure.title for figure in part.figures] == titles
    rank, variation, accuracy = ({t["name"]: t["y"] for t in figure.frames[0].data} for figure in part.figures)
    assert rank == {"blocks.0.linear": [50, 48, 40, 30]}
    assert variation["blocks.0"] == [0.4, 0.39, 0.35, 0.3]
    assert accuracy == {"as trained": [80, 79.8, 79, 78], "every layer cut": [79, 78.8, 78, 77]}
    legend = [(key.label, key.sign) for key in part.legend]
    assert legend == [
        ("blocks.0.linear, weight", "line"), ("blocks.0, output", "line"), ("head's input, output", "line"),
        ("as trained", "line"), ("every layer cut", "dash"),
    ]  # fmt: skip


def test_decay_zero_has_a_place_on_the_logarithmic_axis_and_its_own_name(runs):
    part = over_decay.section(views(runs))
    assert part is not None
    axis = part.figures[0].layout["xaxis"]
    [trace] = part.figures[0].frames[0].data
    assert axis["type"] == "log"
    assert trace["x"] == pytest.approx([0.0006, 0.002, 0.01, 0.02])
    assert trace["customdata"] == ["0", "0.002", "0.01", "0.02"]
    assert (axis["tickvals"], axis["ticktext"]) == (trace["x"], trace["customdata"])


def test_ticks_that_would_run_into_each_other_are_left_out(tmp_path):
    part = over_decay.section(views(sweep(tmp_path, (0.001, 0.0011, 0.0012, 0.01))))
    assert part is not None
    assert part.figures[0].layout["xaxis"]["ticktext"] == ["0.001", "0.01"]


@pytest.mark.parametrize("decays", [(0.01,), (0.0, 0.01), (0.01, 0.01, 0.01), (0.0, 0.01, 0.02, 0.02)])
def test_two_decays_or_runs_that_differ_in_more_are_no_sweep(tmp_path, decays):
    assert over_decay.section(views(sweep(tmp_path, decays))) is None


def test_without_truncated_accuracies_there_are_the_other_two_figures(tmp_path):
    part = over_decay.section(views(sweep(tmp_path, (0.0, 0.01, 0.02), cut=False)))
    assert part is not None
    assert len(part.figures) == 2
    assert [key.label for key in part.legend][-1] == "head's input, output"


def test_plotly_takes_every_trace_as_it_is(runs):
    part = over_decay.section(views(runs))
    assert part is not None
    for drawn in part.figures:
        [frame] = drawn.frames
        figure = go.Figure(data=frame.data, layout=drawn.layout)
        assert len(figure.data) == len(frame.data)  # pyright: ignore[reportArgumentType]


def test_the_part_stands_on_the_page_and_every_name_is_text(tmp_path):
    text = page(views(sweep(tmp_path, (0.0, 0.01, 0.02), layer=f"a{EVIL}")))
    own = re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)
    assert ">Over weight decay</h2>" in own
    assert "alert(1)" in own
    assert EVIL not in own
