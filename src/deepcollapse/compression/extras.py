"""Packages that only compression needs, imported where they are used."""

import importlib
from types import ModuleType

from deepcollapse.errors import MissingExtraError


def required(package: str, purpose: str) -> ModuleType:
    """The package, or MissingExtraError that says what needs it and which extra brings it.

    >>> required("no_such_package", "optimal weight sharing")
    Traceback (most recent call last):
        ...
    deepcollapse.errors.MissingExtraError: optimal weight sharing needs the package no_such_package, which is not ...
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the package {package}, which is not installed. "
            "Install it with: pip install 'deepcollapse[compression]'"
        ) from error
