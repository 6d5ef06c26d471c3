"""Runs on a Ray cluster, or on a Ray of this machine: one task a run, a bounded number of them at once.

A task is idempotent, so Ray may start it again where a worker or its machine died. The sweep's folder lies on a disk
that all machines share; it is all that they need to have in common besides this package.
"""

import contextlib
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from deepcollapse.errors import MissingExtraError, OptionError, RunError
from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.job import Job, Outcome, do, failed
from deepcollapse.sweeps.status import epoch_reached
from deepcollapse.sweeps.watch import SweepWatcher

# So many tasks are handed to Ray for each that there is room for: none waits for another, and none is held for long.
PENDING_A_SLOT = 2
SECONDS_BETWEEN_LOOKS = 2.0
# A network disk may tell of a new file only so much later.
SECONDS_TO_SEE = 10.0


@dataclass(frozen=True)
class RayEngine:
    """Runs as tasks of Ray, each with so many CPUs and GPUs (0.25 puts four on one), wherever there is room.

    `address` is that of a cluster ("auto", "HOST:6379"); without it Ray is started on this machine for the time being.
    A task whose worker or machine died is tried again up to `retries` times; what goes wrong inside a run is kept as
    its outcome. At most `pending` tasks are handed to Ray at once: twice as many as there is room for, if not given.
    """

    address: str | None = None
    cpus: float | int = 1.0
    gpus: float | int = 0.0
    retries: int = 2
    pending: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no task can be given."""
        for name in ("cpus", "gpus", "retries"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name} must be 0 or more; got {getattr(self, name)}.")
        if not (self.cpus or self.gpus):
            raise OptionError("a run needs a share of a CPU or of a GPU; got 0 of both.")
        if self.pending is not None and self.pending < 1:
            raise OptionError(f"pending must be at least 1; got {self.pending}.")

    def run(self, jobs: Sequence[Job], watcher: SweepWatcher) -> Iterator[Outcome]:
        """The outcomes, as runs end.

        Raises MissingExtraError without Ray, and RunError where no cluster answers, no machine of it has what a run
        asks for, or one does not see the sweep's folder.
        """
        if not jobs:
            return
        ray = _ray()
        with _connected(ray, self.address), _marked(jobs[0].sweep) as marker:
            slots = self._slots(ray, marker)
            task = ray.remote(_work).options(
                num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries, retry_exceptions=False
            )
            yield from _gathered(ray, task, jobs, marker, self.pending or PENDING_A_SLOT * slots, watcher)

    def _slots(self, ray: ModuleType, marker: Path) -> int:
        """How many runs there is room for, on machines that all see the folder."""
        fitting = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and self._room(node)}
        if not fitting:
            raise RunError(
                f"no machine of the Ray cluster has what a run asks for: {self.cpus:g} CPUs and {self.gpus:g} GPUs. "
                "Ask for less with --cpus-per-run and --gpus-per-run, or add a machine that has it."
            )
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        look = ray.remote(_sees)
        asked = {
            node: look.options(num_cpus=0, scheduling_strategy=On(node, soft=False)).remote(marker) for node in fitting
        }
        blind = [fitting[node]["NodeManagerHostname"] for node, answer in asked.items() if not ray.get(answer)]
        if blind:
            raise RunError(_not_shared(marker.parent, ", ".join(sorted(set(blind)))))
        return sum(map(self._room, fitting.values()))

    def _room(self, node: dict[str, Any]) -> int:
        """How many runs a machine has room for."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        return min(int(node["Resources"].get(kind, 0) / share) for kind, share in wanted.items() if share)


def _gathered(
    ray: ModuleType, task: Any, jobs: Sequence[Job], marker: Path, most: int, watcher: SweepWatcher
) -> Iterator[Outcome]:
    """Hand jobs to Ray, never more than so many, and take in what becomes of them."""
    waiting, under_way = list(reversed(jobs)), {}
    home = (str(Path.cwd()), tuple(sys.path))
    try:
        while waiting or under_way:
            while waiting and len(under_way) < most:
                job = waiting.pop()
                under_way[task.remote(_for_anywhere(job), marker, home)] = job
            ended, _ = ray.wait(list(under_way), num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
            for reference in ended:
                yield _outcome(ray, reference, under_way.pop(reference))
            for job in under_way.values():
                if (epoch := epoch_reached(job.run_path)) is not None:
                    watcher.epoch(job.key, epoch, job.recipe.epochs)
    finally:
        for reference in under_way:  # whoever stopped listening wants no more of it
            ray.cancel(reference, force=True)


def _outcome(ray: ModuleType, reference: Any, job: Job) -> Outcome:
    """What became of a task; one that Ray gave up is a failure that is kept like any other."""
    try:
        return replace(ray.get(reference), run=job.run_path)
    except ray.exceptions.RayError as error:
        return failed(job, error)


def _for_anywhere(job: Job) -> Job:
    """The job with whole paths: a worker's current folder is another."""
    root = None if job.data_root is None else os.fspath(Path(job.data_root).absolute())
    return replace(job, sweep=job.sweep.absolute(), data_root=root)


def _work(job: Job, marker: Path, home: tuple[str, tuple[str, ...]]) -> Outcome:
    """One run, on whatever machine this is; `home` is where the user's own modules and folders are looked for."""
    folder, path = home
    with contextlib.suppress(OSError):
        os.chdir(folder)
    sys.path.extend(place for place in path if place not in sys.path)
    if not _sees(marker):  # a machine that joined later
        return failed(job, RunError(_not_shared(job.sweep, socket.gethostname())))
    return do(job, _shelf(job.data_root, job.download))


@lru_cache(maxsize=1)
def _shelf(root: str | None, download: bool) -> Shelf:
    """The data that this worker read before: it lives on from task to task."""
    return Shelf(root, download)


def _sees(marker: Path) -> bool:
    """Whether this machine sees a file that another one wrote."""
    end = time.monotonic() + SECONDS_TO_SEE
    while not marker.is_file():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _not_shared(folder: Path, machines: str) -> str:
    return (
        f"the folder {folder} is not seen by {machines}: all machines of a Ray cluster need the sweep's folder at the "
        "same path. Choose one on a disk that they share, with --out."
    )


@contextlib.contextmanager
def _marked(sweep: Path) -> Iterator[Path]:
    """A file in the sweep's folder for other machines to find."""
    marker = sweep.absolute() / f".shared-{uuid.uuid4().hex}"
    try:
        marker.touch()
    except OSError as error:
        raise RunError(f"cannot write in {sweep}: {error.strerror or error}. Choose another folder.") from error
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


@contextlib.contextmanager
def _connected(ray: ModuleType, address: str | None) -> Iterator[None]:
    """In touch with the cluster at an address, or with one on this machine that ends with us; quietly."""
    if ray.is_initialized():  # whoever uses this as a library has connected already
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if address is None:
            raise RunError(f"Ray could not be started on this machine ({reason}).") from error
        raise RunError(
            f"no Ray cluster answers at {address} ({reason}). Start one with `ray start --head`; where it was started "
            "with RAY_AUTH_MODE=token, or says that token authentication is on, set that here too."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> ModuleType:
    """Ray, which tells nobody that it is used."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or Ray warns of what it will do one day
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "--engine ray needs the package ray, which is not installed. "
            "Install it with: pip install 'deepcollapse[sweep]'"
        ) from error
    return ray
