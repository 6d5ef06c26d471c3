import json
import re
from typing import Any

import plotly.graph_objects as go
import pytest
from compressed_sample import LAYERS, OUTCOME, make_compressed
from sample import make_run

from deepcollapse.report import compression, reading
from deepcollapse.report.figures import pareto
from deepcollapse.report.page import page
from deepcollapse.report.reasons import called, grouped
from deepcollapse.report.tried import Compression, Plan
from deepcollapse.report.view import views

EVIL = "<script>alert(1)</script>"


def seen(run):
    found = Compression.of(views(run)[0])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make_compressed(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return make_compressed(tmp_path_factory.mktemp("runs") / "other", method="coded", met=False, outcome="Not met.")


def without_plotly(text):
    return re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)


def headings(text):
    return re.findall(r"<h[123][^>]*>(.*?)</h[123]>", text)


def links(text):
    """Every link of the navigation, and the headings that it leads to."""
    nav = re.findall(r'<a href="#(part-\d+)">(.*?)</a>', text)
    places = dict(re.findall(r'<h2 id="(part-\d+)">(.*?)</h2>', text))
    return [(name, places[anchor]) for anchor, name in nav]


def test_before_and_after_say_no_more_of_times_than_they_bear(small):
    assert compression.lines(seen(small)) == [
        ["bytes", "100,000", "25,000", "4 ×"],
        ["parameters in use", "25,000", "6,000", "4.17 ×"],
        ["multiply-adds a sample", "24,000", "5,000", "4.8 ×"],
        ["ms for a batch of 1", "0.1", "0.11", "no clear difference"],
        ["ms for a batch of 256", "2", "1", "2 ×"],
        ["accuracy, test", "96 %", "95.5 %", "-0.50 points"],
        ["accuracy, half it was chosen by", "97 %", "96.5 %", "-0.50 points"],
    ]


def test_where_no_layer_changed_there_are_no_times(tmp_path):
    same = seen(make_compressed(tmp_path / "same", changed=False))
    names = [row[0] for row in compression.lines(same)]
    assert [name for name in names if name.startswith("ms")] == []
    assert "No layer was changed." in "".join(compression.sections([same])[0])


def test_the_page_of_one_network_has_its_parts_and_no_navigation(small):
    text = page(views(small))
    assert "<title>small: compressed</title>" in text
    assert headings(text) == ["Compressed: small", "Accuracy over size", "Layer by layer", "What the spectra say"]
    assert f'<p class="verdict fell">{OUTCOME.replace(" %", "&nbsp;%")}</p>' in text
    assert "<nav" not in text
    assert without_plotly(text).count("Accuracy over size") == 1


def test_the_page_of_several_networks_links_to_each(small, other):
    text = page(views([small, other]))
    assert "<title>2 compressed networks: compressed</title>" in text
    assert re.findall(r"<h1>(.*?)</h1>", text) == ["Compressed: 2 compressed networks"]
    names = ["small", "other", "Accuracy over size", "Layer by layer: small", "Layer by layer: other"]
    assert links(text) == [(name, name) for name in names]
    assert re.findall(r'<p class="verdict (\w+)">', text) == ["fell", "rose"]


def test_a_page_beside_other_runs_names_the_compressed_networks_and_links_to_them(small, other, run, slow):
    text = page(views([run, small]))
    assert "<title>steady, with compressed small: neural collapse</title>" in text
    assert "<h1>Neural collapse: steady, with compressed small</h1>" in text
    assert links(text)[-1] == ("Compressed networks", "Compressed networks")
    anchors = re.findall(r' id="(part-\d+)"', text)
    assert len(anchors) == len(set(anchors))
    several = page(views([run, slow.path, small, other]))
    assert "<h1>Neural collapse: 2 runs, with 2 compressed networks</h1>" in several


def test_every_name_is_text_and_never_markup(tmp_path):
    layers = ((f"a{EVIL}", 64, 60, 64, f"rank 4{EVIL}"), *LAYERS[1:])
    reasons = (f"because{EVIL}", "b", "c")
    facts = {"setting": EVIL, "outcome": f"smaller{EVIL}", "method": f"low-rank+{EVIL}"}
    told: dict[str, Any] = {"name": f"n{EVIL}", "layers": layers, "reasons": reasons, **facts}
    run = make_compressed(tmp_path / "evil", **told)
    plain = make_compressed(tmp_path / "plain")
    for text in (page(views(run)), page(views([run, plain])), page(views([run, make_run(tmp_path / "trained")]))):
        own = without_plotly(text)
        assert "alert(1)" in own
        assert EVIL not in own
        data = [json.loads(block) for block in re.findall(r'<script type="application/json">(.*?)</script>', own)]
        drawn = [frame["data"] for block in data for frame in block["frames"]]
        assert "<script" not in json.dumps(drawn)


