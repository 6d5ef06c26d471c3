"""Matrices of many sparsities as HAC and sHAC, beside what bounds their sizes :cite:`marino2021`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deepcollapse.studies.measured.table import computed
from deepcollapse.studies.study import Task

if TYPE_CHECKING:
    import pandas

# Of matrices that no network has: as many rows and columns, as of a wide layer.
SIDE, LEVELS = 1024, (16, 32, 64, 256)
SHARES = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.065, 0.07, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)


def matrices(task: Task) -> "pandas.DataFrame":
    """A row for each share of non-zeros and number of values, equally frequent: sizes and what bounds them."""
    settings = [{"side": SIDE, "values": values, "share": share} for values in LEVELS for share in SHARES]
    return computed(task.path, settings, sizes, task.progress)


def sizes(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Occupancies of HAC, sHAC, CSC and an index map, and the least and most that HAC and sHAC can take.

    A Huffman code of N_s symbols of entropy H takes between N_s H and N_s (H + 1) bits, and of two symbols or more no
    fewer than N_s; what is beside the payload is known exactly.
    """
    import numpy

    from deepcollapse.compression.storage import accounting

    side, k = setting["side"], setting["values"]
    counts = numpy.full(k, round(setting["share"] * side**2) // k, numpy.int64)
    zeros = side**2 - int(counts.sum())
    values, counts = numpy.arange(k + 1, dtype=numpy.float32), numpy.insert(counts, 0, zeros)
    contents = accounting.Contents(side, side, values, counts)
    row: dict[str, Any] = {"nonzero": contents.nonzeros / contents.entries}
    for form, size in (("hac", accounting.hac_size(contents)), ("shac", accounting.shac_size(contents))):
        coded = int(contents.coded(form)[1].sum())  # pyright: ignore[reportArgumentType]
        entropy = accounting.entropy_bits(contents, form)  # pyright: ignore[reportArgumentType]
        beside = size.bits - size.payload
        row |= {
            form: size.occupancy,
            f"{form}_least": (max(entropy, coded) + beside) / size.dense,
            f"{form}_most": (entropy + coded + 7 + beside) / size.dense,
        }
    bounds = {"hac": accounting.hac_bound(contents), "shac": accounting.shac_bound(contents)}
    others = {"csc": accounting.csc_size(contents), "index_map": accounting.index_map_size(contents)}
    dense = 32 * contents.entries
    return row | {f"{f}_bound": b / dense for f, b in bounds.items()} | {f: s.occupancy for f, s in others.items()}
