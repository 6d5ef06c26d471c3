import dataclasses

import numpy as np
import pytest
from sample import make_run

from deepcollapse.records import Record
from deepcollapse.report import top
from deepcollapse.report.figures import angles, classes, collapse, laws, layers, ranks, simplex, spectra, training
from deepcollapse.report.summary import rows_of
from deepcollapse.report.view import View, views


@pytest.fixture(scope="module")
def view(run):
    return views(run)[0]


def changed(view, measure, **columns):
    """The view with other columns in one measure's rows."""
    frame = view.frame.copy()
    for name, value in columns.items():
        frame.loc[frame["measure"] == measure, name] = value
    return dataclasses.replace(view, frame=frame)


def test_every_figure_says_what_collapse_looks_like_in_it(view):
    sections = [collapse.section([view]), training.section([view])]
    sections += [part.section(view) for part in (layers, laws, classes, angles, ranks, spectra, simplex)]
    figures = [figure for part in sections if part is not None for figure in part.figures]
    assert [figure.title for figure in figures if "ollapse" not in figure.looks] == []


def test_a_curve_tells_its_ends_to_those_who_cannot_see_it(view):
    panel = collapse.figure([view], collapse.PANELS[1])
    assert panel is not None
    assert panel.alt == (
        "NC2: unequal lengths. class means: from 0.7 at epoch 0 to 0.0195 at epoch 200; "
        "classifier: from 0.5 at epoch 0 to 0.011 at epoch 200."
    )


def test_the_law_of_equi_separation_is_told_and_drawn(view):
    section = laws.section(view)
    assert section is not None
    assert section.intro == (
        "Each layer of a trained network often multiplies the separation fuzziness D (NC1 times the number of classes) "
        "by one and the same factor ρ (He and Su, 2023). At the end (epoch 200) a layer multiplies D by ρ = 0.208, and "
        "the points lie on the line with correlation r = -0.991: the law holds well (-1 is to the letter). Effective "
        "depth: layer 2 of 3, blocks.1 (first of 3 layers with nearest-mean error at most 0.01)."
    )
    by_layer, by_epoch = section.figures
    assert by_layer.title == "Separation fuzziness by layer: ρ = 0.208, r = -0.991"
    fit = by_layer.frames[0].data[-2]
    assert fit["name"] == "fit, end (epoch 200)"
    np.testing.assert_allclose(fit["y"], np.exp(1.5) * 0.2076 ** np.arange(3), rtol=1e-3)
    assert by_epoch.frames[0].data[0]["customdata"] == [0, 1, 3, 6, 12, 30, 80, 200]


def test_a_law_that_does_not_hold_is_said_not_to(view):
    off = changed(changed(view, "equi_separation_correlation", value=0.4), "equi_separation_rho", value=1.3)
    section = laws.section(changed(off, "effective_depth", value=4.0))
    assert section is not None
    assert section.intro.endswith(
        "At the end (epoch 200) a layer even multiplies D by ρ = 1.3, and the points lie on the line with correlation "
        "r = 0.4: the law does not hold (-1 is to the letter). Effective depth: no layer is there yet (first of 3 "
        "layers with nearest-mean error at most 0.01)."
    )
    assert laws.section(changed(view, "equi_separation_rho", value=np.nan)) is None


def test_classes_are_ordered_by_what_is_left_of_their_scatter(view):
    section = classes.section(view)
    assert section is not None
    assert section.intro == (
        "NC1 taken apart: how far the samples of each class scatter about their own mean, the most scattered class "
        "first. Most scattered is class dog (0.00271), least is class owl (6.76 × 10⁻⁴)."
    )
    assert [trace["name"] for trace in section.figures[0].frames[0].data] == [
        "epoch 0",
        "TPT onset (epoch 12)",
        "end (epoch 200)",
    ]
    assert section.figures[0].frames[0].data[0]["x"] == ["dog", "eel", "cat", "owl"]


def test_the_heat_map_has_a_row_a_layer_and_a_column_an_epoch(view):
    section = layers.section(view)
    assert section is not None
    heat, by_epoch, by_depth = section.figures
    trace = heat.frames[0].data[0]
    assert trace["y"] == ["blocks.0", "blocks.1", "head&#x27;s input"]
    assert trace["x"] == ["0", "1", "3", "6", "12", "30", "80", "200"]
    nc1 = view.series("within_class_variability", "head.input", "train")
    np.testing.assert_allclose(trace["customdata"][2], nc1, rtol=1e-4)
    np.testing.assert_allclose(trace["z"][2], np.log10(nc1), rtol=1e-4)
    assert heat.layout["shapes"][0]["x0"] == 3.5  # before the column of epoch 12
    # One list of measures works all three.
    assert [figure.control for figure in section.figures] == ["select", None, None]
    labels = [[frame.label for frame in figure.frames] for figure in (heat, by_epoch, by_depth)]
    assert labels[0] == labels[1] == labels[2]


