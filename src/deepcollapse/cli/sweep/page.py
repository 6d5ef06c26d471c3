"""`deepcollapse sweep page`: the page that compares a sweep's runs, made again from their records."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from deepcollapse.cli.sweep.shown import write_page_of
from deepcollapse.cli.terminal import say_json


@dataclass(frozen=True)
class SweepPage:
    """Write the page that compares the runs of a sweep, from their records alone."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder of the sweep."""
    json: bool = False
    """Print the page's place as JSON."""

    def run(self) -> int:
        """Write it, and say where it is."""
        page = write_page_of(self.folder)
        if self.json:
            say_json({"page": str(page)})
        else:
            print(f"Page: {page}")
        return 0
