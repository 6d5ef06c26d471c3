"""A network's untrained twin: what every number looks like where nothing has been learnt."""

import copy
import inspect
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def untrained_copy(network: nn.Module, seed: int) -> tuple[nn.Module, list[str]]:
    """A deep copy with every parameter drawn anew, and the names of the parameters that could not be.

    Each module that has `reset_parameters` (all of torch's layers and ours) draws its own, inner modules before outer
    ones; statistics of batch norm start afresh with it. So the copy starts as its layers do, which for networks of
    other packages can differ from the scheme they were first drawn with. Parameters that no such method fills, for
    example a class token, keep their trained values and are named, in the order of `named_parameters`.

    Drawing happens on the CPU: a seed gives the same copy on every device, and no generator of the caller moves. The
    copy is taken out of wrappers (`torch.compile`, DataParallel) and stays on its device, in its dtype and mode.

    >>> twin, kept = untrained_copy(nn.Linear(2, 2), seed=0)
    >>> kept, bool((twin.weight == untrained_copy(nn.Linear(2, 2), seed=0)[0].weight).all())
    ([], True)
    """
    twin = copy.deepcopy(_unwrapped(network))
    trained = {name: parameter.data for name, parameter in twin.named_parameters()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        # Seeding through torch.manual_seed would seed the accelerators too, which are not forked here.
        torch.default_generator.manual_seed(seed)
        for parameter in twin.parameters():
            # NaN marks what is not drawn yet. Whole numbers (quantised weights) cannot be marked, and stay.
            if _can_be_nan(parameter):
                parameter.data = torch.full_like(parameter.data, torch.nan, device="cpu")
        for reset in _resets(twin):
            reset()
        kept = [
            name for name, parameter in twin.named_parameters() if parameter.isnan().any() or not _can_be_nan(parameter)
        ]
        for name, parameter in twin.named_parameters():
            parameter.data = trained[name] if name in kept else parameter.data.to(trained[name].device)
    return twin, kept


def _unwrapped(network: nn.Module) -> nn.Module:
    """The network inside `torch.compile` and data-parallel wrappers, which do not copy."""
    while True:
        if isinstance(network, (DataParallel, DistributedDataParallel)):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        else:
            return network


def _can_be_nan(parameter: nn.Parameter) -> bool:
    return parameter.is_floating_point() or parameter.is_complex()


def _resets(network: nn.Module) -> list[Callable[[], None]]:
    """Every module's way to draw its parameters, innermost first; those that want arguments are left out."""
    found = []
    # named_modules lists a parent before its children, so the reverse lets a parent have the last word.
    for module in reversed(list(network.modules())):
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if callable(reset) and _takes_nothing(reset):
            found.append(reset)
    return found


def _takes_nothing(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    return True
