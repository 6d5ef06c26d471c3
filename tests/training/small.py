"""A recipe that takes a second, and what tests ask of the runs it gives."""

from dataclasses import replace

from deepcollapse.training import Recipe, Watcher

# Measured at 0, 1, 3 and 9; 98 % of the training data are right from epoch 5 on, and all from epoch 6 on.
SMALL = Recipe(
    epochs=9,
    width=48,
    depth=2,
    per_class=20,
    test_per_class=8,
    batch=32,
    drops=(0.7,),
    measurements=4,
    layers=("head.input",),
    tpt_accuracy=0.98,
)


def small(**changes):
    return replace(SMALL, **changes)


class Stop(Watcher):
    """Ctrl-C at the end of an epoch."""

    def __init__(self, epoch):
        self.at = epoch

    def epoch(self, report):
        if report.epoch == self.at:
            raise KeyboardInterrupt


def files_of(folder):
    """Everything of a run that a resumed one must repeat byte for byte."""
    wanted = ["records.jsonl", "recipe.toml", "weights.safetensors", "weights-tpt-onset.safetensors"]
    found = {name: (folder / name).read_bytes() for name in wanted if (folder / name).exists()}
    return found | {file.name: file.read_bytes() for file in sorted((folder / "arrays").iterdir())}


def series(run, measure, layer="network", split="train"):
    """Epoch -> value of a measure."""
    rows = run.records()
    rows = rows[(rows.measure == measure) & (rows.layer == layer) & rows.baseline.isna() & rows.array.isna()]
    rows = rows[rows.split == split] if split else rows
    return dict(zip(rows.epoch.tolist(), rows.value.tolist(), strict=True))
