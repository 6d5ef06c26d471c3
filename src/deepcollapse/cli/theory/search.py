"""The search for deep solutions as a terminal shows it: a bar while it runs, then what was found."""

import sys
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import duration
from deepcollapse.cli.theory.shown import figures, told

if TYPE_CHECKING:
    import pandas

SETTINGS = ("width", "feature_decay", "rate")


EVERY = 10.0  # seconds between lines of progress


class Bar:
    """A bar on terminals; elsewhere, and beside JSON, a line on standard error now and then."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None
        self.closing = ExitStack()
        self.began = self.told = time.monotonic()

    def __enter__(self) -> "Bar":
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        if console.is_terminal and not self.quiet:
            self.bar = self.closing.enter_context(Progress(console=console, transient=True))
            self.bar.add_task("descending", total=1.0)
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()

    def update(self, share: float) -> None:
        """Move the bar to the share that is done, or tell of it and of the time that is left."""
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=share)
            return
        now = time.monotonic()
        if now - self.told >= EVERY and 0 < share < 1:
            self.told = now
            left = duration((now - self.began) * (1 - share) / share)
            print(f"Searching: {share:.0%} done, about {left} to go.", file=sys.stderr, flush=True)


def show_found(found: "pandas.DataFrame") -> None:
    """How low and of what rank the ends are by width, decay and rate, and how many are of which kind."""
    from deepcollapse.theory.exploration import summarise

    kinds: dict[tuple[Any, ...], Counter[str]] = {}
    for *key, kind in zip(*(found[name] for name in (*SETTINGS, "kind")), strict=True):
        kinds.setdefault(tuple(key), Counter())[kind] += 1
    rows = []
    for row in summarise(found).to_dict("records"):
        numbers = (row[name] for name in ("best", "median", "mean_rank"))
        settings = (str(row["width"]), *(figures(row[name], 3) for name in ("feature_decay", "rate")))
        of = kinds[tuple(row[name] for name in SETTINGS)]
        ends = ", ".join(f"{count} {kind}" for kind, count in of.most_common())
        rows.append((*settings, *(figures(number, 4) for number in numbers), ends))
    print()
    heads = ("width", "feature\ndecay", "rate", "best over\ncollapse", "median over\ncollapse", "mean\nrank", "ends")
    show_table(heads, rows, right=(0, 1, 2, 3, 4, 5))
    below = sum(ratio < 1 - 1e-4 for ratio in found["loss_ratio"])  # NaN, where it diverged, is not
    told(
        f"{below} of {len(found)} starts ended below deep neural collapse. Descent finds stationary points at best: "
        "what it does not find may exist all the same."
    )
