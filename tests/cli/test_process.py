"""The command as a process of its own: what only shows there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quick import QUICK

FULL = Path("/dev/full")
COMMAND = [sys.executable, "-m", "deepcollapse"]
COMMANDS = (
    "",
    "train",
    "measure",
    "report",
    "list",
    "theory ufm",
    "theory deep-ufm",
    "theory phase-diagram",
    "sweep run",
    "run",
)


def run(*arguments, **how):
    environment = os.environ | {"COLUMNS": "80"}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=environment, timeout=120, **how)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_readable_and_needs_no_torch(command):
    code = (
        "import sys\n"
        "from deepcollapse.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop:\n"
        "    heavy = {'torch', 'pandas', 'plotly', 'sklearn'} & set(sys.modules)\n"
        "    print(sorted(heavy), stop.code, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split(), "--help"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "80"},
    )
    assert done.stderr == "[] 0\n"
    assert max(map(len, done.stdout.splitlines())) <= 80
    for rubbish in ("None", ">>>", "default: )", "tyro-dummy", "0.333333333"):
        assert rubbish not in done.stdout
    if command == "train":
        flags = ["--out", "--resume", "--dataset", "--network", "--epochs", "--label-noise", "--compile"]
        assert [done.stdout.index(f"{flag} ") for flag in flags] == sorted(done.stdout.index(f"{f} ") for f in flags)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_scripts(shell):
    done = run("--tyro-print-completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--recipe-file" in done.stdout


def test_a_pipe_that_closes_early_is_no_error():
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [*COMMAND, "list", "datasets"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered
    )
    assert process.stdout is not None
    process.stdout.close()
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (0, "")


@pytest.mark.skipif(not FULL.exists(), reason="a disk that is always full is Linux's own")
@pytest.mark.parametrize("arguments", ["list datasets", "list datasets --json", "list --help", "list nothing --json"])
def test_an_output_that_is_full_is_told_in_a_line(arguments):
    with FULL.open("w") as full:
        done = subprocess.run([*COMMAND, *arguments.split()], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        1, "deepcollapse: standard output cannot be written: No space left on device.\n"
    )  # fmt: skip


def test_usage_errors():
    done = run("frobnicate", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["error"] == "OptionError"


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_ends_a_run_with_130_and_a_word_on_how_to_go_on(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, *QUICK, "--epochs", "100000", "--out", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == (
        "deepcollapse: Stopped; run keeps what was measured. Go on with: deepcollapse train --resume --out run\n"
    )
