"""Locks that the system lets go of when their holder dies, however that comes about. Imports no torch."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from deepcollapse.errors import RunError
from deepcollapse.records.files import what_to_do

# Whoever asks how a sweep stands touches its locks for an instant; only what is held for longer is held.
TRIES, PAUSE = 5, 0.02


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a file, and say whether that went: another process, on this machine or sharing its disk, may
    have it. With `wait` it is waited for. The file's time is that at which the lock was taken.

    Windows, and some network disks, have no such locks; there it always goes. Raises RunError where the file cannot
    be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise RunError(f"could not write in {path.parent}: {error.strerror or error}. {what_to_do(error)}") from error
    with file:
        if taken := _take(file, wait):
            with contextlib.suppress(OSError):
                os.utime(path)
        try:
            yield taken
        finally:
            if taken:  # a process that was forked from this one keeps the file open, but not the lock
                _let_go(file)


def _take(file: IO[str], wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # on Windows
        return True
    for left in reversed(range(TRIES)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return True
        except BlockingIOError:
            time.sleep(PAUSE if left else 0)
        except OSError:  # a disk without locks
            return True
    return False


def _let_go(file: IO[str]) -> None:
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)
