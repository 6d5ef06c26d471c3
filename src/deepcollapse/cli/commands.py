"""Which commands there are, how their arguments are read, and what their exit codes mean."""

import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated

import tyro

from deepcollapse.cli.list import List
from deepcollapse.cli.measure import Measure
from deepcollapse.cli.report import Report
from deepcollapse.cli.terminal import Interrupted, complain
from deepcollapse.cli.train import Train, latest_run
from deepcollapse.errors import DeepCollapseError, RunError
from deepcollapse.training.recipe import Recipe

DESCRIPTION = """The geometry of trained classifiers: neural collapse at every layer.

Start with `deepcollapse train`: it trains a small network on handwritten digits past zero error, measures every
layer, and writes a page that shows the classes collapse. `deepcollapse --tyro-print-completion bash` (or zsh)
prints a completion script for the shell.
"""


def run(arguments: list[str]) -> int:
    """Read the arguments, run the command, and turn what it raises into words and an exit code."""
    as_json = "--json" in arguments
    try:
        command = parse(arguments)
        return command.run()
    except DeepCollapseError as error:
        return complain(error, as_json)
    except Interrupted as stop:
        print(f"\n{stop}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parse(arguments: list[str]) -> Train | Measure | Report | List:
    """The command that the arguments ask for; usage errors and --help exit as is usual (2 and 0)."""
    train = tyro.conf.subcommand("train", default=Train(recipe=_base_recipe(arguments)))
    return tyro.cli(
        Annotated[Train, train]
        | Annotated[Measure, tyro.conf.subcommand("measure")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[List, tyro.conf.subcommand("list")],
        prog="deepcollapse",
        description=DESCRIPTION,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def _base_recipe(arguments: list[str]) -> Recipe:
    """The recipe that flags of `train` change: that of --recipe-file, of the run that goes on, or the default."""
    if arguments[:1] != ["train"]:
        return Recipe()
    file, out = _value_of("--recipe-file", arguments), _value_of("--out", arguments)
    if file is None and "--resume" in arguments:
        folder = Path(out) if out else latest_run()
        if folder is None or not (folder / "recipe.toml").is_file():
            raise RunError(
                f"there is no run to resume in {folder or 'the folder runs'}. Name the folder of a run with --out, "
                "or leave --resume out."
            )
        file = str(folder / "recipe.toml")
    if file is None:
        return Recipe()
    try:
        return Recipe.from_mapping(tomllib.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RunError(
            f"the recipe {file} cannot be read: {error}. It is a TOML file like recipe.toml of a run."
        ) from error


def _value_of(flag: str, arguments: list[str]) -> str | None:
    """What follows a flag, written as `--flag value` or `--flag=value`."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == flag:
            return value if equals else next(iter(arguments[position + 1 :]), None)
    return None
