"""`function_rank`: how the rank of a network's layers, as functions of the input, falls with depth."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from jaxtyping import Int64
from torch import Tensor, nn

from deepcollapse.errors import OptionError
from deepcollapse.measurement.batches import ReadBatch
from deepcollapse.measurement.gathered import Gathered
from deepcollapse.measurement.jacobian import PartialJacobians, partial_jacobians
from deepcollapse.measurement.measurement import Measurement
from deepcollapse.measurement.passes import parse_bytes
from deepcollapse.measurement.perturbation import PerturbedDimensions, perturbed_dimensions
from deepcollapse.measurement.state import undisturbed
from deepcollapse.records import Record


def function_rank(
    network: nn.Module,
    batches: Tensor | Iterable[Any],
    *,
    samples: int = 10,
    layers: str | Sequence[str] | None = None,
    head: str | None = "auto",
    coordinates: Sequence[int] | Int64[Tensor, " k"] | None = None,
    copies: int = 1000,
    sigma: float | int = 1e-3,
    share: float | int = 0.95,
    split: str = "train",
    seed: int = 0,
    read_batch: ReadBatch | None = None,
    memory_budget: int | str = "1GiB",
    progress: Callable[[int], None] | None = None,
) -> Measurement:
    r"""Rank diminishing: the rank of each layer as a function of the input, and what the classifier needs of the last.

    At every layer, on average over a few inputs and with features flattened: `partial_jacobian_rank` by the published
    rule, `partial_jacobian_rank_svd` by the plain one (see `partial_jacobians`), `perturbed_dimension` (see
    `perturbed_dimensions`) and `flattened_dimension`, the number of features. At the head's input, over all samples:
    `classification_dimension` and `centred_classification_dimension`. Spectra are kept as arrays, a row an input. Exact
    rank cannot grow with depth along a chain of layers; measured ranks may, and are recorded as they are.

    Args:
        network, layers, head, read_batch, split: as in `measure`.
        batches: as in `measure`, with one floating tensor of inputs each; or inputs (n, ...) alone, without labels and
            so without classification dimensions.
        samples: inputs that ranks are averaged over: the first ones, of each class no more than its part.
        coordinates: of the input, that Jacobians are taken by; the centre patch of an image by default.
        copies, sigma, seed: of the perturbed inputs; published with 5000 copies.
        share: of the accuracy, which the classification dimension keeps.
        memory_budget: for Jacobians, blocks of features, and the features that enter the head.
        progress: called with the number of inputs done, which each count twice.

    Raises what `partial_jacobians` and `perturbed_dimensions` do. Source: Feng et al. 2022.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    >>> found = function_rank(net, [(torch.randn(20, 6), torch.arange(20) % 2)], samples=2, copies=50)
    >>> found["partial_jacobian_rank_svd", "1"], found["partial_jacobian_rank_svd", "3"], found["flattened_dimension"]
    (3.0, 3.0, 8.0)
    """
    if samples < 1:
        raise OptionError(f"samples must be at least 1; got {samples}.")
    gathered = Gathered(samples, parse_bytes(memory_budget))
    with undisturbed(network, batches):
        gathered.fill(network, batches, head, read_batch)
    inputs = gathered.inputs()
    how: dict[str, Any] = {"layers": layers, "head": head, "memory_budget": memory_budget}
    jacobians = partial_jacobians(network, inputs, coordinates=coordinates, progress=progress, **how)
    again = None if progress is None else partial(_later, progress, len(inputs))
    perturbed = perturbed_dimensions(network, inputs, copies=copies, sigma=sigma, seed=seed, progress=again, **how)
    entries = _of_jacobians(jacobians, inputs[0].numel()) + _of_perturbed(perturbed)
    records = [Record(split=split, reduction="flatten", weighting="sample", **entry) for entry in entries]
    records += [Record(split=split, reduction="none", **entry) for entry in gathered.dimensions(share)]
    arrays = {f"{name}/singular_values_jacobian": values for name, values in jacobians.singular_values.items()}
    arrays |= {f"{name}/variances_perturbed": values for name, values in perturbed.variances.items()}
    for key in arrays:
        layer, _, measure = key.rpartition("/")
        records.append(Record(layer=layer, measure=measure, array=key, split=split, reduction="flatten"))
    notes = dict.fromkeys([*jacobians.notes, *gathered.notes])
    return Measurement(tuple(records), arrays, {}, jacobians.layers, runs=1, notes=tuple(notes))


def _later(progress: Callable[[int], None], before: int, number: int) -> None:
    progress(before + number)


def _of_jacobians(found: PartialJacobians, numel: int) -> list[dict[str, Any]]:
    """The ranks of each layer by both rules, and the number of its features."""
    entries = []
    by = f"by {len(found.coordinates)} of {numel} input coordinates"
    rules = {"partial_jacobian_rank": found.gram_ranks, "partial_jacobian_rank_svd": found.svd_ranks}
    for layer, count in found.outputs.items():
        nothing = not found.singular_values[layer].any()
        zero = "; nothing leads from these to the features, or a detach cuts it off" if nothing else ""
        for measure, ranks in rules.items():
            note = f"{_spread(ranks[layer])}, {by}{zero}"
            entries.append({"layer": layer, "measure": measure, "value": float(ranks[layer].mean()), "note": note})
        entries.append({"layer": layer, "measure": "flattened_dimension", "value": count, "unit": "features"})
    return entries


def _of_perturbed(found: PerturbedDimensions) -> list[dict[str, Any]]:
    by = f"{found.copies} copies with noise of size {found.sigma:g}"
    return [
        {
            "layer": layer,
            "measure": "perturbed_dimension",
            "value": float(counts.mean()),
            "note": f"{_spread(counts)}, {by}",
        }
        for layer, counts in found.dimensions.items()
    ]


def _spread(ranks: Tensor) -> str:
    """What a mean is of, in words."""
    return f"mean of {len(ranks)} inputs, from {int(ranks.min())} to {int(ranks.max())}"
