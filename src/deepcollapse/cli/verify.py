"""`deepcollapse compress verify`: hold a compressed file to everything that can be told of it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say, say_json
from deepcollapse.errors import RunError, WeightsError

if TYPE_CHECKING:
    from deepcollapse.compression.storage.verify import Verified

# Longer names of layers go on in a second line, so that the numbers keep their place at 80 columns.
NAME = 20


@dataclass(frozen=True)
class Verify:
    """Check a compressed network or a container, to the last bit.

    Every digest, every code and its padding; exits with 1 where one is wrong.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """compressed.safetensors of a compressed network, its run folder, or a file with one container."""
    json: bool = False
    """Print what was found as JSON."""

    def run(self) -> int:
        """Check, and show what the containers take."""
        from deepcollapse.compression.checked import check

        file = _file_at(self.file)
        found = check(file)
        if self.json:
            say_json(
                {"file": str(file), "sound": True, "containers": [_facts(name, one) for name, one in found.items()]}
            )
            return 0
        _show(found)
        for text in _told(file, found):
            say(text)
        return 0


def _file_at(path: Path) -> Path:
    """The file that is meant; RunError or WeightsError where there is none."""
    from deepcollapse.compression.files import FILE

    if not path.exists():
        raise WeightsError(f"there is no file or folder {path}. Name {FILE}, or the run folder that it lies in.")
    file = path / FILE if path.is_dir() else path
    if file.exists():
        return file
    if not (path / "recipe.toml").is_file():
        raise WeightsError(f"there is no {FILE} in the folder {path}. Name the run folder of a compressed network.")
    if "compression" in _provenance(path):
        raise RunError(f"{path} holds no {FILE}: nothing that was tried kept to the target. Compress to another one.")
    raise RunError(
        f"{path} is a run that is not compressed: it holds no {FILE}. Compress it with: deepcollapse compress {path}"
    )


def _provenance(path: Path) -> dict[str, object]:
    from deepcollapse.records import Run

    return Run.open(path).provenance


def _told(file: Path, found: "dict[str, Verified]") -> list[str]:
    """What was checked, in words, and no more than that."""
    if not found:
        return [f"{file} is sound: its header and every tensor are what was written. No layer in it is coded."]
    total, least = (
        sum(values) for values in zip(*((one.size, one.entropy_bits / 8) for one in found.values()), strict=True)
    )
    if len(found) == 1:
        told = [f"The container of {file} is sound; it decodes to one matrix and to nothing else."]
    else:
        told = [
            f"{len(found)} containers of {file} are sound; each decodes to one matrix and to nothing else. Together "
            f"they take {total:,} bytes; their symbols alone, written one by one, need at least {least:,.0f} (entropy)."
        ]
    if others := [name for name, one in found.items() if not one.deterministic]:
        told.append(
            f"{', '.join(others)}: our encoder would have written other bytes for the same matrix. Another program "
            "wrote them, or they were changed into another sound container."
        )
    return told


def _show(found: "dict[str, Verified]") -> None:
    rows = [
        (
            _narrow(name.removesuffix(".code")),
            one.form,
            f"{one.shape[0]}x{one.shape[1]}",
            f"{100 * one.nonzeros / (one.shape[0] * one.shape[1]):.3g} %",
            f"{one.size:,}",
            f"{100 * one.occupancy:.3g} %",
        )
        for name, one in found.items()
    ]
    if rows:
        # Numbers and the form stay whole at any width; a name that is too long goes on below.
        columns = ("layer", "form", "inputs x\noutputs", "not\nzero", "bytes", "of\ndense")
        show_table(columns, rows, right=(1, 2, 3, 4, 5))
        print()


def _narrow(name: str) -> str:
    """A layer's name in lines of at most `NAME` signs where its dots let it be broken.

    >>> _narrow("encoder.layers.0.attention.query").splitlines()
    ['encoder.layers.0.', '  attention.query']
    """
    lines = [""]
    for part in (piece + "." for piece in name.split(".")):
        if len(lines[-1]) + len(part) > NAME + 1 and lines[-1].strip():
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)[:-1]


def _facts(name: str, one: "Verified") -> dict[str, object]:
    return {"name": name, **asdict(one), "occupancy": one.occupancy}
