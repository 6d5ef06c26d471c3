"""Where a sweep lies: its plan, a run for each recipe, and what became of each. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from deepcollapse.errors import OptionError, RunError
from deepcollapse.records import atomic_write
from deepcollapse.records.sweep import (
    LOCKS,
    PLAN,
    PLAN_VERSION,
    State,
    damaged_plan,
    failure_path,
    read_plan,
    run_path,
    state_of,
)
from deepcollapse.sweeps.locks import lock
from deepcollapse.sweeps.sweep import Sweep, key_of
from deepcollapse.training.recipe import Recipe


@dataclass(frozen=True)
class SweepFolder:
    """A folder with `sweep.json` (the recipes), `runs/DIGEST/` for each of them, and `failures/DIGEST.txt`.

    A run is done when its `done.json` is there, which is written last.
    """

    path: Path

    def joined(self, sweep: Sweep) -> Sweep:
        """The recipes that are planned already, and those of the sweep.

        Raises RunError where the folder holds something else, or its plan cannot be read.
        """
        if self.path.is_file():
            raise RunError(f"{self.path} is a file, not a folder. Choose another place with --out.")
        if not self._may_be_a_sweep():
            raise RunError(f"{self.path} holds files and is not a sweep. Choose a new or empty folder with --out.")
        return self.sweep().joined(sweep) if self.plan_path.is_file() else sweep

    def plan(self, sweep: Sweep) -> Sweep:
        """Write down the recipes beside those that are planned already; returns all of them.

        Raises RunError where the folder holds something else, or cannot be written.
        """
        self.joined(sweep)  # before a lock is put there
        with lock(self.path / LOCKS / "plan", wait=True):  # two sweeps that begin at once must both stand in it
            for part in self.path.glob(f".{PLAN}.*.part"):  # of a writer that was killed
                part.unlink(missing_ok=True)
            whole = self.joined(sweep)
            text = json.dumps({"schema_version": PLAN_VERSION, **whole.to_mapping()}, indent=1)
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
        """The sweep as planned.

        Raises RunError where there is none, its plan is damaged, or a newer deepcollapse wrote it.
        """
        values = read_plan(self.path)
        if not isinstance(values["afterwards"], str | None):
            raise damaged_plan(self.plan_path, f"afterwards is {values['afterwards']!r}; it must be a text")
        try:
            sweep = Sweep.from_mapping(values)
        except OptionError as error:
            raise damaged_plan(self.plan_path, error) from error
        if values.get("keys") and list(dict.fromkeys(values["keys"])) != list(sweep.named()):
            raise damaged_plan(self.plan_path, "its keys are not the digests of its recipes")
        return sweep

    @property
    def plan_path(self) -> Path:
        """The file of the recipes."""
        return self.path / PLAN

    def run_path(self, recipe: Recipe) -> Path:
        """Where the run of a recipe lies."""
        return run_path(self.path, key_of(recipe))

    def failure_path(self, recipe: Recipe) -> Path:
        """Where the traceback of a run that failed lies."""
        return failure_path(self.path, key_of(recipe))

    def state(self, recipe: Recipe) -> State:
        """How a recipe's run stands; one that is done, and whose files are damaged, is as one that failed."""
        return state_of(self.path, key_of(recipe))

    def done(self, sweep: Sweep) -> list[Recipe]:
        """The recipes of a sweep whose runs are done."""
        return [recipe for recipe in sweep.recipes if self.state(recipe) == "done"]
