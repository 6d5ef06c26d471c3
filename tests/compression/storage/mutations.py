"""Containers with a few bits flipped, some cut short: what of them is still taken."""

from collections.abc import Iterator

import numpy as np

from deepcollapse.compression.storage.verify import verify
from deepcollapse.errors import ContainerError, MemoryBudgetError

LIMIT = 1 << 20


def taken(form, originals: list[bytes], count: int = 1500) -> Iterator[tuple[bytes, object]]:
    """Mutated containers of a form that are sound, with what they hold; coded again they give the same bytes.

    The others raise what containers raise, and `verify` tells those that our encoder would not have written.
    """
    draw = np.random.default_rng(0)
    for number in range(count):
        data = bytearray(originals[number % len(originals)])
        for _ in range(draw.integers(1, 4)):
            data[draw.integers(len(data))] ^= 1 << draw.integers(8)
        if number % 5 == 0:
            del data[draw.integers(len(data)) :]
        data = bytes(data)
        try:
            found = form.from_bytes(data, memory_limit=LIMIT)
        except (ContainerError, MemoryBudgetError):
            continue
        assert found.to_bytes() == data
        ours = form.of(found.matrix()).to_bytes() == data
        assert verify(data, memory_limit=LIMIT).deterministic == ours
        yield data, found
