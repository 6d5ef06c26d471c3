"""The flags that say which recipes a sweep has, and where its runs go."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from deepcollapse.cli.runs import RUNS, as_name
from deepcollapse.errors import OptionError
from deepcollapse.sweeps.axes import read_axes
from deepcollapse.sweeps.sweep import Sweep
from deepcollapse.training.recipe import Recipe

Grid = Annotated[
    tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="SETTING=VALUE,VALUE ...")
]


@dataclass(frozen=True)
class Planned:
    """What `sweep run` and `sweep plan` have in common."""

    recipe: Annotated[Recipe, tyro.conf.arg(help="What all runs share; --grid and --seeds say what varies.")] = field(
        default_factory=Recipe
    )
    grid: Grid = ()
    """Settings of the recipe with their values, such as rate=0.1,0.01 decay=0,5e-3: every combination is run. The
    value none is a setting that is not given; entries of a list are joined by a plus, such as drops=0.5,0.3+0.6."""
    seeds: int | None = None
    """Run every combination with so many seeds, 0 and up."""
    recipe_file: Path | None = None
    """Start from the recipe in this TOML file, such as recipe.toml of another run; other flags change it."""
    recipes: tuple[str, ...] = ()
    """Start from each of these TOML files in place of one recipe; other flags change them all."""
    out: Path | None = None
    """Folder of the sweep; sweep-DATASET-NETWORK in the folder runs where not given."""
    device: str | None = None
    """cpu, cuda or cuda:1; CUDA where there is one, if not given."""
    threads: int | None = None
    """Threads for computing each run; as many as serve the size of the work, if not given."""
    data_root: Path | None = None
    """Where data sets lie; the environment variable DEEPCOLLAPSE_DATA or a cache folder, if not given."""
    download: bool = False
    """Download data sets from their public source if they are not there."""
    json: bool = False
    """Print the result as JSON, and nothing else."""
    bases: tyro.conf.Suppress[tuple[Recipe, ...]] = ()
    """The recipes of --recipes, with what other flags change in them."""

    def sweep(self) -> Sweep:
        """The recipes. Raises OptionError for settings that there are not and values that they cannot take."""
        if () in self.grid:
            raise OptionError("--grid needs SETTING=VALUE, such as rate=0.1,0.01 decay=0,5e-3; got nothing.")
        axes: dict[str, Any] = read_axes(text for given in self.grid for text in given)
        if self.seeds is not None:
            if "seed" in axes:
                raise OptionError("--seeds and --grid seed=... both say which seeds there are; leave one of them out.")
            if self.seeds < 1:
                raise OptionError(f"--seeds must be at least 1; got {self.seeds}.")
            axes["seed"] = range(self.seeds)
        parts = [Sweep.grid(base, **axes) for base in self.bases or (self.recipe,)]
        return Sweep(tuple(recipe for part in parts for recipe in part.recipes))

    def folder(self, sweep: Sweep) -> Path:
        """Where the sweep goes: the same place every time, so that the same command goes on with it."""
        names = (dict.fromkeys(getattr(recipe, name) for recipe in sweep.recipes) for name in ("dataset", "network"))
        words = [word for found in names for word in found]
        return self.out or RUNS / as_name(["sweep", *words])

    def resources(self) -> dict[str, Any]:
        """What runs are given besides their recipe, as `run_sweep` and `Job` name it."""
        return {name: getattr(self, name) for name in ("device", "threads", "data_root", "download")}
