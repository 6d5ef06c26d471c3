"""Checkpoints: the state from which a run goes on as if it had never stopped."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from deepcollapse.errors import RunError
from deepcollapse.records import Run, atomic_write

LATEST = Path("checkpoints") / "latest.pt"


@dataclass(frozen=True)
class Checkpoint:
    """Everything after an epoch that what follows depends on.

    The order of samples and every draw of an epoch come from the recipe's seed and the epoch's number, so no generator
    needs saving. `position` is where `records.jsonl` ended.
    """

    epoch: int
    network: dict[str, Any]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    position: int
    tpt_onset: int | None
    tpt_onset_strict: int | None

    def save(self, run: Run) -> None:
        """Write it as the run's latest, in one step: a crash leaves the one before."""
        buffer = io.BytesIO()
        torch.save(_apart(vars(self)), buffer)
        atomic_write(run.path / LATEST, buffer.getvalue())


def latest(run: Run) -> Checkpoint | None:
    """The run's latest checkpoint, read as tensors and plain values only; None where it has none yet."""
    path = run.path / LATEST
    if not path.exists():
        return None
    try:
        return Checkpoint(**torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise RunError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}: {reason}). Start again with another --out; "
            "the records so far can still be reported. (With the file removed, --resume begins this run anew.)"
        ) from error


def save_weights(run: Run, network: nn.Module, name: str) -> None:
    """Write a network's weights to a safetensors file of the run, in one step."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    atomic_write(run.path / name, save(state))


def _apart(value: Any) -> Any:
    """The same with tensors in memory of their own: torch saves a view with all of what it looks at."""
    if isinstance(value, torch.Tensor):
        return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value
    if isinstance(value, dict):
        return {key: _apart(held) for key, held in value.items()}
    return [_apart(held) for held in value] if isinstance(value, list) else value
