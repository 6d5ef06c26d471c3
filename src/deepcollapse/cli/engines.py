"""The engines that --engine and --jobs name."""

from typing import TYPE_CHECKING, Literal

from deepcollapse.errors import OptionError

if TYPE_CHECKING:
    from deepcollapse.sweeps.engines import Engine

EngineName = Literal["auto", "in-process", "processes", "stacked", "ray"]


def engine_of(name: EngineName, jobs: int, address: str | None = None) -> "Engine":
    """The engine of that name. Raises OptionError for fewer jobs than one, and for an address that is of no use."""
    if jobs < 1:
        raise OptionError(f"--jobs must be at least 1; got {jobs}.")
    if address is not None and name != "ray":
        raise OptionError(f"--address is that of a Ray cluster and goes with --engine ray; got --engine {name}.")
    if name == "ray":
        from deepcollapse.sweeps.engines.ray import RayEngine

        return RayEngine(address=address)
    if name == "stacked":
        from deepcollapse.sweeps.engines.stacked import Stacked

        return Stacked()
    if name == "processes" or (name == "in-process" and jobs > 1):
        from deepcollapse.sweeps.engines.processes import Processes

        return Processes(jobs)
    if name == "in-process":
        from deepcollapse.sweeps.engines.in_process import InProcess

        return InProcess()
    from deepcollapse.sweeps.engines.choose import Automatic

    return Automatic(jobs)
