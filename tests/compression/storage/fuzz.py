"""Mutated containers: each is refused with a reason, or is what the byte table says it is; within time and memory.

`python tests/compression/storage/fuzz.py --count 100000 --seed 0` mutates so many and prints the budget and what came
of it. A mutation flips bits, cuts, splices, repeats, writes lying numbers into fields, or makes a code that is none.
What the package takes, the decoder in `by_the_table` must take for the same matrix, to the bit; what that decoder takes
and is within the limit of memory, the package must take. Nothing may be raised but the two errors of the package, with
a message that says more than its kind; no mutation may take more than its time, nor more memory than its budget.
"""

import argparse
import resource
import struct
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from by_the_table import Refused, decode

from deepcollapse.compression.storage.bits import packed
from deepcollapse.compression.storage.container import Container
from deepcollapse.compression.storage.huffman import CanonicalCode
from deepcollapse.compression.storage.verify import Verified, verify
from deepcollapse.errors import ContainerError, MemoryBudgetError

SECONDS_EACH = 1.0  # of the processor: the clock on the wall tells more of what else a machine is busy with
MEMORY_LIMIT = 1 << 16  # bytes that a container may unpack to
MEMORY_BUDGET = 4 << 20  # bytes that reading, decoding and verifying may take at the highest

# Numbers where widths, signs and sizes turn over.
TELLING = (0, 1, 2, 57, 58, 63, 64, 255, 256, 257, 65535, 65536, 65537, 2**31 - 1, 2**31, 2**32 - 1)


def seeds(random: np.random.Generator) -> list[bytes]:
    """Sound containers of both forms: small ones, of one value, sparse, dense, over 256 rows, of long codes, large."""
    # Counts in Fibonacci proportions: codes of up to 17 bits, more than the table of the decoder looks up.
    fibonacci = [1, 1]
    while len(fibonacci) < 18:
        fibonacci.append(sum(fibonacci[-2:]))
    steep = np.repeat(np.arange(1, 19), fibonacci).reshape(76, 89)
    matrices = [
        np.zeros((3, 2)),
        np.full((3, 2), 0.5),
        np.ones((1, 1)),
        0.5 * np.array([[0, 1, 0, 0, 2], [0, 0, -1, 0, 1], [1, 0, 0, 0, 1], [0, 2, 0, 0, -1]]),
        random.standard_normal((4, 3)),
        random.integers(-3, 4, (12, 9)) * (random.random((12, 9)) < 0.3),
        np.repeat(2.0 ** -np.arange(16), np.arange(1, 17)).reshape(8, 17),
        random.integers(0, 3, (300, 2)) * (random.random((300, 2)) < 0.05),
        steep,
        random.integers(0, 19, (120, 120)),  # a payload of more than one block
    ]
    return [
        *(Container.of(matrix, form).to_bytes() for matrix in matrices for form in ("hac", "shac")),
        longest_codes().to_bytes(),
    ]


def longest_codes() -> Container:
    """58 symbols, each there once, in codes of 1 to 57 bits: sound, though far from the best."""
    code = CanonicalCode(np.arange(58, dtype=np.float32), np.minimum(np.arange(1, 59), 57).astype(np.uint8))
    return Container("hac", 29, 2, code, *packed(code, [np.arange(58)]))


