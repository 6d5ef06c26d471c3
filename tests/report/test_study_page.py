import json
import math
import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest
from page_tree import tree
from study_sample import CLAIMS, charts, study

from deepcollapse.errors import RunError
from deepcollapse.records.charts import Axis, Chart, Curve, Heat, Panel, Table
from deepcollapse.records.study import Failure, JudgedClaim, Judgement
from deepcollapse.report.figures.charts import figures, legend
from deepcollapse.report.figures.colors import Colors
from deepcollapse.report.study import is_study, page, write_study_page

EVIL = "<script>alert(1)</script>"
WORSE = "</script><img src=x onerror=alert(2)>"


def own(record):
    """The page less its first script, which is plotly's own."""
    return re.sub(r"<script>.*?</script>", "", page(record), count=1, flags=re.DOTALL)


def blocks(seen):
    found = seen.all("script")
    return [json.loads(script.text) for script in found if script.attributes.get("type") == "application/json"]


def drawn(panel):
    """The figure of one panel."""
    chart = Chart("a chart", [panel])
    return figures(chart, Colors.for_charts([chart]))[0]


def panel(*curves, x_log=False, y_log=False, marks=()):
    return Panel("a panel", Axis("x", x_log), Axis("y", y_log), curves, marks)


@pytest.fixture(scope="module")
def seen():
    return tree(own(study()))


def test_the_page_has_its_parts_in_order(seen):
    assert seen.texts("h2") == [
        "Claims",
        "What was scaled down or left out, and why",
        "Within-class variability over training (paper: Fig. 6)",
        "Layers (paper: Fig. 7)",
        "Ranks over weight decay (paper: Fig. 3)",
        "Losses",
        "Accuracy at TPT onset and at the end (paper: Table 1)",
        "Runs that came to nothing",
        "Provenance",
    ]
    links = [link.attributes["href"] for link in seen.one("nav").all("a")]
    assert links == [f"#{heading.attributes['id']}" for heading in seen.all("h2")]


def test_the_top_says_what_was_run_and_what_came_of_it(seen):
    assert seen.one("h1").text == study().title
    citation = seen.one("p.citation")
    assert citation.text == ("A study of Papyan, Han & Donoho 2020 · deepcollapse reproduce papyan2020 --scale laptop")
    assert citation.one("a").attributes["href"] == "https://arxiv.org/abs/2008.08186"
    assert seen.one("p.ran").text == (
        "What was run. An MLP on digits and on 500 samples a class of MNIST, three seeds each, 200 epochs. "
        "6 runs at the scale for a laptop, in 7 min."
    )
    [verdict] = [text for text in seen.texts("p.verdict")]
    assert verdict == "1 of 4 claims holds; 1 fails, 1 is inconclusive, 1 was not tested."


def test_the_strip_counts_verdicts_by_sign_and_word_and_leads_to_the_claims(seen):
    tiles = [(tile.one("b").text, tile.one(".badge").text, tile.texts("a")) for tile in seen.all("li.tile")]
    assert tiles == [
        ("1", "✓ holds", ["nc1"]),
        ("1", "✗ fails", ["nc2-angle"]),
        ("1", "? inconclusive", ["accuracy"]),
        ("1", "○ not tested", ["robust"]),
    ]
    targets = [link.attributes["href"] for link in seen.one("ul.strip").all("a")]
    assert targets == [f"#{body.attributes['id']}" for body in seen.one("table.claims").all("tbody")]


def test_each_claim_has_sentence_criterion_paper_measured_and_verdict(seen):
    table = seen.one("table.claims")
    bodies = table.all("tbody")
    assert [body.attributes["class"] for body in bodies] == ["holds", "fails", "inconclusive", "not-tested"]
    for body, claim in zip(bodies, CLAIMS, strict=True):
        row = body.all("tr")[0]
        ours = " our reading" if claim.ours else ""
        assert row.one("th").text == f"{claim.id} {claim.sentence}Criterion{ours}: {claim.criterion}"
        assert row.all("td")[0].text == claim.paper
        assert row.one("td.said").text.endswith(claim.verdict)
    # What decides stands first, and the verdict is in the text for those who cannot see its sign.
    assert bodies[1].one("ul.measured").texts("li") == [
        "✗fails: mnist, mlp: end/onset 0.83 (0.7 to 1.1 over 3 seeds)",
        "✓holds: digits, mlp: end/onset 0.31",
    ]
    assert bodies[3].all("td")[1].text == "no run reached the terminal phase at this scale"


