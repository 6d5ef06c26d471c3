"""A user's own network, named as `package.module:factory`."""

import functools
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from deepcollapse.errors import OptionError, UnknownNameError
from deepcollapse.networks.checks import suggestion
from deepcollapse.networks.weights import first_line


def from_factory(
    name: str, num_classes: int | None, image_shape: tuple[int, ...] | None, **parameters: Any
) -> nn.Module:
    """The network that `name` gives; raises `UnknownNameError` or `OptionError`, which says what happened."""
    factory, attribute = find_factory(name), name.partition(":")[2]
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise OptionError(
            f"network {name!r}: {attribute!r} is a {type(factory).__name__}, which cannot be called. "
            "Name a function or class that returns a torch.nn.Module."
        )
    offered = {"num_classes": num_classes, "image_shape": image_shape}
    wanted = _parameter_names(factory)
    parameters |= {key: value for key, value in offered.items() if value is not None and key in wanted}
    try:
        network = factory(**parameters)
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in parameters.items())
        raise OptionError(
            f"network {name!r}: {attribute}({given}) raised {type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise OptionError(
            f"network {name!r}: {attribute}() returned a {type(network).__name__}; it must return a torch.nn.Module."
        )
    return network


def find_factory(name: str) -> Any:
    """What `name` stands for, not called yet; raises `UnknownNameError`, or `OptionError` for what does not import."""
    module_name, _, attribute = name.partition(":")
    return _attribute(name, _module(name, module_name), attribute)


def _module(name: str, module_name: str) -> ModuleType:
    # As under `python -m`: a user's own file beside them is found, now and when it imports its neighbours later.
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UnknownNameError(
                f"network {name!r}: there is no module {error.name!r}, neither installed nor in the current folder "
                f"({here}). Write package.module:factory."
            ) from None
        raise OptionError(f"network {name!r}: importing {module_name} failed: {first_line(error)}.") from error
    except Exception as error:
        raise OptionError(
            f"network {name!r}: importing {module_name} raised {type(error).__name__}: {first_line(error)}"
        ) from error


def _attribute(name: str, module: ModuleType, attribute: str) -> Any:
    try:
        return functools.reduce(getattr, attribute.split("."), module)
    except AttributeError:
        public = [key for key in vars(module) if not key.startswith("_")]
        raise UnknownNameError(
            f"network {name!r}: module {module.__name__!r} has no {attribute!r}.{suggestion(attribute, public)} "
            f"It was read from {getattr(module, '__file__', None) or 'a built-in'}."
        ) from None


def _parameter_names(factory: Any) -> set[str]:
    """The parameters that can be given by name; none where the signature cannot be read."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return set()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name for parameter in signature.parameters.values() if parameter.kind in by_name}
