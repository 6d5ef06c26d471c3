"""The methods by name, and what each is given."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from deepcollapse.compression.search import Ladder
from deepcollapse.compression.storage.forms import Form
from deepcollapse.errors import OptionError

if TYPE_CHECKING:
    from deepcollapse.compression.fine_tuning import Descent


@dataclass(frozen=True)
class Method:
    """What a method does, in words, and whether weights come out coded, which nothing can follow."""

    what: str
    codes: bool = True


METHODS = {
    "low-rank": Method("truncated factors in place of layers, ranks shared out by what the outputs lose", codes=False),
    "coded": Method("pruned, few shared values, each layer in the form that takes the fewest bytes"),
    "hac": Method("pruned, few shared values, a Huffman code of all entries"),
    "shac": Method("pruned, few shared values, a Huffman code of the non-zeros in compressed sparse columns"),
    "delta": Method("pruned, few shared values, gaps and values in fields of one width: our own fast layout"),
    "delta-huffman": Method("pruned, few shared values, Huffman codes of gaps and values: our own small layout"),
    "ternary": Method("weights -a, 0 and a, trained one coordinate at a time, then coded"),
}


@dataclass(frozen=True)
class Material:
    """What methods work with; see `compress` for each."""

    train: Iterable[tuple[Tensor, Tensor]]
    layers: Sequence[str] | None
    values: int
    fine_tune: int
    rate: float
    seconds: float
    loss: Callable[[Tensor, Tensor], Tensor]
    seed: int

    @property
    def descent(self) -> "Descent":
        """How networks are trained on; the rate ends at 0, or a network that had settled would be shaken loose."""
        from deepcollapse.compression.fine_tuning import Descent, length_of

        return Descent(epochs=self.fine_tune, rate=self.rate, fading=length_of(self.train) is not None)

    def __post_init__(self) -> None:
        """Hold the settings to their ranges, before any work."""
        ranges = {
            "values": (self.values >= 1, "at least 1"),
            "fine_tune": (self.fine_tune >= 0, "at least 0"),
            "rate": (0 < self.rate < math.inf, "above 0 and finite"),
            "seconds": (0 < self.seconds < math.inf, "above 0 and finite"),
        }
        for name, (fine, wanted) in ranges.items():
            if not fine:
                raise OptionError(f"{name} must be {wanted}; got {getattr(self, name)}.")


def ladder_of(method: str, network: nn.Module, material: Material) -> Ladder:
    """The networks that a method makes of this one, from mild to strong."""
    if method == "low-rank":
        from deepcollapse.compression.ladders.low_rank import Ranks

        return Ranks.of(network, material)
    if method == "ternary":
        from deepcollapse.compression.ladders.ternary import Ternary

        return Ternary(network, material)
    from deepcollapse.compression.ladders.coded import Coding

    forms: dict[str, Form] = {
        "coded": "smallest",
        "hac": "hac",
        "shac": "shac",
        "delta": "delta",
        "delta-huffman": "delta-huffman",
    }
    return Coding(network, material, forms[method])
