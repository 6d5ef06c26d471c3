"""A run: the folder that one recipe produced."""

import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcollapse.errors import RunError
from deepcollapse.records import arrays, toml
from deepcollapse.records.files import atomic_write
from deepcollapse.records.provenance import digest_of, environment
from deepcollapse.records.read import check_schema, read_records
from deepcollapse.records.record import SCHEMA_VERSION, Record

if TYPE_CHECKING:
    import numpy
    import pandas


@dataclass(frozen=True)
class Run:
    """A folder of `recipe.toml`, `records.jsonl`, `provenance.json`, `arrays/`, `checkpoints/`, `weights.safetensors`.

    Make one with `Run.create`, come back to it with `Run.open`. Rows are appended whole and never changed; everything
    else is written beside and moved into place, so a crash at any moment leaves a folder that can be read.
    """

    path: Path

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        recipe: Mapping[str, Any],
        class_names: Sequence[str],
        data_digest: Mapping[str, str],
        device: str,
        seed: int | None,
        extra: Mapping[str, Any] | None = None,
        name: str | None = None,
        resume: bool = False,
    ) -> "Run":
        """Make the folder at `path` with its recipe and provenance, or with `resume` go on with the same recipe's run.

        `data_digest` maps each split to its digest; `extra` joins the provenance; `name` is the run's name in its
        records (default: the folder's name). Raises RunError where `path` holds anything else.
        """
        run = cls(Path(path))
        if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            return run._again(recipe, resume)
        provenance = {
            "schema_version": SCHEMA_VERSION,
            "run": name or run.path.resolve().name,
            "class_names": list(class_names),
            "data_digest": dict(data_digest),
            "recipe_digest": digest_of(recipe),
            "seed": seed,
            "device": device,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **environment(),
            **(extra or {}),
        }
        text = toml.dumps(recipe)  # before anything is written: a recipe that TOML cannot hold leaves no folder
        atomic_write(run.path / "recipe.toml", text.encode())
        atomic_write(run.records_path, b"")
        atomic_write(run.path / "provenance.json", (json.dumps(provenance, indent=2) + "\n").encode())
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Run":
        """Open the run at `path`; RunError where there is none, or a newer deepcollapse wrote it."""
        run = cls(Path(path))
        missing = [
            name for name in ("recipe.toml", "provenance.json", "records.jsonl") if not (run.path / name).is_file()
        ]
        if missing:
            raise RunError(
                f"{run.path} is not a run folder: it has no {', '.join(missing)}. Name the folder given to --out."
            )
        check_schema(run.path)
        return run

    @property
    def name(self) -> str:
        """The run's name, as its records bear it."""
        return self.provenance["run"]

    @property
    def records_path(self) -> Path:
        """`records.jsonl`, one record a line."""
        return self.path / "records.jsonl"

    @property
    def recipe(self) -> dict[str, Any]:
        """What was trained, and how."""
        return tomllib.loads((self.path / "recipe.toml").read_text(encoding="utf-8"))

    @property
    def provenance(self) -> dict[str, Any]:
        """Schema version, class names, digests, versions, device, platform, threads, seed and command."""
        return json.loads((self.path / "provenance.json").read_text(encoding="utf-8"))

    def records(self) -> "pandas.DataFrame":
        """All rows, as `read_records` gives them."""
        return read_records(self.records_path)

    def append(self, records: Iterable[Record]) -> int:
        """Append whole rows in one write that reaches the disk; returns the new end, as `position` does.

        A record without a run's name gets this run's. Where the disk is full or the write fails otherwise, the file is
        cut back to the rows that it had, and RunError says so.
        """
        name = self.name
        rows = [(record if record.run else replace(record, run=name)).row() for record in records]
        data = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        start = self._whole_lines()
        try:
            with self.records_path.open("r+b", buffering=0) as file:
                file.truncate(start)
                file.seek(start)
                written = file.write(data)
                while written < len(data):  # an unbuffered write may take less than it was given
                    written += file.write(data[written:])
                os.fsync(file.fileno())
        except OSError as error:
            os.truncate(self.records_path, start)
            raise RunError(
                f"could not append {len(rows)} records to {self.records_path}: {error.strerror or error}. The rows "
                "before are kept whole. Free some space, then go on with --resume."
            ) from error
        return start + len(data)

    def position(self) -> int:
        """Where `records.jsonl` ends, in bytes; a checkpoint keeps it, and `rewind` comes back to it."""
        return self.records_path.stat().st_size

    def rewind(self, position: int) -> None:
        """Forget the rows past `position`, which `position()` gave earlier: a resumed run will measure them again."""
        data = self.records_path.read_bytes()
        if not (0 <= position <= len(data)) or data[:position][-1:] not in (b"", b"\n"):
            raise RunError(
                f"cannot rewind {self.records_path} to byte {position}: the file has {len(data)} bytes and no row ends "
                "there. Its records and checkpoint do not belong together; start again with another --out."
            )
        os.truncate(self.records_path, position)

    def write_arrays(self, stem: str, arrays_by_key: Mapping[str, Any]) -> dict[str, str]:
        """Write arrays (numpy or torch) to `arrays/STEM.safetensors` at once; returns key -> reference for `array`."""
        return arrays.write_arrays(self.path, stem, arrays_by_key)

    def read_array(self, reference: str) -> "numpy.ndarray":
        """The array that a row's `array` refers to; RunError where it is missing or damaged."""
        return arrays.read_array(self.path, reference)

    def _whole_lines(self) -> int:
        """Where the last whole row ends: a writer that was killed may have left half of one."""
        with self.records_path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            if end == 0:
                return 0
            file.seek(end - 1)
            if file.read(1) == b"\n":
                return end
        return self.records_path.read_bytes().rfind(b"\n") + 1

    def _again(self, recipe: Mapping[str, Any], resume: bool) -> "Run":
        """This run, if its folder holds the same recipe and going on was asked for; RunError otherwise."""
        if not self.path.is_dir():
            raise RunError(f"{self.path} is a file, not a folder for a run. Choose another place with --out.")
        if not (self.path / "provenance.json").is_file():
            raise RunError(f"{self.path} holds files and is not a run. Choose a new or empty folder with --out.")
        run = Run.open(self.path)
        theirs = run.provenance.get("recipe_digest") or digest_of(run.recipe)
        if theirs != digest_of(recipe):
            there = run.recipe
            differs = sorted(key for key in {*there, *recipe} if there.get(key) != recipe.get(key))
            told = "; ".join(f"{key} is {there.get(key)!r} there and {recipe.get(key)!r} here" for key in differs[:3])
            raise RunError(
                f"{self.path} holds a run of another recipe ({told or 'its recipe.toml was changed'}). "
                "Choose another folder with --out, or give --resume the recipe that it has."
            )
        if not resume:
            raise RunError(
                f"{self.path} holds this run already. Go on with it by --resume, or choose another folder with --out."
            )
        return run
