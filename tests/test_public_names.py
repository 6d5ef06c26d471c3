"""What is public is what the docs list, no more and no less, and each name says what it is."""

import inspect
import re
import sys
from pathlib import Path

import pytest

import deepcollapse
from deepcollapse import compression, geometry, theory
from deepcollapse.report.papers import PAPERS
from deepcollapse.studies import STUDIES, find

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
import generate  # noqa: E402 - docs/generate.py is a script, no module of ours

FUNCTIONS = [name for name in geometry.__all__ if inspect.isfunction(getattr(geometry, name))]


def test_the_page_of_measures_is_what_the_code_says():
    written = (DOCS / "measures.md").read_text(encoding="utf-8")
    assert written == generate.measures_page(), "docs/measures.md is old: run `python3 dev.py docs` and commit it"


def test_the_page_of_studies_is_what_the_code_says():
    written = (DOCS / "studies.md").read_text(encoding="utf-8")
    assert written == generate.studies_page(), "docs/studies.md is old: run `python3 dev.py docs` and commit it"


def test_names_of_geometry_are_those_on_the_page():
    listed = re.findall(r"^(?:### |- )`(\w+)`(?:: .*)?$", (DOCS / "measures.md").read_text("utf-8"), re.MULTILINE)
    keys = generate.references((DOCS / "references.bib").read_text("utf-8"))
    assert sorted(name for name in listed if name not in keys) == sorted(geometry.__all__)
    assert len(set(geometry.__all__)) == len(geometry.__all__)


def test_names_of_the_package_are_those_in_the_docs():
    section = re.search(r"^## Public names\n(.*?)^## ", (DOCS / "architecture.md").read_text("utf-8"), re.M | re.S)
    assert section
    listed = re.findall(r"^\| `deepcollapse\.(\w+)` ", section[1], re.MULTILINE)
    assert sorted(listed) == sorted(deepcollapse.__all__)


@pytest.mark.parametrize("name", deepcollapse.__all__)
def test_public_names_of_the_package_are_there_and_say_what_they_are(name):
    assert inspect.getdoc(getattr(deepcollapse, name))
    assert name in dir(deepcollapse)


def test_names_of_theory_are_those_in_the_docs():
    section = (DOCS / "theory.md").read_text("utf-8").split("## All names")[1]
    assert sorted(re.findall(r"`(\w+)`", section)) == sorted(theory.__all__)


@pytest.mark.parametrize("name", theory.__all__)
def test_names_of_theory_are_there_say_what_they_are_and_show_how(name):
    thing = getattr(theory, name)
    assert thing.__module__.startswith("deepcollapse.theory.")
    text = inspect.getdoc(thing) or ""
    assert text.split("\n\n")[0].rstrip().endswith((".", ":"))
    # What is abstract, what others of them return, and what reads a run's folder has no example of its own.
    described = inspect.isabstract(thing) or name in ("Solution", "Decomposition", "budgets_of", "counts_of")
    assert described or ">>> " in text, "shows no example"
    assert name in dir(theory)


def test_names_of_compression_are_those_in_the_docs():
    rows = re.findall(r"^\| (?:the whole way|files|low rank|few values|codes|ternary) \| (.*) \|$",
                      (DOCS / "compression.md").read_text("utf-8"), re.MULTILINE)  # fmt: skip
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(compression.__all__)


@pytest.mark.parametrize("name", compression.__all__)
def test_names_of_compression_are_there_and_say_what_they_are(name):
    thing = getattr(compression, name)
    assert thing.__module__.startswith("deepcollapse.compression.")
    text = inspect.getdoc(thing) or ""
    assert text.split("\n\n")[0].rstrip().endswith((".", ":"))
    # What others return, and what reads or writes files or trains whole networks, has no example of its own.
    described = {"Compressed", "Spectrum", "Descent", "save_compressed", "load_compressed", "export_network", "check"}
    assert ">>> " in text or name in described | {"decay_sweep"}, "shows no example"
    assert name in dir(compression)


def test_other_names_are_no_part_of_the_package():
    with pytest.raises(AttributeError, match=r"^module 'deepcollapse' has no attribute 'colapse'$"):
        deepcollapse.colapse  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_of_geometry_say_shape_errors_and_show_an_example(name):
    function = getattr(geometry, name)
    text = inspect.getdoc(function) or ""
    assert text.split("\n\n")[0].rstrip().endswith((".", ":")), "the first paragraph is a sentence"
    assert ">>> " in text, "shows no example"
    annotations = inspect.get_annotations(function)
    assert "return" in annotations
    assert len(annotations) == len(inspect.signature(function).parameters) + 1, "every parameter has a type"


def test_the_guides_name_nothing_that_is_not_there():
    known = {
        *geometry.__all__,
        *dir(deepcollapse),
        *theory.__all__,
        "weighting",
        "layers",
        "means_of",
        "baselines",
        "robustness",
    }
    for page in ("choose.md", "glossary.md"):
        named = re.findall(r"`([a-z]{3,}(?:_[a-z]+)+|robustness)", (DOCS / page).read_text("utf-8"))
        assert set(named) <= known, page


def test_every_citation_has_its_reference():
    keys = generate.references((DOCS / "references.bib").read_text("utf-8")).keys()
    files = [file.read_text("utf-8") for file in Path(deepcollapse.__path__[0]).rglob("*.py")]
    cited = {key for text in files for keys in re.findall(r":cite:`([^`]+)`", text) for key in keys.split(",")}
    assert cited <= keys
    assert list(keys) == sorted(keys)


def test_the_papers_of_studies_are_those_of_the_references():
    entries = generate.references((DOCS / "references.bib").read_text("utf-8"))
    assert {key: f"[{words}]({address})" for key, (words, address) in PAPERS.items()} == {
        find(name).citation: generate.citation(entries[find(name).citation]) for name in STUDIES
    }


def test_every_source_is_cited_with_what_a_reader_needs():
    for key, fields in generate.references((DOCS / "references.bib").read_text("utf-8")).items():
        assert {"author", "title", "year"} <= fields.keys(), key
        assert re.fullmatch(rf"[a-z]+{fields['year']}", key), key
