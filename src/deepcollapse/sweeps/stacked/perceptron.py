"""Stacked multilayer perceptrons with their gradients in closed form: the same products and sums that torch's automatic
differentiation takes, in the same order, in memory that is used again.

Activations lie as (samples, members, width): there batch norm sees all members' units as its channels, and each
member's product is one of a batch of products.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepcollapse.networks.layers import Classifier
from deepcollapse.networks.mlp import HiddenLayer

# Where torch's sums and products round otherwise for many members than for one: batched products of fewer multiply-adds
# than this, sums of rows that are no multiple of so many numbers and lie apart, and the gradient of batch norm in what
# is left over of a processor's widest vectors. There, members are taken one by one.
TINY, LANES, VECTOR = 400, 32, 16
Losses = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Layer:
    """A linear map of every member, with the batch norm and the activation that follow it, if any.

    `parts` are weight (members, out, in) and, where there is one, bias (members, out); `norm` batch norm's weight and
    bias, and `statistics` its running mean and variance, all (members, out).
    """

    weight: Tensor
    bias: Tensor | None
    norm: tuple[Tensor, Tensor] | None = None
    statistics: tuple[Tensor, Tensor, Tensor] | None = None
    momentum: float = 0.0
    eps: float = 0.0
    activation: nn.Module | None = None

    def mapped(self, h: Tensor, out: Tensor) -> None:
        """The linear map, from (members, n, in) to `out` (n, members, out)."""
        product(h, self.weight.transpose(1, 2), out.transpose(0, 1), self.bias)

    def normed(self, z: Tensor, training: bool) -> tuple[Tensor, ...]:
        """Batch norm of (n, members, out) over n; in training with the statistics of the batch, which it keeps."""
        assert self.norm is not None
        assert self.statistics is not None
        (weight, bias), (mean, variance, count) = self.norm, self.statistics
        if training:
            count += 1
        y, *saved = torch.native_batch_norm(
            z.flatten(1), weight.flatten(), bias.flatten(), mean.view(-1), variance.view(-1), training,
            self.momentum, self.eps
        )  # fmt: skip
        return y.view(z.shape), *saved

    def normed_back(self, g: Tensor, z: Tensor, saved: Sequence[Tensor]) -> list[Tensor]:
        """The gradients of batch norm's input (n, members, out), weight and bias (members, out)."""
        assert self.norm is not None
        assert self.statistics is not None
        members, width = self.norm[0].shape
        own = (self.norm[0], *self.statistics[:2], *(kept.view(members, width) for kept in saved))
        if width % VECTOR == 0:
            found = self._norm_back(g.flatten(1), z.flatten(1), *(kept.view(-1) for kept in own))
            return [found[0].view(z.shape), *(each.view(members, width) for each in found[1:])]
        each = [
            self._norm_back(g[:, i].contiguous(), z[:, i].contiguous(), *(k[i] for k in own)) for i in range(members)
        ]
        inputs, weights, biases = zip(*each, strict=True)
        return [torch.stack(inputs, dim=1), torch.stack(weights), torch.stack(biases)]

    def _norm_back(self, g: Tensor, z: Tensor, weight: Tensor, *statistics: Tensor) -> tuple[Tensor, ...]:
        return torch.ops.aten.native_batch_norm_backward(
            g, z, weight, *statistics, True, self.eps, [True, True, True]
        )  # fmt: skip


