"""`deepcollapse compress verify`: hold a compressed file to everything that can be told of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from deepcollapse.cli.terminal import say, say_json, show_table

if TYPE_CHECKING:
    from deepcollapse.compression.checked import Checked


@dataclass(frozen=True)
class Verify:
    """Check a compressed network or a container: every digest, every code, down to the last bit of padding.

    Also called as `deepcollapse compress verify FILE`. Exits with 1 where anything is wrong.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """compressed.safetensors of a compressed network, its run folder, or a file with one container."""
    json: bool = False
    """Print what was found as JSON."""

    def run(self) -> int:
        """Check, and show what the containers take."""
        from deepcollapse.compression.checked import check
        from deepcollapse.compression.files import FILE

        file = self.file / FILE if self.file.is_dir() else self.file
        found = check(file)
        if self.json:
            say_json({"file": str(file), "sound": True, "containers": [_facts(one) for one in found]})
            return 0
        _show(found)
        what = (
            f"{len(found)} containers of {file} are sound" if found else f"{file} is sound and holds no coded weights"
        )
        say(f"{what}; each decodes to one matrix and to nothing else.")
        if others := [one.name for one in found if not one.same_again]:
            say(
                f"{', '.join(others)}: our encoder would have written other bytes for the same matrix. Another program "
                "wrote them, or they were changed into another sound container."
            )
        return 0


def _show(found: "tuple[Checked, ...]") -> None:
    rows = [
        (
            one.name.removesuffix(".code"),
            one.form,
            f"{one.shape[0]} x {one.shape[1]}",
            f"{100 * one.nonzeros / (one.shape[0] * one.shape[1]):.3g} %",
            str(one.symbols),
            f"{one.size:,}",
            f"{100 * one.share:.3g} %",
            f"{one.entropy_bytes:,.0f}",
        )
        for one in found
    ]
    if rows:
        columns = ("layer", "form", "inputs x\noutputs", "not\nzero", "values", "bytes", "of\ndense", "entropy\nbytes")
        show_table(columns, rows, right=(2, 3, 4, 5, 6, 7))


def _facts(one: "Checked") -> dict[str, object]:
    names = ("name", "form", "shape", "symbols", "nonzeros", "size", "share", "entropy_bytes", "same_again")
    return {name: getattr(one, name) for name in names}
