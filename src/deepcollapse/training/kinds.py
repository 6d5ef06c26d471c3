"""Whether a value read from a file is of the kind that a setting has; recipes are written by hand too."""

from types import NoneType
from typing import Any, Literal, get_args, get_origin

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def fits(value: object, kind: Any) -> bool:
    """Whether a value from TOML is of a setting's type; whole numbers serve as numbers, but true is no number.

    >>> fits(3, float), fits(True, int), fits([0.5, "x"], tuple[float, ...]), fits("sgd", Literal["sgd", "adam"])
    (True, False, False, True)
    """
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(fits(item, get_args(kind)[0]) for item in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def plain(value: Any, kind: Any) -> Any:
    """The value as its kind has it: a whole number given for a number becomes one, a list a tuple.

    >>> plain(3, float), plain([1, 0.5], tuple[float, ...]), plain(3, int | None)
    (3.0, (1.0, 0.5), 3)
    """
    if get_origin(kind) is tuple:
        return tuple(plain(item, get_args(kind)[0]) for item in value)
    return float(value) if kind is float else value


def in_words(kind: Any) -> str:
    """What a setting takes, for a message.

    >>> in_words(int | None), in_words(tuple[float, ...]), in_words(Literal["a", "b"])
    ('a whole number', 'a list of numbers', "one of 'a', 'b'")
    """
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if get_origin(kind) is tuple:
        return f"a list of {_PLURALS[get_args(kind)[0]]}"
    return _WORDS[next((part for part in get_args(kind) if part is not NoneType), kind)]
