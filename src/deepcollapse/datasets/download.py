"""Fetch a public file, only when asked: to a temporary file, held to its published MD5, then renamed into place."""

import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO

from deepcollapse.datasets.facts import Archive, DatasetFacts
from deepcollapse.errors import DataFileError

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60


def download(facts: DatasetFacts, root: Path, wanted: str = "") -> Path:
    """Fetch what is missing of the set into ROOT/NAME and return that folder.

    `wanted` takes only the files whose names start so (SVHN's splits are a file each, and one is 1.3 GB). A file or
    archive that is already there is used if its MD5 is right.

    Raises:
        DataFileError: the source cannot be reached, sent something else than it published, or the disk is full.
    """
    folder = root / facts.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for archive in facts.archives:
            if archive.filename.startswith(wanted):
                _bring(archive, folder)
    except OSError as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(
            f"{facts.name} could not be written to {folder}: {error}. "
            "Free some space there or choose another data root; nothing half-written was left."
        ) from error
    return folder


def _bring(archive: Archive, folder: Path) -> None:
    members = {folder / name: size for name, size in archive.members.items()}
    if members and all(path.is_file() and path.stat().st_size == size for path, size in members.items()):
        return
    file = folder / archive.filename
    if not (file.is_file() and _md5(file) == archive.md5):
        _fetch(archive, file)
    if members:
        _extract(archive, file, folder)
        file.unlink()  # its members are out, and the largest archive is 2.6 GB


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch(archive: Archive, file: Path) -> None:
    """Fetch the file from the first place that gives what was published."""
    failures = []
    for url in archive.urls:
        with _whole_or_nothing(file) as (stream, keep):
            try:
                digest = _copy(url, stream)
            except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
                failures.append(f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}")
                continue
            if digest == archive.md5:
                keep()
                return
            failures.append(f"{url}: sent a file with MD5 {digest}, published is {archive.md5}")
    raise DataFileError(
        f"{archive.filename} could not be downloaded ({'; '.join(failures)}). "
        f"Try again later, or fetch it by other means and put it in {file.parent}."
    )


def _copy(url: str, stream: IO[bytes]) -> str:
    """Copy what the URL gives to the stream; its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "deepcollapse"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        while chunk := response.read(_CHUNK):
            digest.update(chunk)
            stream.write(chunk)
    return digest.hexdigest()


@contextmanager
def _whole_or_nothing(file: Path) -> Iterator[tuple[IO[bytes], Callable[[], None]]]:
    """A stream to a temporary file beside `file`, renamed to it only if `keep()` was called; removed otherwise."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    kept = []
    try:
        with temporary.open("wb") as stream:
            yield stream, lambda: kept.append(True)
        if kept:
            temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _extract(archive: Archive, file: Path, folder: Path) -> None:
    """Take the expected members out of the archive: nothing else, and nowhere but where we say."""
    waiting = dict(archive.members)
    try:
        with tarfile.open(file, "r:*") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name in waiting and member.isreg():
                    _take_out(tar, member, folder / name, waiting.pop(name))
                if not waiting:
                    return
    except (tarfile.TarError, EOFError) as error:
        raise DataFileError(f"{file} cannot be unpacked: {error}. Delete it and download it again.") from error
    raise DataFileError(f"{file} lacks {', '.join(waiting)}. Delete it and download it again.")


def _take_out(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, size: int) -> None:
    source = tar.extractfile(member)
    if member.size != size or source is None:
        raise DataFileError(
            f"{member.name} in {tar.name!s} holds {member.size} bytes, expected {size}. "
            "Delete the archive and download it again."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with _whole_or_nothing(target) as (stream, keep):
        shutil.copyfileobj(source, stream, _CHUNK)
        keep()