def test_a_row_opens_to_its_judgements_with_numbers_runs_and_reasons(seen):
    first, *_, last = (body.one("details") for body in seen.one("table.claims").all("tbody"))
    assert first.one("summary").text == "What this rests on: 2 judgements"
    assert first.texts("h4") == ["digits, mlp ✓ holds", "mnist, mlp ✓ holds"]
    assert first.texts("dt") == ["end over onset", "seeds"]
    assert first.texts("dd") == ["0.0213", "3"]
    assert first.one("p.runs").text == "3 runs: 0119a0b1b661, 20da8173d095, 3b3ca32372ce"
    assert last.one("p.why").text == "Why: no run reached the terminal phase at this scale"


def test_many_judgements_are_told_in_part_and_never_the_failing_ones_last():
    found = [Judgement(f"subject {i}", "fails" if i == 8 else "holds", f"{i}") for i in range(9)]
    table = tree(own(study(claims=(JudgedClaim("a", "s", "c", found),)))).one("table.claims")
    assert table.one("ul.measured").texts("li") == [
        "✗fails: subject 8: 8",
        *(f"✓holds: subject {i}: {i}" for i in range(3)),
        "and 5 more, below",
    ]
    assert len(table.all("h4")) == 9


def test_every_name_is_text_and_never_markup():
    judgement = Judgement(EVIL, "fails", WORSE, {EVIL: 1.0}, EVIL, (WORSE,))
    curve = Curve(EVIL, (1, 2), (1.0, 2.0), (0.5, 1.0), (2.0, 3.0))
    heat = Heat(EVIL, Axis(EVIL), Axis(WORSE), [EVIL], [WORSE], [[1.0]], EVIL)
    shown = (
        Chart(EVIL, [Panel(WORSE, Axis(EVIL), Axis(WORSE), [curve], [(1, EVIL)]), heat], EVIL, WORSE),
        Table(EVIL, [WORSE], [[EVIL]], EVIL, WORSE),
    )
    claim = JudgedClaim(EVIL, WORSE, EVIL, (judgement, judgement), WORSE, True)
    words = {name: EVIL for name in ("study", "title", "citation", "summary", "scale", "words")}
    record = study(
        **words,
        claims=(claim,),
        shown=shown,
        scaled_down=(EVIL,),
        failures=(Failure(WORSE, EVIL, WORSE),),
        provenance={EVIL: WORSE},
    )
    text = own(record)
    assert "alert" in text
    assert EVIL not in text
    assert "<img" not in text
    seen = tree(text)
    # What plotly is given is escaped once more, since it reads a little HTML in its texts.
    traces = json.dumps([[frame["data"] for frame in block["frames"]] for block in blocks(seen)])
    labels = json.dumps([block["layout"] for block in blocks(seen)])
    assert "&lt;script&gt;" in traces
    assert "&lt;script&gt;" in labels
    assert not re.search("<(script|img)", traces + labels)


def test_nothing_is_ever_loaded():
    text = own(study()).replace('<a href="https://arxiv.org/abs/2008.08186">', "<a>")  # which waits for a click
    assert not re.findall(r"""(?:src|href|action|url)\s*[=(](?!"#(?:part|claim)-\d+")""", text)
    assert not re.findall(r"https?://", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-[^']+' 'sha256-[^']+'; style-src 'unsafe-inline'; "
        r"img-src data: blob:; base-uri 'none'",
        policy[1],
    )


def test_the_same_name_has_the_same_colour_in_every_chart_and_neighbours_differ():
    chart = charts()[0]
    other = replace(chart, panels=[panel(Curve("test", (1,), (1,)), Curve("new", (1,), (1,)))])
    colors = Colors.for_charts([chart, other])
    first, second = legend(chart, colors), legend(other, colors)
    assert [key.label for key in first] == ["train", "test", "band: spread over seeds"]
    assert [key.label for key in second] == ["test", "new"]
    assert second[0].color == first[1].color
    assert len({colors.of[name] for name in ("train", "test", "new")}) == 3


def test_names_that_differ_in_one_number_go_from_dark_to_light():
    names = ["decay 1e-2", "decay 0.001", "decay 10", "decay 1e-4"]
    colors = Colors.for_charts([Chart("c", [panel(*(Curve(name, (1,), (1,)) for name in names))])]).of
    brightness = [
        sum(bytes.fromhex(colors[name][1:])) for name in ("decay 1e-4", "decay 0.001", "decay 1e-2", "decay 10")
    ]
    assert brightness == sorted(brightness)
    assert len(set(colors.values())) == 4


