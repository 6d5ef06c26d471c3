"""A compressed network in one safetensors file: tensors, what stands in place of which layer, and a digest of all."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from deepcollapse.compression.coded_layers import CodedLayer, decoded, limit_of
from deepcollapse.compression.layers import replaced
from deepcollapse.compression.specs import made, spec_of
from deepcollapse.errors import LayerNameError, WeightsError
from deepcollapse.measurement.state import undisturbed
from deepcollapse.networks import load_weights
from deepcollapse.records import atomic_write

FILE = "compressed.safetensors"
_KEY = "deepcollapse.compressed"
_VERSION = 1


def save_compressed(network: nn.Module, names: Sequence[str], path: str | Path) -> Path:
    """Write a compressed network to `path`; `names` are the layers that others were put in place of.

    The file is plain safetensors. Its header holds what stands in place of each layer, and the SHA-256 of that and of
    all tensors. Raises WeightsError where a replacement is none that can be written down.
    """
    return atomic_write(path, file_of(network, names))


def file_of(network: nn.Module, names: Sequence[str] = ()) -> bytes:
    """The bytes that `save_compressed` writes; without names those of a network as it is.

    >>> len(file_of(nn.Linear(2, 2)))
    312
    """
    kept = network.state_dict(keep_vars=True)
    # A tensor that several names share is written once, under the first; loading ties them again.
    first = {id(value): name for name, value in reversed(kept.items())}
    state = {
        name: value.detach().cpu().contiguous().clone() for name, value in kept.items() if first[id(value)] == name
    }
    layers = {name: spec_of(network.get_submodule(name)) for name in names}
    description = {"version": _VERSION, "layers": layers, "sha256": digest(layers, state.items())}
    return save(state, {_KEY: json.dumps(description)})


def load_compressed(network: nn.Module, path: str | Path) -> nn.Module:
    """The compressed network of a file, made from a network like the one that was compressed, whose weights are lost.

    Layers are put in place as the file's header says, at sizes that are held to those of its tensors before memory is
    taken; all is held to its digest and every container is decoded once. The network given stays as it is.
    Raises WeightsError where the file is damaged, is no compressed network, or does not fit.
    """
    path = Path(path)
    description, shapes = read_description(path)
    instead = {name: made(spec) for name, spec in description["layers"].items()}
    for name, module in instead.items():
        _check_shapes(path, name, module, shapes)
    check_digest(path, description)
    _allow_memory(network, instead)
    try:
        compressed = replaced(network, {name: module.to_empty(device="cpu") for name, module in instead.items()})
    except AttributeError as error:
        raise LayerNameError(f"{path} does not fit the network: {error}.") from error
    try:
        return load_weights(compressed, path)
    except RuntimeError as error:  # torch's way to say that a code is not sound
        problems = " ".join(line.strip() for line in str(error).splitlines()[1:]) or str(error)
        raise WeightsError(f"{path} holds a code that cannot be read: {problems}") from error


def _allow_memory(network: nn.Module, instead: dict[str, nn.Module]) -> None:
    """Let a code take what any code of the weight in its place may take: that much was in memory already."""
    layers = dict(network.named_modules())
    for name, module in instead.items():
        weight = getattr(layers.get(name), "weight", None)
        for part in module.modules():
            if isinstance(part, CodedLayer) and isinstance(weight, Tensor):
                part.memory_limit = max(part.memory_limit, limit_of(tuple(weight.shape)))


def read_description(path: Path) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """What a compressed network's header says, and the shapes of its tensors; WeightsError where it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get(_KEY)
        description = None if text is None else json.loads(text)
    except FileNotFoundError as error:
        raise WeightsError(f"there is no file at {path}.") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file; it may be truncated. {error}") from error
    if description is None:
        raise WeightsError(
            f"{path} holds no compressed network: its header does not say what stands in place of which layer. "
            "Name a file that `deepcollapse compress` wrote; plain weights are loaded by load_weights."
        )
    wanted = {"version": int, "layers": dict, "sha256": str}
    if not isinstance(description, dict) or any(not isinstance(description.get(k), v) for k, v in wanted.items()):
        raise WeightsError(f"the header of {path} is damaged: it lacks {', '.join(wanted)}. Write the file again.")
    if description["version"] != _VERSION:
        raise WeightsError(
            f"{path} is of version {description['version']} of compressed files, and this deepcollapse reads version "
            f"{_VERSION}. Update deepcollapse, or write the file again."
        )
    return description, shapes


def _check_shapes(path: Path, name: str, module: nn.Module, shapes: dict[str, tuple[int, ...]]) -> None:
    for key, value in module.state_dict().items():
        whole = f"{name}.{key}" if name else key
        if shapes.get(whole) != tuple(value.shape):
            raise WeightsError(
                f"the header of {path} declares {whole} of shape {tuple(value.shape)} and the file holds "
                f"{shapes.get(whole, 'none')}; it is damaged. Write the file again."
            )


def check_digest(path: Path, description: dict[str, Any]) -> None:
    """Hold a file's layers and tensors to its digest. Raises WeightsError where they are not what was written."""
    with safe_open(path, framework="pt") as file:
        tensors = ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118
        found = digest(description["layers"], tensors)
    if found != description["sha256"]:
        raise WeightsError(f"{path} is damaged: it is not what was written (its SHA-256 differs). Write it again.")


def digest(layers: dict[str, Any], tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256, in hexadecimal, of a description and of tensors by name, with their types and shapes.

    >>> digest({}, [("a", torch.zeros(1))]) == digest({}, [("a", torch.zeros(1, 1))])
    False
    """
    parts = {}
    for name, tensor in tensors:
        data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        parts[name] = [str(tensor.dtype), list(tensor.shape), hashlib.sha256(data.tobytes()).hexdigest()]
    return hashlib.sha256(json.dumps([layers, parts], sort_keys=True).encode()).hexdigest()


def export_network(network: nn.Module, inputs: Tensor, path: str | Path) -> Path:
    """Write the network as `torch.export` holds it: code and weights in one file that loads without deepcollapse.

    Coded weights are decoded to dense ones on the way out; `inputs` (n, ...) is an example, of which any number of
    samples may be given later. Load it with `torch.export.load(path).module()`.
    """
    path = Path(path)
    dense = decoded(network)
    with undisturbed(dense):
        samples = torch.export.Dim("samples")
        # A batch of one would be taken for a fixed size.
        example = inputs[:2] if len(inputs) > 1 else inputs[:1].expand(2, *inputs.shape[1:]).contiguous()
        program = torch.export.export(dense, (example,), dynamic_shapes=({0: samples},))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, path)
    return path
