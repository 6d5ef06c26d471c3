"""Which commands there are, how their arguments are read, and what their exit codes mean."""

import contextlib
import io
import os
import sys
import tomllib
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from deepcollapse.cli.arguments import CONFIG, REGISTRY
from deepcollapse.cli.compress import Compress
from deepcollapse.cli.decay_sweep import DecaySweep
from deepcollapse.cli.list import List
from deepcollapse.cli.measure import Measure
from deepcollapse.cli.report import Report
from deepcollapse.cli.reproduce import Reproduce
from deepcollapse.cli.run import Run
from deepcollapse.cli.runs import latest_run
from deepcollapse.cli.sweep.command import Sweeps
from deepcollapse.cli.sweep.plan import SweepPlan
from deepcollapse.cli.sweep.run import SweepRun
from deepcollapse.cli.terminal import Interrupted, Shown, complain, fitted, unboxed
from deepcollapse.cli.theory.command import Theory
from deepcollapse.cli.train import Train
from deepcollapse.cli.verify import Verify
from deepcollapse.errors import DeepCollapseError, OptionError, RunError
from deepcollapse.training.recipe import Recipe

Command = (
    Train
    | Measure
    | Compress
    | Verify
    | Reproduce
    | Sweeps
    | SweepRun
    | SweepPlan
    | Run
    | DecaySweep
    | Report
    | Theory
    | List
)
PLANNED = {"sweep run": SweepRun, "sweep plan": SweepPlan}

# Lines that start with a space are kept as they are; tyro joins the others.
DESCRIPTION = """The geometry of trained classifiers: neural collapse at every layer.
  deepcollapse train                  a first run: digits, half a minute, a page
  deepcollapse train --network resnet --dataset mnist --download
  deepcollapse measure runs/digits-mlp-seed0 --layers all
  deepcollapse compress runs/digits-mlp-seed0 --target accuracy-drop=0.2%
  deepcollapse reproduce papyan2020   a paper's experiment, a verdict per claim
  deepcollapse sweep run --grid rate=0.1,0.01 decay=0,5e-3 --seeds 3
  deepcollapse report runs            all runs on one page
  deepcollapse theory phase-diagram   what theory holds to be optimal, on a page

Every command has its own --help. --tyro-print-completion bash (or zsh) prints a
 completion script for the shell.
"""


