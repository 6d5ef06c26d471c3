"""What enters a layer and what is propagated back to it, as rows of its weight as a matrix."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepcollapse.theory.bounds.group_moments import GroupMoments, group_moments

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
# Numbers of a chunk of patches in float64: 128 MiB.
CHUNK = 1 << 24
# A Gram matrix of inputs wider than this costs more than all else together.
WIDEST_GRAM = 2048


def places(output: Tensor, layer: Layer, samples: int) -> int | None:
    """At how many places a layer was applied for each sample; None where that is no whole number.

    >>> places(torch.zeros(2, 8, 5, 5), nn.Conv2d(3, 8, 3), 2), places(torch.zeros(6, 4), nn.Linear(3, 4), 2)
    (25, 3)
    """
    rows = output.numel() // layer.weight.shape[0]
    return None if rows % samples else rows // samples


def input_rows(layer: Layer, inputs: Tensor) -> Tensor:
    """The inputs (b, ...) of a layer as (rows, n): those of a convolution unfolded, a row a sample and position.

    >>> layer = nn.Conv2d(2, 3, 2, padding=1, bias=False)
    >>> x = torch.arange(18.0).reshape(1, 2, 3, 3)
    >>> rows = input_rows(layer, x)
    >>> rows.shape, bool((rows @ layer.weight.flatten(1).T).T.reshape(3, 4, 4).allclose(layer(x)[0], atol=1e-4))
    (torch.Size([16, 8]), True)
    """
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, layer.in_features)
    edges = layer._reversed_padding_repeated_twice
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = functional.pad(inputs, edges, mode=mode) if any(edges) else inputs
    if isinstance(layer, nn.Conv1d):
        patches = functional.unfold(
            x[:, :, None], (1, *layer.kernel_size), dilation=(1, *layer.dilation), stride=(1, *layer.stride)
        )
    else:
        patches = functional.unfold(x, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    return patches.transpose(1, 2).reshape(-1, patches.shape[1])


def signal_rows(layer: Layer, signals: Tensor) -> Tensor:
    """Gradients with respect to a layer's outputs (b, ...) as (rows, m), in the order of `input_rows`."""
    if isinstance(layer, nn.Linear):
        return signals.reshape(-1, layer.out_features)
    return signals.flatten(2).transpose(1, 2).reshape(-1, signals.shape[1])


class Tap:
    """A layer's moments as batches pass forwards and back; `positions` counts places over all calls in a pass."""

    def __init__(self, layer: Layer, positions: int, num_groups: int, gone: Callable[[str], None]) -> None:
        self.layer, self.positions, self.num_groups, self.gone = layer, positions, num_groups, gone
        self.moments: GroupMoments | None = None
        self.groups = torch.empty(0)
        self.calls = self.taken = 0
        self.handle = layer.register_forward_hook(self._forward, with_kwargs=True)

    def expect(self, groups: Tensor) -> None:
        """A batch is about to come, with the group of each of its samples."""
        self.groups, self.calls = groups, 0

    def _forward(self, layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> None:
        """Wait for the gradient of this call's output."""
        del layer
        if not output.requires_grad:
            return
        found = places(output, self.layer, len(self.groups))
        first, inputs = self.calls, (*args, *named.values())[0].detach()
        self.calls += found or 0
        if found is None or self.calls > self.positions:
            self.close()
            self.gone("it is not applied at the same places for every sample")
            return
        output.register_hook(lambda signals: self._take(inputs, signals, first, found))

    def _take(self, inputs: Tensor, signals: Tensor, first: int, found: int) -> None:
        if self.handle is None:
            return
        with torch.no_grad():
            samples = len(self.groups)
            each = max(1, CHUNK // (found * self.layer.weight[0].numel()))
            if len(inputs) != samples or len(signals) != samples:
                each = samples  # samples and places share an axis, along which nothing can be cut
            for start in range(0, samples, each):
                stop = min(start + each, samples) if each < samples else None
                self._add(inputs[start:stop], signals[start:stop], self.groups[start:stop], first, found)

    def _add(self, inputs: Tensor, signals: Tensor, groups: Tensor, first: int, found: int) -> None:
        place = first + torch.arange(found, device=groups.device)
        of_rows = (groups[:, None] * self.positions + place).flatten()
        z, d = input_rows(self.layer, inputs), signal_rows(self.layer, signals)
        count = self.num_groups * self.positions
        wide = z.shape[1] > WIDEST_GRAM
        new = group_moments(z, d, of_rows, count, input_gram=not wide)
        self.moments = new if self.moments is None else self.moments.merge(new)

    def close(self) -> None:
        """Let go of the layer."""
        if self.handle is not None:
            self.handle.remove()
            self.handle = None
