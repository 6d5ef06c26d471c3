import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from sample import EPOCHS, VERTICES, make_run

from deepcollapse.errors import RunError
from deepcollapse.records import Record, Run
from deepcollapse.report import write_page
from deepcollapse.report.figures import angles, classes, collapse, laws, layers, ranks, simplex, spectra, training
from deepcollapse.report.view import distinct, few, views

EVIL = "<script>alert(1)</script>"
WORSE = "</script><img src=x onerror=alert(2)>"


def without_plotly(page):
    """The page less its first script, which is plotly's own."""
    return re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)


def headings(page):
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page)


def blocks(page):
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)]


@pytest.fixture(scope="module")
def page(run, slow, tmp_path_factory):
    return write_page([run, slow.path], tmp_path_factory.mktemp("page") / "two.html").read_text(encoding="utf-8")


def test_every_name_is_text_and_never_markup(tmp_path):
    run = make_run(tmp_path / "evil", name=EVIL, class_names=(EVIL, WORSE, "&lt;b", "eel"), note=WORSE)
    run.append(
        [Record(epoch=e, split="train", layer=f"a{EVIL}", measure=f"cdnv{WORSE}", value=1.0) for e in (0, 12, 200)]
    )
    run.append([Record(epoch=200, split="train", layer="head.input", measure="cdnv", value=1.0, baseline=EVIL)])
    text = without_plotly(write_page(run, tmp_path / "evil.html").read_text(encoding="utf-8"))
    assert "alert" in text
    assert EVIL not in text
    assert "<img" not in text
    assert text.count("<script") == text.count("</script>")
    # Plotly reads a little HTML in its labels, so what it is given is escaped once more than JSON asks.
    drawn = json.dumps([[block["frames"], block["layout"]] for block in blocks(text)])
    data = [trace for block in blocks(text) for frame in block["frames"] for trace in frame["data"]]
    assert "&lt;script&gt;" in drawn
    assert not any("<script" in json.dumps(trace) or "<img" in json.dumps(trace) for trace in data)


def test_nothing_is_ever_loaded(page):
    own = without_plotly(page)
    # Links lead to parts of the page, and pictures clip themselves; nothing else names a place.
    assert not re.findall(r"""(?:src|href|action|url)\s*[=(](?!"#part-\d+"|#clip)""", own)
    assert "http://" not in own.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "https://" not in own
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]  # pyright: ignore[reportOptionalSubscript]
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-[^']+' 'sha256-[^']+'; style-src 'unsafe-inline'; "
        r"img-src data: blob:; base-uri 'none'",
        policy,
    )


def test_plotly_is_in_the_page_once(page):
    assert page.count("<script>") == 2  # plotly's and ours; the rest is data
    assert 4e6 < len(page) < 6e6


def test_several_runs_share_curves_and_have_parts_of_their_own(page):
    titles = re.findall(r"<h[23][^>]*>(.*?)</h[23]>", page)
    alone = [
        "Layer by layer",
        "The law of equi-separation",
        "Class by class",
        "Angles between classes",
        "Ranks by layer",
        "Singular values by layer",
        "Four classes in space",
    ]
    assert titles == [
        "What is seen",
        "Neural collapse over training",
        "Accuracy and loss",
        "Run steady",
        *alone,
        "Run slow",
        *alone,
        "Numbers, recipe and provenance",
    ]
    links = re.findall(r'<a href="#(part-\d+)">(.*?)</a>', page)
    assert [name for _, name in links] == [
        "Neural collapse over training",
        "Accuracy and loss",
        "Run steady",
        "Run slow",
    ]
    assert all(f' id="{anchor}"' in page for anchor, _ in links)
    steady, slow, nc1 = blocks(page)[:3]
    # One slider moves both runs' pictures.
    assert [(one["title"], one["control"], one["group"], one["run"]) for one in (steady, slow)] == [
        ("steady", "slider", "simplex", ""),
        ("slow", None, "simplex", ""),
    ]
    assert [trace["name"] for trace in nc1["frames"][0]["data"]] == ["steady, features", "slow, features"]
    assert len(nc1["layout"]["shapes"]) == 2


