"""Names of layers: which modules there are, which are measured unless others are chosen, and which one is the head."""

import difflib
import fnmatch
from collections import Counter
from collections.abc import Sequence

from torch import nn

from deepcollapse.errors import LayerNameError

INPUT = "input"  # the network's raw input, as a layer that can be chosen
HEAD = "head"  # the classifier's weights, as the layer of their records
HEAD_INPUT = "head.input"  # the features that enter the classifier

# What compilers and data-parallel wrappers put into a module's name.
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


def named_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Every submodule by its dotted name, free of what wrappers add; a wrapped module stands for its wrapper.

    >>> list(named_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))
    ['0', '1']
    """
    layers = {}
    for name, module in unwrapped(network).named_modules(remove_duplicate=False):
        clean = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if clean:
            layers[clean] = module
    return layers


def default_layers(network: nn.Module, head: str | None) -> list[str]:
    """The layers that are measured unless others are chosen: the network's repeated blocks.

    Blocks are modules with parts of their own, held in a Sequential or ModuleList, of a class that occurs there at
    least twice; of nested ones, the outermost. A network without blocks is measured at its activations (else at its
    linear and convolutional layers), in the order of definition.
    """
    layers = named_layers(network)
    root = unwrapped(network)

    def held(name: str) -> bool:
        parent = name.rpartition(".")[0]
        return isinstance(layers[parent] if parent else root, nn.Sequential | nn.ModuleList)

    candidates = [n for n, m in layers.items() if held(n) and n != head and len(m._modules) and not _is_stage(m)]
    kinds = Counter(type(layers[n]) for n in candidates)
    blocks = [n for n in candidates if kinds[type(layers[n])] > 1]
    outermost = [n for n in blocks if not any(n.startswith(other + ".") for other in blocks)]
    if outermost:
        return outermost
    leaves = {n: m for n, m in layers.items() if not len(m._modules) and n != head}
    activations = [n for n, m in leaves.items() if type(m).__module__ == "torch.nn.modules.activation"]
    return activations or [n for n, m in leaves.items() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]


def _is_stage(module: nn.Module) -> bool:
    """A container of blocks rather than a block: its parts are composite and all of one class."""
    parts = list(module.children())
    return (
        isinstance(module, nn.Sequential | nn.ModuleList)
        and all(len(part._modules) for part in parts)
        and len({type(part) for part in parts}) == 1
    )


def choose_layers(
    network: nn.Module, wanted: str | Sequence[str] | None, head: str | None
) -> tuple[list[str], set[str]]:
    """The names that `wanted` asks for, and which of them were asked for by their exact names.

    `wanted` is None (the default layers), "all", a name, or a list of names and patterns (* and ?); "input" is the raw
    input, and "name#2" the second call of a module that runs several times. Raises LayerNameError where a name or
    pattern matches nothing, with the names that come close.
    """
    if wanted is None:
        return default_layers(network, head), set()
    layers, chosen, exact = named_layers(network), [], set()
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        if pattern in (HEAD_INPUT,):
            continue  # always measured where there is a head
        if pattern == INPUT or pattern.partition("#")[0] in layers:
            found = [pattern]
            exact.add(pattern)
        else:
            found = list(layers) if pattern == "all" else fnmatch.filter(layers, pattern)
        if not found:
            raise LayerNameError(_no_such_layer(pattern, list(layers)))
        chosen += found
    return list(dict.fromkeys(chosen)), exact


def _no_such_layer(pattern: str, names: list[str]) -> str:
    close = difflib.get_close_matches(pattern, names, n=4, cutoff=0.4) or names[:4]
    return (
        f"no layer matches {pattern!r}. Close names: {', '.join(close)}. The network has {len(names)}: "
        "[name for name, _ in network.named_modules()] lists them; patterns may use * and ?."
    )


def find_head(network: nn.Module, head: str | None, num_classes: int | None) -> tuple[str, nn.Module] | None:
    """The final linear layer: by name, or the last nn.Linear that gives `num_classes` numbers. None for head=None.

    Raises LayerNameError where the name is none of the network's, or no layer can be told to be the head.
    """
    if head is None:
        return None
    layers = named_layers(network)
    if head != "auto":
        if head not in layers:
            raise LayerNameError(_no_such_layer(head, list(layers)))
        return head, layers[head]
    linear = {name: module for name, module in layers.items() if isinstance(module, nn.Linear)}
    fitting = {n: m for n, m in linear.items() if num_classes in (None, m.out_features)}
    if not fitting:
        found = ", ".join(f"{n!r} ({m.in_features} to {m.out_features})" for n, m in list(linear.items())[-3:])
        raise LayerNameError(
            f"no final linear layer with {num_classes} outputs could be found; the last linear layers are: "
            f"{found or 'none at all'}. Name it with head='...', or pass head=None to measure without a classifier."
        )
    return list(fitting.items())[-1]
