"""Sweeps that are killed at any moment and gone on with end like sweeps that nobody disturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="the killer forks")]


def killed(how, folder, *points):
    """What the killer tells of so many points."""
    here = Path(__file__).parent
    paths = [str(here.parent / "support"), *filter(None, [os.environ.get("PYTHONPATH")])]
    ours = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(here / "killing.py"), how, str(folder), *map(str, points)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ours)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_after_random_times_the_records_are_those_of_an_undisturbed_sweep(tmp_path):
    told = killed("times", tmp_path, 20)
    assert told["killed"] >= 20
    assert told["afterwards"] >= 1
    assert told["differ"] == 0
    assert told["files"] > 20


def test_killed_before_any_kind_of_file_changes_the_records_are_those_of_an_undisturbed_sweep(tmp_path):
    told = killed("calls", tmp_path)
    assert told["killed"] >= 22
    assert told["afterwards"] >= 2
    assert told["differ"] == 0
