"""Parameters of networks are checked here, before a layer is made, so that a slip is named and not a stack trace."""

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from deepcollapse.errors import OptionError, ShapeError


def suggestion(name: str, known: Iterable[str]) -> str:
    """ " Did you mean ...?" for the known names closest to `name`, or nothing.

    >>> suggestion("resnet81", ["resnet18", "vgg11"])
    ' Did you mean resnet18?'
    """
    close = difflib.get_close_matches(name, list(known), n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def whole(name: str, value: Any, at_least: int = 1) -> int:
    """A whole number of at least `at_least`; raises `OptionError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise OptionError(f"{name} must be a whole number of at least {at_least}; got {value!r}.")
    return value


def wholes(name: str, values: Any, *, empty: bool = False) -> tuple[int, ...]:
    """A list of positive whole numbers, empty only where `empty`; raises `OptionError`."""
    listed = tuple(values) if isinstance(values, (list, tuple)) else None
    good = listed is not None and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in listed)
    if listed is None or not good or not (listed or empty):
        example = "(2, 2, 2, 2)" if not empty else "(4096, 4096) or ()"
        raise OptionError(f"{name} must be a list of positive whole numbers such as {example}; got {values!r}.")
    return listed


def flag(name: str, value: Any) -> bool:
    """True or False; raises `OptionError`."""
    if not isinstance(value, bool):
        raise OptionError(f"{name} must be true or false; got {value!r}.")
    return value


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """One of the known words; raises `OptionError`."""
    known = list(known)
    if value not in known:
        raise OptionError(f"{name} must be one of {', '.join(known)}; got {value!r}.{suggestion(str(value), known)}")
    return value


def share(name: str, value: Any) -> float:
    """A number in (0, 1]; raises `OptionError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise OptionError(f"{name} must be a number above 0 and at most 1; got {value!r}.")
    return float(value)


# How each parameter is held to its range before a family sees it; the name serves the message.
CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "width": whole,
    "depth": partial(whole, at_least=0),
    "body": partial(choice, known=("mlp", "resnet")),
    "body_width": whole,
    "body_depth": partial(whole, at_least=0),
    "growth": whole,
    "pool": whole,
    "blocks": wholes,
    "hidden": partial(wholes, empty=True),
    "batch_norm": flag,
    "bottleneck": flag,
    "bias": flag,
    "compression": share,
    "activation": partial(choice, known=("relu", "tanh", "identity")),
    "stem": partial(choice, known=("auto", "small", "large")),
}


def maps_shape(image_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, height, width), or `ShapeError`: a convolutional network needs all three."""
    if len(image_shape) != 3:
        raise ShapeError(
            f"a convolutional network needs image_shape (channels, height, width); got {image_shape}. "
            "Use network 'mlp' for inputs of another shape."
        )
    channels, height, width = image_shape
    return channels, height, width


def is_large(image_shape: tuple[int, ...], stem: str) -> bool:
    """Whether the ImageNet stem serves: chosen by `stem`, or by the shorter side (64 pixels and more)."""
    return stem == "large" or (stem == "auto" and min(image_shape[1:]) >= 64)