def test_the_head_input_is_named_by_the_layer_that_gives_it(run, tmp_path):
    twin = make_run(tmp_path / "twin")
    text = twin.records_path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if '"layer": "blocks.1"' not in line]
    copies = [line.replace('"layer": "head.input"', '"layer": "blocks.1"') for line in lines if '"head.input"' in line]
    twin.records_path.write_text("\n".join([*lines, *copies]) + "\n", encoding="utf-8")
    seen = views(twin)[0]
    assert (seen.layers, seen.name_of("head.input")) == (("blocks.0", "head.input"), "blocks.1 (head's input)")
    plain = views(run)[0]
    assert (plain.layers[-1], plain.name_of("head.input")) == ("head.input", "head's input")


def test_a_baseline_that_does_not_depend_on_labels_is_left_out(tmp_path):
    run = make_run(tmp_path / "r")
    row = {"epoch": 200, "split": "train", "layer": "head", "measure": "equinorm_classifier"}
    own = rows_of(views(run)[0])[2]
    run.append(
        [Record(value=own.end, baseline="shuffled labels", **row), Record(value=0.3, baseline="untrained", **row)]
    )
    first, _, classifier, *_ = rows_of(views(run)[0])
    assert first.baselines == (("untrained", 5.0), ("shuffled labels", 9.0))
    assert classifier.baselines == (("untrained", 0.3),)


def test_the_headline_of_several_runs_gives_the_range(run, slow):
    both = top.overall(views([run, slow.path]))
    assert (both.verdict, both.text) == (
        "stayed",
        "Neural collapse is seen in 1 of 2 runs, and in part in slow: from TPT onset to the end, within-class "
        "variability (NC1) fell 3 to 12 times, unequal lengths of the class means (NC2) fell 2.3 to 6.3 times, unequal "
        "angles between them (NC2) fell 2.3 to 6.3 times and the classifier's distance from the class means (NC3) fell "
        "3 to 12 times.",
    )
    assert top.overall(views([run])).text.startswith("Neural collapse is seen in all 1 runs")


def test_numbered_classes_are_called_classes(tmp_path):
    run = make_run(tmp_path / "r", class_names=("0", "1", "2", "ship"), epochs=(0, 1))
    assert simplex.names_of(views(run)[0], 4) == ["class 0", "class 1", "class 2", "ship"]
    assert simplex.names_of(View("empty", views(run)[0].frame), 3) == ["class 0", "class 1", "class 2"]


def test_ranks_are_drawn_of_features_and_of_weights_against_one_less_than_the_classes(view):
    section = ranks.section(view)
    assert section is not None
    features, weights = section.figures
    assert (features.title, weights.title) == ("Ranks of features", "Ranks of weights")
    end = weights.frames[-1]
    assert [trace["name"] for trace in end.data] == [
        "numerical rank", "rank at 1 %", "rank above noise", "effective rank", "stable rank",
    ]  # fmt: skip
    assert end.data[0]["x"] == ["blocks.0.linear", "blocks.1.linear"]
    assert end.data[-1]["x"] == ["blocks.0.linear", "blocks.1.linear", "classifier"]
    np.testing.assert_allclose(end.data[0]["y"], [3 + 9 / 201**0.9, 3 + 10 / 201**0.9], rtol=1e-4)
    for figure in section.figures:
        assert [(shape["y0"], shape["y1"]) for shape in figure.layout["shapes"]] == [(3, 3)]
        assert [frame.epoch for frame in figure.frames] == [0, 1, 3, 6, 12, 30, 80, 200]
    assert section.legend[-1].label == "C − 1 = 3"


def test_layers_that_have_weights_alone_are_no_place_in_the_depth(view):
    assert view.layers == ("blocks.0", "blocks.1", "head.input")
    assert view.weight_layers == ("blocks.0.linear", "blocks.1.linear")


def test_without_weights_there_are_the_ranks_of_features_alone(view):
    frame = view.frame[~view.frame["measure"].str.contains("_weight|_classifier")]
    section = ranks.section(dataclasses.replace(view, frame=frame))
    assert section is not None
    assert [figure.title for figure in section.figures] == ["Ranks of features"]
    assert ranks.section(dataclasses.replace(view, frame=frame[~frame["measure"].str.contains("rank")])) is None
    spectrum = spectra.section(dataclasses.replace(view, frame=frame))
    assert spectrum is not None
    assert [figure.title for figure in spectrum.figures] == ["Singular values, largest first"]


def test_spectra_of_weights_have_a_figure_of_their_own(view):
    section = spectra.section(view)
    assert section is not None
    assert [figure.title for figure in section.figures] == [
        "Singular values, largest first", "Singular values of weights, largest first",
    ]  # fmt: skip
    end = section.figures[1].frames[-1].data
    assert [trace["name"] for trace in end] == ["blocks.0.linear", "blocks.1.linear"]
    np.testing.assert_allclose(end[0]["y"][:3], [1, 0.8, 0.7], rtol=1e-4)
    assert [key.label for key in section.legend] == [
        "blocks.0", "blocks.1", "head's input", "classifier",
        "blocks.0.linear (weights)", "blocks.1.linear (weights)", "C − 1 = 3",
    ]  # fmt: skip
