"""A claim: a sentence of a paper made checkable, with a criterion that is fixed before anything is run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcollapse.records.study import JudgedClaim, Judgement

if TYPE_CHECKING:
    from deepcollapse.studies.judging.evidence import Evidence


class MissingEvidence(Exception):
    """What a claim needs was not measured, at this scale or because runs failed; the message says what."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, what must be measured for it to hold, and the function that decides.

    `judge` gives a judgement for each subject (a data set and network, say); it raises `MissingEvidence` where the
    evidence holds too little. `paper` is the paper's own value, `ours` says that the criterion is our reading.
    """

    id: str
    sentence: str
    criterion: str
    judge: "Callable[[Evidence], Iterable[Judgement]]"
    paper: str = ""
    ours: bool = False

    def judged(self, evidence: "Evidence") -> JudgedClaim:
        """The claim with its verdicts; "not tested", with the reason, where the evidence holds too little.

        What was judged before the evidence gave out stays: a failure is not lost over what another subject lacks.
        """
        found: list[Judgement] = []
        try:
            found += self.judge(evidence)  # adds what comes before an error, too
        except MissingEvidence as missing:
            found.append(_untested("the rest" if found else "all", str(missing)))
        found = found or [_untested("all", "nothing was run for it")]
        return JudgedClaim(self.id, self.sentence, self.criterion, tuple(found), self.paper, self.ours)


def _untested(subject: str, why: str) -> Judgement:
    return Judgement(subject, "not tested", "", why=why)
