"""What a sweep would cost: how many runs are left, and how long one of them takes on this machine."""

from typing import TYPE_CHECKING, Any

from deepcollapse.cli.sweep.shown import in_words
from deepcollapse.cli.terminal import duration, say, say_json
from deepcollapse.sweeps.axes import written
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from deepcollapse.cli.sweep.planned import Planned
    from deepcollapse.training.recipe import Recipe


def show_dry_run(sweep: Sweep, folder: SweepFolder, asked: "Planned") -> None:
    """Say how many runs there are, what is swept, how many are done, and what the others take."""
    left = [recipe for recipe in sweep.recipes if folder.state(recipe) != "done"]
    seconds = seconds_of_run(left[0], asked) if left else None
    total, done = len(sweep.recipes), len(sweep.recipes) - len(left)
    if asked.json:
        known: dict[str, Any] = {"folder": str(folder.path), "runs": total, "done": done, "settings": sweep.axes()}
        say_json(known | {"seconds_a_run": seconds, "seconds_left": seconds and seconds * len(left)})
        return
    runs = "1 run" if total == 1 else f"{total} runs"
    say(f"{runs} in {folder.path}, {done or 'none'} of them done.")
    for name, values in sweep.axes().items():
        say(f"  {name}: {', '.join(map(written, values))}")
    if seconds is None:
        say("Nothing is left to do.")
        return
    first = in_words({name: getattr(left[0], name) for name in sweep.axes()})
    say(
        f"One run{f' ({first})' * bool(first)} takes about {duration(seconds)} here, so the {len(left)} that are left "
        f"about {duration(seconds * len(left))} one after another. Small networks that differ only in seed, rate or "
        "decay are stacked into one program, which takes less. Nothing was trained."
    )


def seconds_of_run(recipe: "Recipe", asked: "Planned") -> float:
    """How long one run takes here, from a few timed batches. Raises the errors of data sets, networks and devices."""
    import os

    from deepcollapse.sweeps.data import Shelf
    from deepcollapse.training.estimate import seconds_of_training
    from deepcollapse.training.loop import build_network
    from deepcollapse.training.place import Place, serving_threads

    root = None if asked.data_root is None else os.fspath(asked.data_root)
    splits = Shelf(root, asked.download).of(recipe)
    network = build_network(recipe, splits)
    place = Place.choose(recipe, asked.device)
    place = place.with_threads(asked.threads or serving_threads(network, splits.train, recipe.batch))
    with place:
        network = place.settle(network)
        return seconds_of_training(recipe, splits, network, place, range(recipe.epochs + 1))
