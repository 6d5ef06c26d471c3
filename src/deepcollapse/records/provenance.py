"""Where numbers came from: the versions, the machine and the recipe's digest."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

# The packages whose versions can change a number.
PACKAGES = ("deepcollapse", "torch", "numpy", "scipy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Versions, platform, compute threads and the command line of this process, as plain JSON values.

    Versions come from the packages' metadata, so that asking does not import torch; a package that is not installed
    has version None.

    >>> sorted(environment())
    ['command', 'platform', 'threads', 'versions']
    """
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "threads": _threads(),
        "command": _command(),
    }


def digest_of(recipe: Mapping[str, Any]) -> str:
    """A short name for a recipe: the first 12 hexadecimal digits of the sha256 of its canonical JSON.

    The order of keys does not matter, a tuple equals a list, and what is None counts as left out, so that a recipe
    read back from its TOML file has the digest that it had.

    >>> digest_of({"epochs": 5, "seed": None, "milestones": (1, 2)}) == digest_of({"milestones": [1, 2], "epochs": 5})
    True
    """
    text = json.dumps(_canonical(recipe), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items() if item is not None}
    return [_canonical(item) for item in value] if isinstance(value, list | tuple) else value


@cache  # a sweep asks for each of its runs
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _threads() -> int | None:
    """Torch's compute threads where torch is in use already, otherwise the machine's cores."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else os.cpu_count()


def _command() -> str:
    """The command line, with the program named as one would type it: its folder is nobody's business."""
    program, *arguments = sys.argv or ["python"]
    name = "python -m deepcollapse" if Path(program).name == "__main__.py" else shlex.quote(Path(program).name)
    return " ".join([name, shlex.join(arguments)]).strip()
