from xml.etree import ElementTree

from sample import make_run

from deepcollapse.report import svg

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_has_a_line_for_each_curve(run, tmp_path):
    root = ElementTree.parse(svg(run, tmp_path / "nc.svg")).getroot()
    assert root.tag == f"{SVG}svg"
    assert len(list(root.iter(f"{SVG}polyline"))) == 10  # NC1 and NC3 have one line each, the other four panels two
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "NC1: within-class variability" in texts
    assert "TPT onset" in texts
    for line in root.iter(f"{SVG}polyline"):
        assert all(0 <= float(number) <= 300 for point in line.attrib["points"].split() for number in point.split(","))


def test_names_are_text_and_missing_panels_say_so(tmp_path, run):
    evil = make_run(tmp_path / "evil", name="<script>alert(1)</script>", epochs=(0, 1))
    kept = [line for line in evil.records_path.read_text().splitlines(True) if '"self_duality"' not in line]
    evil.records_path.write_text("".join(kept))
    text = svg(evil, tmp_path / "one.svg").read_text(encoding="utf-8")
    assert "not recorded" in text
    text = svg([evil, run], tmp_path / "two.svg").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    ElementTree.fromstring(text)


def test_above_the_curves_three_classes_fall_onto_the_simplex(run, slow, tmp_path):
    root = ElementTree.parse(svg(run, tmp_path / "one.svg")).getroot()
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts[:13:4] == ["epoch 0: before training", "epoch 12: TPT onset", "epoch 200: the end", "cat"]
    assert texts[1:4] == ["cat", "dog", "owl"]
    assert len(list(root.iter(f"{SVG}clipPath"))) == 3
    two = svg([run, slow.path], tmp_path / "two.svg").read_text(encoding="utf-8")
    assert "slow: epoch 12: TPT onset" in two
    assert two.count("<clipPath") == 6


def test_without_arrays_the_curves_stand_alone(tmp_path):
    run = make_run(tmp_path / "bare")
    for file in (run.path / "arrays").iterdir():
        file.unlink()
    root = ElementTree.parse(svg(run, tmp_path / "bare.svg")).getroot()
    assert list(root.iter(f"{SVG}clipPath")) == []
    assert root.attrib["viewBox"] == "0 0 900 430"
