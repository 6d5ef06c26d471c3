"""Timing in turn, peak memory, and tables: what every benchmark needs."""

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch


def machine(threads: int) -> dict[str, object]:
    """What the numbers were taken on: no names, no paths."""
    return {
        "cores": os.cpu_count(),
        "threads": threads,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


@contextmanager
def compute_threads(threads: int):
    """Torch on this many threads, and afterwards as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_turn(tasks: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """CPU seconds of each task in each round: one after the other, round by round, so that noise hits all alike."""
    if warm:
        for task in tasks.values():
            task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            seconds[name].append(time.process_time() - start)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """The median of the ratios taken round by round, and the least and greatest of them."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    return {"median": statistics.median(each), "least": min(each), "greatest": max(each)}


def spread(ratio: Mapping[str, float], digits: int = 2) -> str:
    """A ratio as "1.90 (1.85-2.01)"."""
    median, least, greatest = (f"{ratio[key]:.{digits}f}" for key in ("median", "least", "greatest"))
    return f"{median} ({least}-{greatest})"


def peak_memory(prepare: Callable[..., Callable[[], object]], *arguments: object) -> float | None:
    """MB that the task made by `prepare(*arguments)` takes at its peak beyond what there was, in a process of its own.

    None where the system does not tell (the peak can be reset on Linux alone).
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (prepare, arguments))


def _peak(prepare: Callable[..., Callable[[], object]], arguments: tuple) -> float:
    task = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _status("VmRSS")
    task()
    return (_status("VmHWM") - before) * 1024 / 1e6


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of log(values) over log(sizes), by least squares: 1 where values grow in proportion."""
    x, y = (torch.tensor(numbers, dtype=torch.float64).log() for numbers in (sizes, values))
    x = x - x.mean()
    return float((x @ y) / (x @ x))


def columns(rows: Sequence[Sequence[object]], widths: Sequence[int]) -> str:
    """Rows in columns: the first to the left, the others to the right."""
    lines = []
    for row in rows:
        first, *rest = (str(cell) for cell in row)
        lines.append(f"{first:<{widths[0]}}" + "".join(f"{c:>{w}}" for c, w in zip(rest, widths[1:], strict=False)))
    return "\n".join(lines)
