"""A network as a function from one tensor to the features of its layers, which derivatives can be taken of."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from deepcollapse.errors import BatchError, NonFiniteError
from deepcollapse.measurement.batches import network_place
from deepcollapse.measurement.capture import Capture
from deepcollapse.measurement.head import class_count, find_head
from deepcollapse.measurement.layers import HEAD_INPUT
from deepcollapse.measurement.reduction import first_floating, reduce_features
from deepcollapse.measurement.state import exact, undisturbed
from deepcollapse.measurement.wrappers import runnable

HALF = (torch.float16, torch.bfloat16)


class LayerOutputs(Capture):
    """The features of chosen layers, flattened to (n, p), as a function of the network's one input (n, ...).

    Within `with outputs:` the network is in eval mode and records no gradients of its own accord, and everything is
    put back afterwards; a call runs it. Features keep their derivatives, forward or reverse. Autocast is off, and a
    network in half precision runs with its weights widened to float32: derivatives and small perturbations are lost
    in half.

    Args: as in `measure`.
    """

    def __init__(
        self, network: nn.Module, *, layers: str | Sequence[str] | None = None, head: str | None = "auto"
    ) -> None:
        found = find_head(network, head, None)
        classes = None if found is None else class_count(*found, None)
        super().__init__(network, layers=layers, head=head, num_classes=classes or 1, reduction="flatten")
        self.device, dtype = network_place(network)
        self.dtype = torch.float32 if dtype in HALF else dtype
        self.widened: dict[str, Tensor] | None = None
        self._body = runnable(network)

    def __enter__(self) -> "LayerOutputs":
        self._closing.enter_context(undisturbed(self.network))
        self._closing.enter_context(exact())
        # Fused attention knows no forward derivatives.
        self._closing.enter_context(sdpa_kernel(SDPBackend.MATH))
        fast = torch.backends.mha.get_fastpath_enabled()
        self._closing.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        weights = [*self._body.named_parameters(), *self._body.named_buffers()]
        if any(weight.dtype in HALF for _, weight in weights):
            self.widened = {n: w.detach().float() if w.dtype in HALF else w.detach() for n, w in weights}
        try:
            super().__enter__()
        except BaseException:
            self._closing.close()
            raise
        return self

    def placed(self, inputs: Any) -> Float[Tensor, "n ..."]:
        """Inputs where the network takes them, in its own precision or float32. Raises BatchError, NonFiniteError."""
        if not isinstance(inputs, Tensor) or not inputs.dtype.is_floating_point or inputs.ndim < 2:
            kind = type(inputs).__name__
            given = f"{inputs.dtype} of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else kind
            raise BatchError(
                f"inputs came as {given}; expected one floating-point tensor (samples, ...), which features can be "
                "differentiated by. Embed tokens first, and pass the network from there on."
            )
        if not inputs.isfinite().all():
            wrong = int((~inputs.flatten(1).isfinite().all(dim=1)).sum())
            raise NonFiniteError(f"{wrong} of {len(inputs)} inputs hold NaN or infinity; leave them out.")
        wide = torch.float32 if inputs.dtype in HALF else inputs.dtype
        # A copy, so that tensors made in inference mode can be differentiated by.
        return inputs.detach().to(self.device, self.dtype or wide, copy=True)

    def __call__(self, x: Float[Tensor, "n ..."]) -> dict[str, Tensor]:
        """The features of each layer (n, p), in the order in which the layers fire. Errors are those of `measure`."""
        self.expect(torch.zeros(len(x), dtype=torch.int64))
        # A copy: a first layer that works in place may not write over the input.
        arguments = (x.clone(),)
        if self.widened is None:
            self._body(*arguments)
        else:
            torch.func.functional_call(self._body, self.widened, arguments)
        return self.take(None).features

    # --- hooks -------------------------------------------------------------------------------------------------------

    def _keep(self, name: str, output: Any, module: nn.Module, reduction: Any = None) -> None:
        if self._labels is not None:
            features = first_floating(output, name)
            flat = reduce_features(features, self._labels.shape, "flatten", name, channels_last=False)
            self._fired.append((name, flat))

    def _on_head(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._keep(HEAD_INPUT, args + tuple(kwargs.values()), module)

    def _after_head(self, module: nn.Module, _: Any, output: Any) -> None:
        pass


def finite(name: str, values: Tensor, what: str) -> Tensor:
    """`values`, or NonFiniteError that names the layer they are of."""
    if not values.isfinite().all():
        raise NonFiniteError(
            f"layer {name!r}: {what} hold NaN or infinity. Look for a diverged network or an overflow in it."
        )
    return values
