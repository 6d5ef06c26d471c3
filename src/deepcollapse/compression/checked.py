"""Holding a file of coded weights to everything that can be told of it: a container, or a whole compressed network."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from deepcollapse.compression.files import check_digest, read_description
from deepcollapse.compression.specs import coded_parts
from deepcollapse.compression.storage import delta, delta_huffman
from deepcollapse.compression.storage.accounting import Contents, entropy_bits
from deepcollapse.compression.storage.delta import Delta
from deepcollapse.compression.storage.delta_huffman import DeltaHuffman
from deepcollapse.compression.storage.verify import verify
from deepcollapse.errors import ContainerError

PUBLISHED, OURS = (b"HAC1", b"SHC1"), (delta.MAGIC, delta_huffman.MAGIC)


@dataclass(frozen=True)
class Checked:
    """One container that is sound, and what it takes.

    `entropy_bytes` is the fewest bytes for its symbols written one by one, zeros left out where the form leaves them
    out; `same_again` tells whether coding the decoded matrix gives the same bytes.
    """

    name: str
    form: str
    shape: tuple[int, int]
    symbols: int
    nonzeros: int
    size: int
    entropy_bytes: float
    same_again: bool

    @property
    def share(self) -> float:
        """The share of the bytes of the same matrix in dense float32."""
        return self.size / (4 * self.shape[0] * self.shape[1])


def check(path: str | Path) -> tuple[Checked, ...]:
    """Every container of a file, each decoded and coded again; of a compressed network also the digest of all.

    Takes a file with one container, or a safetensors file that `save_compressed` wrote. Raises ContainerError,
    WeightsError or MemoryBudgetError for the first thing that is wrong.
    """
    path = Path(path)
    if _start(path) in PUBLISHED + OURS:
        return (_checked(path.name, path.read_bytes()),)
    description, _ = read_description(path)
    check_digest(path, description)
    found = []
    with safe_open(path, framework="pt") as file:
        for layer, spec in description["layers"].items():
            for name in coded_parts(layer, spec):
                found.append(_checked(name, file.get_tensor(name).numpy().tobytes()))
    return tuple(found)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise ContainerError(f"{path} cannot be read ({error.strerror}); name a file of coded weights.") from error


def _checked(name: str, data: bytes) -> Checked:
    if data[:4] in PUBLISHED:
        found = verify(data)
        entropy = found.entropy_bits / 8
        return Checked(
            name, found.form, found.shape, found.symbols, found.nonzeros, found.size, entropy, found.deterministic
        )
    kind = {delta.MAGIC: Delta, delta_huffman.MAGIC: DeltaHuffman}[data[:4]]
    found = kind.from_bytes(data)
    matrix = found.matrix()
    contents = Contents.of(matrix)
    symbols = len(contents.coded("shac")[0])  # zeros are left out
    entropy = entropy_bits(contents, "shac") / 8
    again = kind.of(matrix).to_bytes() == data
    shape = (found.rows, found.columns)
    return Checked(name, found.form, shape, symbols, found.nonzeros, len(data), entropy, again)
