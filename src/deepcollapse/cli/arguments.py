"""How arguments are read and shown: what a reader of --help meets in place of Python's None and ()."""

from dataclasses import replace
from types import NoneType, UnionType
from typing import Any, Union, get_args

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

NOT_GIVEN = ["not", "given"]

REGISTRY = ConstructorRegistry()

CONFIG = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)


@REGISTRY.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """`int | None` is read and shown as an int that need not be given."""
    inner = [part for part in get_args(info.type) if part is not NoneType]
    if info.type_origin not in (Union, UnionType) or len(inner) != 1:
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(inner[0], info.markers))
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None
    return replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: NOT_GIVEN if value is None else spec.str_from_instance(value),
    )


@REGISTRY.primitive_rule
def _several(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """A list of words or numbers, written after the flag."""
    kind = next((kind for kind in (str, int, float) if info.type == tuple[kind, ...]), None)
    if kind is None:
        return None
    show = "{:.4g}".format if kind is float else str
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{kind.__name__.upper()} ...",
        instance_from_str=lambda strings: tuple(kind(string) for string in strings),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [show(part) for part in value] or NOT_GIVEN,
    )


@REGISTRY.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[float] | None:
    """A number, whose default is shown with as many digits as one would write."""
    if info.type is not float:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="FLOAT",
        instance_from_str=lambda strings: _read(float, strings[0]),
        is_instance=lambda value: isinstance(value, float | int),
        str_from_instance=lambda value: [f"{value:.4g}"],
    )


@REGISTRY.primitive_rule
def _whole_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """A whole number; what is none is told in our words and not in Python's."""
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda strings: _read(int, strings[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


def _read(kind: type[Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"it must be {what}; got {text!r}.") from None
