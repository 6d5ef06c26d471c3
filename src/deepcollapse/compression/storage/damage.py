"""What a damaged container is answered with."""

from deepcollapse.errors import ContainerError


def damaged(problem: str) -> ContainerError:
    """The error for a container that cannot be what was once written, with the way out.

    >>> raise damaged("the payload ends inside a code")
    Traceback (most recent call last):
        ...
    deepcollapse.errors.ContainerError: the payload ends inside a code. The container is damaged, or ...
    """
    return ContainerError(
        f"{problem}. The container is damaged, or was written by another program; make it again from the weights."
    )
