"""Images that are decoded when they are asked for: files of a folder, or bytes inside another container.

Pillow reads them. Only plain picture formats are let in: its readers for PostScript and the like run other programs.
"""

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from deepcollapse.errors import DataFileError, MissingExtraError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
_LARGEST_IMAGE = 100_000_000  # pixels; more is a mistake or an attack, and would take gigabytes


@dataclass(frozen=True)
class Fit:
    """How an image of any size becomes one of `size` x `size`: shorter side to `resize`, then the centre is cut out."""

    size: int
    resize: int


def decode(source: bytes | Path, where: str, channels: int, fit: Fit | None = None) -> UInt8[Tensor, "c h w"]:
    """One image as uint8 in 0 ... 255: one channel (grey) or three (red, green, blue), in its own size or fitted.

    `where` names the image in errors.

    Raises:
        DataFileError: the file is truncated, is no image, is of a format that is not let in, or is far too large.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingExtraError("reading images needs Pillow: pip install 'deepcollapse[images]'.") from error
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if image.width * image.height > _LARGEST_IMAGE:
                raise DataFileError(
                    f"{where} is {image.width} x {image.height}; "
                    f"images of more than {_LARGEST_IMAGE} pixels are not read."
                )
            picture = image.convert("L" if channels == 1 else "RGB")
        pixels = np.array(picture if fit is None else _fitted(picture, fit))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataFileError):
            raise
        size = len(source) if isinstance(source, bytes) else (source.stat().st_size if source.is_file() else 0)
        reason = str(error) if "truncated" in str(error) else f"not a readable image ({', '.join(FORMATS)})"
        raise DataFileError(f"{where} ({size} bytes): {reason}. Replace the file or remove it.") from error
    return torch.from_numpy(pixels.reshape(pixels.shape[0], pixels.shape[1], channels)).permute(2, 0, 1)


def _fitted(picture, fit: Fit):
    """The picture with its shorter side brought to `fit.resize`, and the centre of that."""
    from PIL import Image

    scale = fit.resize / min(picture.size)
    width, height = (max(fit.size, round(side * scale)) for side in picture.size)
    left, top = (width - fit.size) // 2, (height - fit.size) // 2
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + fit.size, top + fit.size))


class LazyImages(ABC):
    """A sequence of images, decoded when taken out: `images[index]` is float32 in [0, 1]."""

    fit: Fit

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(samples, 3, height, width)."""
        return len(self), 3, self.fit.size, self.fit.size

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def source(self, position: int) -> tuple[bytes | Path, str]:
        """The encoded image at this position, and what to call it in errors."""

    @abstractmethod
    def fingerprint(self, position: int) -> bytes:
        """What enters the digest for this position, cheaply and alike on every machine."""

    @abstractmethod
    def select(self, index: Int64[Tensor, " k"]) -> "LazyImages":
        """The images at these positions, in this order."""

    def __getitem__(self, index: Int64[Tensor, " k"]) -> Float32[Tensor, "k 3 h w"]:
        def one(position: int) -> Tensor:
            return decode(*self.source(position), 3, self.fit)

        # Pillow lets go of the interpreter while it decodes, so threads do speed this up.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            pixels = list(pool.map(one, index.tolist()))
        return torch.stack(pixels).to(torch.float32).div_(255) if pixels else torch.empty(0, *self.shape[1:])


@final
class ImageFiles(LazyImages):
    """Image files under a folder."""

    def __init__(self, folder: Path, names: Sequence[str], fit: Fit):
        self.folder, self.names, self.fit = folder, tuple(names), fit

    def __len__(self) -> int:
        return len(self.names)

    def source(self, position: int) -> tuple[Path, str]:
        """The file and its path."""
        file = self.folder / self.names[position]
        return file, str(file)

    def fingerprint(self, position: int) -> bytes:
        """Relative path and size of the file, with the size it is brought to."""
        size = (self.folder / self.names[position]).stat().st_size
        return f"{self.names[position]} {size} {self.fit.resize} {self.fit.size}".encode()

    def select(self, index: Int64[Tensor, " k"]) -> "ImageFiles":
        """The files at these positions."""
        return ImageFiles(self.folder, [self.names[position] for position in index.tolist()], self.fit)
