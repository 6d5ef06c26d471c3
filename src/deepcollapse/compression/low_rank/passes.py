"""Passes of a network over batches, in which chosen layers are watched; each ends as soon as nothing is left to see."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from torch import Tensor, nn

from deepcollapse.compression.layers import Layer
from deepcollapse.errors import BatchError, OptionError
from deepcollapse.measurement.batches import Batch, network_place, read_batch, to_place
from deepcollapse.measurement.state import undisturbed
from deepcollapse.measurement.wrappers import eager, refuse_scripted, runnable, unwrapped

Take = Callable[[str, Layer, Tensor], None]


class _SeenEnough(BaseException):
    """Raised inside a forward pass to leave it; no error, so that networks that catch errors let it through."""


class Watch:
    """Hooks that hand on what enters layers, `take(name, layer, x)`; with `calls` a pass ends at the last of these."""

    def __init__(self, layers: Mapping[str, Layer], take: Take, calls: int | None) -> None:
        self.layers, self.take, self.calls = layers, take, calls
        self.seen = 0

    def __enter__(self) -> "Watch":
        self._stack = ExitStack()
        for name, layer in self.layers.items():
            handle = layer.register_forward_pre_hook(self._hook(name, layer), with_kwargs=True)
            self._stack.callback(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hook(self, name: str, layer: Layer):
        def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            self.take(name, layer, args[0] if args else kwargs["input"])
            self.seen += 1
            if self.seen == self.calls:
                raise _SeenEnough

        return hook


def run(network: nn.Module, batches: Iterable[Any], watch: Watch, *, first_only: bool = False) -> None:
    """Run the network over all batches, or the first, under the eyes of `watch`. BatchError where there are none."""
    refuse_scripted(unwrapped(network))
    place, count = network_place(network), 0
    with undisturbed(network, batches), eager(), watch:
        for batch in batches:
            read = _read(batch)
            watch.seen, count = 0, count + 1
            with suppress(_SeenEnough):
                runnable(network)(*to_place(read.args, *place), **to_place(read.kwargs, *place))
            if first_only:
                break
    if count == 0:
        raise BatchError("there were no batches to run the network on; pass at least one.")


def call_order(network: nn.Module, batches: Iterable[Any], layers: Mapping[str, Layer]) -> dict[str, int]:
    """How often each layer is called in a pass of the first batch, in the order of their first calls.

    Raises OptionError for an iterator, which later passes would find used up.
    """
    if isinstance(batches, Iterator):
        raise OptionError(
            "batches is an iterator, which one pass uses up, and truncating layer after layer takes one pass a layer. "
            "Pass a list or a data loader, or sequential=False."
        )
    calls = Counter[str]()
    run(network, batches, Watch(layers, lambda name, *_: calls.update([name]), None), first_only=True)
    return dict(calls)


def _read(batch: Any) -> Batch:
    return Batch((batch,)) if isinstance(batch, Tensor) else read_batch(batch)
