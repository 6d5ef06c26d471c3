"""Names and labels that several figures share."""

from html import escape

from deepcollapse.report.view import View

# A slider with more stops than this swells the page and shows no more.
MOST_EPOCHS = 24


def epoch_label(view: View, epoch: int) -> str:
    """What a slider calls an epoch."""
    if view.start is None:
        return "measured once"
    return f"epoch {epoch}" + (" (TPT onset)" if epoch == view.onset else "")


def short(name: str, limit: int = 16) -> str:
    """A name that fits beside an axis.

    >>> short("a class with quite a name")
    'a class with qu…'
    """
    return name if len(name) <= limit else name[: limit - 1] + "…"


def tick(name: str) -> str:
    """A layer's name beside an axis, as plotly reads it: escaped, its remark on a line of its own.

    >>> tick("blocks.3 (head's input)")
    'blocks.3<br>(head&#x27;s input)'
    """
    return escape(name).replace(" (", "<br>(")


def listed(names: list[str]) -> str:
    """Names as a sentence lists them.

    >>> listed(["cat", "dog", "owl"])
    'cat, dog and owl'
    """
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
