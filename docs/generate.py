"""Write docs/measures.md and docs/studies.md from what measures and studies declare: `python3 dev.py docs`."""

import inspect
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from deepcollapse import geometry
from deepcollapse.geometry.metric import INVARIANCES, METRICS, NEEDS, UNITS, Metric
from deepcollapse.records.study import JudgedClaim, StudyRecord
from deepcollapse.studies import STUDIES, Study, find

DOCS = Path(__file__).parent
HEAD = """# All measures

Made from the measures' own facts by `python3 dev.py docs`; change the facts, not this page. Which measure answers your
question is in [choose.md](choose.md), and the words are in [glossary.md](glossary.md).

Each is a pure function of `deepcollapse.geometry`, held to its facts by `tests/geometry/test_contracts.py`.
`mu_c` is the mean of class c, `mu_G` the mean of those (or of all samples), `w_c` a row of the classifier `W`, `b` its
bias; N samples, C classes, d features, n_c samples of class c, B classes of a subset, t targets, k <= C-1 directions,
an m x n matrix. *At collapse* means features on an exact simplex ETF about 0, balanced, and a classifier proportional
to the class means; an empty entry means that collapse does not fix it. *Cost* counts the operations beyond what it
needs (for "span scatter" and "decisions": of the second look).
"""


STUDIES_HEAD = """# A paper is a command

Made from the studies themselves by `python3 dev.py docs`; change the studies, not this page.

```
deepcollapse reproduce papyan2020                     # at the scale that serves this machine
deepcollapse reproduce papyan2020 --datasets mnist --networks resnet18 --seeds 5
deepcollapse reproduce sukenik2024 --scale paper --dry-run   # builds everything, runs one step, tells the cost
```

A study is one file in `src/deepcollapse/studies/`: recipes, what is measured of each trained network, charts, and
*claims*: sentences of the paper, each with a criterion that is fixed in code before anything runs. The page shows a
verdict for each, with its numbers: **holds**, **fails**, **inconclusive** (the seeds do not settle it) or **not
tested** (this scale lacks what it needs, and says what). A claim that fails here is shown failing. *Ours* marks a
criterion that is wholly this project's reading of a qualitative sentence, or a question of its own. In the others, too,
what *falls* and *rises* ask for (below), and limits that stand in no paper, are our reading.

**What decides.** A statistic is worked out for each seed. Where the middle half of the seeds lies within the criterion
the claim holds; where it lies outside, it fails; otherwise the seeds do not settle it. *Falls* over epochs: from the
onset of the terminal phase to the end, rank correlation with the epoch at most -0.5 and end over onset at most 0.5, for
at least three seeds. *Falls* with a setting: rank correlation at most -0.8 over at least five values. *Beyond the
spread over seeds*: all seeds of the one exceed all of the other. Over several data sets and networks, a claim holds
where it holds for all of them, and fails where it fails for one.

**Scales.** `smoke` takes seconds and is what the tests run, `laptop` some minutes on two cores, `gpu` and `paper` are
the published set-ups as far as they are known. The page says in what each differs from the paper, and why.

**Falsifiers.** For every study the tests break the set-up (labels shuffled when measuring, no weight decay, a network
that was never trained, ...) and hold that the right claims then fail: `tests/studies/`.

What is run is kept: the same command goes on where it stopped, and only what is new is run ([sweeps](sweeps.md)).
"""


