"""The errors that deepcollapse raises: each says what was wrong, what came in, and what to do.

Every one is a `DeepCollapseError`, so `except deepcollapse.errors.DeepCollapseError` catches what this package
foresaw; each is also the built-in error a caller would expect (`ValueError`, `ImportError`, ...).
"""


class DeepCollapseError(Exception):
    """The base of every error raised on purpose by deepcollapse."""


class ShapeError(DeepCollapseError, ValueError):
    """A tensor's shape does not fit what was asked."""


class LabelError(DeepCollapseError, ValueError):
    """A label is out of range, of the wrong type, or there are none."""


class NonFiniteError(DeepCollapseError, ValueError):
    """Features hold NaN or infinity."""


class TooFewClassesError(DeepCollapseError, ValueError):
    """A measure needs at least two classes that have samples."""


class ScatterLevelError(DeepCollapseError, ValueError):
    """The moments hold too little scatter for the measure that was asked of them."""


class MergeError(DeepCollapseError, ValueError):
    """Two values that cannot be merged: different classes, dimensions or levels of scatter."""


class MemoryBudgetError(DeepCollapseError, MemoryError):
    """What was asked for would not fit in memory."""


class LayerNameError(DeepCollapseError, LookupError):
    """A layer's name or pattern matches nothing, or the head could not be told."""


class CaptureError(DeepCollapseError, RuntimeError):
    """A layer did not give features as it should: it never ran, or gave no tensor."""


class BatchError(DeepCollapseError, ValueError):
    """A batch could not be read as inputs and labels, or there was none."""


class UnknownNameError(DeepCollapseError, LookupError):
    """No data set, network, measure or option goes by this name."""


class OptionError(DeepCollapseError, ValueError):
    """A setting lies outside its range, or two settings contradict one another."""


class MissingExtraError(DeepCollapseError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class DataFileError(DeepCollapseError, OSError):
    """A data file is missing, truncated or not of its format."""


class WeightsError(DeepCollapseError, ValueError):
    """Weights do not fit the network, or are not safe to read."""


class DivergedError(DeepCollapseError, ArithmeticError):
    """Training gave a loss that is no number."""


class RunError(DeepCollapseError, OSError):
    """A run folder cannot be made, read, resumed or written."""


class SolveError(DeepCollapseError, ArithmeticError):
    """A theory model was not solved to the accuracy that its certificate must show."""


class ContainerError(DeepCollapseError, ValueError):
    """A container of coded weights is damaged, or is none."""
