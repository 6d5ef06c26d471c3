"""The rows that training adds to those of a measurement: scores of every epoch, and the onset of TPT."""

from collections.abc import Mapping

from deepcollapse.records import Record
from deepcollapse.training.evaluate import Scores
from deepcollapse.training.objective import loss_unit
from deepcollapse.training.recipe import Recipe

NETWORK = "network"


def epoch_rows(recipe: Recipe, epoch: int, scores: Mapping[str, Scores | None], penalised: float) -> list[Record]:
    """Accuracy and loss of each split that has scores, the training loss with weight decay, and the learning rate."""
    rows, unit = [], loss_unit(recipe)
    for split, found in scores.items():
        if found is not None:
            how = {"epoch": epoch, "layer": NETWORK, "split": split, "weighting": "sample"}
            rows.append(Record(measure="accuracy", value=found.accuracy, **how))
            rows.append(Record(measure="loss", value=found.loss, unit=unit, **how))
    rows.append(
        Record(epoch=epoch, layer=NETWORK, measure="loss_with_decay", value=penalised, unit=unit, split="train")
    )
    rate = recipe.learning_rate(max(1, epoch))
    rows.append(Record(epoch=epoch, layer=NETWORK, measure="learning_rate", value=rate))
    return rows


def onset_row(measure: str, epoch: int, threshold: float) -> Record:
    """That the terminal phase of training began in this epoch.

    >>> onset_row("tpt_onset", 7, 0.9995).note
    'first epoch with a training accuracy of at least 99.95 % in eval mode'
    """
    note = f"first epoch with a training accuracy of at least {100 * threshold:g} % in eval mode"
    return Record(layer=NETWORK, measure=measure, value=epoch, unit="epoch", epoch=epoch, split="train", note=note)
