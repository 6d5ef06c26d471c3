"""Bytes that pruned and quantised layers take in our containers, beside sparse columns and general compressors.

Weights are normal, pruned by percentile to a share of non-zeros, and their survivors shared among 32 values by optimal
k-means. Compressors are given what one would give them: the dense float32 weights, and the arrays of compressed sparse
columns, each at its strongest. The Huffman optimum is found by another algorithm (a heap) than ours.
"""

import gzip
import heapq

import kmeans1d
import numpy as np
import zstandard
from scipy.sparse import csc_matrix

from deepcollapse.compression.storage.container import Container
from deepcollapse.compression.storage.forms import coded
from timing import columns

SIZES = {"full": (2048, 1024), "small": (512, 256), "tiny": (48, 16)}
SHARES, VALUES = (0.02, 0.05, 0.1, 0.3), 32
FORMS = ("hac", "shac", "delta", "delta-huffman")


def run(size: str, threads: int) -> dict:
    """By share of non-zeros: bytes of everything, bits a weight, and what containers take beyond their optimum."""
    rows, width = SIZES[size]
    return {"rows": rows, "columns": width, "shares": {str(share): measured(rows, width, share) for share in SHARES}}


def pruned_and_shared(rows: int, width: int, share: float, seed: int = 0) -> np.ndarray:
    """A layer's weights (rows, width) of float32 of which a share is not 0 and has one of 32 values."""
    weights = np.random.default_rng(seed).normal(size=(rows, width))
    kept = np.abs(weights) > np.percentile(np.abs(weights), 100 * (1 - share))
    found = kmeans1d.cluster(weights[kept].tolist(), VALUES)
    shared = np.zeros((rows, width), np.float32)
    shared[kept] = np.array(found.centroids)[found.clusters]
    return shared


def sparse_bytes(matrix: csc_matrix) -> int:
    """What scipy holds: float32 values, int32 row indices and column boundaries."""
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes


def measured(rows: int, width: int, share: float) -> dict:
    """Bytes of each form of one layer."""
    weights = pruned_and_shared(rows, width, share)
    sparse = csc_matrix(weights)
    dense, arrays = weights.tobytes(), b"".join(part.tobytes() for part in (sparse.data, sparse.indices, sparse.indptr))
    containers = {form: Container.of(weights, form) for form in ("hac", "shac")}
    counts = np.unique(weights, return_counts=True)[1]
    optimum = {"hac": huffman_optimum(counts), "shac": huffman_optimum(np.unique(sparse.data, return_counts=True)[1])}
    strongest = zstandard.ZstdCompressor(level=19)
    return {
        "bytes": {
            "dense": len(dense),
            "csc": sparse_bytes(sparse),
            "gzip": len(gzip.compress(dense, 9)),
            "zstd": len(strongest.compress(dense)),
            "gzip_csc": len(gzip.compress(arrays, 9)),
            "zstd_csc": len(strongest.compress(arrays)),
            **{form: coded(weights, form).size for form in FORMS},
        },
        "entropy_bytes": entropy_bits(counts) / 8,
        "payload_over_optimum": {form: containers[form].bits / max(best, 1) for form, best in optimum.items()},
        "optimum_over_entropy": optimum["hac"] / entropy_bits(counts),
        "whole_over_optimum": {
            form: containers[form].size * 8 / (best + stated_bits(form, containers[form]))
            for form, best in optimum.items()
        },
    }


def entropy_bits(counts: np.ndarray) -> float:
    """The least bits for entries in any order: their number times their entropy."""
    return float(counts.sum() * np.log2(counts.sum()) - (counts * np.log2(counts)).sum())


def huffman_optimum(counts: np.ndarray) -> int:
    """The bits of a Huffman code: the weights of all merges, added up."""
    heap = counts.tolist()
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        bits += merged
        heapq.heappush(heap, merged)
    return bits


def stated_bits(form: str, container: Container) -> int:
    """What the byte table takes beside the payload: header, code, and for sHAC row indices and column boundaries."""
    bits = 8 * (28 + 5 * len(container.code))
    if form == "hac":
        return bits
    each = 8 if container.rows <= 1 << 8 else 16 if container.rows <= 1 << 16 else 32
    return bits + 32 * (container.columns + 1) + each * container.nonzeros


def table(result: dict) -> str:
    """A line for each form: its bytes over the dense layer's, in percent."""
    found = result["shares"].values()
    rows: list[tuple[object, ...]] = [("% of dense float32", *(f"s={share}" for share in result["shares"]))]
    names = {"csc": "CSC", "gzip": "gzip -9", "zstd": "zstd -19", "gzip_csc": "gzip of CSC", "zstd_csc": "zstd of CSC"}
    for form in ("csc", "gzip", "zstd", "gzip_csc", "zstd_csc", *FORMS):
        shown = (f"{100 * each['bytes'][form] / each['bytes']['dense']:.2f}" for each in found)
        rows.append((names.get(form, form), *shown))
    rows.append(("entropy of entries", *(f"{100 * e['entropy_bytes'] / e['bytes']['dense']:.2f}" for e in found)))
    for form in FORMS[1:]:
        rows.append((f"{form} / CSC", *(f"{e['bytes'][form] / e['bytes']['csc']:.3f}" for e in found)))
    payload = max(over for each in found for over in each["payload_over_optimum"].values())
    whole = max(over for each in found for over in each["whole_over_optimum"].values())
    head = "{rows} x {columns}, {values} values, share s of non-zeros".format(**result, values=VALUES)
    return (
        f"{head}\n{columns(rows, (22, 11, 11, 11, 11))}\n"
        f"Huffman payload over the optimum: at most {payload:.6f}; whole container over\n"
        f"the optimum and its stated header, code and indices: at most {whole:.6f}."
    )