def test_kinds_are_told_apart_without_colour():
    lines = [Curve(kind, (1, 2), (1.0, 2.0), kind=kind) for kind in ("line", "prediction", "threshold", "points")]
    traces = drawn(panel(*lines)).frames[0].data
    assert [(t["mode"], t["line"]["dash"]) for t in traces[:3]] == [
        ("lines+markers", "solid"),
        ("lines", "dash"),
        ("lines", "dot"),
    ]
    assert traces[3]["mode"] == "markers"
    chart = Chart("c", [panel(*lines)])
    assert [key.sign for key in legend(chart, Colors.for_charts([chart]))] == ["line", "dash", "dot", "●"]


def test_a_band_goes_round_its_line_and_has_a_gap_where_a_value_is_missing():
    curve = Curve("c", (1, 2, 3, 4, 5), (2, 2, None, 2, 2), (1, 1, None, 1.5, 1.5), (3, 4, None, 5, 6))
    band, line = drawn(panel(curve)).frames[0].data
    assert band["x"] == [1, 2, 2, 1, None, 4, 5, 5, 4]
    assert band["y"] == [3, 4, 1, 1, None, 5, 6, 1.5, 1.5]
    assert band["fill"] == "toself"
    assert line["y"] == [2, 2, None, 2, 2]
    assert line["text"][0] == "c<br>x 1<br>y 2 (1 to 3)"


def test_points_have_bars_in_place_of_a_band():
    curve = Curve("c", (1, 2), (2, 3), (1, 2.5), (5, 3), kind="points")
    [trace] = drawn(panel(curve)).frames[0].data
    assert trace["error_y"]["array"] == [3, 0]
    assert trace["error_y"]["arrayminus"] == [1, 0.5]


def test_zero_has_a_place_on_a_logarithmic_axis_and_keeps_its_name():
    figure = drawn(panel(Curve("c", (0, 0.01, 1), (1, 2, 3)), x_log=True))
    [trace] = figure.frames[0].data
    axis = figure.layout["xaxis"]
    assert axis["type"] == "log"
    assert 0 < trace["x"][0] < 0.005
    assert axis["tickvals"][0] == trace["x"][0]
    assert axis["ticktext"][0] == "0"
    assert axis["range"][0] < math.log10(trace["x"][0])
    assert trace["text"][0] == "c<br>x 0<br>y 1"


def test_a_few_whole_numbers_are_marked_one_by_one():
    axes = [drawn(panel(Curve("c", x, (0.5, 1, 2)))).layout["xaxis"] for x in ((0, 1, 4), (0, 1.5, 4), (0, 20, 40))]
    assert [axis.get("dtick") for axis in axes] == [1, None, None]


def test_values_below_zero_make_an_axis_linear_whatever_was_asked():
    figure = drawn(panel(Curve("c", (1, 2), (-1.0, 2.0)), y_log=True))
    assert figure.layout["yaxis"]["type"] == "linear"


def test_a_band_ends_at_the_axis_where_it_reaches_beyond():
    figure = drawn(panel(Curve("c", (1, 2), (0.1, 0.2), (-1, 0.1), (1, 2)), y_log=True))
    band = figure.frames[0].data[0]
    assert min(y for y in band["y"]) > 0
    assert figure.layout["yaxis"]["range"][0] < math.log10(0.1)


def test_marks_stand_on_their_place_with_their_words():
    figure = drawn(panel(Curve("c", (1, 100), (1, 2)), x_log=True, marks=[(10, "TPT onset"), (float("nan"), "never")]))
    assert [shape["x0"] for shape in figure.layout["shapes"]] == [10]
    assert [(word["text"], word["x"]) for word in figure.layout["annotations"]] == [("TPT onset", 1)]


@pytest.mark.parametrize(
    "given",
    [
        panel(),
        panel(Curve("c", (), ())),
        panel(Curve("c", (1, 2), (None, None)), x_log=True, y_log=True),
        panel(Curve("c", (1, 2), (math.nan, math.inf), (None, 1), (1, None)), y_log=True),
        panel(Curve("c", (3,), (4.0,), (3.0,), (5.0,)), x_log=True, y_log=True, marks=[(3, "here")]),
        panel(Curve("c", (0,), (0,)), x_log=True, y_log=True),
        panel(Curve("c", (1, 2, 3), (1, 2), (0,), ())),
        Heat("h", Axis("x"), Axis("y"), [], [], []),
        Heat("h", Axis("x"), Axis("y"), ["a"], ["b"], [[None]]),
        Heat("h", Axis("x"), Axis("y"), ["a", "b"], ["b"], [[math.nan, 1e-9]]),
        Heat("h", Axis("x"), Axis("y"), ["a"], ["b", "c"], [[0.0], [0.0]]),
    ],
)
def test_whatever_a_panel_holds_plotly_draws_it(given):
    figure = drawn(given)
    [frame] = figure.frames
    go.Figure(data=frame.data, layout=figure.layout)
    json.dumps([frame.data, figure.layout], allow_nan=False)
    tree(own(study(shown=(Chart("c", [given]),))))


