"""Names of layers: which modules there are, and which are measured unless others are chosen."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

from deepcollapse.errors import LayerNameError
from deepcollapse.measurement.wrappers import WRAPPERS, unwrapped

INPUT = "input"  # the network's raw input, as a layer that can be chosen
HEAD = "head"  # the classifier's weights, as the layer of their records
HEAD_INPUT = "head.input"  # the features that enter the classifier
MOST_LAYERS = 16  # measured by default


def named_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Every submodule by its dotted name, free of what wrappers add; a wrapped module stands for its wrapper.

    A module that is held in several places goes by all of its names. A network that is a single layer is its own head.

    >>> list(named_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))
    ['0', '1']
    """
    root, layers = unwrapped(network), {}
    for name, module in root.named_modules(remove_duplicate=False):
        clean = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if clean:
            layers[clean] = module
    return layers or {HEAD: root}


def distinct_layers(network: nn.Module) -> dict[str, nn.Module]:
    """As `named_layers`, each module once, under its first name."""
    first = {}
    for name, module in named_layers(network).items():
        first.setdefault(module, name)
    return {name: module for module, name in first.items()}


def default_layers(network: nn.Module, head: str | None) -> list[str]:
    """The layers that are measured unless others are chosen: the network's repeated blocks.

    Blocks are modules with parts of their own, held in a Sequential or ModuleList, of a class that occurs there at
    least twice; of nested ones, the outermost. A network without blocks is measured at its activations (else at its
    linear and convolutional layers), in the order of definition. More than 16 are too many to read and to pay for:
    then 16 of them are taken, evenly spread, the first and the last included.
    """
    return evenly_spread(_natural_layers(network, head), MOST_LAYERS)


def evenly_spread(names: list[str], most: int) -> list[str]:
    """At most `most` of the names, evenly spread, the first and the last included.

    >>> evenly_spread(list("abcdefg"), 4)
    ['a', 'c', 'e', 'g']
    """
    if len(names) <= most:
        return names
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]


def _natural_layers(network: nn.Module, head: str | None) -> list[str]:
    """All the repeated blocks, or all activations, or all linear and convolutional layers."""
    everywhere, layers, root = named_layers(network), distinct_layers(network), unwrapped(network)

    def held(name: str) -> bool:
        parent = name.rpartition(".")[0]
        return isinstance(everywhere[parent] if parent else root, nn.Sequential | nn.ModuleList)

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


@dataclass(frozen=True)
class Choice:
    """The layers that were chosen; `exact` are those asked for by their own names, which therefore must fire."""

    names: list[str]
    exact: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def choose_layers(network: nn.Module, wanted: str | Sequence[str] | None, head: str | None) -> Choice:
    """The layers that `wanted` asks for: None (the default layers), "all", a name, or a list of names and patterns.

    Patterns use *, ? and **, which also crosses dots; "input" is the raw input, and "name#2" the second call of a
    module that runs several times. Raises LayerNameError where a name or pattern matches nothing, with the names that
    come close.
    """
    if wanted is None:
        natural = _natural_layers(network, head)
        chosen = evenly_spread(natural, MOST_LAYERS)
        if len(chosen) == len(natural):
            return Choice(chosen)
        spread = f"evenly spread from {natural[0]} to {natural[-1]}; layers=[...] names others"
        return Choice(chosen, notes=[f"{len(chosen)} of {len(natural)} layers are measured, {spread}"])
    everywhere, layers, chosen, exact = named_layers(network), distinct_layers(network), [], set()
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        if pattern == HEAD_INPUT:
            continue  # always measured where there is a head
        if pattern == INPUT or pattern.partition("#")[0] in everywhere:
            found = [pattern]
            exact.add(pattern)
        else:
            found = list(layers) if pattern == "all" else [name for name in layers if _matches(name, pattern)]
        if not found:
            raise no_such_layer(pattern, everywhere)
        chosen += found
    return Choice(list(dict.fromkeys(chosen)), exact)


def _matches(name: str, pattern: str) -> bool:
    """Whether a layer's name fits a pattern, as paths do: * and ? stay within one part of the name, ** does not.

    >>> [_matches(name, "blocks.*") for name in ("blocks.0", "blocks.0.conv1")], _matches("blocks.0.conv1", "**")
    ([True, False], True)
    """
    parts = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    tokens = re.findall(r"\*\*|.", pattern)
    return (
        re.fullmatch("".join(parts[token] if token in parts else re.escape(token) for token in tokens), name)
        is not None
    )


def no_such_layer(wanted: str, names: Iterable[str]) -> LayerNameError:
    """The error for a name or pattern that is none of a network's layers."""
    names = list(names)
    close = difflib.get_close_matches(wanted, names, n=4, cutoff=0.4) or names[:4]
    return LayerNameError(
        f"no layer matches {wanted!r}. Close names: {', '.join(close)}. The network has {len(names)}: "
        "[name for name, _ in network.named_modules()] lists them; patterns may use *, ** and ?."
    )
