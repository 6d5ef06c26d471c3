"""Writing TOML: the standard library only reads it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from deepcollapse.errors import OptionError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dumps(table: Mapping[Any, Any]) -> str:
    r"""Write nested mappings, lists, tuples, bool, int, float and str as TOML that `tomllib` reads back.

    What is None is left out, since TOML has no word for it; tuples come back as lists. A mapping inside a list becomes
    an inline table. Raises OptionError for any other type, and for None inside a list.

    >>> print(dumps({"epochs": 200, "optimiser": {"name": "sgd", "milestones": (60, 120)}}), end="")
    epochs = 200
    <BLANKLINE>
    [optimiser]
    name = "sgd"
    milestones = [60, 120]
    """
    return "\n".join(_lines(table, ())).strip("\n") + "\n"


def _lines(table: Mapping[Any, Any], path: tuple[str, ...]) -> list[str]:
    """The lines of one table: its own values first, since whatever follows a header belongs to that header."""
    present = {key: value for key, value in table.items() if value is not None}
    inner = {key: value for key, value in present.items() if isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value, (*path, key))}" for key, value in present.items() if key not in inner]
    for key, value in inner.items():
        header = ".".join(_key(part) for part in (*path, key))
        lines += ["", f"[{header}]", *_lines(value, (*path, key))]
    return lines


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise OptionError(f"TOML keys are strings, and {key!r} is a {type(key).__name__}; name it with a string.")
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, except that TOML wants DEL escaped too and takes no surrogate pairs.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object, path: tuple[str, ...]) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _string(value)
        case list() | tuple():
            return "[" + ", ".join(_value(item, path) for item in value) + "]"
        case Mapping():
            pairs = (f"{_key(key)} = {_value(item, (*path, key))}" for key, item in value.items() if item is not None)
            return "{" + ", ".join(pairs) + "}"
    raise OptionError(
        f"a recipe holds bool, int, float, str, lists and tables; {'.'.join(path)!r} holds {value!r}, "
        f"a {type(value).__name__}. Write it as one of those."
    )
