"""Many small networks trained as one program, beside one after another and beside two processes: digits, batch norm.

An epoch of all networks is timed, with the drawing of batches, and with the evaluation that follows. One after another
they go through the training loop with torch's SGD as it is by default, with its fused and with its foreach form.
CPU seconds are compared where one process works, wall-clock ones (of which the least is taken) where several do.
"""

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from deepcollapse.sweeps import Sweep
from deepcollapse.sweeps.job import Job
from deepcollapse.sweeps.stacked.blocks import block_size
from deepcollapse.sweeps.stacked.program import Member, Program, stacked_data
from deepcollapse.training import Recipe, prepare
from deepcollapse.training.evaluate import evaluate
from deepcollapse.training.loop import Training, begin
from timing import columns, compute_threads, in_turn, ratios, spread

SIZES = {"full": (32, 7), "small": (8, 3), "tiny": (2, 1)}  # networks, rounds
SHAPES = {"4 x 64": Recipe(width=64, depth=4), "2 x 256": Recipe(width=256, depth=2)}
TINY = {"2 x 8": Recipe(width=8, depth=2, per_class=10, test_per_class=5)}
FORMS = {"default": {}, "fused": {"fused": True}, "foreach": {"foreach": True}}


def run(size: str, threads: int) -> dict:
    """How many times as long as a stack the other ways take, by shape; processes are compared by wall clocks."""
    members, rounds = SIZES[size]
    found = {}
    for name, recipe in (TINY if size == "tiny" else SHAPES).items():
        with compute_threads(threads), tempfile.TemporaryDirectory() as folder:
            found[name] = {"cpu": in_one_process(recipe, members, rounds, threads, Path(folder))}
        if size != "tiny":
            found[name]["wall"] = in_processes(recipe, members, rounds)
    return {"members": members, "shapes": found}


def in_one_process(recipe: Recipe, members: int, rounds: int, threads: int, folder: Path) -> dict[str, Any]:
    """Ratios of CPU seconds to those of the stack: of an epoch with each form of SGD, and of an epoch evaluated."""
    ways: dict[str, Any] = {
        form: one_by_one(recipe, members, threads, folder / form, **how) for form, how in FORMS.items()
    }
    stacked = together(recipe, members, threads, folder / "stacked")
    tasks: dict[str, Any] = {form: (lambda networks=networks: train(networks)) for form, networks in ways.items()}
    tasks["stacked"] = lambda: train_stacked(stacked)
    tasks["evaluated"] = lambda: evaluate_all(ways["default"])
    tasks["evaluated stacked"] = lambda: evaluate_stacked(stacked)
    seconds = in_turn(tasks, rounds)
    found = {form: ratios(seconds[form], seconds["stacked"]) for form in FORMS}
    return found | {"evaluation": ratios(seconds["evaluated"], seconds["evaluated stacked"])}


def one_by_one(recipe: Recipe, members: int, threads: int, folder: Path, **how: Any) -> list[Training]:
    """Runs that are ready to train, with this form of SGD."""
    splits = prepare(recipe)
    found = []
    for each in Sweep.grid(recipe, seed=range(members)).recipes:
        training = begin(each, splits, folder / str(each.seed), device="cpu", threads=threads)
        if how:
            settings = {"lr": each.rate, "momentum": each.momentum, "weight_decay": each.decay}
            training.optimiser = torch.optim.SGD(training.network.parameters(), **settings, **how)
        found.append(training)
    return found


def together(recipe: Recipe, members: int, threads: int, folder: Path) -> list[Program]:
    """The same runs in stacks of the size that the engine takes."""
    found = [Member(Job(each.recipe, folder), each) for each in one_by_one(recipe, members, threads, folder)]
    size, data = block_size(found[0].training, members), stacked_data(found)
    return [Program(found[i : i + size], data) for i in range(0, members, size)]


def train(networks: list[Training]) -> None:
    """An epoch of each."""
    for each in networks:
        each.train_epoch(1, torch.Generator().manual_seed(each.recipe.seed))


def train_stacked(programs: list[Program]) -> None:
    """An epoch of all."""
    for each in programs:
        each.train_epoch(1)


def evaluate_all(networks: list[Training]) -> None:
    """Accuracy and loss of each, on both splits."""
    for each in networks:
        for split in (each.splits.train, each.splits.test):
            assert split is not None
            evaluate(each.network, split.batches(each.place.evaluation_batch), each.loss)


def evaluate_stacked(programs: list[Program]) -> None:
    """The same of all."""
    for each in programs:
        for data in each.data.values():
            each.scores(data)


def in_processes(recipe: Recipe, members: int, rounds: int) -> dict[str, float]:
    """Wall-clock ratios to one stacking process of one thread: two that train one by one, and two that stack."""
    ways = {"one stacking": (1, True), "two one by one": (2, False), "two stacking": (2, True)}
    seconds = {name: wall(recipe, members, rounds, count, stacking) for name, (count, stacking) in ways.items()}
    return {name: seconds[name] / seconds["one stacking"] for name in ways}


def wall(recipe: Recipe, members: int, rounds: int, count: int, stacking: bool) -> float:
    """The least wall-clock seconds that so many processes take for an epoch of all networks."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    share = (recipe, members // count, rounds, stacking, barrier, results)
    workers = [context.Process(target=_work, args=share) for _ in range(count)]
    for worker in workers:
        worker.start()
    each = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return min(max(times) for times in zip(*each, strict=True))


def _work(recipe: Recipe, members: int, rounds: int, stacking: bool, barrier: Any, results: Any) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ready: Any = (together if stacking else one_by_one)(recipe, members, 1, Path(folder))
        times = []
        for _ in range(rounds + 1):
            barrier.wait()
            start = time.perf_counter()
            (train_stacked if stacking else train)(ready)
            times.append(time.perf_counter() - start)
    results.put(times[1:])


def table(result: dict) -> str:
    """One line for each shape and way."""
    rows: list[tuple[object, ...]] = [("times as long as stacked", *result["shapes"])]
    shapes = result["shapes"].values()
    for form in (*FORMS, "evaluation"):
        name = "evaluation of an epoch" if form == "evaluation" else f"one by one, SGD {form}"
        rows.append((name, *(spread(shape["cpu"][form]) for shape in shapes)))
    for way in next(iter(shapes)).get("wall", ()):
        rows.append((f"wall clock, {way}", *(f"{shape['wall'][way]:.2f}" for shape in shapes)))
    return f"{result['members']} mlps with batch norm on digits\n{columns(rows, (30, 24, 24))}"
