"""Where training runs: the device, its threads, its precision."""

import contextlib
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import OptionError
from deepcollapse.measurement.state import undisturbed
from deepcollapse.records import Run
from deepcollapse.training.data import Split
from deepcollapse.training.recipe import Recipe

# Below so many multiply-adds a batch, handing work to a second thread takes longer than doing it.
ONE_THREAD_BELOW = 300_000_000


@dataclass
class Place:
    """A device and how it is used; open it (`with place:`) to set the number of threads for the time being."""

    device: torch.device
    threads: int
    recipe: Recipe
    evaluation_batch: int = 512
    _before: list[int] = field(default_factory=list, init=False)

    @classmethod
    def choose(cls, recipe: Recipe, device: str | None) -> "Place":
        """The device asked for, or CUDA where there is one.

        Raises OptionError where there is no such device, or mixed precision is asked of a CPU.
        """
        name = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            chosen = torch.device(name)
            torch.zeros(1, device=chosen).item()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            if reason.startswith("Expected one of"):  # and now PyTorch lists twenty kinds of devices
                reason = "PyTorch knows none of that name; graphics cards are cuda, or cuda:1 for the second"
            raise OptionError(f"there is no device {name!r} here ({reason}). Try --device cpu.") from error
        if recipe.precision != "float32" and chosen.type != "cuda":
            raise OptionError(f"precision {recipe.precision!r} is for CUDA; on {chosen.type} use --precision float32.")
        return cls(chosen, torch.get_num_threads(), recipe)

    def with_threads(self, threads: int) -> "Place":
        """The same place with so many threads. Raises OptionError below one."""
        if threads < 1:
            raise OptionError(f"threads must be at least 1; got {threads}.")
        return replace(self, threads=threads)

    def describe(self) -> str:
        """The device in words, for the provenance."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{self.device.type} ({platform.machine()})"

    def __enter__(self) -> "Place":
        self._before.append(torch.get_num_threads())
        torch.set_num_threads(self.threads)
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before.pop())

    def settle(self, network: nn.Module) -> nn.Module:
        """The network on the device, in the memory layout of the recipe."""
        network = network.to(self.device)
        if self.recipe.channels_last:
            network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's own stub lacks it
        return network

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of forward passes in training."""
        types = {"bfloat16": torch.bfloat16, "float16": torch.float16}
        if self.recipe.precision not in types:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=types[self.recipe.precision])

    def batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> "OnDevice":
        """The batches on the device."""
        return OnDevice(batches, self)


@dataclass(frozen=True)
class OnDevice:
    """Batches that move to the device as they are iterated, as often as the source allows."""

    source: Iterable[tuple[Tensor, Tensor]]
    place: Place

    @property
    def generator(self) -> torch.Generator | None:
        """The source's own generator, for whoever must leave it as it was."""
        return getattr(self.source, "generator", None)

    @property
    def sampler(self) -> Any:
        """The source's sampler, which may have a generator too."""
        return getattr(self.source, "sampler", None)

    def __len__(self) -> int:
        """The number of batches; TypeError where the source does not tell."""
        return len(self.source)  # pyright: ignore[reportArgumentType]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels on the device."""
        for x, y in self.source:
            quick = self.place.device.type == "cuda"  # only copies to CUDA wait for their data by themselves
            x = x.to(self.place.device, non_blocking=quick)
            if self.place.recipe.channels_last and x.ndim == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            yield x, y.to(self.place.device, non_blocking=quick)


def threads_before(out: str | os.PathLike[str]) -> int | None:
    """The number of threads of the run that goes on: other numbers sum in another order, and so round otherwise."""
    with contextlib.suppress(OSError):
        return Run.open(out).provenance.get("threads")
    return None


def serving_threads(network: nn.Module, data: Split, batch: int) -> int:
    """One thread for small work, all for large: counted in multiply-adds, so that it is the same every time."""
    x, _ = next(iter(data.batches(2)))
    work = multiply_adds(network, x) / len(x) * batch
    return 1 if work < ONE_THREAD_BELOW else torch.get_num_threads()


def multiply_adds(network: nn.Module, inputs: Tensor) -> int:
    """Multiply-adds of the linear and convolutional layers in one forward pass.

    >>> multiply_adds(nn.Linear(3, 4), torch.ones(5, 3))
    60
    """
    total = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer.weight, Tensor)
        total += output.numel() * layer.weight[0].numel()

    counted = (nn.Linear, nn.modules.conv._ConvNd)
    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, counted)]
    with undisturbed(network):
        network(inputs)
    for hook in hooks:
        hook.remove()
    return total
