"""What became of a network's layers."""

from dataclasses import dataclass

from torch import nn

from deepcollapse.compression.low_rank.decomposed import Cut, DecomposedLayer, Rank


@dataclass(frozen=True)
class TruncatedLayer:
    """What became of one layer.

    Attributes:
        name: the layer's. shape: of its weight. rank: r, Tucker's (r_o, r_i), or None where it was left as it is.
        form: "linear", "channel", "spatial" or "tucker".
        parameters_before, parameters_after: its own, with the bias.
        weight_error: ||W - W_r||_F / ||W||_F.
        output_error: the root mean square change of the layer's output on the batches over that of W x; None without
            batches.
        note: why it was left as it is, or None.
    """

    name: str
    shape: tuple[int, ...]
    rank: Rank | None
    form: str
    parameters_before: int
    parameters_after: int
    weight_error: float
    output_error: float | None
    note: str | None = None


@dataclass(frozen=True)
class Truncated:
    """A network of lower rank, an ordinary module of its own, and what became of each layer that was named."""

    network: nn.Module
    layers: tuple[TruncatedLayer, ...]


def row_of_cut(name: str, plan: DecomposedLayer, rank: Rank, cut: Cut) -> TruncatedLayer:
    """The row of a layer that was cut."""
    return TruncatedLayer(
        name=name,
        shape=tuple(plan.layer.weight.shape),
        rank=rank,
        form=plan.form,
        parameters_before=_parameters(plan.layer),
        parameters_after=_parameters(cut.module),
        weight_error=plan.weight_error(cut),
        output_error=plan.output_error(cut),
    )


def row_of_left(name: str, plan: DecomposedLayer, note: str, *, measured: bool) -> TruncatedLayer:
    """The row of a layer that stays, with the reason; its errors are 0, where errors were `measured` at all."""
    own = _parameters(plan.layer)
    error = 0.0 if measured else None
    return TruncatedLayer(name, tuple(plan.layer.weight.shape), None, plan.form, own, own, 0.0, error, note)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
