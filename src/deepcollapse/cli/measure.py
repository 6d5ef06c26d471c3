"""`deepcollapse measure`: the geometry of a network that is trained already."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from deepcollapse.cli.bounds import show_bounds
from deepcollapse.cli.measured import show
from deepcollapse.cli.subject import Subject
from deepcollapse.cli.terminal import duration, say, say_json
from deepcollapse.errors import OptionError, RunError

if TYPE_CHECKING:
    from torch import nn

    from deepcollapse.measurement import Measurement
    from deepcollapse.training.data import Splits
    from deepcollapse.training.place import Place


@dataclass(frozen=True)
class Measure:
    """Measure every layer of a trained network on a data set."""

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NETWORK")]
    """A run folder of `deepcollapse train`; or, with --weights, a name of `deepcollapse list networks`,
    package.module:factory, timm:NAME, torchvision:NAME or hf:NAME."""
    weights: Path | None = None
    """A safetensors file or a checkpoint of tensors; those of the run, if not given."""
    dataset: str | None = None
    """Data set: a name of `deepcollapse list datasets`, folder:PATH, hf:NAME or package.module:loader (your own
    transforms); that of the run, else digits, if not given."""
    layers: tuple[str, ...] = ()
    """Layers, by name or pattern, "all", or "input" for the raw input; the network's blocks where not given."""
    measures: tuple[str, ...] = ()
    """Measures, by name or pattern; nearly all where not given."""
    baselines: bool = False
    """Also measure an untrained copy, and shuffled labels: what no collapse looks like."""
    predictions: bool = False
    """Also say what theory's models predict for the training data: layer-peeled, unconstrained features, SELI."""
    bounds: bool = False
    """Also say how far each layer's weight is from rank k, the number of classes, and what weight decay and variability
    within classes allow; one pass forwards and back over the training data."""
    function_rank: int | None = None
    """Also take the ranks of each layer as a function of the input, at so many training inputs (some 10 serve): partial
    Jacobians, perturbed copies, and how many dimensions the classifier needs."""
    weight_decay: float | None = None
    """The weight decay of training, for --predictions and --bounds; that of the run, if not given."""
    out: Path | None = None
    """Run folder for the records and the page; nothing is written where not given."""
    pretrained: bool = False
    """Take the published weights of a timm:, torchvision: or hf: network; this downloads them if need be."""
    parameters: tuple[str, ...] = ()
    """Parameters of the network as name=value; for a run, those that it was trained with."""
    head: str = "auto"
    """The final linear layer's name; "none" measures without a classifier."""
    standardise: Literal["pixels", "channels", "none"] | None = None
    """How inputs are standardised, as in training; as the run had it, else by pixels, if not given."""
    per_class: int | None = None
    """Measure on so many training samples of each class."""
    test_per_class: int | None = None
    """Measure on so many test samples of each class."""
    weighting: Literal["class", "sample"] = "class"
    """How classes count: equally, or by their samples."""
    reduction: Literal["mean", "flatten", "cls"] = "mean"
    """How feature maps become vectors."""
    batch: int = 256
    """Batch size."""
    memory_budget: str = "1GiB"
    """Features are kept for a second look up to this size; beyond it the network runs twice."""
    device: str | None = None
    """cpu, cuda or cuda:1; CUDA where there is one, if not given."""
    threads: int | None = None
    """Threads for computing; as many as serve the size of the work, if not given."""
    data_root: Path | None = None
    """Where data sets lie; the environment variable DEEPCOLLAPSE_DATA or a cache folder, if not given."""
    download: bool = False
    """Download the data set from its public source if it is not there."""
    json: bool = False
    """Print every record as JSON."""

    def run(self) -> int:
        """Measure both splits, show the table, and write the records where asked."""
        from deepcollapse.training.data import prepare
        from deepcollapse.training.place import Place, serving_threads

        if self.function_rank is not None and self.function_rank < 1:
            raise OptionError(f"--function-rank takes a number of inputs, at least 1; got {self.function_rank}.")
        if self.out and self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise RunError(f"{self.out} is there already. Choose a new or empty folder with --out.")
        subject = Subject.find(self.network, self.weights, self.pretrained, self._changes())
        splits = prepare(subject.recipe, self.data_root, self.download)
        network = subject.load(splits, decoded=True)
        place = Place.choose(subject.recipe, self.device)
        threads = serving_threads(network, splits.train, self.batch) if self.threads is None else self.threads
        place = place.with_threads(threads)
        network = place.settle(network)
        if not self.json:
            self._announce(subject, network, splits, place)
        with place:
            train, test = self._measured(network, splits, place)
            if self.predictions:
                train = self._beside_theory(subject, train)
            if self.bounds:
                train = self._with_bounds(subject, network, splits, place, train)
            if self.function_rank is not None:
                train = self._with_function_rank(network, splits, place, train)
        page = self._write(subject, splits, place, train, test) if self.out else None
        if self.json:
            records = [record.row() for m in (train, test) if m is not None for record in m.records]
            say_json({"weights": subject.origin, "page": str(page) if page else None, "records": records})
            return 0
        show(train, test, self.measures)
        show_bounds(train.records)
        if page:
            print(f"\nPage: {page}")
        return 0

    def _changes(self) -> dict[str, Any]:
        """What the flags change about data and network."""
        names = ("dataset", "standardise", "per_class", "test_per_class", "parameters")
        return {name: getattr(self, name) for name in names if getattr(self, name) not in (None, ())}

    def _announce(self, subject: Subject, network: "nn.Module", splits: "Splits", place: "Place") -> None:
        """What is about to happen, on which weights, and about how long it takes."""
        from deepcollapse.training.estimate import seconds_a_pass

        found = [split for split in (splits.train, splits.test) if split is not None]
        with place:
            seconds = sum(seconds_a_pass(network, split, self.batch, place) for split in found)
        takes = duration((2.5 if self.baselines else 1.2) * seconds)
        sizes = [len(split) for split in found if hasattr(split, "__len__")]  # pyright: ignore[reportArgumentType]
        samples = f"{sum(sizes)} samples of {splits.train.name}" if sizes else splits.train.name
        say(f"Measuring {self.network} on {samples}, about {takes}. Weights: {subject.origin}.")
        if splits.untested:
            say(f"There is no test split: {splits.untested}")

    def _measured(
        self, network: "nn.Module", splits: "Splits", place: "Place"
    ) -> "tuple[Measurement, Measurement | None]":
        from deepcollapse.measurement import BASELINES, measure

        how: dict[str, Any] = {
            "num_classes": len(splits.class_names),
            "layers": self.layers or None,
            "head": None if self.head == "none" else self.head,
            "measures": self.measures or None,
            "weighting": self.weighting,
            "reduction": self.reduction,
            "class_names": splits.class_names,
            "memory_budget": self.memory_budget,
        }
        baselines = BASELINES if self.baselines else ()
        train = measure(network, place.batches(splits.train.batches(self.batch)), baselines=baselines, **how)
        if splits.test is None:
            return train, None
        batches = place.batches(splits.test.batches(self.batch))
        return train, measure(network, batches, split="test", means_of=train, **how)

    def _with_function_rank(
        self, network: "nn.Module", splits: "Splits", place: "Place", train: "Measurement"
    ) -> "Measurement":
        """With the ranks of layers as functions, at inputs of the training data."""
        from deepcollapse.measurement.function_rank import function_rank

        assert self.function_rank is not None
        found = function_rank(
            network,
            place.batches(splits.train.batches(self.batch)),
            samples=self.function_rank,
            layers=self.layers or None,
            head=None if self.head == "none" else self.head,
            memory_budget=self.memory_budget,
        )
        return replace(
            train,
            records=train.records + found.records,
            arrays=train.arrays | found.arrays,
            notes=tuple(dict.fromkeys([*train.notes, *found.notes])),
        )

    def _with_bounds(
        self, subject: Subject, network: "nn.Module", splits: "Splits", place: "Place", train: "Measurement"
    ) -> "Measurement":
        """With how far each layer's weight is from rank k, and every bound on it that the training allows."""
        from deepcollapse.datasets.dataset import Dataset
        from deepcollapse.theory.bounds.records import with_bounds
        from deepcollapse.training.objective import gradient_decay, loss_function

        here = subject.run is not None and self.weight_decay is None
        return with_bounds(
            train,
            network,
            place.batches(splits.train.batches(self.batch)),
            loss_function(subject.recipe),
            subject.recipe.decay if here else self.weight_decay,
            decoupled=here and gradient_decay(subject.recipe) is None,
            augmented=not isinstance(splits.train, Dataset),
        )

    def _beside_theory(self, subject: Subject, train: "Measurement") -> "Measurement":
        """With what theory's models predict. How a network was trained elsewhere is known from the flags alone."""
        from deepcollapse.theory.predictions.beside import with_predictions
        from deepcollapse.training.objective import gradient_decay

        decay = gradient_decay(subject.recipe) if subject.run and self.weight_decay is None else self.weight_decay
        loss = subject.recipe.loss if subject.run else "cross-entropy"
        return with_predictions(train, loss=loss, weight_decay=decay)

    def _write(self, subject: Subject, splits: "Splits", place: "Place", train: Any, test: Any) -> Path:
        from deepcollapse.records import Run
        from deepcollapse.report import write_page

        assert self.out is not None
        run = Run.create(
            self.out,
            recipe=subject.facts(),
            class_names=splits.class_names,
            data_digest=splits.digests(),
            device=place.describe(),
            seed=subject.recipe.seed,
            extra={"threads": place.threads, "measured": self.network, "weights": subject.origin},
        )
        for measurement in (train, test):
            if measurement is not None:
                measurement.write(run)
        return write_page(run, run.path / "report.html")