def run(arguments: list[str]) -> int:
    """Read the arguments, run the command, and turn what it raises into words and an exit code."""
    try:
        code = _run(arguments)
        sys.stdout.flush()  # a reader that has gone shows here, and not when Python shuts down
        return code
    except BrokenPipeError:  # the reader of our output, say `head`, has seen enough
        _drop_output()
        return 0
    except OSError as error:
        if not _output_fails(error):
            raise
        _drop_output()
        print(f"deepcollapse: standard output cannot be written: {error.strerror or error}.", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        return _command(arguments, as_json).run()
    except BrokenPipeError:
        raise
    except DeepCollapseError as error:
        return complain(error, as_json)
    except KeyboardInterrupt as stop:
        return complain(stop if isinstance(stop, Interrupted) else Interrupted("Stopped."), as_json, code=130)
    except Exception as error:
        if not as_json or _output_fails(error):
            raise
        traceback.print_exc()
        return complain(error, as_json)


def _output_fails(error: Exception) -> bool:
    """Whether the error is that of standard output, which takes nothing any more: its file's disk is full, say."""
    if not isinstance(error, OSError) or error.filename is not None:
        return False
    try:
        os.write(sys.stdout.fileno(), b"\n")  # whether it still takes anything shows in no other way
    except io.UnsupportedOperation:  # no file of the system's
        return False
    except OSError:
        return True
    return False


def _drop_output() -> None:
    """Send to nowhere what was not written yet: Python writes it when it shuts down, and would complain again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse(arguments: list[str]) -> Command:
    """The command that the arguments ask for; usage errors and --help exit as is usual (2 and 0)."""
    if arguments[:2] == ["compress", "verify"]:  # a run of that name is ./verify
        prog = "deepcollapse compress verify"
        return tyro.cli(Verify, prog=prog, args=arguments[2:], config=CONFIG, registry=REGISTRY)
    if planned := PLANNED.get(" ".join(arguments[:2])):
        return _with_recipes(planned, arguments)
    train = tyro.conf.subcommand("train", default=Train(recipe=_base_recipe(arguments)))
    return tyro.cli(
        Annotated[Train, train]
        | Annotated[Measure, tyro.conf.subcommand("measure")]
        | Annotated[Compress, tyro.conf.subcommand("compress")]
        | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
        | Annotated[Sweeps, tyro.conf.subcommand("sweep")]
        | Annotated[Run, tyro.conf.subcommand("run")]
        | Annotated[DecaySweep, tyro.conf.subcommand("decay-sweep")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[Theory, tyro.conf.subcommand("theory")]
        | Annotated[List, tyro.conf.subcommand("list")],
        prog="deepcollapse",
        description=DESCRIPTION,
        args=arguments,
        config=CONFIG,
        registry=REGISTRY,
    )


def _with_recipes(planned: type[SweepRun] | type[SweepPlan], arguments: list[str]) -> SweepRun | SweepPlan:
    """A sweep from the recipe of --recipe-file, or from each of --recipes; other flags change them."""

    def read(base: Recipe) -> SweepRun | SweepPlan:
        prog = f"deepcollapse {' '.join(arguments[:2])}"
        default = planned(recipe=base)
        return tyro.cli(planned, prog=prog, default=default, args=arguments[2:], config=CONFIG, registry=REGISTRY)

    asked = read(_base_recipe(arguments))
    if asked.recipes and asked.recipe_file:
        raise OptionError("--recipe-file and --recipes both say where recipes start from; leave one of them out.")
    if asked.seeds is not None and _value_of("--seed", arguments) is not None:
        raise OptionError("--seed and --seeds both say which seeds there are; leave one of them out.")
    bases = tuple(read(_recipe_in(file)).recipe for file in asked.recipes)
    return replace(asked, bases=bases) if bases else asked


def _command(arguments: list[str], as_json: bool) -> Command:
    """The command; with --json, what is wrong with the arguments is said in JSON too."""
    told, shown = io.StringIO(), Shown()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(shown):
            return parse(arguments)
    except SystemExit as stop:
        asked_for_help = {"-h", "--help"} & set(arguments)
        sys.stdout.write(fitted(shown.getvalue()) if asked_for_help else shown.getvalue())
        if stop.code and (as_json or "__tyro" in told.getvalue()):
            complain(OptionError(unboxed(told.getvalue())), as_json)
        else:
            sys.stderr.write(told.getvalue())
        sys.stdout.flush()
        raise


def _base_recipe(arguments: list[str]) -> Recipe:
    """The recipe that flags of `train` change: that of --recipe-file, of the run that goes on, or the default."""
    takes = arguments[:1] == ["train"] or " ".join(arguments[:2]) in PLANNED
    if not takes or {"-h", "--help"} & set(arguments):
        return Recipe()
    file, out = _value_of("--recipe-file", arguments), _value_of("--out", arguments)
    if file is None and arguments[:1] == ["train"] and "--resume" in arguments:
        folder = Path(out) if out else latest_run()
        if folder is None or not (folder / "recipe.toml").is_file():
            raise RunError(
                f"there is no run to resume in {folder or 'the folder runs'}. Name the folder of a run with --out, "
                "or leave --resume out."
            )
        file = str(folder / "recipe.toml")
    return Recipe() if file is None else _recipe_in(file)


def _recipe_in(file: str | Path) -> Recipe:
    """The recipe in a TOML file. Raises RunError where it cannot be read, OptionError where it is none."""
    try:
        return Recipe.from_mapping(tomllib.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"the recipe {file} cannot be read: {reason}. It is a TOML file like recipe.toml of a run."
        ) from error
    except OptionError as error:
        raise OptionError(f"the recipe {file} is none: {error}") from error


def _value_of(flag: str, arguments: list[str]) -> str | None:
    """What follows a flag, written as `--flag value` or `--flag=value`; tyro reads the other flags."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.replace("_", "-") == flag:
            return value if equals else next(iter(arguments[position + 1 :]), None)
    return None
