"""What a trained network makes of each class: its accuracy on test data, and the length of its classifier."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from deepcollapse.records import Record

if TYPE_CHECKING:
    from deepcollapse.sweeps.trained import Trained

ACCURACY, LENGTHS = "class_accuracy", "classifier_lengths"
NAME = "deepcollapse.studies.measured.class_accuracy:of_each_class"


def of_each_class(trained: "Trained") -> Iterable[Record]:
    """Two arrays (C,): `class_accuracy` on test data (NaN for a class without any), `classifier_lengths` of the head.

    Where there is no test data, the accuracy is left out.
    """
    import torch

    from deepcollapse.compression.score import hits
    from deepcollapse.measurement.head import find_head, head_weights

    network, classes = trained.network(), len(trained.splits.class_names)
    found = {}
    if trained.splits.test is not None:
        right, labels = hits(network, trained.batches(trained.splits.test))
        counts = torch.bincount(labels, minlength=classes).double()
        found[ACCURACY] = torch.bincount(labels, right.double(), minlength=classes) / counts
    name, head = find_head(network, "auto", classes) or ("", network.get_submodule("head"))
    found[LENGTHS] = head_weights(head, name)[0].norm(dim=1).cpu()
    references = trained.run.write_arrays("of-each-class", found)
    where = {ACCURACY: ("test", "network"), LENGTHS: ("train", "head")}
    for name, reference in references.items():
        split, layer = where[name]
        yield Record(epoch=trained.recipe.epochs, split=split, layer=layer, measure=name, array=reference)
