"""Collapse over the epochs of training: what is measured of it, and the figures that show it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from deepcollapse.records.charts import Axis, Chart, Table
from deepcollapse.studies.charts.three_classes import three_classes
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.criteria import median
from deepcollapse.studies.judging.subjects import Runs
from deepcollapse.studies.judging.terminal_phase import Quantity, at_onset_and_end, onset_and_end, over_epochs
from deepcollapse.studies.measured.published_collapse import accuracy_of

NC1 = Quantity("NC1", "within_class_variability")
NORMS = (Quantity("class means", "equinorm_means"), Quantity("classifiers", "equinorm_classifier", "head"))
ANGLES = (Quantity("class means", "equiangularity_means"), Quantity("classifiers", "equiangularity_classifier", "head"))
WIDEST = (Quantity("class means", "maximal_angle_means"), Quantity("classifiers", "maximal_angle_classifier", "head"))
NC3 = Quantity("NC3", "self_duality")
NC4_TEST = Quantity("test", "nearest_class_mean_disagreement", split="test")
NC4_TRAIN = Quantity("train", "nearest_class_mean_disagreement")
LOSS = Quantity("cross-entropy", "loss", "network")
TRAINED_LOSS = Quantity("trained loss", "loss_with_decay", "network")
ACCURACY = Quantity("test accuracy", "accuracy", "network", "test")
TRAIN_ACCURACY = Quantity("training accuracy", "accuracy", "network")
ROBUSTNESS = Quantity("relative norm", "robustness", "network", "test")

SHARE = Axis("share of samples")
ZERO = "Bands are the range over seeds. At collapse this is 0."
PICTURE = "At collapse the samples of a class, its mean and its classifier all lie on one corner of the triangle."
TWICE = "Measured at TPT onset and at the end; the paper measures at every epoch of the other figures."
LOSSES = "What is minimised is cross-entropy plus the decay term. Strong decay may let cross-entropy alone rise."


def collapse_charts(subjects: Mapping[str, Runs]) -> Iterable[Chart]:
    """The figures of :cite:`papyan2020`, a panel for each subject, and those of loss and accuracy."""
    pictures = [panel for subject, runs in subjects.items() for panel in three_classes(subject, runs[0])]
    yield Chart("Three classes in the plane of their means", pictures, "Fig. 1", PICTURE)
    yield from _over_epochs(
        subjects,
        ("Equal norms", NORMS, Axis("std / mean of norms"), "Fig. 2", ZERO),
        ("Equal angles", ANGLES, Axis("std of cosines"), "Fig. 3", ZERO),
        ("Widest angles", WIDEST, Axis("mean |cos + 1/(C-1)|"), "Fig. 4", ZERO),
        ("Self-duality", (NC3,), Axis("NC3", log=True), "Fig. 5", ZERO),
        ("Within-class variability", (NC1,), Axis("NC1", log=True), "Fig. 6", ZERO),
        ("Against the nearest class mean", (NC4_TEST, NC4_TRAIN), SHARE, "Fig. 7", "The paper shows test data."),
    )
    robust = "Robustness against DeepFool"
    yield at_onset_and_end(robust, subjects, ROBUSTNESS, Axis("mean |r| / |x|"), figure="Fig. 8", says=TWICE)
    yield from _over_epochs(
        subjects,
        ("Loss", (TRAINED_LOSS, LOSS), Axis("loss", log=True), "", LOSSES),
        ("Accuracy", (TRAIN_ACCURACY, ACCURACY), SHARE, "", ""),
    )


def _over_epochs(
    subjects: Mapping[str, Runs], *charts: tuple[str, Sequence[Quantity], Axis, str, str]
) -> Iterable[Chart]:
    for title, quantities, y, figure, says in charts:
        yield over_epochs(title, subjects, quantities, y, figure=figure, says=says)


def accuracy_table(subjects: Mapping[str, Runs]) -> Table:
    """Table 1: test accuracy in per cent at TPT onset and at the end, beside what the paper has."""
    rows = []
    for subject, runs in subjects.items():
        pairs = _accuracies(runs)
        onset, end = (median([100 * pair[side] for pair in pairs]) for side in (0, 1))
        paper = accuracy_of(runs[0].recipe.dataset, runs[0].recipe.network)
        theirs = (paper.onset, paper.end, round(paper.end - paper.onset, 2)) if paper else (None, None, None)
        change = None if onset is None or end is None else end - onset
        rows.append((subject, len(pairs), *map(_rounded, (onset, end, change)), *theirs))
    columns = ("data, network", "seeds", "TPT onset", "end", "change", "paper: onset", "paper: end", "paper: change")
    said = "Per cent, medians over seeds. Published values stand where the paper trained that network on that data set."
    return Table("Test accuracy at TPT onset and at the end", columns, rows, "Table 1", said)


def _accuracies(runs: Runs) -> list[tuple[float, float]]:
    """Test accuracies at TPT onset and at the end, of the runs that have both."""
    pairs = []
    for run in runs:
        with suppress(MissingEvidence):
            pairs += [onset_and_end(run, ACCURACY)] if run.onset is not None else []
    return pairs


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
