"""Jacobians of layers by some input coordinates: forward, many directions at once, or backward, output by output."""

import warnings
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import jvp, vmap

from deepcollapse.errors import CaptureError, DeepCollapseError, MemoryBudgetError
from deepcollapse.measurement.layer_outputs import LayerOutputs, finite

AT_ONCE = 1 << 24  # numbers of the layers' features that one chunk of directions carries
Mode = Literal["forward", "reverse"]


class Derivatives:
    """Jacobians (p, k) of every layer's features at one input after the other, within a budget of bytes."""

    def __init__(self, features: LayerOutputs, coordinates: Int64[Tensor, " k"], budget: int) -> None:
        self.features, self.coordinates, self.budget = features, coordinates, budget
        self.outputs: dict[str, int] = {}
        self.mode: Mode | None = None  # as the first input shows to be cheaper and possible

    def at(self, x: Float[Tensor, "1 ..."]) -> Iterator[tuple[str, Float[Tensor, "p k"]]]:
        """The name and Jacobian of each layer at one input, in as many sweeps as the budget makes it take."""
        for name, values in self.features(x).items():
            self.outputs[name] = finite(name, values, "features").shape[1]
        for names in self._sweeps(x.element_size()):
            jacobians = self._jacobians(x, names)
            for name in names:
                yield name, finite(name, jacobians.pop(name), "derivatives")

    def _sweeps(self, itemsize: int) -> list[list[str]]:
        """The layers in groups whose Jacobians fit the budget together."""
        sweeps, left = [], 0
        for name, count in self.outputs.items():
            need = count * len(self.coordinates) * itemsize
            if need > self.budget:
                raise MemoryBudgetError(
                    f"layer {name!r}: a Jacobian of {count} features by {len(self.coordinates)} coordinates takes "
                    f"{need / 1e6:.3g} MB, more than the memory budget of {self.budget / 1e6:.3g} MB. "
                    "Choose fewer coordinates, leave the layer out, or raise memory_budget."
                )
            if not sweeps or need > left:
                sweeps.append([])
                left = self.budget
            sweeps[-1].append(name)
            left -= need
        return sweeps

    def _jacobians(self, x: Tensor, names: list[str]) -> dict[str, Tensor]:
        ways = {"forward": self._forward, "reverse": self._reverse}
        if self.mode is not None:
            return ways[self.mode](x, names)
        # One pass backward for each output, or one forward for each coordinate, many of which run together.
        order: tuple[Mode, ...] = ("forward", "reverse")
        order = order[::-1] if 2 * sum(self.outputs.values()) < len(self.coordinates) else order
        reasons = []
        for mode in order:
            try:
                found = ways[mode](x, names)
            except (DeepCollapseError, torch.OutOfMemoryError):
                raise
            except RuntimeError as error:
                reasons.append(f"{mode}: {str(error).strip().splitlines()[0][:160]}")
                continue
            self.mode = mode
            return found
        raise CaptureError(
            f"the network can be differentiated neither forward nor backward by its input ({'; '.join(reasons)}). "
            "Leave out the layers behind the operation that is named there."
        )

    def _forward(self, x: Tensor, names: list[str]) -> dict[str, Tensor]:
        def rows(z: Tensor) -> dict[str, Tensor]:
            found = self.features(z)
            return {name: found[name][0] for name in names}

        k, numel = len(self.coordinates), x.numel()
        jacobians = {name: x.new_empty(self.outputs[name], k) for name in names}
        chunk = max(1, AT_ONCE // (numel + sum(self.outputs.values())))
        for start in range(0, k, chunk):
            here = self.coordinates[start : start + chunk]
            directions = x.new_zeros(len(here), numel).scatter_(1, here[:, None], 1).reshape(len(here), *x.shape)
            with warnings.catch_warnings():
                # What torch says of its own code, where it first prepares forward derivatives.
                warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
                columns = vmap(lambda t: jvp(rows, (x,), (t,))[1], randomness="same")(directions)
            for name in names:
                jacobians[name][:, start : start + chunk] = columns[name].T
        return jacobians

    def _reverse(self, x: Tensor, names: list[str]) -> dict[str, Tensor]:
        with torch.enable_grad():
            leaf = x.clone().requires_grad_()
            found = self.features(leaf)
            return {name: self._gradients(found[name][0], leaf) for name in names}

    def _gradients(self, outputs: Tensor, leaf: Tensor) -> Tensor:
        """The gradient of each output by the coordinates (p, k); 0 where nothing leads back to the input."""
        jacobian = leaf.new_zeros(len(outputs), len(self.coordinates))
        if not outputs.requires_grad:
            return jacobian
        chunk = max(1, AT_ONCE // (leaf.numel() + len(outputs)))
        start, together = 0, True
        while start < len(outputs):
            here = torch.arange(start, min(start + (chunk if together else 1), len(outputs)), device=leaf.device)
            seeds = torch.zeros(len(here), len(outputs), dtype=outputs.dtype, device=outputs.device)
            seeds.scatter_(1, here[:, None].to(outputs.device), 1)
            how = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
            try:
                # A batch of one goes plainly, as any operation that has a gradient can.
                (rows,) = torch.autograd.grad(
                    outputs, leaf, seeds if together else seeds[0], is_grads_batched=together, **how
                )
            except RuntimeError:
                if not together:
                    raise
                together = False
                continue
            jacobian[start : start + len(here)] = rows.reshape(len(here), -1)[:, self.coordinates]
            start += len(here)
        return jacobian
