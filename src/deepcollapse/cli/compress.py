"""`deepcollapse compress`: make a trained network smaller, and measure what that costs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from deepcollapse.cli.compressed import announce, show
from deepcollapse.cli.runs import RUNS
from deepcollapse.cli.subject import Subject
from deepcollapse.cli.terminal import Interrupted, say, say_json
from deepcollapse.errors import RunError

if TYPE_CHECKING:
    from deepcollapse.compression.job import Job
    from deepcollapse.records import Run
    from deepcollapse.training.data import Splits


@dataclass(frozen=True)
class Compress:
    """Make a trained network smaller, and measure what that costs; `compress verify FILE` checks a compressed file."""

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_NETWORK")]
    """A run folder of `deepcollapse train`; or, with --weights, a network as `deepcollapse measure` takes it."""
    target: str = "accuracy-drop=0.2%"
    """The smallest network that loses so many points of accuracy at most; or with size=10% the most accurate one of at
    most that share of the bytes."""
    method: str = "low-rank"
    """low-rank, coded (for each layer the smallest of those that follow), hac, shac, delta, delta-huffman, ternary; or
    one after the other: low-rank+coded."""
    layers: tuple[str, ...] = ()
    """Layers that may change, by name or pattern; all linear and convolutional ones where not given."""
    values: int = 32
    """How many values the weights of coded methods take."""
    fine_tune: int = 1
    """Epochs of training after pruning, and again after sharing values; 0 trains nothing."""
    rate: float = 0.01
    """Learning rate of fine-tuning."""
    seconds: float = 60.0
    """How long ternary weights are searched."""
    export: bool = False
    """Also write compressed.pt2, which torch.export.load reads without deepcollapse."""
    out: Path | None = None
    """Run folder for the compressed network; a new one beside the run, or in the folder runs, where not given."""
    weights: Path | None = None
    """A safetensors file or a checkpoint of tensors; those of the run, if not given."""
    dataset: str | None = None
    """Data set: a name of `deepcollapse list datasets`, folder:PATH, hf:NAME or package.module:loader; that of the
    run, else digits, if not given."""
    pretrained: bool = False
    """Take the published weights of a timm:, torchvision: or hf: network; this downloads them if need be."""
    parameters: tuple[str, ...] = ()
    """Parameters of the network as name=value; for a run, those that it was trained with."""
    standardise: Literal["pixels", "channels", "none"] | None = None
    """How inputs are standardised; as the run had it, else by pixels, if not given."""
    per_class: int | None = None
    """Use so many training samples of each class."""
    test_per_class: int | None = None
    """Use so many test samples of each class."""
    seed: int = 0
    """Of which test samples networks are chosen by, of the order in fine-tuning, and of draws."""
    batch: int = 256
    """Batch size."""
    device: str | None = None
    """cpu, cuda or cuda:1; CUDA where there is one, if not given."""
    threads: int | None = None
    """Threads for computing; as many as serve the size of the work, if not given."""
    data_root: Path | None = None
    """Where data sets lie; the environment variable DEEPCOLLAPSE_DATA or a cache folder, if not given."""
    download: bool = False
    """Download the data set from its public source if it is not there."""
    json: bool = False
    """Print the result as JSON, and nothing else."""

    def run(self) -> int:
        """Search, write, read back, measure, and show; exits with 3 where the target is not met."""
        from deepcollapse.compression.compressing import methods_in
        from deepcollapse.compression.target import Target
        from deepcollapse.training.data import prepare

        target, _ = Target.parse(self.target), methods_in(self.method)
        out = self._out()
        subject = Subject.find(self.network, self.weights, self.pretrained, self._changes())
        splits = prepare(subject.recipe, self.data_root, self.download)
        job = self._job(subject, splits, target)
        if not self.json:
            announce(job, self.network, subject.origin)
            _say_left_out(job)
        with job.place:
            facts, run = self._compressed(job, subject, splits, out)
        page = _page(run)
        if self.json:
            say_json({"run": str(run.path), "page": str(page), **facts, "records": _rows(run)})
        else:
            show(run, page)
        return 0 if facts["met"] else 3

    def _job(self, subject: Subject, splits: "Splits", target: Any) -> "Job":
        from deepcollapse.compression.job import Job, bounds_of
        from deepcollapse.records import Run
        from deepcollapse.training.place import Place, serving_threads

        network = subject.load(splits)
        if any(p.is_floating_point() and p.element_size() < 4 for p in network.parameters()):
            network = network.float()
            if not self.json:
                say("Its weights of half precision are widened to float32.")
        place = Place.choose(subject.recipe, self.device)
        threads = serving_threads(network, splits.train, self.batch) if self.threads is None else self.threads
        place = place.with_threads(threads)
        how = (
            target,
            self.method,
            self.layers,
            self.values,
            self.fine_tune,
            self.rate,
            self.seconds,
            self.seed,
            self.batch,
        )
        bounds = bounds_of(Run.open(subject.run)) if subject.run else {}
        return Job(place.settle(network), splits, place, *how, bounds=bounds)

    def _compressed(self, job: "Job", subject: Subject, splits: "Splits", out: Path) -> "tuple[dict[str, Any], Run]":
        """Search, then write what was found with every number that was taken of it."""
        from deepcollapse.cli.progress import tried
        from deepcollapse.compression.job import Finished, verdict
        from deepcollapse.records import Run

        try:
            with tried(quiet=self.json) as watch:
                done = Finished.of(job, job.done(watch))
        except KeyboardInterrupt:
            raise Interrupted("Stopped; nothing was written.") from None
        facts = verdict(done)
        extra = {"threads": job.place.threads, "compressed": self.network, "weights": subject.origin}
        run = Run.create(
            out,
            recipe=subject.facts(),
            class_names=splits.class_names,
            data_digest=splits.digests(),
            device=job.place.describe(),
            seed=self.seed,
            extra={**extra, "compression": facts},
        )
        done.write(run)
        if self.export and done.found.met:
            done.export(job, run)
        return facts, run

    def _out(self) -> Path:
        if self.out is not None:
            if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
                raise RunError(f"{self.out} is there already. Choose a new or empty folder with --out.")
            return self.out
        run = Path(self.network)
        folder = run.parent if (run / "recipe.toml").is_file() else RUNS
        name = run.name if folder is run.parent else "".join(c if c.isalnum() or c in "._" else "-" for c in run.name)
        stem = f"{name}-{self.method.replace('+', '-')}"
        numbered = (folder / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 10_000))
        return next(path for path in numbered if not path.exists())

    def _changes(self) -> dict[str, Any]:
        names = ("dataset", "standardise", "per_class", "test_per_class", "parameters")
        return {name: getattr(self, name) for name in names if getattr(self, name) not in (None, ())}


def _say_left_out(job: "Job") -> None:
    """Which layers cannot be replaced, and why, those of one reason together."""
    from deepcollapse.compression.layers import left_out

    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out(job.network).items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        shown = names[:3] + [f"{len(names) - 3} more"] * (len(names) > 3)
        say(f"Left as they are: {', '.join(shown)}; {reason}.")


def _page(run: "Run") -> Path:
    from deepcollapse.report import write_page

    return write_page(run, run.path / "report.html")


def _rows(run: "Run") -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in run.records_path.read_text(encoding="utf-8").splitlines()]
