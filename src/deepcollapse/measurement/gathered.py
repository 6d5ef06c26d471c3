"""What function rank needs of the data: a few inputs, and all features and labels at the head's input."""

from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import BatchError
from deepcollapse.geometry.classification_dimension import (
    centred_classification_dimension,
    classification_dimension,
)
from deepcollapse.measurement.batches import Batch, ReadBatch, read_batch, read_targets
from deepcollapse.measurement.head import find_head, head_weights
from deepcollapse.measurement.layer_outputs import LayerOutputs
from deepcollapse.measurement.layers import HEAD_INPUT


class Gathered:
    """A few inputs of the batches, and the features and labels of all samples while they fit the budget of bytes."""

    def __init__(self, samples: int, budget: int) -> None:
        self.samples, self.budget, self.notes = samples, budget, []
        self._chosen: list[Tensor] = []
        self._spare: list[Tensor] = []
        self._counts: dict[int, int] = {}
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._head: tuple[Tensor, Tensor | None] | None = None  # where classification dimensions can be had

    def fill(self, network: nn.Module, batches: Any, head: str | None, custom: ReadBatch | None) -> None:
        """Go over the batches: all of them where there are a head and labels, else as many as hold the inputs."""
        if isinstance(batches, Tensor):
            self._chosen = list(batches[: self.samples])
            self._leave_out("the inputs came without labels")
            return
        found = find_head(network, head, None)
        if found is None:
            self._leave_out("head=None")
            self._fill((read_batch(batch, custom) for batch in batches), None)
            return
        with LayerOutputs(network, layers=[], head=head) as outputs:
            self._head = head_weights(found[1], found[0])
            self._fill((read_batch(batch, custom) for batch in batches), outputs)

    def _fill(self, batches: Any, outputs: LayerOutputs | None) -> None:
        for batch in batches:
            x = only_input(batch)
            y = None if outputs is None else self._read_labels(batch.labels, outputs.num_classes)
            self._choose(x, y, 1 if outputs is None else outputs.num_classes)
            if self._head is not None and outputs is not None and y is not None:
                self._keep(outputs(outputs.placed(x))[HEAD_INPUT].detach(), y)
            if self._head is None and len(self._chosen) + len(self._spare) >= self.samples:
                return

    def inputs(self) -> Tensor:
        """The inputs (n, ...). Raises BatchError where none came."""
        if not self._chosen:
            raise BatchError("the batches held no input, so there is no rank to measure. Is the data loader empty?")
        return torch.stack((self._chosen + self._spare)[: self.samples])

    def dimensions(self, share: float | int) -> list[dict[str, Any]]:
        """Both classification dimensions, as entries of records; none where notes say why."""
        if self._head is None:
            return []
        features, labels = torch.cat(self._features), torch.cat(self._labels)
        note = f"of {len(labels)} samples, keeping {share:g} of their accuracy"
        return [
            {
                "layer": HEAD_INPUT,
                "measure": measure.__name__,
                "value": float(measure(features, labels, *self._head, share=share)),
                "weighting": "sample",
                "note": note,
            }
            for measure in (classification_dimension, centred_classification_dimension)
        ]

    def _leave_out(self, reason: str) -> None:
        self.notes.append(f"classification dimensions are left out: {reason}")
        self._head = None
        self._features.clear()
        self._labels.clear()

    def _read_labels(self, labels: Any, num_classes: int) -> Tensor | None:
        """Labels (n,) where there is one a sample; otherwise nothing that is made of labels can be had."""
        y = None if labels is None else read_targets(labels, num_classes)[0]
        if y is not None and y.ndim == 1:
            return y.cpu()
        if self._head is not None:
            self._leave_out("there is no label a sample" if y is None else "every position has a label of its own")
        return None

    def _choose(self, x: Tensor, y: Tensor | None, num_classes: int) -> None:
        """The first inputs, of each class no more than its part; others are spare."""
        part = -(-self.samples // num_classes)
        for sample, label in zip(x, [0] * len(x) if y is None else y.tolist(), strict=True):
            if len(self._chosen) >= self.samples:
                return
            if y is None or self._counts.get(label, 0) < part:
                self._counts[label] = self._counts.get(label, 0) + 1
                self._chosen.append(sample.clone())  # a view would keep its whole batch
            elif len(self._spare) < self.samples:
                self._spare.append(sample.clone())

    def _keep(self, features: Tensor, y: Tensor) -> None:
        assert self._head is not None
        if features.shape[1] != self._head[0].shape[1]:
            self._leave_out("the head reads every position by itself")
            return
        kept = y >= 0  # others are labels to ignore
        self._features.append(features.cpu()[kept])
        self._labels.append(y[kept])
        if sum(part.numel() * part.element_size() for part in self._features) > self.budget:
            self._leave_out(f"the features at the head's input pass the memory budget of {self.budget} bytes")


def only_input(batch: Batch) -> Tensor:
    """The one tensor that a network is called with. Raises BatchError where it takes more, or something else."""
    inputs = [*batch.args, *batch.kwargs.values()]
    if len(inputs) == 1 and isinstance(inputs[0], Tensor):
        return inputs[0]
    given = ", ".join(str(v.dtype) if isinstance(v, Tensor) else type(v).__name__ for v in inputs) or "nothing"
    raise BatchError(
        f"a batch came with the inputs {given}; ranks are those of a function of one floating-point tensor. "
        "Pass read_batch=lambda batch: (inputs, {}, labels), and a network that takes the inputs alone."
    )