def test_a_chart_without_values_says_so_and_a_study_without_anything_is_a_page():
    empty = Chart("Nothing", [panel()], "Fig. 1")
    seen = tree(own(study(shown=(empty, Table("T", ["a"], [])))))
    assert seen.texts("p.note") == ["Nothing was measured for this at this scale."] * 2
    bare = study(shown=(), claims=(), failures=(), scaled_down=(), words="", summary="", runs=0, provenance={})
    seen = tree(own(bare))
    assert seen.texts("h2") == ["Provenance"]
    assert seen.texts("p.verdict") == ["This study makes no claims."]


def test_the_published_set_up_says_that_nothing_was_scaled_down():
    seen = tree(own(study(scale="paper", scaled_down=())))
    assert "Nothing: this is the set-up as published." in seen.texts("p")


def test_heat_maps_write_their_values_and_sign_what_is_missing():
    heat = Heat("h", Axis("decay"), Axis("rate"), ["0", "1"], ["a", "b"], [[1.0, 20.0], [None, 1000.0]], "points")
    figure = drawn(heat)
    [trace] = figure.frames[0].data
    # Values that are far apart are coloured by their logarithms, and the hover has them as they are.
    assert trace["z"] == [[0, pytest.approx(1.30103)], [None, 3]]
    assert trace["text"][0][1] == "decay 1<br>rate a<br>20 points"
    words = {(word["x"], word["y"]): word["text"] for word in figure.layout["annotations"]}
    assert words == {(0, 0): "1", (1, 0): "20", (0, 1): "–", (1, 1): "1000"}


def test_tables_have_numbers_to_the_right_and_long_ones_are_folded(seen):
    table = next(found for found in seen.all("table") if "data set" in found.texts("th"))
    assert [row.texts("td") for row in table.all("tr")[1:]] == [
        ["digits", "mlp", "0.961", "0.9622", "0.32"],
        ["mnist", "mlp", "0.97", "–", "3.142"],
    ]
    assert [len(row.all("td.number")) for row in table.all("tr")] == [0, 3, 3]
    long = tree(own(study(shown=(Table("T", ["a"], [[i] for i in range(30)]),))))
    assert "All 30 rows" in long.texts("summary")


def test_panels_of_points_in_one_space_share_their_axes_and_lines_do_not():
    def two(kind):
        curves = [Curve("c", (0.0, size), (0.0, -size), kind=kind) for size in (1.0, 4.0)]
        return figures(chart := Chart("c", [panel(curve) for curve in curves]), Colors.for_charts([chart]))

    points = [(one.layout["xaxis"]["range"], one.layout["yaxis"]["range"]) for one in two("points")]
    assert points == [([-0.24, 4.24], [-4.24, 0.24])] * 2
    assert not any("range" in one.layout["xaxis"] for one in two("line"))


def test_what_was_run_begins_as_a_sentence_does():
    seen = tree(own(study(words="a small network", runs=1, seconds=0.2)))
    assert seen.one("p.ran").text == "What was run. A small network. 1 run at the scale for a laptop, in 1 s."


def test_a_paper_that_is_not_known_goes_by_its_key():
    citation = tree(own(study(citation="nobody1999"))).one("p.citation")
    assert citation.text.startswith("A study of nobody1999 · ")
    assert citation.all("a") == []


def test_failed_runs_are_named(seen):
    assert seen.one("ul.failures").texts("li") == [
        "rate=9 seed=1 (run 3b5ccd61704b): NonFiniteError: the loss became NaN in epoch 3."
    ]


def test_the_page_is_written_from_the_record_alone(tmp_path):
    study().write(tmp_path / "study")
    assert is_study(tmp_path / "study")
    assert not is_study(tmp_path)
    out = write_study_page(tmp_path / "study", tmp_path / "page.html")
    assert out == tmp_path / "page.html"
    assert re.findall(r"<h1>.*?</h1>", out.read_text(encoding="utf-8")) == [f"<h1>{study().title}</h1>"]
    assert out.stat().st_size < 6e6


def test_a_folder_that_is_no_study(tmp_path):
    with pytest.raises(RunError) as caught:
        write_study_page(tmp_path, tmp_path / "page.html")
    assert str(caught.value) == (
        f"{tmp_path / 'study.json'} cannot be read as what a study found (No such file or directory). "
        "Name the folder of `deepcollapse reproduce`."
    )
    assert list(tmp_path.iterdir()) == []
