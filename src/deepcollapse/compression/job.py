"""Compressing the network of a run: chosen by half of the test samples, and told on all of them."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepcollapse.compression.compressing import compress
from deepcollapse.compression.files import FILE, export_network, load_compressed, save_compressed
from deepcollapse.compression.outcome import Compressed
from deepcollapse.compression.plan import first_samples
from deepcollapse.compression.rows import CHOOSING, rows
from deepcollapse.compression.search import Candidate
from deepcollapse.compression.sizes import latencies
from deepcollapse.compression.target import Target
from deepcollapse.records import Run, atomic_write
from deepcollapse.training.data import Split, Splits
from deepcollapse.training.evaluate import Scores, evaluate
from deepcollapse.training.objective import loss_function
from deepcollapse.training.place import Place

UNTOUCHED = "test, not chosen by"
EXPORTED = "compressed.pt2"
# One sample is what waiting users feel, many are what throughput is made of.
SAMPLES_TIMED = (1, 256)


@dataclass(frozen=True)
class Job:
    """A network with its data, where it runs, and how it is to be compressed."""

    network: nn.Module
    splits: Splits
    place: Place
    target: Target
    method: str
    layers: tuple[str, ...]
    values: int
    fine_tune: int
    rate: float
    seconds: float
    seed: int
    batch: int
    bounds: Mapping[str, float] = field(default_factory=dict)

    def batches(self, split: Split, shuffled: bool = False) -> Iterable[tuple[Tensor, Tensor]]:
        """A split's batches on the device."""
        generator = torch.Generator().manual_seed(self.seed) if shuffled else None
        return self.place.batches(split.batches(self.batch, generator=generator))

    def done(self, watch: Callable[[Candidate], None] | None = None) -> Compressed:
        """Search for the network. The place must be entered."""
        return compress(
            self.network,
            self.batches(self.splits.train, shuffled=True),
            self.choosing(),
            target=self.target,
            method=self.method,
            layers=self.layers or None,
            values=self.values,
            fine_tune=self.fine_tune,
            rate=self.rate,
            seconds=self.seconds,
            loss=loss_function(self.place.recipe),
            seed=self.seed,
            bounds=self.bounds,
            watch=watch,
        )

    def choosing(self) -> Iterable[tuple[Tensor, Tensor]]:
        """The batches that a network is chosen by: half the test samples, with training samples where these are few."""
        batches = self.batches(self.halves[CHOOSING])
        return [*batches, *first_samples(self.batches(self.splits.train))] if self.needs_more else batches

    @property
    def needs_more(self) -> bool:
        """Whether half the test samples are too few to tell the drop that is allowed (0.2 points for a size)."""
        if self.splits.test is None:
            return False
        half: Any = self.halves[CHOOSING]
        # Data that only the user's code can read may not tell how many they are without being read.
        count = len(half) if hasattr(half, "__len__") else sum(len(y) for _, y in self.batches(half))
        drop = self.target.accuracy_drop
        return count * (0.002 if drop is None else drop) < 2

    @property
    def halves(self) -> dict[str, Split]:
        """The samples that a network is chosen by, and where the test data can be halved the others."""
        test = self.splits.test
        if test is None:
            return {CHOOSING: self.splits.train}
        select = getattr(test, "select", None)
        if select is None or len(test) < 2:  # pyright: ignore[reportArgumentType]
            return {CHOOSING: test}
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(self.seed))  # pyright: ignore
        middle = len(order) // 2
        return {CHOOSING: select(order[:middle].sort().values), UNTOUCHED: select(order[middle:].sort().values)}

    def scores(self, before: nn.Module, after: nn.Module) -> dict[str, dict[str, Scores]]:
        """Accuracy and loss of both networks on every split."""
        splits = {"train": self.splits.train, **({"test": self.splits.test} if self.splits.test else {}), **self.halves}
        loss = loss_function(self.place.recipe)
        networks = {"before": before, "after": after}
        return {
            name: {time: evaluate(network, self.batches(split), loss) for time, network in networks.items()}
            for name, split in splits.items()
        }

    def latencies(self, before: nn.Module, after: nn.Module) -> dict[int, dict[str, float]]:
        """Median seconds of a forward pass of both, by the number of samples."""
        inputs = torch.cat([x for x, _ in _first(self.batches(self.splits.train), max(SAMPLES_TIMED))])
        sizes = [size for size in SAMPLES_TIMED if size <= len(inputs)]
        return {size: latencies({"before": before, "after": after}, inputs[:size]) for size in sizes}


def bounds_of(run: Run) -> dict[str, float]:
    """The least bound on each layer's relative distance to rank C that a run's records hold; none where they do not."""
    frame: Any = run.records()
    rows = frame[frame["measure"].str.startswith("rank_collapse_bound") & frame["baseline"].isna()]
    rows = rows[rows["epoch"].isna() | (rows["epoch"] == rows["epoch"].max())].dropna(subset=["value"])
    return {str(layer): float(values.min()) for layer, values in rows.groupby("layer")["value"]}