def flip(data: bytearray, random: np.random.Generator) -> None:
    for _ in range(random.integers(1, 4)):
        bit = int(random.integers(8 * len(data)))
        data[bit // 8] ^= 1 << bit % 8


def flip_payload(data: bytearray, random: np.random.Generator) -> None:
    """One or two bits of the payload's first or last bytes, padding among them."""
    if len(data) < 28:
        return
    k, bits = struct.unpack("<I", data[12:16])[0], struct.unpack("<Q", data[20:28])[0]
    start, size = 28 + 5 * k, (bits + 7) // 8
    if size and start + size <= len(data):
        for _ in range(random.integers(1, 3)):
            place = int(random.integers(min(size, 4)))
            data[start + size - 1 - place if random.random() < 0.5 else start + place] ^= 1 << int(random.integers(8))


def cut(data: bytearray, random: np.random.Generator) -> None:
    del data[int(random.integers(len(data))) :]


def append(data: bytearray, random: np.random.Generator) -> None:
    data += random.bytes(int(random.integers(1, 40)))


def splice(data: bytearray, random: np.random.Generator) -> None:
    start, stop = sorted(random.integers(len(data) + 1, size=2).tolist())
    place = int(random.integers(len(data) + 1))
    data[place : place + int(random.integers(2)) * (stop - start)] = data[start:stop]


def lie(data: bytearray, random: np.random.Generator) -> None:
    """One or two header fields say something else; now and then all lengths together, consistently."""
    for _ in range(random.integers(1, 3) if len(data) >= 28 else 0):
        name, at = (("I", 4), ("I", 8), ("I", 12), ("B", 16), ("B", 17), ("H", 18), ("Q", 20))[random.integers(7)]
        size = struct.calcsize(name)
        old = int.from_bytes(data[at : at + size], "little")
        near = old + int(random.integers(-9, 10))
        new = (
            near
            if random.random() < 0.5
            else TELLING[random.integers(len(TELLING))] << int(32 * (random.random() < 0.1))
        )
        data[at : at + size] = (new % (1 << 8 * size)).to_bytes(size, "little")


def miscode(data: bytearray, random: np.random.Generator) -> None:
    """Symbols or lengths are others, or change places."""
    k = int.from_bytes(data[12:16], "little")
    if not 0 < k <= (len(data) - 28) // 5:  # an earlier mutation saw to that
        return
    first, second = random.integers(k, size=2).tolist()
    if random.random() < 0.5:
        lengths = 28 + 4 * k
        data[lengths + first] = TELLING[random.integers(8)] if random.random() < 0.5 else data[lengths + second]
    else:
        value = random.choice(np.array([0.0, -0.0, np.nan, np.inf, 1e-45, 0.5], dtype=np.float32))
        other = bytes(data[28 + 4 * second : 32 + 4 * second])
        data[28 + 4 * first : 32 + 4 * first] = other if random.random() < 0.5 else value.tobytes()


def swap_bytes(data: bytearray, random: np.random.Generator) -> None:
    """Two bytes behind the header change places: payload, boundaries and row indices, of equal length still."""
    if len(data) > 29:
        first, second = random.integers(28, len(data), size=2).tolist()
        data[first], data[second] = data[second], data[first]


def declare_constant(data: bytearray, random: np.random.Generator) -> None:
    """33 sound bytes of as many entries as one likes."""
    rows, columns = (max(TELLING[i], 1) for i in random.integers(len(TELLING), size=2))
    data[:] = struct.pack("<4sIIIBBHQfB", b"HAC1", rows, columns, 1, 0, 0, 0, 0, 0.5, 0)


MUTATIONS = (flip, flip_payload, cut, append, splice, lie, lie, miscode, swap_bytes, declare_constant)


@dataclass
class Outcome:
    """What came of the mutations, and the most that one of them took."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    peak: int = 0

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        return (
            f"{self.counts.total()} mutated containers: {kinds}; slowest {self.slowest:.3f} s of {SECONDS_EACH} s, "
            f"most memory {self.peak / 2**20:.2f} MB of {MEMORY_BUDGET / 2**20:.0f} MB"
        )


def mutated(sound: list[bytes], random: np.random.Generator) -> bytes:
    data = bytearray(sound[random.integers(len(sound))])
    for _ in range(1 + int(random.random() < 0.3)):
        if data:
            MUTATIONS[random.integers(len(MUTATIONS))](data, random)
    return bytes(data)


def read(data: bytes) -> tuple[Container, np.ndarray, Verified] | ContainerError | MemoryBudgetError:
    """All that the package can do with a container of others: read, decode, verify."""
    try:
        container = Container.from_bytes(data, memory_limit=MEMORY_LIMIT)
        return container, container.matrix(), verify(data, memory_limit=MEMORY_LIMIT)
    except (ContainerError, MemoryBudgetError) as error:
        return error


def judge(data: bytes, answer: tuple[Container, np.ndarray, Verified] | ContainerError | MemoryBudgetError) -> str:
    """What the package said of some bytes, held against the decoder of the table."""
    if isinstance(answer, Exception):
        assert len(str(answer)) > 40
        if isinstance(answer, MemoryBudgetError):
            rows, columns = struct.unpack_from("<II", data, 4)
            assert 4 * rows * columns + 8 * len(data) > MEMORY_LIMIT, f"refused what would fit: {data.hex()}"
        else:
            assert not taken_by_the_table(data), f"refused what is sound: {answer} {data.hex()}"
        return type(answer).__name__
    container, matrix, found = answer
    expected = np.array(decode(data), dtype=np.float32)
    assert matrix.tobytes() == expected.tobytes(), f"another matrix than the table's: {data.hex()}"
    assert container.to_bytes() == data, f"other bytes than were read: {data.hex()}"
    assert found.deterministic == (Container.of(matrix, container.form).to_bytes() == data), data.hex()
    return "taken" if found.deterministic else "taken, but not as we code"


def taken_by_the_table(data: bytes) -> bool:
    try:
        decode(data)
    except Refused:
        return False
    return True


def fuzz(count: int, seed: int) -> Outcome:
    """Mutates and judges `count` containers; AssertionError names the bytes that went wrong."""
    random, outcome = np.random.default_rng(seed), Outcome()
    sound = seeds(random)
    tracemalloc.start()
    for _ in range(count):
        data = mutated(sound, random)
        tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.process_time()
        answer = read(data)
        outcome.slowest = max(outcome.slowest, time.process_time() - start)
        outcome.peak = max(outcome.peak, tracemalloc.get_traced_memory()[1] - before)
        assert outcome.slowest < SECONDS_EACH, f"took {outcome.slowest} s: {data.hex()}"
        assert outcome.peak < MEMORY_BUDGET, f"took {outcome.peak} bytes: {data.hex()}"
        outcome.counts[judge(data, answer)] += 1
    tracemalloc.stop()
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutate containers and hold what is read to the byte table.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(
        f"Budget: {SECONDS_EACH} s of processor time and {MEMORY_BUDGET / 2**20:.0f} MB a container, "
        f"which may unpack to {MEMORY_LIMIT / 2**10:.0f} KB.",
        flush=True,
    )
    start = time.perf_counter()
    print(fuzz(arguments.count, arguments.seed))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(f"{time.perf_counter() - start:.0f} s in all; the whole process took {peak / unit:.0f} MB at its highest.")


if __name__ == "__main__":
    main()
