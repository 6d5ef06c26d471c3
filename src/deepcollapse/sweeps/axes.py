"""Settings and their values as one writes them on a command line: rate=0.1,0.01 decay=0,5e-3. Imports no torch."""

from collections import Counter
from collections.abc import Iterable
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from deepcollapse.errors import OptionError
from deepcollapse.records.settings import exact
from deepcollapse.training.kinds import fits, in_words
from deepcollapse.training.recipe import Recipe

# A setting that is not given, or an empty list; the entries of a list are joined, since commas part values.
NOT_GIVEN, JOIN = "none", "+"


def read_axes(texts: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """The values of each setting, of the setting's own kind.

    Raises OptionError for a setting that recipes do not have or that comes twice, and for values that it cannot take
    or that come twice.

    >>> read_axes(["rate=0.1,1", "width=none,64", "drops=none,0.3+0.6"])
    {'rate': (0.1, 1.0), 'width': (None, 64), 'drops': ((), (0.3, 0.6))}
    """
    kinds: dict[str, Any] = {name: field.type for name, field in Recipe.__dataclass_fields__.items()}
    axes: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (equals and name and all(part.strip() for part in values.split(","))):
            raise OptionError(
                f"--grid takes settings with their values, such as rate=0.1,0.01 decay=0,5e-3, without spaces around "
                f"commas; got {text!r}."
            )
        if name not in kinds:
            raise OptionError(f"a recipe has no setting {name!r}; it has {', '.join(sorted(kinds))}.")
        if name in axes:
            raise OptionError(f"--grid names {name} twice. Give all of its values at once: {name}=FIRST,SECOND.")
        axes[name] = tuple(_read(name, part.strip(), kinds[name]) for part in values.split(","))
        if again := [value for value, count in Counter(axes[name]).items() if count > 1]:
            raise OptionError(f"--grid gives {name} the value {written(again[0])} twice. Give each value once.")
    return axes


def written(value: Any) -> str:
    """A value as `read_axes` reads it.

    >>> written(1e-05), written(None), written((0.3, 0.6)), written(True), written(64)
    ('1e-5', 'none', '0.3+0.6', 'true', '64')
    """
    if value is None or value == ():
        return NOT_GIVEN
    if isinstance(value, tuple):
        return JOIN.join(written(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return exact(value) if isinstance(value, float) else str(value)


def _read(name: str, text: str, kind: Any) -> Any:
    inner = [part for part in get_args(kind) if part is not NoneType]
    if text == NOT_GIVEN and NoneType in get_args(kind):
        return None
    if get_origin(kind) is tuple:
        return () if text == NOT_GIVEN else tuple(_read(name, part, inner[0]) for part in text.split(JOIN))
    plain = kind if get_origin(kind) is Literal or not inner else inner[0]
    value = _converted(text, plain)
    if not fits(value, plain):
        raise OptionError(f"{name} is {text!r} in --grid; it must be {in_words(kind)}.")
    return value


def _converted(text: str, kind: Any) -> Any:
    """The text as a value of that kind; None where it is none."""
    try:
        return {bool: {"true": True, "false": False}.get, int: int, float: float}.get(kind, str)(text)
    except ValueError:
        return None
