"""Writing a file so that a reader, or a crash, meets the old one or the new one and never half of either."""

import contextlib
import errno
import os
from pathlib import Path

from deepcollapse.errors import RunError


def what_to_do(error: OSError) -> str:
    """Where a file could not be written: space helps where there is none, and another folder always.

    >>> what_to_do(OSError(errno.ENOSPC, "No space left on device")), what_to_do(NotADirectoryError())
    ('Free some space, or choose another folder with --out.', 'Choose another folder with --out.')
    """
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "Free some space, or choose another folder with --out." if full else "Choose another folder with --out."


def atomic_write(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write `data` beside `path`, make sure it is on the disk, then let it take the place of `path`; returns `path`.

    Raises RunError where the disk is full or the folder cannot be written; what stood at `path` is then unharmed.
    """
    path = Path(path)
    # The process's number keeps two writers of one file from sharing a temporary one.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a path below a file, say, has no part to take away either
            part.unlink(missing_ok=True)
        kept = "the file that was there is unharmed" if path.exists() else "nothing was left behind"
        raise RunError(
            f"could not write {path} ({len(data)} bytes): {error.strerror or error}; {kept}. {what_to_do(error)}"
        ) from error
    return path
