"""How time grows: one layer with N, C and d, the overhead of a forward pass with batch, classes and width.

Each is doubled alone. An exponent of 1 is time in proportion; a ratio to two products that stays or falls says that
nothing grows faster than the products do.
"""

import statistics

import overhead
from one_layer import timed
from timing import columns, compute_threads, exponent, ratios, spread

# One layer: the middle (N, d, C), and what each is multiplied by. Overhead: (batch, width, classes), likewise.
SIZES = {
    "full": ((10_000, 512, 200), (1, 2, 4, 8), (16, 32, 10), (1, 2, 4), 5),
    "small": ((2000, 128, 50), (1, 2, 4), (8, 16, 10), (1, 2), 3),
    "tiny": ((200, 16, 4), (1, 2), (2, 8, 4), (1, 2), 1),
}


def run(size: str, threads: int) -> dict:
    """Sizes, seconds, ratios and exponents, by what was doubled."""
    base, factors, small, few, rounds = SIZES[size]
    with compute_threads(threads):
        layer = {name: _layer(base, axis, factors, rounds) for axis, name in enumerate(("N", "d", "C"))}
        passes = {name: _pass(small, axis, few, rounds) for axis, name in enumerate(("batch", "width", "classes"))}
    return {"one_layer": layer, "overhead": passes}


def _layer(base: tuple[int, int, int], axis: int, factors: tuple[int, ...], rounds: int) -> dict:
    sizes = [base[axis] * factor for factor in factors]
    seconds = [timed("spread", *_with(base, axis, size), rounds=rounds, plain=False) for size in sizes]
    ours = [statistics.median(s["ours"]) for s in seconds]
    return {
        "sizes": sizes,
        "cpu_seconds": ours,
        "over_two_products": [ratios(s["ours"], s["products"]) for s in seconds],
        "exponent": exponent(sizes, ours),
    }


def _pass(base: tuple[int, int, int], axis: int, factors: tuple[int, ...], rounds: int) -> dict:
    sizes = [base[axis] * factor for factor in factors]
    added = [overhead.added(*_with(base, axis, size), rounds=2 * rounds) for size in sizes]
    return {"sizes": sizes, "added": added}


def _with(base: tuple[int, int, int], axis: int, size: int) -> tuple[int, int, int]:
    changed = [*base]
    changed[axis] = size
    return (changed[0], changed[1], changed[2])


def table(result: dict) -> str:
    """A block for one layer, and one for the forward pass."""
    rows = [("one layer", "size", "CPU s", "over two products", "exponent")]
    for name, found in result["one_layer"].items():
        for i, size in enumerate(found["sizes"]):
            ratio, last = spread(found["over_two_products"][i]), i == len(found["sizes"]) - 1
            power = f"{found['exponent']:.2f}" if last else ""
            rows.append((name if i == 0 else "", size, f"{found['cpu_seconds'][i]:.3g}", ratio, power))
    lines = [columns(rows, (12, 10, 12, 24, 12)), ""]
    rows = [("% added to", "size", *overhead.LAYERS)]
    for name, found in result["overhead"].items():
        for i, size in enumerate(found["sizes"]):
            shares = [{k: 100 * v for k, v in found["added"][i][which].items()} for which in overhead.LAYERS]
            rows.append((name if i == 0 else "", size, *(spread(share, 1) for share in shares)))
    return "\n".join([*lines, columns(rows, (12, 8, 26, 30))])
