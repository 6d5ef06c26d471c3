"""What can go: smaller networks from trained ones, by rank, by pruning, by fewer values, and by codes.

Names are handed on when first used, since what is behind them takes a second to import.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcollapse.compression.checked import check
    from deepcollapse.compression.coded_layers import code_layers, decoded
    from deepcollapse.compression.compressing import compress
    from deepcollapse.compression.few_values import prune, quantise
    from deepcollapse.compression.files import export_network, load_compressed, save_compressed
    from deepcollapse.compression.fine_tuning import Descent, fine_tune
    from deepcollapse.compression.low_rank.allocation import Spectrum, allocate, allocate_exactly
    from deepcollapse.compression.low_rank.convolution import tucker
    from deepcollapse.compression.low_rank.decomposition import LowRank
    from deepcollapse.compression.low_rank.inputs import LayerInputs
    from deepcollapse.compression.low_rank.scan import rank_scan
    from deepcollapse.compression.low_rank.truncate import truncate
    from deepcollapse.compression.low_rank.truncation import activation_aware, diagonally_scaled, truncated
    from deepcollapse.compression.outcome import Compressed
    from deepcollapse.compression.over_decays import decay_sweep
    from deepcollapse.compression.plan import plan_of
    from deepcollapse.compression.quantisation.entropy_constrained import entropy_constrained
    from deepcollapse.compression.quantisation.probabilistic import draw_weights
    from deepcollapse.compression.quantisation.uniform import round_weights
    from deepcollapse.compression.quantisation.weight_sharing import share_weights
    from deepcollapse.compression.sizes import footprint, latencies
    from deepcollapse.compression.storage.container import Container
    from deepcollapse.compression.storage.delta import Delta
    from deepcollapse.compression.storage.delta_huffman import DeltaHuffman
    from deepcollapse.compression.storage.forms import coded, read_coded
    from deepcollapse.compression.storage.products import product
    from deepcollapse.compression.storage.verify import verify
    from deepcollapse.compression.target import Target
    from deepcollapse.compression.ternary import ternary_projection, train_discrete

_HOMES = {
    "compress": "compressing",
    "Compressed": "outcome",
    "Target": "target",
    "plan_of": "plan",
    "save_compressed": "files",
    "load_compressed": "files",
    "export_network": "files",
    "check": "checked",
    "footprint": "sizes",
    "latencies": "sizes",
    "truncate": "low_rank.truncate",
    "LowRank": "low_rank.decomposition",
    "LayerInputs": "low_rank.inputs",
    "rank_scan": "low_rank.scan",
    "allocate": "low_rank.allocation",
    "allocate_exactly": "low_rank.allocation",
    "Spectrum": "low_rank.allocation",
    "truncated": "low_rank.truncation",
    "activation_aware": "low_rank.truncation",
    "diagonally_scaled": "low_rank.truncation",
    "tucker": "low_rank.convolution",
    "prune": "few_values",
    "quantise": "few_values",
    "fine_tune": "fine_tuning",
    "Descent": "fine_tuning",
    "share_weights": "quantisation.weight_sharing",
    "draw_weights": "quantisation.probabilistic",
    "round_weights": "quantisation.uniform",
    "entropy_constrained": "quantisation.entropy_constrained",
    "code_layers": "coded_layers",
    "decoded": "coded_layers",
    "coded": "storage.forms",
    "read_coded": "storage.forms",
    "Container": "storage.container",
    "Delta": "storage.delta",
    "DeltaHuffman": "storage.delta_huffman",
    "product": "storage.products",
    "verify": "storage.verify",
    "train_discrete": "ternary",
    "ternary_projection": "ternary",
    "decay_sweep": "over_decays",
}

__all__ = [
    "compress",
    "Compressed",
    "Target",
    "plan_of",
    "save_compressed",
    "load_compressed",
    "export_network",
    "check",
    "footprint",
    "latencies",
    "truncate",
    "LowRank",
    "LayerInputs",
    "rank_scan",
    "allocate",
    "allocate_exactly",
    "Spectrum",
    "truncated",
    "activation_aware",
    "diagonally_scaled",
    "tucker",
    "prune",
    "quantise",
    "fine_tune",
    "Descent",
    "share_weights",
    "draw_weights",
    "round_weights",
    "entropy_constrained",
    "code_layers",
    "decoded",
    "coded",
    "read_coded",
    "Container",
    "Delta",
    "DeltaHuffman",
    "product",
    "verify",
    "train_discrete",
    "ternary_projection",
    "decay_sweep",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse.compression' has no attribute {name!r}")
    return getattr(importlib.import_module(f"deepcollapse.compression.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
