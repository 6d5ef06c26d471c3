"""One feature layer, measured from features at hand: time, memory and error beside the plain recipe's.

Time is CPU time as a multiple of two plain float32 products (N x d)(d x C) that run in turn with it. Three such
products, 1.5, are the floor: the network's decisions, the nearest class means and NC1 take one each.
"""

import math

import torch
from torch import Tensor

import deepcollapse
from peer import plain_recipe
from timing import columns, compute_threads, in_turn, peak_memory, ratios, spread

SIZES = {"full": (100_000, 1024, 1000), "small": (20_000, 256, 100), "tiny": (600, 24, 6)}  # N, d, C
MEASURES = (
    "within_class_variability",
    "cdnv",
    "equinorm_means",
    "equiangularity_means",
    "maximal_angle_means",
    "self_duality",
    "nearest_class_mean_disagreement",
    "nearest_class_mean_accuracy",
)
COUNTS = MEASURES[-2:]  # shares of samples: their error is the share that was counted wrongly
KINDS = ("spread", "collapsed", "near-ties")
Layer = tuple[Tensor, Tensor, Tensor, Tensor]  # h (n, d), y (n,), W (C, d), b (C,)


def layer(kind: str, n: int, d: int, c: int, seed: int = 0) -> Layer:
    """A layer of float32 features: classes spread out, collapsed to 1e-4 at a far offset, or near ties of two means."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    means, y = draw(c, d), torch.arange(n) % c
    noise, W = draw(n, d), means + 0.3 * draw(c, d)
    if kind == "spread":
        h = noise.mul_(0.15 * math.sqrt(d)).add_(means[y])  # a few samples in a hundred nearest to another mean
    elif kind == "collapsed":
        h = noise.mul_(1e-4).add_(means[y]).add_(10)
    else:
        # Half of the samples lie between two means, off the middle by about what float32 products round away.
        other = torch.randint(c, (n,), generator=generator)
        share = torch.where(torch.rand(n, generator=generator) < 0.5, 0.5, 0.0)[:, None]
        h = noise.mul_(1e-6).add_((1 - share) * means[y] + share * means[other])
    return h, y, W, 0.1 * draw(c)


def ours(h: Tensor, y: Tensor, W: Tensor, b: Tensor) -> dict[str, float]:
    """What `deepcollapse` says."""
    found = deepcollapse.measure_features(h, y, num_classes=len(W), classifier=W, bias=b, measures=MEASURES)
    return {name: found[name] for name in MEASURES}


def reference(h: Tensor, y: Tensor, W: Tensor, b: Tensor) -> dict[str, float]:
    """The definitions in float64 throughout, with the rank of Sigma_B known to be at most C - 1."""
    h, W, b, c = h.double(), W.double(), b.double(), len(W)
    count = y.bincount(minlength=c)
    means = torch.zeros(c, h.shape[1], dtype=torch.float64).index_add_(0, y, h) / count[:, None]
    means += torch.zeros_like(means).index_add_(0, y, h - means[y]) / count[:, None]  # once more, about the means
    centred, residual = means - means.mean(dim=0), h - means[y]
    _, s, right = torch.linalg.svd(centred / math.sqrt(c), full_matrices=False)
    k = min(c - 1, h.shape[1])
    q = residual @ (right[:k].T / s[:k])
    per_class = lambda x: torch.zeros(c, dtype=torch.float64).index_add_(0, y, x) / count  # noqa: E731
    v, squared = per_class(residual.square().sum(dim=1)), torch.cdist(means, means).square()
    off = ~torch.eye(c, dtype=torch.bool)
    unit = centred / centred.norm(dim=1, keepdim=True)
    cosines, norms = (unit @ unit.T)[off], centred.norm(dim=1)
    nearest = ((h - means[0]) @ (means - means[0]).T - (means - means[0]).square().sum(dim=1) / 2).argmax(dim=1)
    return {
        "within_class_variability": float(per_class(q.square().sum(dim=1)).mean() / c),
        "cdnv": float(((v[:, None] + v) / 2)[off].div(squared[off]).mean()),
        "equinorm_means": float(norms.std(correction=0) / norms.mean()),
        "equiangularity_means": float(cosines.std(correction=0)),
        "maximal_angle_means": float((cosines + 1 / (c - 1)).abs().mean()),
        "self_duality": float((W / W.norm() - centred / centred.norm()).square().sum()),
        "nearest_class_mean_disagreement": float(((h @ W.T + b).argmax(dim=1) != nearest).double().mean()),
        "nearest_class_mean_accuracy": float((nearest == y).double().mean()),
    }


def error(found: dict[str, float], truth: dict[str, float]) -> dict[str, float]:
    """Relative errors, and for shares of samples the difference of the shares."""
    return {m: abs(found[m] - truth[m]) / (1.0 if m in COUNTS else abs(truth[m])) for m in MEASURES}


def run(size: str, threads: int) -> dict:
    """Time and memory at N, d, C, and errors on a tenth of the samples of three kinds of features."""
    n, d, c = SIZES[size]
    with compute_threads(threads):
        seconds = timed("spread", n, d, c, rounds=5)
        errors = {kind: _errors(layer(kind, max(n // 10, 2 * c), d, c)) for kind in KINDS}
    peaks = {name: peak_memory(_prepared, name, n, d, c, threads) for name in TASKS}
    return {
        "samples": n,
        "dimension": d,
        "classes": c,
        "cpu_seconds": {name: min(s) for name, s in seconds.items()},
        "over_two_products": {name: ratios(seconds[name], seconds["products"][: len(seconds[name])]) for name in TASKS},
        "peak_megabytes": peaks,
        "error": errors,
    }


def timed(kind: str, n: int, d: int, c: int, rounds: int, plain: bool = True) -> dict[str, list[float]]:
    """CPU seconds of two products and of each task in turn; of the plain recipe, which takes long, in one round."""
    h, y, W, b = layer(kind, n, d, c)
    right = W.T.contiguous()
    todo = {"products": lambda: _two_products(h, right), "ours": lambda: ours(h, y, W, b)}
    seconds = in_turn(todo, rounds)
    return seconds | (in_turn({"plain": lambda: _plain(h, y, W, b)}, 1, warm=False) if plain else {})


def _two_products(h: Tensor, right: Tensor) -> None:
    for _ in range(2):
        torch.mm(h, right)


def _plain(h: Tensor, y: Tensor, W: Tensor, b: Tensor) -> dict[str, float]:
    return plain_recipe(h, y, W, b, len(W))


TASKS = {"ours": ours, "plain": _plain}


def _prepared(name: str, n: int, d: int, c: int, threads: int):
    """The task on features that are there already, after a small one that loads what is loaded once."""
    torch.set_num_threads(threads)
    TASKS[name](*layer("spread", 8 * 16, 16, 8))
    made = layer("spread", n, d, c)
    return lambda: TASKS[name](*made)


def _errors(made: Layer) -> dict[str, dict[str, float]]:
    truth = reference(*made)
    return {"truth": truth} | {name: error(task(*made), truth) for name, task in TASKS.items()}


def table(result: dict) -> str:
    """Time and memory, then errors by kind of features."""
    over, peak = result["over_two_products"], result["peak_megabytes"]
    rows: list[tuple[object, ...]] = [("", "ours", "plain recipe")]
    rows.append(("CPU time over two products", *(spread(over[name]) for name in TASKS)))
    rows.append(("CPU seconds, best round", *(f"{result['cpu_seconds'][name]:.3g}" for name in TASKS)))
    rows.append(("peak MB beyond the features", *("?" if peak[k] is None else f"{peak[k]:.0f}" for k in TASKS)))
    lines = ["N={samples}, d={dimension}, C={classes}, float32; floor 1.50 (three products)".format(**result)]
    lines += [columns(rows, (32, 22, 22)), "", "error against float64 (N/10 samples; shares of samples: difference)"]
    for kind, errors in result["error"].items():
        rows = [(kind, "float64", "ours", "plain recipe")]
        rows += [
            (f"  {m}", f"{errors['truth'][m]:.6g}", f"{errors['ours'][m]:.1e}", f"{errors['plain'][m]:.1e}")
            for m in MEASURES
        ]
        lines.append(columns(rows, (35, 13, 12, 16)))
    return "\n".join(lines)
