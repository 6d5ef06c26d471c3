"""Runs and verdicts on them that tests make by hand, where training would tell no more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas

from deepcollapse.records.study import Judgement
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.study import Study
from deepcollapse.training import Recipe


def made_run(values: Mapping[Any, float], **recipe) -> Finished:
    """A run that ended with these values of (measure, layer, split)."""
    rows = [(*what, value) for what, value in values.items()]
    records = pandas.DataFrame(rows, columns=pandas.Index(["measure", "layer", "split", "value"]))
    name = "-".join(str(value) for value in recipe.values()).replace("/", "")
    return Finished(Recipe(**recipe), Path(name), records.assign(baseline=None, epoch=1, array=None))


def judged(study: Study, claim: str, evidence: Evidence) -> dict[str, Judgement]:
    """What is judged of one claim, by subject."""
    found = next(each for each in study.claims if each.id == claim).judged(evidence)
    return {judgement.subject: judgement for judgement in found.judgements}
