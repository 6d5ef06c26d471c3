"""`deepcollapse list`: the measures, networks, data sets and studies that there are, with their facts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say, say_json

if TYPE_CHECKING:
    from deepcollapse.studies.study import Study


@dataclass(frozen=True)
class List:
    """Show the measures, networks, data sets or studies that there are, with their facts."""

    what: Annotated[Literal["measures", "networks", "datasets", "studies"], tyro.conf.Positional] = "measures"
    """What to list."""
    json: bool = False
    """Print every fact as JSON."""

    def run(self) -> int:
        """Print the list."""
        lists = {"measures": _measures, "networks": _networks, "datasets": _datasets, "studies": _studies}
        lists[self.what](self.json)
        return 0


def _measures(as_json: bool) -> None:
    from deepcollapse.geometry import METRICS

    if as_json:
        facts = ("symbol", "definition", "unit", "range", "collapsed", "invariant_to", "cost", "needs", "source")
        say_json([{"name": name} | {fact: getattr(m, fact) for fact in facts} for name, m in METRICS.items()])
        return
    rows = []
    for name, m in METRICS.items():
        facts = [m.symbol, f"at collapse {m.at_collapse}" if m.at_collapse else ""]
        rows.append((name, f"{' · '.join(filter(None, facts))}. {m.definition}".lstrip(". ")))
    show_table(("measure", "what it is"), rows)
    print()
    say("Ranges, units, invariances, costs and sources of each: deepcollapse list measures --json")


def _networks(as_json: bool) -> None:
    from deepcollapse.networks import NETWORKS

    if as_json:
        say_json([_network(facts) for facts in NETWORKS.values()])
        return
    rows = []
    for facts in NETWORKS.values():
        parameters = ", ".join(f"{name}={value}" for name, value in facts.parameters.items())
        rows.append((facts.name, facts.description, parameters))
    show_table(("network", "what it is", "parameters"), rows)
    print()
    say("Others are named package.module:factory, timm:NAME, torchvision:NAME or hf:NAME.")


def _network(facts) -> dict[str, object]:
    return {
        "name": facts.name,
        "family": facts.family,
        "description": facts.description,
        "parameters": dict(facts.parameters),
        "source": facts.source,
    }


def _datasets(as_json: bool) -> None:
    from deepcollapse.datasets import DATASETS

    if as_json:
        facts = ("name", "title", "num_classes", "shape", "sizes", "source", "licence", "files", "extra", "class_names")
        say_json([{fact: getattr(d, fact) for fact in facts} for d in DATASETS.values()])
        return
    rows = []
    for facts in DATASETS.values():
        shape = "x".join(map(str, facts.shape)) if facts.shape else "any"
        sizes = f"{facts.sizes['train']} + {facts.sizes['test']}"
        rows.append((facts.name, facts.title, str(facts.num_classes), shape, sizes))
    show_table(("data set", "title", "classes", "shape", "train + test"), rows, right=(2, 4))
    print()
    say(
        "Others are named folder:PATH, hf:NAME or package.module:loader. Files lie where --data-root or the "
        "environment variable DEEPCOLLAPSE_DATA says; --download fetches them from their public source."
    )


def _studies(as_json: bool) -> None:
    from deepcollapse.studies import STUDIES, find

    if as_json:
        say_json([_study(find(name)) for name in sorted(STUDIES)])
        return
    show_table(("study", "what it puts to the test"), sorted(STUDIES.items()))
    print()
    say("Each is run by deepcollapse reproduce STUDY; its scales and claims: deepcollapse list studies --json")


def _study(study: "Study") -> dict[str, object]:
    from deepcollapse.report.papers import PAPERS

    claims = ("id", "sentence", "criterion", "ours", "paper")
    words, address = PAPERS[study.citation]
    scales = {name: {"words": s.words, "scaled_down": s.scaled_down} for name, s in study.scales.items()}
    return {
        "name": study.name,
        "title": study.title,
        "citation": study.citation,
        "paper": words,
        "address": address,
        "summary": study.summary,
        "scales": scales,
        "claims": [{name: getattr(claim, name) for name in claims} for claim in study.claims],
    }
