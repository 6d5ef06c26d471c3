"""`deepcollapse measure`: the geometry of a network that is trained already."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from deepcollapse.cli.terminal import duration, say_json, show_table
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from deepcollapse.measurement import Measurement
    from deepcollapse.training.data import Splits


@dataclass(frozen=True)
class Measure:
    """Measure every layer of a trained network on a data set.

    The network is a run folder of `deepcollapse train`, or a name with --weights: one of `deepcollapse list networks`,
    package.module:factory, timm:NAME, torchvision:NAME or hf:NAME.
    """

    network: Annotated[str, tyro.conf.Positional]
    """A run folder, or a network's name."""
    weights: Path | None = None
    """A safetensors file or a checkpoint of tensors; by default those of the run."""
    pretrained: bool = False
    """Take the published weights of a timm:, torchvision: or hf: network; this downloads them if need be."""
    parameters: tuple[str, ...] = ()
    """Parameters of the network as name=value."""
    dataset: str | None = None
    """Data set: a name of `deepcollapse list datasets`, folder:PATH, hf:NAME or package.module:loader (your own
    transforms); by default that of the run."""
    per_class: int | None = None
    """Measure on so many training samples of each class."""
    test_per_class: int | None = None
    """Measure on so many test samples of each class."""
    standardise: Literal["pixels", "channels", "none"] | None = None
    """How inputs are standardised: as in training. By default as the run had it, else by pixels."""
    layers: tuple[str, ...] = ()
    """Layers, by name or pattern; by default the network's blocks. "all" and "input" have their own meaning."""
    head: str = "auto"
    """The final linear layer's name."""
    measures: tuple[str, ...] = ()
    """Measures, by name or pattern; by default nearly all."""
    weighting: Literal["class", "sample"] = "class"
    """How classes count: equally, or by their samples."""
    reduction: Literal["mean", "flatten", "cls"] = "mean"
    """How feature maps become vectors."""
    baselines: bool = False
    """Also measure an untrained copy, and shuffled labels: what no collapse looks like."""
    batch: int = 256
    """Batch size."""
    memory_budget: str = "1GiB"
    """Features are kept for a second look up to this size; beyond it the network runs twice."""
    out: Path | None = None
    """Run folder for the records and the page; by default nothing is written."""
    device: str | None = None
    """cpu, cuda or cuda:1; by default CUDA where there is one."""
    threads: int | None = None
    """Threads for computing; by default as many as serve the size of the work."""
    data_root: Path | None = None
    """Where data sets lie."""
    download: bool = False
    """Download the data set from its public source if it is not there."""
    json: bool = False
    """Print every record as JSON."""

    def run(self) -> int:
        """Measure both splits, show the table, and write the records where asked."""
        from deepcollapse.training.data import prepare
        from deepcollapse.training.place import Place, serving_threads

        recipe, weights = self._recipe()
        splits = prepare(recipe, self.data_root, self.download)
        network = self._network(recipe, splits, weights)
        place = Place.choose(recipe, self.device)
        place = place.with_threads(self.threads or serving_threads(network, splits.train, self.batch))
        network = place.settle(network)
        if not self.json:
            samples = sum(_size(split) for split in (splits.train, splits.test))
            print(
                f"Measuring {self.network} on {samples} samples, {self._estimate(network, splits, place)}.", flush=True
            )
        with place:
            train, test = self._measured(network, splits, place)
        page = self._write(recipe, splits, place, train, test) if self.out else None
        self._say(train, test, page)
        return 0

    def _recipe(self) -> tuple[Recipe, Path | None]:
        """The data and network as a recipe, and where the weights are: of a run, or as named."""
        from dataclasses import replace

        from deepcollapse.records import Run

        changes: dict[str, Any] = {"per_class": self.per_class, "test_per_class": self.test_per_class}
        changes |= {"dataset": self.dataset, "standardise": self.standardise}
        changes = {name: value for name, value in changes.items() if value is not None}
        if (Path(self.network) / "recipe.toml").is_file():
            run = Run.open(self.network)
            weights = self.weights or run.path / "weights.safetensors"
            return replace(Recipe.from_mapping(run.recipe), **changes), weights
        return replace(Recipe(network=self.network, parameters=self.parameters), **changes), self.weights

    def _network(self, recipe: Recipe, splits: "Splits", weights: Path | None) -> "nn.Module":
        from deepcollapse.networks import load_network

        return load_network(
            recipe.network,
            num_classes=None if self.pretrained else len(splits.class_names),
            image_shape=splits.train.image_shape,
            weights=weights,
            pretrained=self.pretrained or None,
            **recipe.network_parameters(),
        )

    def _estimate(self, network: "nn.Module", splits: "Splits", place: Any) -> str:
        """About how long it takes, from a timed batch."""
        from deepcollapse.training.estimate import seconds_a_pass

        passes = 2.5 if self.baselines else 1.2
        with place:
            seconds = sum(
                seconds_a_pass(network, split, self.batch, place) for split in (splits.train, splits.test) if split
            )
        return f"about {duration(passes * seconds)}"

    def _measured(self, network: "nn.Module", splits: "Splits", place: Any) -> "tuple[Measurement, Measurement | None]":
        from deepcollapse.measurement import BASELINES, measure

        how: dict[str, Any] = {
            "num_classes": len(splits.class_names),
            "layers": self.layers or None,
            "head": self.head,
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

    def _write(self, recipe: Recipe, splits: "Splits", place: Any, train: Any, test: Any) -> Path:
        from deepcollapse.records import Run
        from deepcollapse.report import write_page

        assert self.out is not None
        run = Run.create(
            self.out,
            recipe=recipe.to_mapping() | {"measured": self.network, "weights": str(self.weights or "")},
            class_names=splits.class_names,
            data_digest=splits.digests(),
            device=place.describe(),
            seed=recipe.seed,
            extra={"threads": place.threads},
        )
        for measurement in (train, test):
            if measurement is not None:
                measurement.write(run)
        return write_page(run, run.path / "report.html")

    def _say(self, train: "Measurement", test: "Measurement | None", page: Path | None) -> None:
        records = [record for m in (train, test) if m is not None for record in m.records]
        if self.json:
            say_json({"page": str(page) if page else None, "records": [record.row() for record in records]})
            return
        print(f"\n{train}")
        if test is not None:
            rows = [
                (record.layer, record.measure, f"{record.value:.4g}")
                for record in test.records
                if record.measure in ("accuracy", "nearest_class_mean_disagreement", "nearest_class_mean_accuracy")
                and record.value is not None
            ]
            show_table(("layer", "on the test split, against training means", "value"), rows, right=(2,))
        if page:
            print(f"Page: {page}")


def _size(split: Any) -> int:
    return len(split) if hasattr(split, "__len__") else 0
