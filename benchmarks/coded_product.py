"""Products Y = X W straight from coded weights, beside scipy's compressed sparse columns and dense ones in torch.

All take turns on the same pruned and quantised layer (see `storage_size`) and the same batch. Times are by the wall
clock, for more threads than one are asked for too. scipy is given the batch as its product wants it, (n, B).
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csc_matrix

from deepcollapse.compression.storage.forms import coded
from deepcollapse.compression.storage.products import Product
from storage_size import FORMS, pruned_and_shared, sparse_bytes
from timing import columns, compute_threads, ratios

SIZES = {"full": (2048, 1024, 15), "small": (1024, 256, 7), "tiny": (48, 16, 2)}
SHARES, BATCHES, MOST_THREADS = (0.05, 0.1), (1, 8, 64), 2
NAMES = {
    "csc": "scipy CSC",
    "dense": "dense torch",
    "hac": "HAC",
    "shac": "sHAC",
    "delta": "delta",
    "delta-huffman": "delta-Huff.",
}


def run(size: str, threads: int) -> dict:
    """By share of non-zeros: memory over that of CSC, and by batch and threads times over those of CSC and dense."""
    rows, width, rounds = SIZES[size]
    shares = {str(share): measured(rows, width, share, rounds) for share in SHARES}
    return {"rows": rows, "columns": width, "shares": shares}


def measured(rows: int, width: int, share: float, rounds: int) -> dict:
    """One layer in all forms."""
    weights = pruned_and_shared(rows, width, share)
    sparse = csc_matrix(weights)
    containers = {form: coded(weights, form) for form in FORMS}
    products = {form: Product.of(container) for form, container in containers.items()}
    dense = torch.from_numpy(np.ascontiguousarray(weights.T))
    whole = sparse_bytes(sparse)
    draw = np.random.default_rng(1)
    batches = {batch: draw.normal(size=(batch, rows)).astype(np.float32) for batch in BATCHES}
    return {
        "stored_over_csc": {
            "dense": weights.nbytes / whole,
            **{form: container.size / whole for form, container in containers.items()},
        },
        "held_over_csc": {form: by.bytes / whole for form, by in products.items()},
        "batches": {str(b): _timed(x, products, sparse, dense, rounds) for b, x in batches.items()},
    }


def _timed(x: np.ndarray, products: dict[str, Product], sparse: csc_matrix, dense: torch.Tensor, rounds: int) -> dict:
    transposed, turned, rows = sparse.T, np.ascontiguousarray(x.T), torch.from_numpy(x)
    exact = x.astype(np.float64) @ sparse.toarray().astype(np.float64)
    found = {}
    for threads in range(1, MOST_THREADS + 1):
        tasks: dict[str, Callable[[], object]] = {
            "csc": lambda: (transposed @ turned).T,
            "dense": lambda: torch.nn.functional.linear(rows, dense),
        }
        tasks |= {form: lambda by=by, threads=threads: by(x, threads) for form, by in products.items()}
        with compute_threads(threads):
            errors = {name: float(np.abs(np.asarray(task()) - exact).max()) for name, task in tasks.items()}
            seconds = _by_the_clock(tasks, rounds)
        found[str(threads)] = {
            "over_csc": {name: ratios(taken, seconds["csc"]) for name, taken in seconds.items()},
            "over_dense": {name: ratios(taken, seconds["dense"]) for name, taken in seconds.items()},
            "microseconds": {name: 1e6 * statistics.median(taken) for name, taken in seconds.items()},
            "largest_error": max(errors.values()),
        }
    return found


def _by_the_clock(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each task in each round, in turn; CPU time would count what threads do at the same time twice."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def table(result: dict) -> str:
    """A line for each share, batch and number of threads, and who won in a sentence."""
    head = "{rows} x {columns}, 32 values; all over scipy CSC's, which has one thread".format(**result)
    rows: list[tuple[object, ...]] = [("share, batch, threads", *(NAMES[name] for name in ("dense", *FORMS)))]
    said = {"dense": [], "csc": [], "coded": []}
    for share, layer in result["shares"].items():
        for batch, by_threads in layer["batches"].items():
            for threads, found in by_threads.items():
                over = {name: ratio["median"] for name, ratio in found["over_csc"].items()}
                rows.append((f"{share}, {batch}, {threads}", *(f"{over[name]:.2f}" for name in ("dense", *FORMS))))
                first = min(over, key=lambda name: over[name])
                said[first if first in said else "coded"].append(f"{share}/{batch}/{threads}")
    for share, layer in result["shares"].items():
        stored = layer["stored_over_csc"]
        rows.append((f"bytes stored, s={share}", *(f"{stored[name]:.3f}" for name in ("dense", *FORMS))))
    return "\n".join([head, columns(rows, (22, 12, 10, 10, 10, 13)), *_verdict(said)])


def _verdict(said: dict[str, list[str]]) -> list[str]:
    """Who was fastest where, in lines of at most eighty columns."""
    sentences = {
        "dense": "The dense product is fastest (share/batch/threads): ",
        "csc": "scipy CSC is fastest: ",
        "coded": "Coded weights are fastest: ",
    }
    lines = []
    for name, start in sentences.items():
        line = start
        for case in said[name] or ["nowhere"]:
            if len(line) + len(case) > 78:
                lines.append(line.rstrip())
                line = "  "
            line += case + " "
        lines.append(line.rstrip())
    return lines
