"""For tests of the errors that users meet, who run without the checks of annotations that tests run with."""

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping


@contextmanager
def shapes_unchecked() -> Iterator[None]:
    """Call functions as a user's session does, where the package's own checks meet wrong shapes first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
