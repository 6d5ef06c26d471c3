"""The folder `runs`, where runs go unless another place is named."""

import sys
from collections.abc import Iterable
from pathlib import Path

from deepcollapse.training.recipe import Recipe

RUNS = Path("runs")


def latest_run() -> Path | None:
    """The run in the folder runs that was begun last."""
    found = [file.parent for file in RUNS.glob("*/provenance.json")]
    return max(found, key=lambda run: (run / "provenance.json").stat().st_mtime_ns) if found else None


def as_name(words: Iterable[str]) -> str:
    """Words as the name of a folder, with a dash for whatever no name should hold.

    >>> as_name(["hf:some/set", "mlp"])
    'hf-some-set-mlp'
    """
    return "-".join("".join(c if c.isalnum() or c in "._" else "-" for c in word).strip("-.") for word in words)


def new_run(recipe: Recipe) -> Path:
    """A folder in the folder runs that is not there yet, named after what is trained."""
    name = as_name((recipe.dataset, recipe.network, f"seed{recipe.seed}"))
    numbered = (RUNS / (name if number == 1 else f"{name}-{number}") for number in range(1, sys.maxsize))
    return next(folder for folder in numbered if not folder.exists())
