"""Networks: the papers' families built by name, and networks of other packages or of your own by address.

`build("resnet18", num_classes=10, image_shape=(3, 32, 32))` makes one of ours; `load_network` also takes
`package.module:factory`, `timm:NAME`, `torchvision:NAME` and `hf:NAME_OR_FOLDER`. Names and facts need no torch.
"""

import importlib
from typing import TYPE_CHECKING

from deepcollapse.networks.facts import NETWORKS, NetworkFacts

if TYPE_CHECKING:
    from deepcollapse.networks.builder import build
    from deepcollapse.networks.named import load_network
    from deepcollapse.networks.untrained import untrained_copy
    from deepcollapse.networks.weights import load_weights

# Where each name lives: torch takes seconds to import, and a list of names should not.
_HOMES = {
    "build": "deepcollapse.networks.builder",
    "load_network": "deepcollapse.networks.named",
    "load_weights": "deepcollapse.networks.weights",
    "untrained_copy": "deepcollapse.networks.untrained",
}

__all__ = ["NETWORKS", "NetworkFacts", "build", "load_network", "load_weights", "untrained_copy"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse.networks' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
