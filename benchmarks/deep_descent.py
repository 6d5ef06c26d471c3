"""Gradient descent on the deep unconstrained-features model from many seeds: one batch, beside a loop over the seeds.

Like with like: autograd beside autograd, the gradient by hand beside the same formulas. The loops are what one would
write for a single network: plain matrices, the same momentum, updates in place, and no checks at all. All four take
the same steps from the same starts.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures
from deepcollapse.theory.solvers import GradientDescent
from deepcollapse.theory.solvers.solve import solve_many
from timing import columns, compute_threads, in_turn, ratios, spread

SIZES = {"full": (64, (20, 30), 600, 4), "small": (64, (20,), 100, 3), "tiny": (3, (6,), 4, 1)}
CLASSES, DEPTH, DECAY, RATE, MOMENTUM = 10, 4, 0.004, 0.1, 0.9
KINDS = ("autograd", "by hand")
Point = dict[str, Tensor]


def run(size: str, threads: int) -> dict:
    """By width: the loop's CPU time over the batch's, each one's time a step and seed, and how far the ends differ."""
    seeds, widths, steps, rounds = SIZES[size]
    with compute_threads(threads):
        return {"seeds": seeds, "steps": steps, "widths": {str(w): _timed(w, seeds, steps, rounds) for w in widths}}


def _timed(width: int, seeds: int, steps: int, rounds: int) -> dict:
    problem = DeepUnconstrainedFeatures.uniform(CLASSES, depth=DEPTH, decay=DECAY, width=width)
    tasks: dict[str, Callable[[], list[float]]] = {}
    for kind in KINDS:
        tasks[f"batch, {kind}"] = lambda kind=kind: batch(problem, seeds, steps, kind)
        tasks[f"loop, {kind}"] = lambda kind=kind: [looped(problem, seed, steps, kind) for seed in range(seeds)]
    ends = {name: torch.tensor(task(), dtype=torch.float64) for name, task in tasks.items()}
    seconds = in_turn(tasks, rounds, warm=False)
    each = {name: 1e6 * min(taken) / seeds / steps for name, taken in seconds.items()}
    return {
        "loop_over_batch": {kind: ratios(seconds[f"loop, {kind}"], seconds[f"batch, {kind}"]) for kind in KINDS},
        "microseconds_a_step_and_seed": each,
        "largest_difference": max(float((end - ends["loop, by hand"]).abs().max()) for end in ends.values()),
    }


def batch(problem: DeepUnconstrainedFeatures, seeds: int, steps: int, kind: str) -> list[float]:
    """Ours: objectives at the end, by seed."""
    gradient = "by hand" if kind == "by hand" else "autograd"
    solver = GradientDescent(rate=RATE, momentum=MOMENTUM, steps=steps, drops=(), gradient=gradient)
    return [solution.objective for solution in solve_many([problem], solver, range(seeds))]


def looped(problem: DeepUnconstrainedFeatures, seed: int, steps: int, kind: str) -> float:
    """One seed, plainly: the objective at the end."""
    point = problem.start(torch.Generator().manual_seed(seed))
    velocity = {name: torch.zeros_like(part) for name, part in point.items()}
    y = torch.eye(CLASSES, dtype=torch.float64)
    slope = by_hand if kind == "by hand" else by_autograd
    for _ in range(steps):
        for name, part in slope(point, y).items():
            velocity[name].mul_(MOMENTUM).add_(part)
            point[name].sub_(velocity[name], alpha=RATE)
    return float(objective(point, y))


def objective(point: Point, y: Tensor) -> Tensor:
    """The model's objective with plain matrices."""
    h = point["features"] @ point["W1"].T
    for layer in range(2, DEPTH + 1):
        h = h.relu() @ point[f"W{layer}"].T
    size = torch.stack([part.square().sum() for part in point.values()]).sum()
    return (h - y).square().sum() / (2 * len(y)) + DECAY / 2 * size


def by_autograd(point: Point, y: Tensor) -> Point:
    """The gradient by autograd."""
    leaves = {name: part.detach().requires_grad_() for name, part in point.items()}
    return dict(zip(leaves, torch.autograd.grad(objective(leaves, y), list(leaves.values())), strict=True))


def by_hand(point: Point, y: Tensor) -> Point:
    """The gradient by hand."""
    after = [point["features"], (point["features"] @ point["W1"].T).relu()]
    for layer in range(2, DEPTH):
        after.append((after[-1] @ point[f"W{layer}"].T).relu())
    back, gradient = (after[-1] @ point[f"W{DEPTH}"].T - y) / len(y), {}
    for layer in range(DEPTH, 0, -1):
        gradient[f"W{layer}"] = torch.addmm(point[f"W{layer}"], back.T, after[layer - 1], beta=DECAY)
        back = back @ point[f"W{layer}"]
        if layer > 1:
            back = back * (after[layer - 1] > 0)
    return gradient | {"features": back + DECAY * point["features"]}


def table(result: dict) -> str:
    """Two lines for each width."""
    rows: list[tuple[object, ...]] = [("width, gradient", "loop over batch", "us, batch", "us, loop")]
    for width, found in result["widths"].items():
        for kind in KINDS:
            each = [found["microseconds_a_step_and_seed"][f"{how}, {kind}"] for how in ("batch", "loop")]
            ratio = spread(found["loop_over_batch"][kind], 1)
            rows.append((f"{width}, {kind}", ratio, *(f"{taken:.1f}" for taken in each)))
    differ = max(found["largest_difference"] for found in result["widths"].values())
    head = f"K={CLASSES}, L={DEPTH}, {{seeds}} seeds, {{steps}} steps; us a step and seed".format(**result)
    return f"{head}\n{columns(rows, (22, 22, 12, 12))}\nends differ by at most {differ:.0e}"
