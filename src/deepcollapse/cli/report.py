"""`deepcollapse report`: the page of one or several runs, made from their records alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from deepcollapse.cli.runs import latest_run
from deepcollapse.cli.terminal import say, say_json
from deepcollapse.errors import OptionError, RunError


@dataclass(frozen=True)
class Report:
    """Write the page of one or several runs, from their records alone."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")] = ()
    """Run folders, folders of runs, patterns, or a study's folder; the latest in the folder runs where not given."""
    out: Path | None = None
    """The page; report.html in the run's folder where not given, or here for several runs."""
    svg: Path | None = None
    """Also draw the curves as a picture for a paper, into this SVG file."""
    json: bool = False
    """Print the plain-words reading and the page's place as JSON."""

    def run(self) -> int:
        """Write the page, and say what it says first."""
        from deepcollapse.records import read_records
        from deepcollapse.report import reading, svg, write_page
        from deepcollapse.report.study import is_study

        if len(self.runs) == 1 and is_study(self.runs[0]):
            return self._study(Path(self.runs[0]))
        runs = list(self.runs) or [str(run) for run in [latest_run()] if run]
        if not runs:
            raise RunError("there is no run in the folder runs. Name the folder of a run, or train one first.")
        records = read_records(runs)
        if records.empty:
            raise RunError(f"{', '.join(runs)} holds no records yet: nothing was measured before the run stopped.")
        folders = records["folder"].unique().tolist()
        page = self.out or (Path(folders[0]) if len(folders) == 1 else Path()) / "report.html"
        page = write_page(runs, page)
        picture = svg(runs, self.svg) if self.svg else None
        sentences = reading(records)
        if self.json:
            told = [{"run": s.run, "measure": s.measure, "text": s.text, "verdict": s.verdict} for s in sentences]
            say_json({"page": str(page), "svg": str(picture) if picture else None, "reading": told})
            return 0
        for sentence in sentences:
            if sentence.measure is None:
                say(f"{sentence.run}: {sentence.text}" if len(folders) > 1 else sentence.text)
        print(f"\nPage: {page}" + (f"\nPicture: {picture}" if picture else ""))
        return 0

    def _study(self, folder: Path) -> int:
        """The page of a study, and its verdicts."""
        from deepcollapse.cli.reproduce import say_found
        from deepcollapse.records.study import StudyRecord
        from deepcollapse.report.study import write_study_page

        if self.svg:
            raise OptionError("--svg draws the curves of runs; a study's charts are on its page alone. Leave it out.")
        page = write_study_page(folder, self.out or folder / "report.html")
        say_found(StudyRecord.read(folder), folder, page, as_json=self.json)
        return 0
