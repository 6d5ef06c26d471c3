"""What wraps a network: compilers, data-parallel and sharding wrappers, and how hooks get past them."""

import contextlib
import sys
from collections.abc import Iterator

import torch
from torch import nn

from deepcollapse.errors import CaptureError

# What compilers, checkpointing and sharding put into a module's name.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def unwrapped(network: nn.Module) -> nn.Module:
    """The user's own module inside torch.compile, DistributedDataParallel, DataParallel and FSDP."""
    while True:
        inner = next((network._modules[name] for name in WRAPPERS if name in network._modules), None)
        if inner is None and isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = network.module
        if inner is None:
            return network
        network = inner


def refuse_scripted(root: nn.Module) -> None:
    """Raise CaptureError for networks that torch.jit made: no hook would ever fire."""
    if isinstance(root, torch.jit.ScriptModule):
        raise CaptureError(
            f"the network is a scripted or traced {type(root).__name__}, whose layers run no hooks. "
            "Measure the eager network that it was made from."
        )


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Compiled networks run their eager code in this block: hooks registered after compiling would not fire."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and importing the compiler takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def runnable(network: nn.Module) -> nn.Module:
    """What to call in place of a network: its inner module, for wrappers that compile, replicate or synchronise.

    A forward pass through DistributedDataParallel would wait for the other processes, and overwrite their buffers.
    """
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif isinstance(inner := network._modules.get("_orig_mod"), nn.Module):
            network = inner
        else:
            return network
