"""A sweep: recipes that belong together, each once. Imports no torch."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args

from deepcollapse.errors import OptionError
from deepcollapse.records import digest_of
from deepcollapse.training.kinds import fits, in_words, plain
from deepcollapse.training.recipe import Recipe

MOST_RUNS = 100_000


@dataclass(frozen=True)
class Sweep:
    """Recipes that belong together, and what is measured of each trained network besides what training records.

    A recipe that is given twice counts once. `afterwards` names a function as package.module:function, which takes a
    `Trained` and gives records.

    Raises OptionError where there is no recipe, or what is none.

    >>> sweep = Sweep.grid(Recipe(epochs=3), rate=[0.1, 0.01], seed=range(3))
    >>> len(sweep.recipes), sweep.axes()
    (6, {'seed': (0, 1, 2), 'rate': (0.1, 0.01)})
    """

    recipes: tuple[Recipe, ...]
    afterwards: str | None = None

    def __post_init__(self) -> None:
        """Keep each recipe once; refuse what is none."""
        if isinstance(self.recipes, Recipe):
            raise OptionError("a sweep takes several recipes; got one alone. Write Sweep((recipe,)).")
        recipes = _several(self.recipes, "a sweep takes several recipes", "Sweep((Recipe(), ...))")
        if others := [recipe for recipe in recipes if not isinstance(recipe, Recipe)]:
            raise OptionError(f"a sweep takes recipes, made by Recipe(...); got {others[0]!r} among them.")
        if not (self.afterwards is None or isinstance(self.afterwards, str)):
            raise OptionError(
                f"afterwards is the name of a function, as package.module:function; got {self.afterwards!r}."
            )
        object.__setattr__(self, "recipes", tuple(dict.fromkeys(recipes)))
        if not self.recipes:
            raise OptionError("a sweep needs at least one recipe; got none.")

    @classmethod
    def grid(cls, base: Recipe, *, afterwards: str | None = None, **axes: Iterable[Any]) -> "Sweep":
        """Every combination of the settings' values; the others are those of `base`.

        Raises OptionError for a setting that recipes do not have, without values, or with one that it cannot take, and
        for more runs than a sweep can have.
        """
        if not isinstance(base, Recipe):
            raise OptionError(f"a grid starts from a recipe, made by Recipe(...); got {base!r}.")
        for given in axes.values():  # a range can be longer than memory is large
            _refuse_too_many(len(given) if isinstance(given, Sized) else 1)
        values = {name: _values(name, given) for name, given in axes.items()}
        _refuse_too_many(math.prod(map(len, values.values())))
        combined = itertools.product(*values.values())
        recipes = (Recipe.from_mapping(_changed(base, dict(zip(values, one, strict=True)))) for one in combined)
        return cls(tuple(recipes), afterwards)

    def named(self) -> dict[str, Recipe]:
        """The recipes by their digests, which are the names of their runs."""
        return {key_of(recipe): recipe for recipe in self.recipes}

    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The settings in which the recipes differ, each with its values in the order in which they come."""
        fields = Recipe.__dataclass_fields__
        values = {name: tuple(dict.fromkeys(getattr(recipe, name) for recipe in self.recipes)) for name in fields}
        return {name: found for name, found in values.items() if len(found) > 1}

    def joined(self, other: "Sweep") -> "Sweep":
        """The recipes of both; what is measured afterwards is the other's, where it names anything."""
        return Sweep(self.recipes + other.recipes, other.afterwards or self.afterwards)

    def to_mapping(self) -> dict[str, Any]:
        """The sweep as plain values, with the names of its runs for those who cannot fill in a recipe's defaults."""
        recipes = [recipe.to_mapping() for recipe in self.recipes]
        return {"afterwards": self.afterwards, "recipes": recipes, "keys": [digest_of(recipe) for recipe in recipes]}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Sweep":
        """The sweep that `to_mapping` wrote. Raises OptionError for what no recipe can be."""
        return cls(tuple(Recipe.from_mapping(recipe) for recipe in values["recipes"]), values["afterwards"])


def key_of(recipe: Recipe) -> str:
    """The name of a recipe's run: the digest of everything that decides what it gives."""
    return digest_of(recipe.to_mapping())


def _refuse_too_many(runs: int) -> None:
    if runs > MOST_RUNS:
        raise OptionError(
            f"the grid has {runs:,} runs or more; a sweep has at most {MOST_RUNS:,}. Give fewer values or seeds, or "
            "part it into several sweeps."
        )


def _changed(base: Recipe, values: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {name: field.type for name, field in Recipe.__dataclass_fields__.items()}
    given = {name: _as_toml(value, kinds[name]) for name, value in values.items() if value is not None}
    return {name: value for name, value in base.to_mapping().items() if name not in values} | given


def _as_toml(value: Any, kind: Any) -> Any:
    value = plain(value, kind)
    return list(value) if isinstance(value, tuple) else value


def _several(given: Any, what: str, written: str) -> tuple[Any, ...]:
    """What was given one after another; a text is one thing, not its letters."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise OptionError(f"{what}; got {given!r} alone. Write {written}.")
    return tuple(given)


def _values(name: str, given: Any) -> tuple[Any, ...]:
    """The values of a setting in a grid."""
    kinds = {name: field.type for name, field in Recipe.__dataclass_fields__.items()}
    if name not in kinds:
        raise OptionError(f"a recipe has no setting {name!r}; it has {', '.join(sorted(kinds))}.")
    values = _several(given, f"{name} is swept over a list of values", f"{name}=[{given!r}]")
    if not values:
        raise OptionError(f"{name} is to be swept, and no value was given for it.")
    for value in values:
        not_given = value is None and NoneType in get_args(kinds[name])
        if not (not_given or (value is not None and fits(value, kinds[name]))):
            raise OptionError(f"{name} has the value {value!r} in a grid; each must be {in_words(kinds[name])}.")
    return values
