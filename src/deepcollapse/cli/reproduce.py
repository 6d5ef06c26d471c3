"""`deepcollapse reproduce`: a paper's experiment as one command, with a verdict for each of its claims."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from deepcollapse.cli.engines import EngineName, engine_of
from deepcollapse.cli.failures import show_failures
from deepcollapse.cli.runs import RUNS, as_name
from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import Interrupted, duration, say, say_json
from deepcollapse.studies.study import SWEEP

if TYPE_CHECKING:
    from deepcollapse.records.study import StudyRecord
    from deepcollapse.studies.dry_run import Estimate
    from deepcollapse.studies.study import Scale, ScaleName, Study

SIGNS = {"holds": "✓ holds", "fails": "✗ fails", "inconclusive": "? inconclusive", "not tested": "- not tested"}


@dataclass(frozen=True)
class Reproduce:
    """Run a paper's experiment, judge its claims, and write a page.

    What is there already is not run again: the same command goes on with a study that was stopped.
    """

    name: Annotated[str, tyro.conf.Positional]
    """Which study: a name of `deepcollapse list studies`."""
    scale: Literal["smoke", "laptop", "gpu", "paper"] | None = None
    """How much of it: smoke takes seconds, laptop some minutes, gpu and paper are the published set-ups. Where it
    is not given, gpu where there is CUDA and laptop elsewhere."""
    datasets: tuple[str, ...] = ()
    """Other data sets than the scale's."""
    networks: tuple[str, ...] = ()
    """Other networks than the scale's."""
    seeds: int | None = None
    """So many seeds, in place of the scale's."""
    dry_run: bool = False
    """Build everything, run one step of each network, and say what the whole would cost; nothing is trained."""
    out: Path | None = None
    """Folder of the study; NAME-SCALE in the folder runs where not given."""
    jobs: int = 1
    """Worker processes."""
    engine: EngineName = "auto"
    """Where runs are run; auto trains small networks that differ only in seed, decay or rate as one program."""
    address: str | None = None
    """Of the Ray cluster; one on this machine where not given."""
    device: str | None = None
    """cpu, cuda or cuda:1; CUDA where there is one, if not given."""
    threads: int | None = None
    """Threads for computing; as many as serve the size of the work, if not given."""
    data_root: Path | None = None
    """Where data sets lie; the environment variable DEEPCOLLAPSE_DATA or a cache folder, if not given."""
    download: bool = False
    """Download data sets from their public source if they are not there."""
    retrain: bool = False
    """Train anew what was made by another version or on other data, in place of refusing it."""
    json: bool = False
    """Print the result as JSON, and nothing else."""

    def run(self) -> int:
        """Run the study, then show its verdicts and where the page is."""
        from deepcollapse.studies import find
        from deepcollapse.studies.refusing import refuse_impossible, refuse_other

        study = find(self.name)
        name = self.scale or _serving()
        scale = self._asked(study.scales[name])
        refuse_impossible(study, scale, device=self.device, threads=self.threads)
        if self.dry_run:
            return self._estimate(study, scale, name)
        out = self.out or RUNS / as_name([self.name, name, *self._own().values()])
        refuse_other(study, out)
        record = self._reproduced(study, scale, name, out)
        from deepcollapse.report.study import write_study_page

        say_found(record, out, write_study_page(out, out / "report.html"), as_json=self.json)
        return 1 if record.failures else 0

    def _own(self) -> dict[str, str]:
        """What flags replace in the scale, in words."""
        given = {name: " ".join(getattr(self, name)) for name in ("datasets", "networks") if getattr(self, name)}
        return given if self.seeds is None else given | {"seeds": _seeds(self.seeds)}

    def _asked(self, scale: "Scale") -> "Scale":
        """The scale with what the flags replace, which its words say."""
        given = {name: getattr(self, name) for name in ("datasets", "networks") if getattr(self, name)}
        asked = replace(scale, **given)
        asked = asked if self.seeds is None else asked.with_seeds(self.seeds)
        told = [
            f"{word} {', '.join(getattr(asked, name))} in place of {', '.join(getattr(scale, name))}"
            for name, word in (("datasets", "on"), ("networks", "with"))
            if getattr(asked, name) != getattr(scale, name)
        ]
        if len(asked.seeds) != len(scale.seeds):
            told.append(f"with {_seeds(len(asked.seeds))} in place of {len(scale.seeds)}")
        changed = f" Here {'; '.join(told)}." if told else ""
        return replace(asked, words=scale.words.rstrip(".") + "." + changed)

    def _reproduced(self, study: "Study", scale: "Scale", name: "ScaleName", out: Path) -> "StudyRecord":
        from deepcollapse.cli.study_progress import StudyProgress
        from deepcollapse.studies.judging.criteria import FEWEST_SEEDS
        from deepcollapse.studies.reproduce import Setting, reproduce
        from deepcollapse.sweeps.folder import SweepFolder

        engine = engine_of(self.engine, self.jobs, self.address)
        setting = Setting(self.device, self.threads, self.data_root, self.download, engine, self.retrain)
        if not self.json:
            say(f"{study.title}: {scale.words} Folder: {out}")
            if len(scale.seeds) < FEWEST_SEEDS <= len(study.scales[name].seeds):  # those of few seeds do not need more
                say(
                    f"Verdicts need at least {FEWEST_SEEDS} seeds; with {_seeds(len(scale.seeds))} most claims are "
                    "not tested."
                )
        try:
            with StudyProgress(SweepFolder(out / SWEEP), quiet=self.json) as progress:
                return reproduce(study, out, scale=scale, called=name, setting=setting, watcher=progress)
        except KeyboardInterrupt:
            kept = f"Stopped; {out} keeps what was run. The same command goes on with it."
            raise Interrupted(kept) from None

    def _estimate(self, study: "Study", scale: "Scale", name: str) -> int:
        from deepcollapse.studies.dry_run import dry_run
        from deepcollapse.sweeps.data import Shelf

        estimate = dry_run(study, scale, Shelf(self.data_root, self.download), self.device, self.threads)
        if self.json:
            say_json({"study": self.name, "scale": name, "seconds": estimate.seconds, **asdict(estimate)})
        else:
            show_estimate(study, scale, name, estimate)
        return 0


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def say_found(record: "StudyRecord", folder: Path, page: Path, *, as_json: bool) -> None:
    """What a study found, and where its page is."""
    if as_json:
        say_json({"page": str(page), "folder": str(folder), **_facts(record)})
        return
    show_verdicts(record)
    show_failures(record.failures, folder / SWEEP)
    print(f"\nPage: {page}")


