r"""When deep neural collapse is optimal: conditions on the number of classes and of layers.

What is quoted stands in the papers' abstracts or theorems and is not proved again here; what is computed here is a
construction whose loss lies below that of collapse at all decays where collapse is not all zero itself. A block of
classes that beats collapse beats it for every larger number of classes too (see `blocks`).
"""

from dataclasses import dataclass
from typing import Literal

from deepcollapse.errors import OptionError, TooFewClassesError
from deepcollapse.theory.problems.deep.construction import Answer
from deepcollapse.theory.problems.deep.scalar_problem import checked_depth

# The fewest classes from which collapse is beaten by a construction made here, by number of layers, four standing for
# more of them too; and that construction; and from where only at some decays. The tests work these out again.
BEATEN_FROM = {2: 15, 3: 8, 4: 3}
BEATEN_AT_STRONG_DECAY = {2: 9, 3: 7}
BEATEN_BY = {
    2: "the strongly regular graph of 15 classes",
    3: "8 of the 10 edges of a strongly regular graph",
    4: "three classes on an arc",
}


@dataclass(frozen=True)
class Verdict:
    """Whether collapse is optimal, in a word and in a sentence; `source` is a key of the references or "derived here".

    `quoted` is True where the answer rests on a paper's theorem and False where it is computed or proved here.
    """

    answer: Answer
    because: str
    source: str
    quoted: bool


def collapse_wins(
    num_classes: int, depth: int, loss: Literal["squared", "cross-entropy"] = "squared", linear: bool = False
) -> Verdict:
    """Whether deep neural collapse is optimal in the deep unconstrained-features model, for all decays it is for.

    `depth` is the number of weight matrices L, and `linear` leaves out the ReLUs between them. Layers are wide enough
    for every solution that is spoken of, and decays weak enough that all zero is not better. "no" says that some point
    is below collapse, "unknown" that neither is known. Raises TooFewClassesError below two classes, and OptionError for
    a depth below 1 or another loss.

    >>> collapse_wins(10, 4).answer, collapse_wins(2, 4).answer, collapse_wins(7, 3).answer
    ('no', 'yes', 'unknown')
    """
    checked_depth(depth)
    if num_classes < 2:
        raise TooFewClassesError(f"theory compares classes: it needs at least 2 of them; got {num_classes}.")
    if loss == "cross-entropy":
        return _cross_entropy(num_classes, depth, linear)
    if loss != "squared":
        raise OptionError(f"conditions are known for the losses 'squared' and 'cross-entropy'; got {loss!r}.")
    return _squared(num_classes, depth, linear)


def _squared(num_classes: int, depth: int, linear: bool) -> Verdict:
    if linear or depth == 1:
        why = "without ReLUs each singular value of the output is chosen on its own, and collapse chooses all alike"
        return Verdict("yes", why, "derived here", quoted=False)
    if num_classes == 2:
        why = "for two classes collapse is the optimum at any depth, unique but for what the first ReLU hides"
        return Verdict("yes", why, "sukenik2023", quoted=True)
    fewest = BEATEN_FROM[min(depth, 4)]
    if num_classes >= fewest:
        why = f"{BEATEN_BY[min(depth, 4)]}, with any further classes beside it, has a lower loss"
        if (depth == 3 and num_classes >= 10) or (depth > 3 and num_classes >= 6):
            why += "; that collapse is not optimal here is also a theorem of Súkeník, Lampert & Mondelli 2024 (quoted)"
        return Verdict("no", why, "derived here", quoted=False)
    why = "no better point is known, and no proof that there is none"
    if num_classes >= BEATEN_AT_STRONG_DECAY[depth]:
        why = "beaten at decays close to those that make it all zero; at weaker ones no better point is known"
    if depth == 2:
        assumed = "with two layers collapse is optimal under an extra assumption; without it, "
        return Verdict("unknown", assumed + why, "tirer2022", quoted=True)
    return Verdict("unknown", why, "derived here", quoted=False)


def _cross_entropy(num_classes: int, depth: int, linear: bool) -> Verdict:
    if depth == 1:
        why = "with one layer the optimum is a simplex equiangular tight frame"
        return Verdict("yes", why, "zhu2021", quoted=True)
    if linear and num_classes >= (6 if depth == 2 else 4):
        return Verdict("no", "a structure of lower rank has a lower loss", "garrod2025", quoted=True)
    if not linear and ((num_classes >= 10 and depth >= 5) or (num_classes >= 16 and depth == 4)):
        why = "under a technical assumption a structure of lower rank has a lower loss; without it nothing is known"
        return Verdict("unknown", why, "garrod2025", quoted=True)
    return Verdict("unknown", "no condition is known for so few classes or layers", "garrod2025", quoted=True)
