"""Where a sweep lies: its plan, a run for each recipe, and what became of each. Imports no torch."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepcollapse.errors import RunError
from deepcollapse.records import atomic_write
from deepcollapse.sweeps.locks import lock
from deepcollapse.sweeps.sweep import Sweep, key_of
from deepcollapse.training.recipe import Recipe

SCHEMA_VERSION = 1
PLAN, DONE, LOCKS = "sweep.json", "done.json", "locks"
State = Literal["done", "failed", "begun", "waiting"]


@dataclass(frozen=True)
class SweepFolder:
    """A folder with `sweep.json` (the recipes), `runs/DIGEST/` for each of them, and `failures/DIGEST.txt`.

    A run is done when its `done.json` is there, which is written last.
    """

    path: Path

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "SweepFolder":
        """The sweep at a path, which need not be there yet."""
        return cls(Path(path))

    def plan(self, sweep: Sweep) -> Sweep:
        """Write down the recipes beside those that are planned already; returns all of them.

        Raises RunError where the folder holds something else, or cannot be written.
        """
        if not self._may_be_a_sweep():
            raise RunError(f"{self.path} holds files and is not a sweep. Choose a new or empty folder with --out.")
        with lock(self.path / LOCKS / "plan", wait=True):  # two sweeps that begin at once must both stand in it
            for part in self.path.glob(f".{PLAN}.*.part"):  # of a writer that was killed
                part.unlink(missing_ok=True)
            whole = self.sweep().joined(sweep) if self.plan_path.is_file() else sweep
            text = json.dumps({"schema_version": SCHEMA_VERSION, **whole.to_mapping()}, indent=1)
            if not self.plan_path.is_file() or self.plan_path.read_text(encoding="utf-8") != text:
                atomic_write(self.plan_path, text.encode())
        return whole

    def _may_be_a_sweep(self) -> bool:
        """Whether there is nothing yet, or a sweep; one whose plan was taken away still has its locks."""
        if not self.path.exists():
            return True
        return self.path.is_dir() and (
            (self.path / PLAN).is_file()
            or (self.path / LOCKS).is_dir()
            or all(file.match(f".{PLAN}.*.part") for file in self.path.iterdir())
        )

    def sweep(self) -> Sweep:
        """The sweep as planned. Raises RunError where there is none, or a newer deepcollapse wrote it."""
        if not self.plan_path.exists():
            raise RunError(
                f"{self.path} is not a sweep: it has no readable sweep.json (No such file or directory). Name the "
                "folder given to --out."
            )
        advice = "Take that file away and run the sweep again, which writes it anew; runs stay as they are."
        values = read_json(self.plan_path, f"{self.plan_path} is damaged", advice)
        if values.get("schema_version") != SCHEMA_VERSION:
            raise RunError(
                f"{self.plan_path} has version {values.get('schema_version')}, and this deepcollapse reads version "
                f"{SCHEMA_VERSION}. Use the deepcollapse that wrote it."
            )
        if not (isinstance(values.get("recipes"), list) and "afterwards" in values):
            raise RunError(f"{self.plan_path} is damaged (it lacks recipes or afterwards). {advice}")
        return Sweep.from_mapping(values)

    @property
    def plan_path(self) -> Path:
        """The file of the recipes."""
        return self.path / PLAN

    def run_path(self, recipe: Recipe) -> Path:
        """Where the run of a recipe lies."""
        return self.path / "runs" / key_of(recipe)

    def failure_path(self, recipe: Recipe) -> Path:
        """Where the traceback of a run that failed lies."""
        return self.path / "failures" / f"{key_of(recipe)}.txt"

    def state(self, recipe: Recipe) -> State:
        """What became of a recipe's run."""
        run = self.run_path(recipe)
        if (run / DONE).is_file():
            return "done"
        if self.failure_path(recipe).is_file():
            return "failed"
        return "begun" if (run / "provenance.json").is_file() else "waiting"


def read_json(path: Path, otherwise: str, advice: str) -> Mapping[str, Any]:
    """The object in a JSON file; RunError, which begins and ends as given, where there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{otherwise} ({reason}). {advice}") from error
    return values
