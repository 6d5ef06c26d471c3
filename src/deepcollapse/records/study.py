"""What a study found: a verdict for each claim with its evidence, and its charts, as one file of plain JSON."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from deepcollapse.errors import RunError
from deepcollapse.records.charts import Shown, from_mapping, to_mapping
from deepcollapse.records.files import atomic_write

SCHEMA_VERSION = 1
FILE = "study.json"
Verdict = Literal["holds", "fails", "inconclusive", "not tested"]
# From the one that settles a claim on several things to the one that all of them must have.
VERDICTS: tuple[Verdict, ...] = ("fails", "inconclusive", "not tested", "holds")


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on several things that must all hold; "not tested" where there is none.

    >>> worst(["holds", "inconclusive"]), worst(["holds", "not tested"]), worst([])
    ('inconclusive', 'not tested', 'not tested')
    """
    found = sorted(verdicts, key=VERDICTS.index)
    return found[0] if found else "not tested"


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim for one subject, such as "mnist, resnet18", and what it rests on.

    `measured` is one sentence with the numbers, `numbers` the same by name, `why` says why nothing could be told or
    tested, and `runs` are the runs that were looked at.
    """

    subject: str
    verdict: Verdict
    measured: str
    numbers: Mapping[str, float | int | None] = field(default_factory=dict)
    why: str = ""
    runs: Sequence[str] = ()


@dataclass(frozen=True)
class JudgedClaim:
    """A sentence of the paper, the criterion that was fixed before the run, and the verdicts.

    `ours` says that the criterion is this project's reading of a qualitative statement; `paper` is the paper's value.
    """

    id: str
    sentence: str
    criterion: str
    judgements: Sequence[Judgement]
    paper: str = ""
    ours: bool = False

    @property
    def verdict(self) -> Verdict:
        """The verdict over all subjects: a claim that fails for one of them fails; it holds where it does for all.

        >>> JudgedClaim("a", "s", "c", [Judgement("x", "holds", ""), Judgement("y", "fails", "")]).verdict
        'fails'
        """
        return worst(judgement.verdict for judgement in self.judgements)


@dataclass(frozen=True)
class Failure:
    """A run that came to nothing: its name, the settings in which it differs from the study's others, and the error."""

    run: str
    settings: str
    error: str

    @property
    def line(self) -> str:
        """The first line of the error."""
        return next(iter(self.error.splitlines()), "no reason given")


@dataclass(frozen=True)
class StudyRecord:
    """Everything that a page on a study shows, besides the runs themselves.

    `scaled_down` says, a sentence each, in what the study differs from the published one; `left_out` what was asked for
    and could not be run, such as data that are not here; `failures` are the runs that came to nothing. `seconds` are
    those of all calls together.
    """

    study: str
    title: str
    citation: str
    summary: str
    scale: str
    words: str
    scaled_down: Sequence[str]
    seconds: float
    runs: int
    failures: Sequence[Failure]
    claims: Sequence[JudgedClaim]
    shown: Sequence[Shown]
    provenance: Mapping[str, Any]
    left_out: Sequence[str] = ()

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write `study.json` in a folder; a number that is not finite is written as one that is not there.

        Raises RunError where that cannot be done.
        """
        values = asdict(self) | {"schema_version": SCHEMA_VERSION, "shown": [to_mapping(one) for one in self.shown]}
        values["claims"] = [asdict(claim) | {"verdict": claim.verdict} for claim in self.claims]
        text = json.dumps(_strict(values), indent=1, allow_nan=False) + "\n"
        return atomic_write(Path(folder) / FILE, text.encode())

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "StudyRecord":
        """The record in a study's folder. Raises RunError where there is none that can be read."""
        path = Path(folder) / FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if (version := values.pop("schema_version")) != SCHEMA_VERSION:
                raise RunError(
                    f"{path} has version {version}, and this deepcollapse reads version {SCHEMA_VERSION}. "
                    "Use the deepcollapse that wrote it."
                )
            claims = tuple(_claim(claim) for claim in values["claims"])
            read = {"claims": claims, "failures": tuple(_failure(one) for one in values["failures"])}
            return cls(**{**values, **read, "shown": tuple(from_mapping(one) for one in values["shown"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, RunError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise RunError(
                f"{path} cannot be read as what a study found ({reason}). Name the folder of `deepcollapse reproduce`."
            ) from error


def _strict(value: Any) -> Any:
    """A value as strict JSON holds it: hours of runs must not be lost over a NaN in a chart."""
    if isinstance(value, Mapping):
        return {name: _strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _claim(values: Mapping[str, Any]) -> JudgedClaim:
    kept = {name: value for name, value in values.items() if name != "verdict"}
    return JudgedClaim(**{**kept, "judgements": tuple(Judgement(**judgement) for judgement in values["judgements"])})


def _failure(values: Mapping[str, str] | str) -> Failure:
    """A failure as it was written; earlier versions wrote a line, with the run before the colon."""
    if isinstance(values, str):
        run, _, error = values.partition(": ")
        return Failure(run, "", error)
    return Failure(**values)
