import json
import math
import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest
from theory_sample import diagram

from deepcollapse.errors import RunError
from deepcollapse.report.theory import angles, depths, thresholds
from deepcollapse.report.theory.page import page, write_theory_page

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def own():
    """The page less its first script, which is plotly's own."""
    return re.sub(r"<script>.*?</script>", "", page(diagram()), count=1, flags=re.DOTALL)


def sections():
    return [part.section(diagram()) for part in (angles, thresholds, depths)]


def blocks(text):
    return [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text, re.S)]


def test_three_parts_each_with_what_it_shows(own):
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", own) == [
        "How far apart minority classes stay",
        "The thresholds",
        "Collapse against low rank in deep networks",
        "Numbers and settings",
    ]
    assert len(blocks(own)) == 7
    assert own.count('<p class="intro">') == 3


def test_nothing_is_ever_loaded(own):
    assert not re.findall(r"""(?:src|href|action|url)\s*[=(](?!"#part-\d+")""", own)
    assert "http" not in own.replace("http-equiv", "")
    assert "default-src 'none'" in own


def test_every_name_is_text_and_never_markup():
    sample = diagram(title=EVIL)
    rows = [{**row, "low_rank": EVIL, "loss_ratio": 0.5} for row in sample.depths]
    text = re.sub(r"<script>.*?</script>", "", page(replace(sample, depths=rows)), count=1, flags=re.DOTALL)
    assert "alert" in text
    assert EVIL not in text
    # Plotly reads a little HTML in its labels: what it is given stays text there too.
    assert not any("<script" in json.dumps(block["frames"]) for block in blocks(text))


def test_every_figure_is_one_that_plotly_draws():
    figures = [figure for section in sections() for figure in section.figures]
    assert len(figures) > 4
    for figure in figures:
        for frame in figure.frames:
            # Plotly refuses what it does not know; what it took is all that was given.
            drawn = go.Figure(frame.data, figure.layout | frame.layout)
            assert len(drawn.data) == len(frame.data) > 0
            assert go.Figure(frame.data, figure.layout).layout.to_plotly_json().keys() >= {*figure.layout} - {"meta"}


def test_angles_and_cosines_change_together_in_all_figures():
    figures = angles.section(diagram()).figures
    assert [[frame.label for frame in figure.frames] for figure in figures] == [["angle in degrees", "cosine"]] * 2
    assert {(figure.group, figure.control) for figure in figures} == {("minority angle", "select")}


def test_a_phase_reaches_to_where_the_next_begins():
    (five, _) = angles.section(diagram()).figures
    bars = [t for t in five.frames[0].data if t.get("yaxis") == "y2" and t["name"].startswith("7")]
    assert [bar["name"].split()[-1] for bar in bars] == ["full", "collapse", "erased"]
    assert [left["x"][1] for left in bars[:-1]] == [right["x"][0] for right in bars[1:]]
    assert (bars[0]["x"][0], bars[-1]["x"][1]) == (1.0, 10_000.0)


def test_erased_classes_have_no_angle_and_thresholds_off_the_figure_no_mark():
    five, ten = angles.section(diagram()).figures
    line = next(t for t in five.frames[0].data if t["name"] == "layer-peeled model, 7 + 3 classes")
    assert line["y"][-1] is None
    marks = [t["name"] for t in ten.frames[0].data if t["name"].startswith("threshold")]
    assert marks == ["threshold R0, 5 + 5 classes", "threshold R0, 7 + 3 classes"]


def test_curves_keep_the_digits_for_the_hover():
    five, _ = angles.section(diagram()).figures
    line = next(t for t in five.frames[1].data if t["name"] == "SELI, 3 + 7 classes")
    assert line["y"][1] == pytest.approx(-1 / 9 + 0.02, abs=1e-9)


def test_thresholds_end_above_the_figure():
    first = thresholds.section(diagram()).figures[0]
    edge = next(t for t in first.frames[0].data if t["name"].startswith("R0"))
    top = 10 ** first.layout["yaxis"]["range"][1]
    assert edge["y"][-2] <= top < edge["y"][-1]


def test_depths_name_from_where_on_low_rank_is_cheaper():
    section = depths.section(diagram())
    assert section is not None
    assert "A known one is cheaper than collapse from" in section.intro
    losses, kappas = section.figures
    assert len(losses.frames[0].data[0]["z"]) == 7
    assert [trace["name"] for trace in kappas.frames[0].data] == [f"{layers} layers" for layers in range(3, 9)]


def test_without_a_known_solution_of_low_rank_there_is_no_part_on_depth():
    rows = [{**row, "loss_ratio": math.nan} for row in diagram().depths]
    assert depths.section(replace(diagram(), depths=rows)) is None


def test_a_page_that_cannot_be_written(tmp_path):
    with pytest.raises(RunError, match=r"^could not write .*nothing was left behind|^could not write .*unharmed"):
        write_theory_page(diagram(), tmp_path)
