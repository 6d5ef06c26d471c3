r"""Classes in blocks that share no coordinates: the best partition into structures that are known.

The fit is averaged over all samples, so a block of K_b classes is a deep model of its own with all decays times
K/K_b: the loss is sum_b (K_b/K) loss_b. A class by itself then costs what it costs in deep neural collapse, whence
collapse is beaten for every number of classes that holds a block which beats it. Derived here.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.deep.construction import Construction, Factors, Terms, all_zero
from deepcollapse.theory.problems.deep.low_rank import arc_structure
from deepcollapse.theory.problems.deep.strongly_regular import (
    EdgeCode,
    best_subset,
    code_sizes,
    fewest_vertices,
    partial_structure,
    refined_code,
    vertices_of,
)
from deepcollapse.theory.problems.deep.structures import collapsed_structure

MOST_CLASSES = 1000  # the partition is worked out class by class
LARGEST_PARTIAL = 45  # whose eigenvalues have to be computed; more classes are put into several blocks
MOST_STATES = 2_000_000  # in the table of classes and spare neurons; spare ones beyond that are left unused


@dataclass(frozen=True)
class Block:
    """A structure for `size` of the classes: the width it needs, its loss, and how to make it."""

    size: int
    width: int
    loss: float
    make: Callable[[], Construction]

    @property
    def excess(self) -> int:
        """How many neurons more than classes it needs."""
        return max(0, self.width - self.size)


def best_blocks(terms: Terms, *, refined: bool) -> Construction:
    """The partition of least loss into single classes and whatever larger block is known and fits.

    Larger blocks are strongly regular graphs; and where `refined`, these with ridge last weights, some of the edges of
    such a graph, and three classes on an arc. Classes that the width has no room for are given up, at 1/2 each. Raises
    OptionError past 1000 classes.
    """
    if terms.num_classes > MOST_CLASSES:
        raise OptionError(
            f"the best partition into blocks is worked out for up to {MOST_CLASSES} classes; got {terms.num_classes}. "
            "Ask for collapsed() or strongly_regular() instead."
        )
    single, *larger = _known_blocks(terms, refined)
    # A block that costs what single classes cost, but for rounding, is none.
    known = [block for block in (single, *larger) if block is single or block.loss < single.loss * (1 - 1e-12)]
    known = [block for block in known if block.loss < 0.5]
    chosen = sorted(_partition(known, terms.num_classes, terms.width), key=lambda block: -block.size)
    parts = [(block.size, block.make()) for block in chosen if block.size > 1]
    if count := chosen.count(single):
        parts.append((count, collapsed_structure(count, terms.depth).at_best_scales(terms.of_block(count))))
    return together(terms, parts)


def _known_blocks(terms: Terms, refined: bool) -> Iterator[Block]:
    def block(size: int, make: Callable[[Terms], Construction]) -> Block:
        made = make(terms.of_block(size))
        return Block(size, made.width, made.loss, lambda: made)

    depth = terms.depth
    yield block(1, lambda share: collapsed_structure(1, depth).at_best_scales(share))
    if refined and depth > 2 and terms.num_classes > 2:
        yield block(3, lambda share: arc_structure(share.decays).refined(share))
    for size in range(4, min(terms.num_classes, LARGEST_PARTIAL) + 1) if refined and depth > 1 else ():
        if vertices_of(size) is None and (subset := best_subset(fewest_vertices(size), depth, terms.width)):
            partial = partial_structure(size, depth, subset)
            yield block(size, lambda share, partial=partial: partial.refined(share))
    vertices = 4
    while depth > 1 and (size := math.comb(vertices, 2)) <= min(terms.num_classes, terms.width):
        for subset in code_sizes(vertices, terms.width):
            code = EdgeCode(vertices, subset)
            yield block(size, lambda share, code=code: of_code(code, share, refined=refined))
        vertices += 1


def of_code(code: EdgeCode, terms: Terms, *, refined: bool) -> Construction:
    """A strongly regular graph at its best; only subsets of 2 gain from signs that are not equal."""
    if not refined:
        return code.structure(terms.depth).at_best_scales(terms)
    if code.subset == 2:
        code = refined_code(code, terms.depth, terms.decays)
    return code.structure(terms.depth).refined(terms)


def _partition(blocks: list[Block], num_classes: int, width: int) -> list[Block]:
    """The blocks, of `num_classes` classes together or fewer, that cost least with 1/2 for each class left out."""
    spare = max(0, min(width - 1, MOST_STATES // (num_classes + 1)))
    # least[k, e]: what k classes cost in blocks that need at most e neurons more than classes; last: the block taken.
    least = np.full((num_classes + 1, spare + 1), np.inf)
    last = np.full((num_classes + 1, spare + 1), -1, dtype=np.int32)
    least[0] = 0.0
    for k in range(1, num_classes + 1):
        for index, block in enumerate(blocks):
            if block.size <= k and block.excess <= spare:
                tried = least[k - block.size, : spare + 1 - block.excess] + block.size * block.loss
                better = tried < least[k, block.excess :]
                least[k, block.excess :][better] = tried[better]
                last[k, block.excess :][better] = index
    room = [min(spare, width - k) for k in range(min(num_classes, width) + 1)]
    k = min(range(len(room)), key=lambda k: least[k, room[k]] + (num_classes - k) / 2)
    chosen, spare_left = [], room[k]
    while k:
        block = blocks[last[k, spare_left]]
        chosen.append(block)
        k, spare_left = k - block.size, spare_left - block.excess
    return chosen


def together(terms: Terms, parts: list[tuple[int, Construction]]) -> Construction:
    """Blocks of the first classes, then the next, and so on; classes past them have features and outputs of 0."""
    left = terms.num_classes - sum(size for size, _ in parts)
    if not parts:
        return all_zero(terms)
    if len(parts) == 1 and not left:
        return parts[0][1]

    def factors() -> Factors:
        columns = zip(*(part.factors() for _, part in parts), strict=True)
        first, *middle, last = (torch.block_diag(*blocks) for blocks in columns)
        pad = torch.nn.functional.pad
        return (pad(first, (0, 0, 0, left)), *middle, pad(last, (0, 0, 0, left)))

    names = [f"{size} {part.name}" for size, part in parts] + [f"{left} given up"] * bool(left)
    return Construction(
        terms.problem,
        "blocks: " + " + ".join(names),
        (math.fsum(size * part.loss for size, part in parts) + left / 2) / terms.num_classes,
        terms.lower,
        ranks=tuple(sum(column) for column in zip(*(part.ranks for _, part in parts), strict=True)),
        widths=tuple(sum(column) for column in zip(*(part.widths for _, part in parts), strict=True)),
        factors=factors,
    )