class Perceptrons:
    """The mlp of every member, in training and in evaluation."""

    def __init__(self, skeleton: nn.Module, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]):
        assert isinstance(skeleton, Classifier)
        held = {name: p.detach() for name, p in parameters.items()} | dict(buffers)
        names = [f"blocks.{i}" for i in range(len(skeleton.blocks))]
        self.layers = [_hidden(block, name, held) for name, block in zip(names, skeleton.blocks, strict=True)]
        self.layers.append(_linear("head", held))
        self.members = len(self.layers[0].weight)
        self._memory: dict[tuple[object, ...], Tensor] = {}

    @staticmethod
    def serves(network: nn.Module) -> bool:
        """Whether a network is such a perceptron."""
        if type(network) is not Classifier or type(network.head) is not nn.Linear:
            return False
        plain = isinstance(network.stem, nn.Flatten) and isinstance(network.neck, nn.Identity)
        return plain and all(_serves(block) for block in network.blocks)

    @staticmethod
    def exact(network: nn.Module) -> bool:
        """Whether a network is such a perceptron, and one that goes its way bit for bit as alone on a CPU's thread."""
        return Perceptrons.serves(network) and not any(
            isinstance(block.activation, nn.Tanh) and block.linear.out_features % VECTOR
            for block in network.modules()
            if isinstance(block, HiddenLayer)
        )

    def gradients(self, x: Tensor, y: Tensor, losses: Losses) -> tuple[Tensor, list[Tensor]]:
        """The members' losses (members,) of inputs (members, n, ...) and labels (members, n), and the gradients of
        their parameters in the order of the parameters; running statistics of batch norm are kept up."""
        h, kept = x.flatten(2), []
        for i, layer in enumerate(self.layers):
            z = self._room(("z", i), len(y[0]), self.members, layer.weight.shape[1])
            layer.mapped(h, z)
            out, *saved = layer.normed(z, True) if layer.norm else (z,)
            if layer.activation is not None:
                out = _activated(layer.activation, out)
            kept.append((h, z, out, saved))
            h = out.transpose(0, 1)
        logits = h.detach().requires_grad_()
        with torch.enable_grad():
            each = losses(logits, y)
            (g,) = torch.autograd.grad(each.sum(), logits)
        found: list[Tensor] = []
        for i in reversed(range(len(self.layers))):
            g, own = self._back(i, g.transpose(0, 1), *kept[i])
            found = own + found
        return each.detach(), found

    def _back(
        self, i: int, g: Tensor, h: Tensor, z: Tensor, out: Tensor, saved: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """From the gradient of a layer's output (n, members, out) to that of its input, and those of its parameters."""
        layer, normed = self.layers[i], []
        if layer.activation is not None:
            g = _activated_back(layer.activation, g, out)
        if layer.norm:
            g, *normed = layer.normed_back(g, z, saved)
        g = g.transpose(0, 1)
        own = [product(g.transpose(1, 2), h, self._room(("w", i), *layer.weight.shape))]
        if layer.bias is not None:
            own.append(summed(g))
        if i:
            before = self._room(("g", i), h.shape[1], self.members, h.shape[2])
            g = product(g, layer.weight, before.transpose(0, 1))
        return g, own + normed

    def logits(self, x: Tensor, same: bool) -> Tensor:
        """Logits (members, n, classes) in evaluation: of each member's inputs (members, n, ...), or the `same` (n, ...)
        for all."""
        h = x.flatten(1).expand(self.members, -1, -1) if same else x.flatten(2)
        for i, layer in enumerate(self.layers):
            z = self._room(("z", i), h.shape[1], self.members, layer.weight.shape[1])
            layer.mapped(h, z)
            out = layer.normed(z, False)[0] if layer.norm else z
            h = (_activated(layer.activation, out) if layer.activation is not None else out).transpose(0, 1)
        return h

    def _room(self, name: tuple[object, ...], *shape: int) -> Tensor:
        """Memory of this shape that was used for the same thing before."""
        key = (*name, *shape)
        if key not in self._memory:
            self._memory[key] = self.layers[0].weight.new_empty(shape)
        return self._memory[key]


def product(a: Tensor, b: Tensor, out: Tensor, bias: Tensor | None = None) -> Tensor:
    """Each member's a b, of (members, n, k) and (members, k, m), to which a bias (members, m) may be added."""
    if a.shape[1] * a.shape[2] * b.shape[2] < TINY:
        for i in range(len(a)):
            torch.mm(a[i], b[i], out=out[i]) if bias is None else torch.addmm(bias[i], a[i], b[i], out=out[i])
        return out
    return torch.bmm(a, b, out=out) if bias is None else torch.baddbmm(bias.unsqueeze(1), a, b, out=out)


def summed(g: Tensor) -> Tensor:
    """Each member's sum over samples, (members, n, m) -> (members, m), rounded as a sum of its own numbers alone is."""
    return (g if g.shape[2] % LANES == 0 else g.contiguous()).sum(dim=1)


def _linear(name: str, held: Mapping[str, Tensor]) -> Layer:
    return Layer(held[f"{name}.weight"], held.get(f"{name}.bias"))


def _hidden(block: nn.Module, name: str, held: Mapping[str, Tensor]) -> Layer:
    assert isinstance(block, HiddenLayer)
    layer = _linear(f"{name}.linear", held)
    layer.activation = None if isinstance(block.activation, nn.Identity) else block.activation
    if isinstance(block.norm, nn.BatchNorm1d):
        layer.norm = (held[f"{name}.norm.weight"], held[f"{name}.norm.bias"])
        kept = ("running_mean", "running_var", "num_batches_tracked")
        layer.statistics = tuple(held[f"{name}.norm.{part}"] for part in kept)  # pyright: ignore[reportAttributeAccessIssue]
        assert block.norm.momentum is not None
        layer.momentum, layer.eps = block.norm.momentum, block.norm.eps
    return layer


def _serves(block: nn.Module) -> bool:
    return (
        type(block) is HiddenLayer
        and type(block.norm) in (nn.BatchNorm1d, nn.Identity)
        and type(block.activation) in (nn.ReLU, nn.Tanh, nn.Identity)
    )


def _activated(activation: nn.Module, z: Tensor) -> Tensor:
    """The activation, written over its argument: its gradient needs its value alone."""
    return z.relu_() if isinstance(activation, nn.ReLU) else z.tanh_()


def _activated_back(activation: nn.Module, g: Tensor, out: Tensor) -> Tensor:
    if isinstance(activation, nn.ReLU):
        return torch.ops.aten.threshold_backward(g, out, 0)
    return torch.ops.aten.tanh_backward(g, out)
