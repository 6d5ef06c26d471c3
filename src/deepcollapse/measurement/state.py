"""Leaving things as they were: modes of modules, random generators, and the arithmetic that measures need."""

import contextlib
import random
from collections.abc import Iterator

import numpy
import torch
from torch import nn


class Randomness:
    """The states of all random generators that a network or a data loader may draw from, to be put back.

    Python's, NumPy's and torch's own generators, those of the network's CUDA devices, and one that was given to the
    loader or its sampler.
    """

    def __init__(self, network: nn.Module, batches: object = None) -> None:
        self.devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
        owners = (batches, getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None))
        found = [getattr(owner, "generator", None) for owner in owners]
        self.generators = list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())
        self.python, self.numpy = random.getstate(), numpy.random.get_state()  # noqa: NPY002 - transforms draw from it
        self.torch = torch.get_rng_state()
        self.cuda = [torch.cuda.get_rng_state(device) for device in self.devices]
        self.own = [generator.get_state() for generator in self.generators]

    def restore(self) -> None:
        """Put every generator back to where it was."""
        random.setstate(self.python)
        numpy.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.torch)
        for device, state in zip(self.devices, self.cuda, strict=True):
            torch.cuda.set_rng_state(state, device)
        for generator, state in zip(self.generators, self.own, strict=True):
            generator.set_state(state)


@contextlib.contextmanager
def undisturbed(network: nn.Module, batches: object = None) -> Iterator[Randomness]:
    """Eval mode without gradients; every module's mode and every random generator's state are put back."""
    modes = {module: module.training for module in network.modules()}
    randomness = Randomness(network, batches)
    try:
        # Not in inference mode: what is made here is used outside of it.
        with torch.inference_mode(False), torch.no_grad():
            network.eval()
            yield randomness
    finally:
        randomness.restore()
        for module, training in modes.items():
            module.training = training


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Arithmetic of our own, free of the user's autocast and inference mode, and without gradients."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
