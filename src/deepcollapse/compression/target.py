"""What a compressed network must keep to: how much accuracy it may lose, or how small it must be."""

import math
import re
from dataclasses import dataclass

from deepcollapse.errors import OptionError


@dataclass(frozen=True)
class Target:
    """The smallest network that loses at most `accuracy_drop`, or the best one of at most `size` of the bytes.

    Both are shares: `accuracy_drop` 0.002 lets accuracy fall by 0.2 points, from 98.3 % to 98.1 %; `size` 0.1 asks for
    a tenth of the bytes. One of the two is given. Raises OptionError for both, neither, or a share out of range.

    >>> Target(size=0.1)
    Target(accuracy_drop=None, size=0.1)
    """

    accuracy_drop: float | None = None
    size: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be met, or says nothing."""
        if (self.accuracy_drop is None) == (self.size is None):
            raise OptionError(f"a target is an accuracy drop or a size; got {'none' if self.size is None else 'both'}.")
        if self.accuracy_drop is not None and not 0 <= self.accuracy_drop < 1:
            raise OptionError(f"an accuracy drop is a share, at least 0 and below 1; got {self.accuracy_drop:g}.")
        if self.size is not None and not 0 < self.size <= 1:
            raise OptionError(
                f"a size is a share of the original's bytes, above 0 and at most 100 %; got {self.size:.6g}."
            )

    @classmethod
    def parse(cls, text: str) -> "Target":
        """A target as people type it: accuracy-drop=0.2%, accuracy-drop=0.002, size=10%.

        >>> Target.parse("accuracy-drop=0.2%")
        Target(accuracy_drop=0.002, size=None)
        """
        matched = re.fullmatch(r"\s*(accuracy-drop|size)\s*=\s*([0-9.eE+-]+)\s*(%?)\s*", text)
        try:
            value = float(matched[2]) if matched else math.nan
        except ValueError:
            value = math.nan
        if matched is None or math.isnan(value):
            raise OptionError(
                f"a target is written accuracy-drop=0.2% or size=10% (of the original's bytes); got {text!r}."
            )
        share = value / 100 if matched[3] else value
        return cls(accuracy_drop=share) if matched[1] == "accuracy-drop" else cls(size=share)

    def allows(self, accuracy: float, size: int, original_accuracy: float, original_size: int) -> bool:
        """Whether a network of this accuracy and so many bytes keeps to the target.

        >>> Target(accuracy_drop=0.01).allows(0.97, 10, 0.98, 100)
        True
        """
        if self.accuracy_drop is not None:
            # Accuracies are counts over samples: a difference of exactly the drop must not fail by rounding.
            return accuracy >= original_accuracy - self.accuracy_drop - 1e-9
        assert self.size is not None
        return size <= self.size * original_size

    def __str__(self) -> str:
        if self.accuracy_drop is not None:
            return f"accuracy falls by at most {100 * self.accuracy_drop:g} points"
        assert self.size is not None
        return f"at most {100 * self.size:g} % of the bytes"
