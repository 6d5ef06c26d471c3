"""The engines that --engine and --jobs name."""

from typing import TYPE_CHECKING, Literal

from deepcollapse.errors import OptionError

if TYPE_CHECKING:
    from deepcollapse.sweeps.engines import Engine

EngineName = Literal["auto", "in-process", "processes", "stacked", "ray"]


def engine_of(
    name: EngineName, jobs: int, address: str | None = None, *, cpus: float = 1.0, gpus: float = 0.0
) -> "Engine":
    """The engine of that name; `cpus` and `gpus` are what Ray sets aside for a run.

    Raises OptionError for fewer jobs than one, and for what is of no use to the engine.
    """
    _refuse_useless(name, jobs, address, (cpus, gpus))
    if name == "ray":
        from deepcollapse.sweeps.engines.ray import RayEngine

        return RayEngine(address, cpus=cpus, gpus=gpus, pending=jobs if jobs > 1 else None)
    if name == "stacked":
        from deepcollapse.sweeps.engines.stacked import Stacked

        return Stacked()
    if name == "processes":
        from deepcollapse.sweeps.engines.processes import Processes

        return Processes(jobs)
    if name == "in-process":
        from deepcollapse.sweeps.engines.in_process import InProcess

        return InProcess()
    from deepcollapse.sweeps.engines.choose import Automatic

    return Automatic(jobs)


def _refuse_useless(name: EngineName, jobs: int, address: str | None, share: tuple[float, float]) -> None:
    if jobs < 1:
        raise OptionError(f"--jobs must be at least 1; got {jobs}.")
    if jobs > 1 and name in ("in-process", "stacked"):
        raise OptionError(
            f"--engine {name} is one process; got --jobs {jobs}. Leave --jobs out, or use --engine auto or processes."
        )
    if address is not None and name != "ray":
        raise OptionError(f"--address is that of a Ray cluster and goes with --engine ray; got --engine {name}.")
    if share != (1.0, 0.0) and name != "ray":
        raise OptionError(
            f"--cpus-per-run and --gpus-per-run are what Ray sets aside and go with --engine ray; got --engine {name}."
        )
