"""Reproducing a paper: run its study, judge its claims, and leave a record that a page is drawn from."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepcollapse.errors import DataFileError, MissingExtraError, RunError
from deepcollapse.records import environment
from deepcollapse.records.files import what_to_do
from deepcollapse.records.study import FILE, Failure, StudyRecord
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.refusing import refuse_impossible, refuse_other, refuse_too_few_samples
from deepcollapse.studies.study import SWEEP, TABLES, Scale, ScaleName, Study, Task
from deepcollapse.sweeps import Sweep, run_sweep
from deepcollapse.sweeps.axes import written
from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.engines import Engine
from deepcollapse.sweeps.job import Outcome
from deepcollapse.sweeps.trained import Trained
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training.place import Place
from deepcollapse.training.recipe import Recipe


@dataclass(frozen=True)
class Setting:
    """Where and how a study is run; plain values."""

    device: str | None = None
    threads: int | None = None
    data_root: str | os.PathLike[str] | None = None
    download: bool = False
    engine: Engine | None = None
    retrain: bool = False


def reproduce(
    study: Study,
    out: str | os.PathLike[str],
    *,
    scale: Scale | ScaleName = "laptop",
    called: str | None = None,
    setting: Setting = Setting(),
    watcher: SweepWatcher | None = None,
) -> StudyRecord:
    """Run a study in the folder `out` (what is there already is not run again), judge its claims, and write study.json.

    A data set that is not on this machine is left out, which the record says. Runs that fail are named in the record,
    and claims that lack them are not tested. `called` is what the record calls a scale that is given as a value.

    Raises RunError where the folder holds something else, the errors of `refuse_impossible` for settings with which no
    run would go well, and DataFileError or MissingExtraError where no data set is here and the study computes nothing
    without. All of these come before the folder is made.
    """
    start, folder, watcher = time.perf_counter(), Path(out), watcher or SweepWatcher()
    scale_name = called or (scale if isinstance(scale, str) else "own")
    refuse_other(study, folder)
    asked = study.scales[scale] if isinstance(scale, str) else scale
    refuse_impossible(study, asked, device=setting.device, threads=setting.threads)
    shelf = Shelf(setting.data_root, setting.download)
    kept, left_out = _with_data(asked, shelf, needed=not study.computations)
    recipes = tuple(study.recipes(kept)) if kept.datasets else ()
    refuse_too_few_samples(recipes, shelf)
    outcomes = _run(study, recipes, folder, setting, watcher)
    runs = [_finished(outcome, recipe, shelf, setting) for recipe, outcome in outcomes if outcome.state == "done"]
    evidence = Evidence(kept, runs, _computed(study, kept, runs, folder, setting, watcher))
    record = StudyRecord(
        study=study.name,
        title=study.title,
        citation=study.citation,
        summary=study.summary,
        scale=scale_name,
        words=kept.words,
        scaled_down=kept.scaled_down,
        seconds=spent(folder, time.perf_counter() - start),
        runs=len(runs),
        failures=_failures(outcomes),
        claims=[claim.judged(evidence) for claim in study.claims],
        shown=_shown(study, evidence),
        provenance=environment() | {"device": _device(setting), "settings": _plain(kept)},
        left_out=(*left_out, *_unfinished(outcomes)),
    )
    record.write(folder)
    return record


def spent(folder: Path, seconds: float) -> float:
    """The seconds of this call and of those before it, which are kept."""
    before = StudyRecord.read(folder).seconds if (folder / FILE).is_file() else 0.0
    return before + seconds


def _with_data(scale: Scale, shelf: Shelf, *, needed: bool) -> tuple[Scale, tuple[str, ...]]:
    """The scale without the data sets that are not to be had here, and a sentence on each of these."""
    kept, told = [], []
    for name in scale.datasets:
        try:
            shelf.raw(name)
            kept.append(name)
        except (DataFileError, MissingExtraError) as error:
            if needed and len(told) + 1 == len(scale.datasets):
                raise
            told.append(f"{name} was left out: {error}")
    return replace(scale, datasets=tuple(kept)), tuple(told)


def _failures(outcomes: Sequence[tuple[Recipe, Outcome]]) -> list[Failure]:
    failed = [(recipe, outcome) for recipe, outcome in outcomes if outcome.state != "done"]
    axes = Sweep(tuple(recipe for recipe, _ in outcomes)).axes() if failed else {}
    return [
        Failure(
            outcome.key,
            " ".join(f"{name}={written(getattr(recipe, name))}" for name in axes),
            outcome.error or f"the run is {outcome.state}",
        )
        for recipe, outcome in failed
    ]


def _unfinished(outcomes: Sequence[tuple[Recipe, Outcome]]) -> list[str]:
    """A sentence on each data set and network of which no run came to its end: no claim says anything of it."""
    found: dict[str, list[bool]] = {}
    for recipe, outcome in outcomes:
        found.setdefault(f"{recipe.dataset}, {recipe.network}", []).append(outcome.state == "done")
    return [
        f"{subject}: none of {len(done)} runs came to its end." if len(done) > 1 else f"{subject}: the run failed."
        for subject, done in found.items()
        if not any(done)
    ]


def _run(
    study: Study, recipes: Sequence[Recipe], folder: Path, setting: Setting, watcher: SweepWatcher
) -> list[tuple[Recipe, Outcome]]:
    if not recipes:
        return []
    sweep = Sweep(tuple(recipes), study.afterwards)
    outcomes = run_sweep(
        sweep,
        folder / SWEEP,
        engine=setting.engine,
        device=setting.device,
        threads=setting.threads,
        data_root=setting.data_root,
        download=setting.download,
        retrain=setting.retrain,
        watcher=watcher,
    )
    return list(zip(sweep.recipes, outcomes, strict=True))


def _finished(outcome: Outcome, recipe: Recipe, shelf: Shelf, setting: Setting) -> Finished:
    def opened() -> Trained:
        from deepcollapse.records import Run

        run = Run.open(outcome.run)
        place = Place.choose(recipe, setting.device).with_threads(run.provenance["threads"])
        return Trained(recipe, run, shelf.of(recipe), place)

    return Finished.at(recipe, outcome.run, opened)


def _computed(
    study: Study, scale: Scale, runs: Sequence[Finished], folder: Path, setting: Setting, watcher: SweepWatcher
) -> dict[str, Any]:
    """The tables of a study's computations; one that lacks what it needs gives none."""
    tables = {}
    for computation in study.computations:

        def told(share: float, name: str = computation.name) -> None:
            watcher.computing(name, share)

        path = folder / TABLES / f"{computation.name}.jsonl"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            task = Task(scale, path, runs, setting.device, setting.threads, told)
            tables[computation.name] = computation.compute(task)
        except MissingEvidence:
            continue
        except OSError as error:
            said = (
                f"what {study.name} computes cannot be kept in {path}: {error.strerror or error}. {what_to_do(error)}"
            )
            raise RunError(said) from error
    return tables


def _shown(study: Study, evidence: Evidence) -> tuple[Any, ...]:
    try:
        return tuple(study.show(evidence))
    except MissingEvidence:
        return ()


def _device(setting: Setting) -> str:
    return Place.choose(Recipe(), setting.device).describe()


def _plain(scale: Scale) -> dict[str, Any]:
    return {"datasets": list(scale.datasets), "networks": list(scale.networks), "seeds": list(scale.seeds)} | {
        name: value if isinstance(value, int | float | str) else str(value) for name, value in scale.settings.items()
    }
