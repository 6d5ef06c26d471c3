"""Studies run by tests, and what came of them."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deepcollapse.records.study import Judgement, StudyRecord
from deepcollapse.studies.reproduce import Setting, reproduce
from deepcollapse.studies.study import Study

HERE = Setting(device="cpu", threads=1)


def run_changed(study: Study, folder: Path, **changes) -> StudyRecord:
    """The study at smoke scale, with its recipes changed."""
    changed = replace(study, recipes=lambda scale: [replace(recipe, **changes) for recipe in study.recipes(scale)])
    return reproduce(changed, folder, scale="smoke", setting=HERE)


def verdicts(record: StudyRecord) -> dict[str, str]:
    """The verdict on each claim."""
    return {claim.id: claim.verdict for claim in record.claims}


def verdicts_on(record: StudyRecord, subject: str) -> dict[str, str]:
    """The verdict on each claim that speaks of the subject."""
    found = {claim.id: [each for each in claim.judgements if each.subject == subject] for claim in record.claims}
    return {name: judgements[0].verdict for name, judgements in found.items() if judgements}


def judgement_on(record: StudyRecord, claim: str, subject: str) -> Judgement:
    """What was judged of one claim on one subject."""
    judgements = next(each.judgements for each in record.claims if each.id == claim)
    return next(each for each in judgements if each.subject == subject)


def as_json(record: StudyRecord) -> Any:
    """The record as a file gives it back."""
    return json.loads(json.dumps(asdict(record)))
