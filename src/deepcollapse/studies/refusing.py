"""What cannot be run is refused before anything is begun: settings, networks, data sets and the study's folder."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deepcollapse.datasets.known import find_facts
from deepcollapse.errors import OptionError, RunError
from deepcollapse.measurement.capture import Capture
from deepcollapse.networks import load_network
from deepcollapse.networks.named import refuse_unknown
from deepcollapse.records.study import FILE, StudyRecord
from deepcollapse.studies.study import SWEEP, TABLES, Scale, Study
from deepcollapse.sweeps.data import Shelf
from deepcollapse.training.place import Place
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    from deepcollapse.datasets import DatasetFacts

# What stands in for the shape of images that are of any size.
ANY_SHAPE = (3, 224, 224)


def refuse_impossible(study: Study, scale: Scale, *, device: str | None = None, threads: int | None = None) -> None:
    """Refuse what would fail in every run. Nothing is read, and no network is given memory.

    Raises OptionError for a device that is not here, fewer threads than one, or what a network cannot be made with;
    UnknownNameError for data sets, networks and factories that there are not; ShapeError for images that do not fit.
    """
    if threads is not None and threads < 1:
        raise OptionError(f"threads must be at least 1; got {threads}.")
    Place.choose(Recipe(), device)
    known = {name: _facts(name) for name in scale.datasets}
    seen = set()
    for recipe in study.recipes(scale) if scale.datasets else ():
        of_network = (recipe.dataset, recipe.network, str(recipe.network_parameters()), recipe.layers)
        if of_network not in seen:
            _refuse_network(recipe, known.get(recipe.dataset))
        seen.add(of_network)


def _facts(name: str) -> "DatasetFacts | None":
    """What is known of a data set; nothing of those that are named by where they lie."""
    return None if ":" in name else find_facts(name.partition("@")[0])


def _refuse_network(recipe: Recipe, facts: "DatasetFacts | None") -> None:
    if ":" in recipe.network or facts is None:
        refuse_unknown(recipe.network)
        return
    network = _bare(recipe.network, facts, **recipe.network_parameters())
    if recipe.layers:
        Capture(network, layers=recipe.layers, num_classes=facts.num_classes)


def _bare(name: str, facts: "DatasetFacts", **parameters: Any) -> nn.Module:
    """The network without memory for its weights."""
    make = functools.partial(load_network, name, num_classes=facts.num_classes, image_shape=facts.shape or ANY_SHAPE)
    with torch.device("meta"):
        return make(**parameters)


def refuse_too_few_samples(recipes: Sequence[Recipe], shelf: Shelf) -> None:
    """Refuse data sets that have fewer samples of a class than their recipes ask for, or cannot be changed as they say.

    Raises OptionError.
    """
    firsts: dict[tuple[object, ...], Recipe] = {}
    for recipe in recipes:
        if recipe.per_class or recipe.test_per_class:
            firsts.setdefault((recipe.dataset, recipe.per_class, recipe.test_per_class, recipe.imbalance), recipe)
    for recipe in firsts.values():
        shelf.of(recipe)


def refuse_other(study: Study, out: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds something else; one of this study, that was but begun or is empty, serves.

    Raises RunError.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file, not a folder. Choose another place with --out.")
    if (folder / FILE).is_file():
        if (other := StudyRecord.read(folder).study) != study.name:
            raise RunError(f"{folder} holds the study {other}, not {study.name}. Choose another folder with --out.")
        return
    begun = (folder / SWEEP).is_dir() or (folder / TABLES).is_dir()
    if folder.is_dir() and not begun and any(folder.iterdir()):
        raise RunError(f"{folder} holds files and is not a study. Choose a new or empty folder with --out.")
