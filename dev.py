"""Set up and work on deepcollapse with nothing but Python 3.11+: `python3 dev.py demo | test | bench | check | docs`.

The environment lives in `.venv`, is pinned by `constraints.txt`, and is made again whenever those pins or the
project's dependencies change. Everything after the command's name is handed on, e.g. `python3 dev.py test -k nc1`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "set-up.sha256"


def run(*command: object, **options) -> None:
    """Run a command and end with its exit code where it fails."""
    code = subprocess.run([str(part) for part in command], cwd=ROOT, **options).returncode
    if code:
        raise SystemExit(code)


def wanted() -> str:
    """The digest of everything that decides what belongs in the environment."""
    files = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
    return hashlib.sha256(sys.version.encode() + b"".join(file.read_bytes() for file in files)).hexdigest()


def environment_for_uv() -> dict[str, str]:
    """The environment variables under which uv finds the wheels that pip would find.

    uv reads none of pip's configuration, so a folder of wheels that pip knows (say, a CPU build of torch) is named to
    it.
    """
    listed = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    settings = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    links = " ".join(value.strip("'\"") for key, value in settings.items() if key.endswith(".find-links"))
    return os.environ | ({"UV_FIND_LINKS": ",".join(dict.fromkeys(links.split()))} if links else {})


def set_up() -> None:
    """Make or refresh `.venv`: uv installs where it can be had, pip otherwise."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs an older Python must read why it ends
        raise SystemExit(f"deepcollapse needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    if STAMP.exists() and STAMP.read_text() == wanted():
        return
    print("Setting up .venv (once; a minute or so) ...", flush=True)
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", VENV)
    import tomllib  # new in Python 3.11: at the top it would fail before the line that says so

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    arguments = ["install", "--quiet", "-c", ROOT / "constraints.txt", "-e", ROOT, *project["dependency-groups"]["dev"]]
    has_uv = not subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "uv"], capture_output=True).returncode
    uv = [PYTHON, "-m", "uv", "pip", *arguments]
    if not has_uv or subprocess.run([str(part) for part in uv], cwd=ROOT, env=environment_for_uv()).returncode:
        print("uv could not install everything; trying pip ...", flush=True)
        run(PYTHON, "-m", "pip", *arguments)
    STAMP.write_text(wanted())


def lint(*_: str) -> None:
    """Formatting, lint and types: what `pre-commit` and CI hold the code to."""
    run(PYTHON, "-m", "ruff", "check", ".")
    run(PYTHON, "-m", "ruff", "format", "--check", ".")
    run(PYTHON, "-m", "pyright")


def test(*arguments: str) -> None:
    """All tests, doctests included: a process a core, a file at a time; with arguments, what they ask of pytest."""
    spread = () if arguments else ("-n", "auto", "--dist", "loadfile")
    # Processes that each compute with every core get into one another's way.
    run(PYTHON, "-m", "pytest", *spread, *arguments, env={"OMP_NUM_THREADS": "1"} | os.environ)


def check(*arguments: str) -> None:
    """Lint, types and tests."""
    lint()
    test(*arguments)


def demo(*arguments: str) -> None:
    """Train a network on real images past zero error, measure every layer, and write the page."""
    run(PYTHON, "-m", "deepcollapse", "train", *arguments)


def bench(*arguments: str) -> None:
    """Ratios against alternatives, measured in one run: `bench [NAME] [--json]`."""
    run(PYTHON, ROOT / "benchmarks" / "run.py", *arguments)


def docs(*_: str) -> None:
    """Write the pages of docs/ that are made from the code."""
    run(PYTHON, ROOT / "docs" / "generate.py")


def clean(*_: str) -> None:
    """Remove the environment."""
    shutil.rmtree(VENV, ignore_errors=True)


COMMANDS = {task.__name__: task for task in (demo, test, bench, lint, check, docs, clean)}


def main(arguments: list[str]) -> None:
    """Set up, then run the command that was named."""
    if not arguments or arguments[0] not in COMMANDS:
        lines = (f"  python3 dev.py {name:<6} {str(task.__doc__).splitlines()[0]}" for name, task in COMMANDS.items())
        raise SystemExit("Say what to do:\n" + "\n".join(lines))
    name, *rest = arguments
    if name != "clean":
        set_up()
    COMMANDS[name](*rest)


if __name__ == "__main__":
    main(sys.argv[1:])
