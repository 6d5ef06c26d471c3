import re

import predicted_sample
import pytest
from predicted_sample import add_predictions
from sample import make_run

from deepcollapse.records import MODELS
from deepcollapse.records.record import LAYER_PEELED, SELI, UNCONSTRAINED
from deepcollapse.report import beside, summary_rows, write_page
from deepcollapse.report.page import page
from deepcollapse.report.view import views


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    return add_predictions(make_run(tmp_path_factory.mktemp("runs") / "predicted"))


@pytest.fixture(scope="module")
def partly(tmp_path_factory):
    return add_predictions(make_run(tmp_path_factory.mktemp("runs") / "partly"), silent=(LAYER_PEELED, SELI))


def seen(run):
    [view] = views(run)
    return view


def cells(html):
    """First cell -> the others, of the part's first table, with the class of each."""
    table = re.findall(r"<tr><th scope=\"row\".*?</tr>", html.split("</table>")[0])
    strip = re.compile(r"<.*?>")
    found = {}
    for row in table:
        name = strip.sub("", re.findall(r"<th.*?</th>", row)[0])
        found[name] = [
            (strip.sub("", text), "near" in kind) for kind, text in re.findall(r'<td class="(.*?)">(.*?)</td>', row)
        ]
    return found


def test_every_number_stands_under_its_models_name(predicted):
    html = beside.tables(seen(predicted))
    heads = [re.sub("<.*?>", "", head) for head in re.findall(r"<th.*?</th>", html.split("</thead>")[0])]
    assert heads == ["measure", "measured", "▲&nbsp;layer-peeled", "■&nbsp;uncon&shy;strained features", "◆&nbsp;SELI"]
    table = cells(html)
    assert [text for text, _ in table["cosine between small classes, classifier"]] == ["0.2", "0.9", "0.25", "0.1"]
    # What a model was given, and what it leaves open, has no number.
    assert [text for text, _ in table["E_W mean squared length of classifier rows"]] == ["2", "", "1.5", ""]
    assert [text for text, _ in table["loss"]][1:] == ["0.001", "0.03", ""]


def test_the_closest_model_is_marked_where_one_is(predicted):
    table = cells(beside.tables(seen(predicted)))
    near = {name: [mark for _, mark in row] for name, row in table.items()}
    assert near["cosine between small classes, classifier"] == [False, False, True, False]  # 0.25 for 0.2
    # The least wrong is still wrong by 0.2 where -0.1 was measured.
    assert near["cosine between small classes, class means"] == [False, False, False, False]
    # Two say the same, or only one says anything: nobody is closest.
    assert near["NC2 unequal lengths, classifier"] == [False, False, False, False]
    assert near["E_W mean squared length of classifier rows"] == [False, False, False, False]


def test_rounding_is_shown_as_zero(predicted):
    assert [text for text, _ in cells(beside.tables(seen(predicted)))["NC2 unequal lengths, classifier"]][2:] == [
        "0",
        "0",
    ]


def test_each_model_says_what_it_was_given(predicted):
    html = beside.tables(seen(predicted))
    said = [re.sub("&nbsp;", " ", one) for one in re.findall(r"<li>(.*?)</li>", html)]
    assert said == [
        "The layer-peeled model is given how large classifier and features are: E_W = 2, E_H = 30, as measured. For "
        "it, small classes coincide from a class ratio of 1230 on; here the ratio is 10.",
        "The unconstrained-features model is given the decays: 0.005 for the classifier, from training, and "
        "6.00 × 10⁻⁶ for features, which balances the norms. For it, no classes coincide: that takes 0.02 samples or "
        "fewer.",
        "SELI is given the class sizes alone, and predicts angles and proportions but no lengths.",
    ]