def references(text: str) -> dict[str, dict[str, str]]:
    """The entries of a .bib file, key -> fields, for entries laid out one field a line."""
    entries = {}
    for key, body in re.findall(r"^@\w+\{(\w+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        fields = re.findall(r"^\s*(\w+)\s*= \{(.*)\},$", body, re.MULTILINE)
        entries[key] = {name: re.sub(r"[{}]", "", value) for name, value in fields}
    return entries


def citation(entry: dict[str, str]) -> str:
    """'Papyan, Han & Donoho 2020', with 'et al.' past three authors, and a link where there is one."""
    surnames = [name.split(",")[0] for name in entry["author"].split(" and ")]
    names = f"{surnames[0]} et al." if len(surnames) > 3 else " & ".join([", ".join(surnames[:-1]), surnames[-1]])
    words = f"{names.removeprefix(' & ')} {entry['year']}"
    return f"[{words}](https://arxiv.org/abs/{entry['eprint']})" if "eprint" in entry else words


def escaped(text: str) -> str:
    """Formulas in plain text, safe from Markdown: nothing is emphasis or a tag."""
    return re.sub(r"([*\\]|<(?=\w))", r"\\\1", text)


def interval(metric: Metric) -> str:
    """The range as a reader writes it."""
    return "[" + ", ".join(f"{end:.6g}" for end in metric.range).replace("inf", "∞") + "]"


def first_paragraph(thing: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "").split("\n\n")[0].replace("\n", " ")


def at_collapse(metric: Metric) -> str:
    """The value at full collapse, with signs for infinity."""
    return metric.at_collapse.replace("inf", "∞")


def entry(metric: Metric, bib: dict[str, dict[str, str]]) -> str:
    """One measure: its name, definition and facts."""
    facts = [f"range {interval(metric)}"]
    facts += [f"at collapse {at_collapse(metric)}"] if metric.at_collapse else []
    facts += ["dimensionless" if metric.unit == "1" else f"unit: {metric.unit}"]
    facts += [f"unchanged by {', '.join(metric.invariant_to)}"]
    source = citation(bib[metric.source]) if metric.source in bib else metric.source
    facts += [f"needs {', '.join(metric.needs)}", metric.cost, source]
    definition = escaped(metric.definition.removeprefix(f"{metric.symbol}: "))
    return f"### `{metric.name}`\n\n**{escaped(metric.symbol)}**: {definition}\n\n{' · '.join(facts)}\n"


def module_of(name: str) -> str:
    """The module of geometry that a public name comes from."""
    home = getattr(getattr(geometry, name), "__module__", "deepcollapse.geometry.metric")
    return home if home.startswith("deepcollapse.") else "deepcollapse.geometry.metric"


def sections(bib: dict[str, dict[str, str]]) -> Iterator[str]:
    """The page from top to bottom."""
    yield HEAD
    yield "| measure | symbol | range | at collapse | unit | unchanged by |\n|---|---|---|---|---|---|"
    for m in METRICS.values():
        facts = (escaped(m.symbol).replace("|", r"\|"), interval(m), at_collapse(m), m.unit, ", ".join(m.invariant_to))
        yield f"| [`{m.name}`](#{m.name}) | {' | '.join(facts)} |"
    yield "\n**Maps of feature space.** `rows` and `matrix` are moved as they are given. Centred class means do not"
    yield "move under translation, so neither do the measures of NC2 when they are taken of these.\n"
    yield "\n".join(f"- *{name}*: {meaning}" for name, meaning in INVARIANCES.items())
    yield "\n**Needs.**\n\n" + "\n".join(f"- *{name}*: {meaning}" for name, meaning in NEEDS.items())
    yield "\n**Units.**\n\n" + "\n".join(f"- *{name}*: {meaning}" for name, meaning in UNITS.items())
    beside = []
    for module, names in groupby(geometry.__all__, module_of):
        listed = list(names)
        beside += [name for name in listed if name not in METRICS]
        if any(name in METRICS for name in listed):
            yield f"\n## {first_paragraph(sys.modules[module])}\n"
            yield "\n".join(entry(METRICS[name], bib) for name in listed if name in METRICS)
    yield "\n## Beside the measures\n\nWhat they are made of, what is an array, and what is known of the optimum.\n"
    for name in beside:
        thing = getattr(geometry, name)
        said = first_paragraph(thing) if callable(thing) else "All measures with their facts, by name."
        yield f"- `{name}`: {escaped(said)}"
    yield "\n## References\n"
    for key, fields in bib.items():
        yield f"- `{key}`: {citation(fields)}, *{fields['title']}*"


def measures_page() -> str:
    """The whole page, as docs/measures.md must be."""
    bib = references((DOCS / "references.bib").read_text(encoding="utf-8"))
    return "\n".join(sections(bib)).replace("\n\n\n", "\n\n") + "\n"


def kept(study: Study) -> StudyRecord | None:
    """What the study found at the scale for laptops, where that is kept in docs/gallery."""
    folder = DOCS / "gallery" / f"{study.name}-laptop"
    return StudyRecord.read(folder) if (folder / "study.json").is_file() else None


def told(claim: JudgedClaim) -> str:
    """A claim's verdicts, each with those whose it is."""
    by_verdict: dict[str, list[str]] = {}
    for one in claim.judgements:
        by_verdict.setdefault(one.verdict, []).append(one.subject)
    if len(by_verdict) == 1:
        return f"**{claim.verdict}**"
    return "; ".join(f"**{verdict}**: {', '.join(subjects)}" for verdict, subjects in by_verdict.items())


def study_section(study: Study, bib: dict[str, dict[str, str]]) -> Iterator[str]:
    """One study: its paper, its scales, its claims, and what they came to."""
    yield f"\n## `{study.name}`\n\n{citation(bib[study.citation])}, *{bib[study.citation]['title']}*. {study.summary}\n"
    yield "\n".join(f"- *{name}*: {escaped(scale.words)}" for name, scale in study.scales.items())
    record = kept(study)
    if record:
        yield f"\nAt the scale for laptops, on {record.provenance['device']}: {record.runs} runs. Every number is in"
        yield f"`docs/gallery/{study.name}-laptop`, whose page `deepcollapse report` writes."
    yield f"\n| claim | sentence | criterion | the paper's value |{' on a laptop |' if record else ''}"
    yield f"|---|---|---|---|{'---|' if record else ''}"
    found = {claim.id: told(claim) for claim in record.claims} if record else {}
    for claim in study.claims:
        criterion = f"{claim.criterion} (ours)" if claim.ours else claim.criterion
        cells = (escaped(cell).replace("|", r"\|") for cell in (claim.sentence, criterion, claim.paper))
        verdict = f" {found.get(claim.id, '')} |" if record else ""
        yield f"| `{claim.id}` | {' | '.join(cells)} |{verdict}"


def studies_page() -> str:
    """The whole page, as docs/studies.md must be."""
    bib = references((DOCS / "references.bib").read_text(encoding="utf-8"))
    sections = ["\n".join(study_section(find(name), bib)) for name in sorted(STUDIES)]
    return "\n".join([STUDIES_HEAD, *sections]).replace("\n\n\n", "\n\n") + "\n"


if __name__ == "__main__":
    for name, text in (("measures.md", measures_page()), ("studies.md", studies_page())):
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"wrote {DOCS / name}")