def show_verdicts(record: "StudyRecord") -> None:
    """The claims with their verdicts, and for each what was measured."""
    rows = []
    for claim in record.claims:
        for judgement in claim.judgements:
            told = judgement.measured or judgement.why
            where = f"{judgement.subject}: " if len(claim.judgements) > 1 else ""
            rows.append((claim.id if judgement is claim.judgements[0] else "", SIGNS[judgement.verdict], where + told))
    print()
    show_table(("claim", "verdict", "measured"), rows, right=())
    for left_out in record.left_out:
        print()
        say(left_out)


def show_estimate(study: "Study", scale: "Scale", name: str, estimate: "Estimate") -> None:
    """What each kind of run takes, and all of it."""
    say(f"{study.title}, at the scale {name}: {scale.words}")
    rows = [
        (one.dataset, one.network, f"{one.parameters:,}", str(one.runs), duration(one.seconds), one.note)
        for one in estimate.costs
    ]
    rows += [
        ("", what, "", "", "?" if seconds is None else duration(seconds), "")
        for what, seconds in estimate.computations.items()
    ]
    print()
    show_table(("data", "network", "parameters", "runs", "each", ""), rows, right=(2, 3, 4))
    print()
    say(
        f"In all about {duration(estimate.seconds)} on {estimate.device}, one run after another. Everything was built "
        "and one step of each network was run; nothing was trained."
    )


def _serving() -> Literal["gpu", "laptop"]:
    import torch

    return "gpu" if torch.cuda.is_available() else "laptop"


def _facts(record: "StudyRecord") -> dict[str, Any]:
    kept = ("study", "title", "scale", "words", "scaled_down", "left_out", "seconds", "runs")
    claims = [asdict(claim) | {"verdict": claim.verdict} for claim in record.claims]
    failures = [asdict(failure) for failure in record.failures]
    return {name: getattr(record, name) for name in kept} | {"failures": failures, "claims": claims}