def figures_of(run):
    view = views(run)[0]
    sections = [collapse.section([view]), training.section([view])]
    sections += [part.section(view) for part in (layers, laws, classes, angles, ranks, spectra, simplex)]
    figures = [figure for part in sections if part is not None for figure in part.figures]
    return [*figures, simplex.picture(view)]


def test_plotly_knows_every_attribute(run):
    figures = figures_of(run)
    assert len(figures) == 22
    for figure in figures:
        for frame in figure.frames:
            go.Figure(data=frame.data, layout=figure.layout | frame.layout)


def test_a_slider_has_an_epoch_a_step_and_names_the_onset(run):
    for figure in figures_of(run):
        if figure.control == "slider":
            labels = [frame.label for frame in figure.frames]
            assert labels == [f"epoch {e}" + (" (TPT onset)" if e == 12 else "") for e in EPOCHS]


def test_the_onset_is_marked_in_every_panel(run):
    for figure in figures_of(run)[:8]:
        assert [shape["x0"] for shape in figure.layout["shapes"]] == [12]


def test_what_was_not_recorded_is_not_drawn(tmp_path):
    run = Run.create(tmp_path / "r", recipe={}, class_names=[], data_digest={}, device="cpu", seed=None)
    run.append([Record(epoch=1, split="train", layer="network", measure="accuracy", value=0.5)])
    text = write_page(run.path, tmp_path / "r.html").read_text(encoding="utf-8")
    assert headings(text) == ["What is seen", "Numbers, recipe and provenance"]
    assert blocks(text) == []


def test_arrays_that_are_gone_leave_the_rest(tmp_path):
    run = make_run(tmp_path / "r")
    for file in (run.path / "arrays").iterdir():
        file.unlink()
    assert headings(write_page(run, tmp_path / "r.html").read_text(encoding="utf-8")) == [
        "What is seen",
        "Neural collapse over training",
        "Accuracy and loss",
        "Layer by layer",
        "The law of equi-separation",
        "Ranks by layer",
        "Numbers, recipe and provenance",
    ]


def test_a_network_measured_once_has_depth_but_no_curves(tmp_path):
    run = make_run(tmp_path / "r", epochs=(12,))
    text = write_page(run, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Neural collapse over training" not in text
    assert [block["control"] for block in blocks(text)] == [None, "select", *[None] * 9]


def test_no_runs_is_an_error(tmp_path):
    with pytest.raises(RunError) as caught:
        write_page([], tmp_path / "x.html")
    assert str(caught.value) == "there are no runs to report; name at least one run folder."


def test_runs_of_one_name_are_told_apart(tmp_path):
    assert distinct(["a", "b"], [tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert distinct(["r", "r"], [tmp_path / "x" / "r", tmp_path / "y" / "r"]) == ["x/r", "y/r"]
    assert distinct(["r", "r"], [tmp_path / "x", tmp_path / "y"]) == [
        f"{tmp_path.name}/r (1)",
        f"{tmp_path.name}/r (2)",
    ]


def test_many_epochs_are_thinned_but_the_onset_stays():
    assert few(range(100), 5, [17, None]) == [0, 17, 25, 50, 74, 99]


def test_the_corners_are_those_that_geometry_turns_features_onto():
    simplex_etf = pytest.importorskip("deepcollapse.geometry.simplex").simplex_etf
    for k, vertices in simplex.VERTICES.items():
        np.testing.assert_allclose(vertices, simplex_etf(k, k - 1).numpy(), atol=1e-15)
        np.testing.assert_allclose(vertices, VERTICES[k], atol=1e-15)


def test_the_classifier_has_its_line_among_the_singular_values(run):
    section = spectra.section(views(run)[0])
    assert section is not None
    assert [key.label for key in section.legend] == [
        "blocks.0",
        "blocks.1",
        "head's input",
        "classifier",
        "blocks.0.linear (weights)",
        "blocks.1.linear (weights)",
        "C − 1 = 3",
    ]
    colors = [trace["line"]["color"] for trace in section.figures[0].frames[-1].data]
    assert len(set(colors)) == len(colors) == 4
