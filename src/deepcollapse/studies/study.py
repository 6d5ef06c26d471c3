"""A study: one paper's experiment as one value. Imports no torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepcollapse.errors import OptionError
from deepcollapse.records.charts import Shown
from deepcollapse.studies.judging.claim import Claim
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    import pandas

    from deepcollapse.studies.judging.evidence import Evidence, Finished

ScaleName = Literal["smoke", "laptop", "gpu", "paper"]
SCALES: tuple[ScaleName, ...] = ("smoke", "laptop", "gpu", "paper")
# Where a study keeps its runs and what it computes, in its folder.
SWEEP, TABLES = "sweep", "tables"


@dataclass(frozen=True)
class Scale:
    """How much of the published experiment is run.

    `words` is one sentence on what is run, `scaled_down` says, a sentence each, in what it differs from the paper and
    why. `settings` are the study's own.
    """

    words: str
    datasets: tuple[str, ...]
    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    scaled_down: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """One of the study's own settings."""
        return self.settings[name]

    def with_seeds(self, count: int) -> "Scale":
        """The same with so many seeds, from 0 on. Raises OptionError below one."""
        if count < 1:
            raise OptionError(f"a study needs at least 1 seed; got {count}.")
        return replace(self, seeds=tuple(range(count)))


@dataclass(frozen=True)
class Task:
    """What a computation of a study is given: the scale, a file for its rows, trained runs, and where to compute.

    `progress` is told the share that is done.
    """

    scale: Scale
    path: Path
    runs: "Sequence[Finished]"
    device: str | None = None
    threads: int | None = None
    progress: Callable[[float], None] = lambda share: None


@dataclass(frozen=True)
class Computation:
    """Something that a study computes besides training: rows in a table of that name.

    `compute` keeps its rows in `task.path` (JSON lines) as it goes and does not compute again what is there. `cost`
    says how many seconds a scale takes, as timed on the spot.
    """

    name: str
    compute: "Callable[[Task], pandas.DataFrame]"
    cost: Callable[[Scale], float] | None = None


@dataclass(frozen=True)
class Study:
    """One paper's experiment: recipes, what is measured of each trained network, further computations, claims, charts.

    `citation` is a key of docs/references.bib, `afterwards` a function for sweeps (package.module:function).
    """

    name: str
    title: str
    citation: str
    summary: str
    scales: Mapping[ScaleName, Scale]
    claims: Sequence[Claim]
    recipes: Callable[[Scale], Sequence[Recipe]] = lambda scale: ()
    afterwards: str | None = None
    computations: Sequence[Computation] = ()
    show: "Callable[[Evidence], Iterable[Shown]]" = lambda evidence: ()
