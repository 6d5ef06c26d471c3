"""Which classes there are and how many samples each has: equally many, two groups of classes, or any counts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcollapse.errors import OptionError

if TYPE_CHECKING:
    from deepcollapse.theory.reduced.groups import Groups


@dataclass(frozen=True)
class Classes:
    """Which classes there are; name them in one of three ways."""

    classes: int | None = None
    """Number of classes that have equally many samples."""
    majority: int | None = None
    """Number of majority classes; goes with --minority and --ratio."""
    minority: int | None = None
    """Number of minority classes."""
    ratio: float | None = None
    """Samples of a majority class over those of a minority class; inf for no minority samples at all."""
    counts: tuple[float, ...] = ()
    """Samples of each class, one number a class."""

    def _check(self) -> None:
        """Raises OptionError for numbers of classes or samples that are none, by the flag that they came with."""
        for flag, number in (("classes", self.classes), ("majority", self.majority), ("minority", self.minority)):
            if number is not None and number < 1:
                raise OptionError(f"--{flag} is a number of classes, 1 or more; got {number}.")
        two = {"--majority": self.majority, "--minority": self.minority, "--ratio": self.ratio}
        missing = [flag for flag, value in two.items() if value is None]
        if 0 < len(missing) < 3 and self.classes is None and not self.counts:
            raise OptionError(
                f"--majority, --minority and --ratio go together; {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing. For example --majority 5 --minority 5 --ratio 10."
            )

    def groups(self, per_class: float = 1.0) -> "Groups":
        """Classes of equal count put together; `per_class` is the samples of each class, or of each minority class.

        Raises OptionError unless the classes were named in exactly one way.
        """
        from deepcollapse.theory.reduced.groups import Groups

        self._check()
        two = {"--majority": self.majority, "--minority": self.minority, "--ratio": self.ratio}
        ways = {"--classes": self.classes is not None, "--counts": bool(self.counts)}
        ways |= {flag: value is not None for flag, value in two.items()}
        given = [flag for flag, there in ways.items() if there]
        if self.classes is not None and given == ["--classes"]:
            return Groups((self.classes,), (per_class,))
        if self.counts and given == ["--counts"]:
            return Groups.of(self.counts)
        if self.majority is not None and self.minority is not None and self.ratio is not None and given == [*two]:
            found = Groups.two(self.majority, self.minority, self.ratio)
            return Groups(found.sizes, tuple(per_class * count for count in found.counts))
        raise OptionError(
            f"say which classes there are in one way; got {' and '.join(given) or 'none'}. Give --classes 10, or "
            "--majority 5 --minority 5 --ratio 10, or --counts 500 500 50."
        )
