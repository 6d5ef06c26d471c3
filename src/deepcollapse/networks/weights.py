"""Trained weights into a network: tensors are read, code never runs, and what does not fit is named."""

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.errors import WeightsError

# Where training scripts keep the network's weights inside a checkpoint.
NESTED = ("state_dict", "model_state_dict", "model", "network", "module", "weights")
# In folders: a run's own weights first, then Hugging Face's name.
IN_FOLDER = ("weights.safetensors", "model.safetensors")
# What DataParallel, torch.compile and FSDP put around a module; the last two wrap inner modules too.
WRAPPERS = re.compile(r"^(?:module\.)+|(?<![^.])(?:_orig_mod|_fsdp_wrapped_module)\.")
SHOWN = 5


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Copy the weights at `path` into `network`, which is handed back.

    `path` is a safetensors file, a torch checkpoint that holds nothing but tensors and plain values, or a folder with
    `weights.safetensors` (a run) or `model.safetensors`. A checkpoint may nest its weights under "state_dict",
    "model_state_dict", "model", "network", "module" or "weights"; the names that DataParallel, `torch.compile` and
    FSDP put around modules are taken off, in the file and in the network. Weights are cast to the network's dtype.

    Raises `WeightsError`, with the network untouched, where the file is missing, unreadable, or holds code, or where
    names or shapes do not fit: the message lists them.

    >>> import tempfile
    >>> from safetensors.torch import save_file
    >>> network = nn.Linear(2, 1, bias=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"module.weight": torch.ones(1, 2)}, f"{folder}/weights.safetensors")
    ...     load_weights(network, folder).weight.tolist()
    [[1.0, 1.0]]
    """
    file = _file(Path(path))
    fitted = _fit(network, _tensors(file, _read(file)), file)
    # Everything was compared above; what is still absent is tied to a tensor that is here, or a mere counter.
    network.load_state_dict(fitted, strict=False)
    return network


def _file(path: Path) -> Path:
    """The file that `path` names, itself or inside a folder."""
    if path.is_dir():
        found = [path / name for name in IN_FOLDER if (path / name).is_file()]
        if not found:
            raise WeightsError(f"the folder {path} holds no weights: looked for {' and '.join(IN_FOLDER)}.")
        return found[0]
    if not path.is_file():
        raise WeightsError(f"there is no file or folder of weights at {path}.")
    return path


def _read(file: Path) -> Any:
    """What the file holds, told by its first bytes and not by its suffix; nothing in it is executed."""
    with file.open("rb") as opened:
        start = opened.read(9)
    # The length of its header, with which a safetensors file begins, may look like a pickle's first bytes.
    is_torch = start[:2] == b"PK" or (start[:1] == b"\x80" and start[8:] != b"{")
    try:
        if is_torch:
            # Handed over open, since torch reads a path by its suffix; its warnings on formats are in the errors below.
            with file.open("rb") as opened, warnings.catch_warnings(action="ignore"):
                return torch.load(opened, map_location="cpu", weights_only=True)
        from safetensors.torch import load_file

        return load_file(file, device="cpu")
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file} holds more than tensors and plain values, or is damaged; to read it could run code from the file, "
            "so it was not read. Save the weights alone: torch.save(network.state_dict(), path), or safetensors."
        ) from error
    except Exception as error:  # safetensors and torch raise many kinds for a damaged file
        kind = "torch checkpoint" if is_torch else "safetensors file"
        raise WeightsError(
            f"{file} is not a readable {kind}; it may be truncated. {type(error).__name__}: {first_line(error)}"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a message of our own.

    >>> first_line(ValueError("wrong\\nat great length"))
    'wrong'
    """
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _tensors(file: Path, state: Any) -> dict[str, Tensor]:
    """The weights inside a checkpoint, by name."""
    while isinstance(state, Mapping) and not all(isinstance(value, Tensor) for value in state.values()):
        inner = next((state[key] for key in NESTED if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            raise WeightsError(
                f"{file} holds no weights by name: its keys are {listed(map(str, state))}. "
                f"Expected tensors by name, alone or under one of {', '.join(NESTED)}."
            )
        state = inner
    if not isinstance(state, Mapping) or not state:
        what = "nothing" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise WeightsError(f"{file} holds {what} where tensors by name were expected.")
    return {str(name): tensor for name, tensor in state.items()}


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are.

    >>> listed("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def bare(name: str) -> str:
    """A parameter's name without the wrappers around modules.

    >>> bare("module._orig_mod.blocks.0._fsdp_wrapped_module.linear.weight")
    'blocks.0.linear.weight'
    """
    while (shorter := WRAPPERS.sub("", name)) != name:
        name = shorter
    return name


def _fit(network: nn.Module, tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The file's tensors under the network's names; raises `WeightsError` where they do not fit."""
    state = network.state_dict(keep_vars=True)
    # Where names agree as they are, nothing is a wrapper, whatever it is called.
    plain = str if state.keys() == tensors.keys() else bare
    expected = {plain(name): (name, value) for name, value in state.items()}
    given = {plain(name): tensor for name, tensor in tensors.items()}
    shared = {id(value) for name, (_, value) in expected.items() if name in given}
    # A tied tensor is stored once, and old checkpoints lack batch norm's count of batches, which no number depends on.
    missing = [
        name
        for name, (_, value) in expected.items()
        if name not in given and id(value) not in shared and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in given if name not in expected]
    misshapen = [
        f"{name}: {tuple(tensor.shape)} in the file, {tuple(expected[name][1].shape)} in the network"
        for name, tensor in given.items()
        if name in expected and tensor.shape != expected[name][1].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    wrong = [f"{len(names)} {kind} ({listed(names)})" for kind, names in kinds.items() if names]
    if wrong:
        raise WeightsError(
            f"{file} does not fit the network: {'; '.join(wrong)}. "
            "Make the network with the parameters it was trained with."
        )
    return {expected[name][0]: tensor for name, tensor in given.items()}
