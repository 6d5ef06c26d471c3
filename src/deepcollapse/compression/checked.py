"""Holding a file of coded weights to everything that can be told of it: a container, or a whole compressed network."""

from pathlib import Path

from safetensors import safe_open

from deepcollapse.compression.files import check_digest, read_description
from deepcollapse.compression.specs import coded_parts
from deepcollapse.compression.storage.forms import KINDS
from deepcollapse.compression.storage.verify import Verified, verify
from deepcollapse.errors import ContainerError


def check(path: str | Path) -> dict[str, Verified]:
    """Every container of a file by name, each decoded and coded again; of a compressed network also its digest.

    Takes a file with one container, or a safetensors file that `save_compressed` wrote. Raises ContainerError,
    WeightsError or MemoryBudgetError for the first thing that is wrong.
    """
    path = Path(path)
    if _start(path) in KINDS:
        return {path.name: verify(path)}
    description, _ = read_description(path)
    check_digest(path, description)
    with safe_open(path, framework="pt") as file:
        names = [name for layer, spec in description["layers"].items() for name in coded_parts(layer, spec)]
        return {name: verify(file.get_tensor(name).numpy().tobytes()) for name in names}


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise ContainerError(f"{path} cannot be read ({error.strerror}); name a file of coded weights.") from error
