"""The commands on the page about sweeps are commands that there are."""

import re
import shlex
from pathlib import Path

import pytest

from deepcollapse.cli.commands import parse
from deepcollapse.cli.run import Run
from deepcollapse.cli.sweep.run import SweepRun

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
# In fences, in tables and inside of quotes; a backslash joins lines, a # begins a comment.
COMMANDS = re.findall(r"deepcollapse (?:train|run|sweep)\b[^`\n'#]*", PAGE.replace("\\\n", " "))


def test_they_are_found():
    assert len(COMMANDS) >= 20
    assert any("--recipes" in command for command in COMMANDS)


@pytest.mark.parametrize("command", sorted({command.strip() for command in COMMANDS}))
def test_they_are_read(here, command):
    for name in ("small.toml", "large.toml", "runs/digits-mlp-seed0/recipe.toml"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("epochs = 3\n")
    if command in ("deepcollapse train", "deepcollapse run", "deepcollapse sweep"):
        return  # named in a sentence
    words = shlex.split(command.replace("$SLURM_ARRAY_TASK_ID", "3"))[1:]
    read = parse(words)
    if isinstance(read, SweepRun):
        assert read.sweep().recipes
        read._engine()
    if isinstance(read, Run):
        assert read.index == 3


def test_the_array_of_the_page_has_all_runs():
    plan = next(command for command in COMMANDS if "sweep plan --grid" in command)
    last = re.search(r"--array=0-(\d+)%4", PAGE)
    assert last is not None
    assert len(parse(shlex.split(plan)[1:]).sweep().recipes) == int(last[1]) + 1
