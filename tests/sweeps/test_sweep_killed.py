"""Sweeps that are killed at any moment and gone on with end like sweeps that nobody disturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="the killer forks")]


def killed(how, folder, points):
    """What the killer tells of so many points."""
    here = Path(__file__).parent
    ours = {"PYTHONPATH": str(here.parent / "support"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(here / "killing.py"), how, str(folder), str(points), "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ours)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_after_random_times_the_records_are_those_of_an_undisturbed_sweep(tmp_path):
    told = killed("times", tmp_path, 25)
    assert told["killed"] >= 25
    assert told["afterwards"] >= 1
    assert told["differ"] == 0
    assert told["files"] > 20


def test_killed_before_any_change_of_a_file_the_records_are_those_of_an_undisturbed_sweep(tmp_path):
    told = killed("calls", tmp_path, 12)
    assert told["killed"] >= 12
    assert told["afterwards"] >= 2
    assert told["differ"] == 0