def _first(batches: Iterable[tuple[Tensor, Tensor]], samples: int) -> Iterable[tuple[Tensor, Tensor]]:
    seen = 0
    for x, y in batches:
        if seen >= samples:
            return
        seen += len(x)
        yield x, y


@dataclass(frozen=True)
class Finished:
    """A compressed network as its file gives it: read back, and then evaluated and timed beside the original."""

    found: Compressed
    network: nn.Module
    file: bytes
    scores: dict[str, dict[str, Scores]]
    latencies: dict[int, dict[str, float]]

    @classmethod
    def of(cls, job: Job, found: Compressed) -> "Finished":
        """Write the file, read it back, and take every number from what was read."""
        with tempfile.TemporaryDirectory() as folder:
            file = save_compressed(found.network, found.names, Path(folder) / FILE)
            read, data = job.place.settle(load_compressed(job.network, file)), file.read_bytes()
        return cls(found, read, data, job.scores(job.network, read), job.latencies(job.network, read))

    def write(self, run: Run) -> None:
        """The rows, and the file where there is a compressed network, into a run."""
        if self.found.met:
            atomic_write(run.path / FILE, self.file)
        run.append(rows(self.found, self.scores, self.latencies))

    def export(self, job: Job, run: Run) -> Path:
        """The network as torch.export holds it, into a run."""
        inputs = next(iter(job.batches(job.splits.train)))[0]
        return export_network(self.network, inputs, run.path / EXPORTED)


def verdict(done: Finished) -> dict[str, Any]:
    """Whether the target is met, in words and as facts: on the test samples, and on those that nothing was chosen by.

    The half that nothing was chosen by decides too where it is large enough to tell so small a drop.
    """
    found, scores = done.found, done.scores
    split = "test" if "test" in scores else CHOOSING
    kept = found.met and _keeps(found, scores[split])
    kept_by_others = UNTOUCHED not in scores or not _tells(found) or _keeps(found, scores[UNTOUCHED])
    if not found.met:
        words = f"Nothing that was tried keeps to the target ({found.target}); the network is as it was."
        words += _closest(found)
    else:
        what = "the test samples" if split == "test" else "the samples it was chosen by"
        words = (
            f"{_smaller(found)}, accuracy on {what} {_change(scores[split])} points. The target ({found.target}) is "
        )
        words += (
            "met." if kept and kept_by_others else "not met." if not kept else "met there, and not on the other half."
        )
        words += _on_the_others(found, scores)
    words += _chance(found, scores[split])
    return {**found.facts(), "met": kept and kept_by_others, "outcome": words}


def _smaller(found: Compressed) -> str:
    before, after = found.original.stored_bytes, found.chosen.stored_bytes
    how = (
        f"{before / after:.1f} times smaller"
        if before > 1.05 * after
        else f"{100 * (1 - after / before):.1f} % smaller"
    )
    return f"{how} ({after:,} of {before:,} bytes)"


def _change(one: dict[str, Scores]) -> str:
    return f"{100 * (one['after'].accuracy - one['before'].accuracy):+.2f}"


def _closest(found: Compressed) -> str:
    """What came closest to a target that nothing keeps to."""
    if not found.candidates:
        return " There is nothing that this method could try."
    if found.target.size is not None:
        one = min(found.candidates, key=lambda one: one.stored_bytes)
    else:
        one = max(found.candidates, key=lambda one: one.accuracy)
    share, change = one.stored_bytes / found.original.stored_bytes, one.accuracy - found.original.accuracy
    return f" Closest comes {one.setting}: {100 * share:.3g} % of the bytes at {100 * change:+.2f} points."


def _tells(found: Compressed) -> bool:
    """Whether the samples are enough to tell the drop that is allowed."""
    drop = found.target.accuracy_drop
    return drop is not None and drop * found.original.samples >= 2


def _chance(found: Compressed, one: dict[str, Scores]) -> str:
    """A warning where the original is hardly better than guessing."""
    if one["before"].accuracy > 1.5 / max(found.classes, 1):
        return ""
    return (
        f" The original is right on {100 * one['before'].accuracy:.2f} % of samples, hardly more than chance: was it "
        "trained, on these data and so standardised?"
    )


def _keeps(found: Compressed, one: dict[str, Scores]) -> bool:
    sizes = found.chosen.stored_bytes, found.original.stored_bytes
    return found.target.allows(one["after"].accuracy, sizes[0], one["before"].accuracy, sizes[1])


def _on_the_others(found: Compressed, scores: dict[str, dict[str, Scores]]) -> str:
    """How the samples that nothing was chosen by fare, where there are any, and whether there are enough to tell."""
    words = ""
    if (others := scores.get(UNTOUCHED)) is not None:
        words += f" On the half of them that it was not chosen by: {_change(others)} points."
    samples = found.original.samples
    if found.target.accuracy_drop and not _tells(found):
        words += f" It was chosen by {samples} samples, {100 / samples:.2f} points each: too few to tell such a drop."
    return words
