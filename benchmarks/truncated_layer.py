"""A truncated layer beside the dense one it was made from: where it is faster, and where it is not.

Speed-up is the dense layer's CPU time over that of the factors, in turn and round by round, in eval mode without
gradients. Ranks run from an eighth of the break-even, at which factors hold as many weights as the layer, to just below
it. `products` is the share of multiply-adds that is left: were these all that counts, speed-up would be one over it.
"""

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from deepcollapse.compression.low_rank.decomposition import LowRank
from deepcollapse.compression.low_rank.rank_choice import largest_useful_rank
from deepcollapse.compression.sizes import multiply_adds
from timing import columns, compute_threads, in_turn, ratios, spread

# Linear: outputs, inputs. Convolutions: channels in and out, image side; 3 x 3 with padding.
SIZES = {
    "full": {"linear": [(512, 512), (1024, 4096)], "convolution": [(64, 64, 16), (128, 128, 8)]},
    "small": {"linear": [(512, 512)], "convolution": [(32, 32, 16)]},
    "tiny": {"linear": [(16, 24)], "convolution": [(4, 6, 5)]},
}
BATCHES = {"full": (1, 256), "small": (1, 256), "tiny": (1, 3)}
ROUNDS = {"full": 9, "small": 5, "tiny": 2}
SHARES = (1 / 8, 1 / 4, 1 / 2, 1)
LEAST_SECONDS = {"full": 0.02, "small": 0.01, "tiny": 0.0}  # a task is repeated until one turn takes so long


def layers(size: str) -> Iterator[tuple[str, nn.Module, str, tuple[int, ...]]]:
    """Name, layer, form and shape of one input."""
    for m, n in SIZES[size]["linear"]:
        yield f"linear {m} x {n}", nn.Linear(n, m), "channel", (n,)
    for inputs, outputs, side in SIZES[size]["convolution"]:
        for form in ("channel", "spatial", "tucker"):
            made = nn.Conv2d(inputs, outputs, 3, padding=1)
            yield f"conv {inputs}-{outputs}, {side} x {side}, {form}", made, form, (inputs, side, side)


def ranks(layer: nn.Module, form: str) -> list[int]:
    """Shares of the largest rank at which factors hold fewer weights than the layer, at least 1."""
    planned = LowRank(layer, form=form).layers[""]
    if form == "tucker":
        channels = min(planned.layer.weight.shape[:2])
        dense = planned.layer.weight.numel()
        best = max((r for r in range(1, channels + 1) if planned.parameters(r) < dense), default=0)
    else:
        best = largest_useful_rank(planned.shape)
    return sorted({max(1, math.floor(share * best)) for share in SHARES}) if best else []


@torch.no_grad()
def run(size: str, threads: int) -> dict:
    """The speed-up of each layer, form, rank and batch."""
    torch.manual_seed(0)
    found = []
    with compute_threads(threads):
        for name, layer, form, shape in layers(size):
            whole = LowRank(layer.eval(), form=form)
            for rank in ranks(layer, form):
                made = whole.cut({"": rank})
                for batch in BATCHES[size]:
                    x = torch.randn(batch, *shape)
                    found.append(
                        {
                            "layer": name,
                            "rank": rank,
                            "batch": batch,
                            "weights": made.layers[0].parameters_after / made.layers[0].parameters_before,
                            "products": multiply_adds(made.network, x[:1]) / multiply_adds(layer, x[:1]),
                            "speed_up": speed_up(layer, made.network, x, ROUNDS[size], LEAST_SECONDS[size]),
                        }
                    )
    return {"layers": found}


def speed_up(dense: nn.Module, factors: nn.Module, x: torch.Tensor, rounds: int, least: float) -> dict[str, float]:
    """CPU time of the dense layer over that of its factors, as many calls a turn as take `least` seconds."""
    start = time.perf_counter()
    dense(x)
    calls = 1 + int(least / max(1e-7, time.perf_counter() - start))
    seconds = in_turn({"dense": _repeated(dense, x, calls), "factors": _repeated(factors, x, calls)}, rounds)
    return ratios([s or 1e-9 for s in seconds["dense"]], [s or 1e-9 for s in seconds["factors"]])


def _repeated(layer: nn.Module, x: torch.Tensor, calls: int) -> Callable[[], None]:
    def task() -> None:
        for _ in range(calls):
            layer(x)

    return task


def table(result: dict) -> str:
    """One line a rank, by layer and batch; ranks that do not pay are told at the end."""
    lines, shown = ["speed-up over the dense layer, median (least-greatest) of rounds"], None
    for row in result["layers"]:
        if row["layer"] != shown:
            shown = row["layer"]
            lines += ["", columns([(shown, "batch", "weights", "products", "speed-up")], WIDTHS)]
        share = [f"{row[key]:.0%}" for key in ("weights", "products")]
        lines.append(columns([(f"  rank {row['rank']}", row["batch"], *share, spread(row["speed_up"]))], WIDTHS))
    slower = [row for row in result["layers"] if row["speed_up"]["median"] < 1]
    lines += ["", f"slower than dense: {len(slower)} of {len(result['layers'])}"]
    for row in slower:
        median = f"{row['speed_up']['median']:.2f}"
        lines.append(f"  {row['layer']}, rank {row['rank']}, batch {row['batch']}: {median}")
    return "\n".join(lines)


WIDTHS = (32, 7, 9, 10, 20)