def test_plotly_takes_every_trace_as_it_is(small, other):
    one, two = seen(small), seen(other)
    for drawn in (pareto.figure([one]), pareto.figure([one, two]), pareto.layers(one.changes)):
        [frame] = drawn.frames
        figure = go.Figure(data=frame.data, layout=drawn.layout)
        assert len(figure.data) == len(frame.data)  # pyright: ignore[reportArgumentType]


def test_the_front_joins_what_nothing_beats_and_the_target_is_in_the_legend(small, other):
    drawn = pareto.figure([seen(small)])
    front, tried, chosen, original = drawn.frames[0].data
    assert list(zip(front["x"], front["y"], strict=True)) == [(10, 80), (25, 96.5), (50, 97)]
    assert (tried["x"], tried["y"]) == ([50, 25, 10, 30], [97, 96.5, 80, 70])
    assert (chosen["x"], original["x"], original["y"]) == ([25], [100], [97])
    [limit] = drawn.layout["shapes"]
    assert limit["y0"] == pytest.approx(96)
    keys = [(key.label, key.sign) for key in pareto.legend([seen(small)])]
    assert keys == [("small", "●"), ("chosen", "◎"), ("original", "★"), ("least accuracy that was asked for", "dash")]
    assert pareto.figure([seen(small), seen(other)]).layout["shapes"] == []
    assert [key.label for key in pareto.legend([seen(small), seen(other)])][-1] == "original"


def test_a_network_that_was_never_tried_draws_nothing_and_does_not_fail(tmp_path):
    run = make_compressed(tmp_path / "r")
    kept = [line for line in run.records_path.read_text(encoding="utf-8").splitlines() if '"accuracy"' not in line]
    run.records_path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert "Accuracy over size" in page(views(run))


def test_a_size_as_target_has_no_line_of_accuracy_and_another_reason(tmp_path):
    sized = seen(make_compressed(tmp_path / "r", accuracy_drop=None, size=0.25))
    assert pareto.figure([sized]).layout["shapes"] == []
    assert compression.below_proposed(sized) == (
        "Ranks lower than proposed, which give up some of the 99.9 %, were taken because the size that was asked for "
        "needs it."
    )


def test_ranks_below_the_proposed_ones_are_explained(small, tmp_path):
    assert compression.below_proposed(seen(small)) == (
        "Ranks lower than proposed, which give up some of the 99.9 %, were taken because the accuracy on the samples "
        "it was chosen by allowed it."
    )
    layers = tuple((name, a, b, proposed, f"rank {proposed}") for name, a, b, proposed, _ in LAYERS)
    assert compression.below_proposed(seen(make_compressed(tmp_path / "r", layers=layers))) == ""


def test_reasons_are_said_once_for_all_layers_that_share_them(small):
    assert grouped(seen(small).plan) == [
        ("blocks.0-1.linear", "factors of rank 60 to 186 would take as much as their own weights: keep them"),
        ("head", "its outputs vary in 9 of 10 directions but for 0.1 %, no more than the C - 1 = 9 that collapsed "
                 "classes need"),
    ]  # fmt: skip


def test_layers_of_one_shape_keep_it_in_their_reason():
    text = "factors of rank {} would take as much as the layer's 8 x 8 weights: keep it"
    plans = [Plan(f"{i}", 5.0, 5.0, 8.0, text.format(rank)) for i, rank in enumerate((5, 7, 6))]
    reason = "factors of rank 5 to 7 would take as much as the layers' 8 x 8 weights: keep them"
    assert grouped(plans) == [("0-2", reason)]
    plans = [Plan("a", 5.0, 5.0, 8.0, "its weight has 5 of 8 singular values above 1 % of the first"),
             Plan("b", 5.0, 5.0, 8.0, "its weight has 5 of 9 singular values above 1 % of the first")]  # fmt: skip
    assert grouped(plans) == [("a, b", "their weights have 5 of 8 to 9 singular values above 1 % of the first")]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["head"], "head"),
        (["0", "2", "3"], "0, 2-3"),
        (
            ["blocks.0.conv1", "blocks.0.conv2", "blocks.1.conv1", "blocks.1.conv2"],
            "blocks.0-1.conv1, blocks.0-1.conv2",
        ),
        (["conv1", "conv2"], "conv1, conv2"),
        ([EVIL], EVIL),
    ],
)
def test_numbered_layers_are_called_by_their_range(names, told):
    assert called(names) == told


def test_the_reading_of_a_compressed_network_is_what_came_of_it(small):
    from deepcollapse.records import read_records

    [sentence] = reading(read_records(small.path))
    assert (sentence.run, sentence.text, sentence.verdict, sentence.measure) == ("small", OUTCOME, "fell", None)