def test_only_classes_of_equal_count_are_said_to_coincide(tmp_path, monkeypatch):
    monkeypatch.setitem(predicted_sample.PARAMETERS[UNCONSTRAINED], "collapse_count", 12.0)
    html = beside.tables(seen(add_predictions(make_run(tmp_path / "decayed"))))
    assert "For it, classes of equal count coincide where they have 12 samples or fewer.</li>" in html


def test_decays_that_leave_nothing_are_said_to(tmp_path, monkeypatch):
    measured, told = predicted_sample.NUMBERS["weight_budget", "head"]
    changed = {("weight_budget", "head"): (measured, {**told, UNCONSTRAINED: 0.0})}
    monkeypatch.setattr(predicted_sample, "NUMBERS", {**predicted_sample.NUMBERS, **changed})
    html = beside.tables(seen(add_predictions(make_run(tmp_path / "nothing"))))
    assert "For it, all zero is optimal: the decays outweigh all that logits could gain.</li>" in html


def test_models_that_are_silent_say_why_and_have_no_column(partly):
    html = beside.tables(seen(partly))
    assert "<li>The layer-peeled model says nothing here: &lt;no&gt; optimum</li>" in html
    assert "<li>SELI says nothing here: &lt;no&gt; optimum</li>" in html
    assert "&nbsp;SELI</th>" not in html
    section = beside.section(seen(partly))
    assert section is not None
    assert [key.label for key in section.legend] == ["measured", "unconstrained features"]


def test_figures_lay_levels_over_the_epochs_and_ratios_beside_one(predicted):
    section = beside.section(seen(predicted))
    assert section is not None
    angles, means, ratios = section.figures
    lines = {trace["name"]: trace["y"] for trace in angles.frames[0].data}
    assert lines[LAYER_PEELED] == [0.9, 0.9]
    assert lines[SELI] == [0.1, 0.1]
    assert len(lines["measured"]) == 8
    assert angles.layout["yaxis"]["range"][1] > 0.9
    assert "layer-peeled model 0.8" in means.note
    points = {trace["name"]: dict(zip(trace["y"], trace["x"], strict=True)) for trace in ratios.frames[0].data}
    assert points[UNCONSTRAINED]["E_W"] == 0.75
    assert points[LAYER_PEELED]["E_W"] is None
    assert points[SELI]["loss"] is None


def test_predictions_are_no_baselines_of_no_collapse(predicted, run):
    view = seen(predicted)
    assert view.models == MODELS
    assert view.baselines == ("untrained", "shuffled labels")
    assert {name for row in summary_rows(predicted.records()) for name, _ in row.baselines} == {
        "untrained", "shuffled labels"
    }  # fmt: skip
    # Every table and figure of the page but its new part is what it was.
    assert "optimality_gap" not in view.measures
    assert view.epochs == seen(run).epochs
    assert view.layers == seen(run).layers
    text = page([view])
    compared = text[text.index("Every layer beside no collapse") :].split("</details>")[0]
    assert not any(model in compared for model in MODELS)
    layers = text[text.index("no collapse</th>") :].split("</table>")[0]
    assert not any(model in layers for model in MODELS)


def test_the_page_has_the_part_once_and_runs_without_predictions_have_none(predicted, run, tmp_path):
    text = write_page(predicted, tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count(">Measured beside predicted</h2>") == 1
    assert text.count('class="summary beside"') == 2  # the second is folded
    assert "Measured beside predicted" not in page([seen(run)])
    assert beside.section(seen(run)) is None
    assert beside.tables(seen(run)) == ""


def test_several_runs_have_a_part_each(predicted, partly, tmp_path):
    text = write_page([predicted, partly], tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count(">Measured beside predicted</h3>") == 2


def test_a_network_that_was_measured_once_has_no_curves(tmp_path):
    run = add_predictions(make_run(tmp_path / "once", epochs=(7,)), epochs=(7,))
    section = beside.section(seen(run))
    assert section is not None
    assert [figure.title for figure in section.figures] == ["Sizes: predicted over measured"]
