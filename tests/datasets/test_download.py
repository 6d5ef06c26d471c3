import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from dataset_files import idx, pixels, write

from deepcollapse.datasets import DATASETS, DatasetFacts, download, known, load
from deepcollapse.datasets.facts import Archive
from deepcollapse.errors import DataFileError


def publish(monkeypatch, name: str, *archives: Archive) -> DatasetFacts:
    """Let the set come from these archives alone."""
    facts = dataclasses.replace(DATASETS[name], archives=archives)
    monkeypatch.setitem(known.DATASETS, name, facts)
    return facts


def public(
    folder: Path, filename: str, content: bytes, members: dict[str, int] | None = None, *, md5: str = ""
) -> Archive:
    file = write(folder / "public" / filename, b"")
    file.write_bytes(content)
    digest = md5 or hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Archive(filename, (file.as_uri(),), digest, members or {})


def tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def mnist_parts(folder: Path) -> tuple[Archive, Archive]:
    return (
        public(folder, "train-images-idx3-ubyte", idx(pixels(3, 28, 28))),
        public(folder, "train-labels-idx1-ubyte", idx(np.array([1, 2, 3], np.uint8))),
    )


def files_under(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_nothing_is_fetched_unless_asked(tmp_path, monkeypatch):
    publish(monkeypatch, "mnist", *mnist_parts(tmp_path))
    with pytest.raises(DataFileError):
        load("mnist", root=tmp_path / "root")
    assert not (tmp_path / "root").exists()
    assert load("mnist", root=tmp_path / "root", download=True).labels.tolist() == [1, 2, 3]
    assert files_under(tmp_path / "root") == ["mnist/train-images-idx3-ubyte", "mnist/train-labels-idx1-ubyte"]


def test_files_that_are_there_are_not_fetched_again(tmp_path, monkeypatch):
    images, labels = mnist_parts(tmp_path)
    publish(monkeypatch, "mnist", images, labels)
    load("mnist", root=tmp_path / "root", download=True)
    for file in (tmp_path / "public").iterdir():
        file.unlink()
    assert len(load("mnist", root=tmp_path / "root", download=True)) == 3
    (tmp_path / "root" / "mnist" / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataFileError) as error:
        load("mnist", root=tmp_path / "root", download=True)
    assert str(error.value).startswith(f"train-labels-idx1-ubyte could not be downloaded ({labels.urls[0]}: ")
    assert str(error.value).endswith(
        f"). Try again later, or fetch it by other means and put it in {tmp_path}/root/mnist."
    )


def test_what_is_not_as_published_is_thrown_away(tmp_path, monkeypatch):
    wrong = public(tmp_path, "train-images-idx3-ubyte", b"<html>moved</html>", md5="0" * 32)
    publish(monkeypatch, "mnist", wrong)
    with pytest.raises(DataFileError) as error:
        load("mnist", root=tmp_path / "root", download=True)
    sent = hashlib.md5(b"<html>moved</html>", usedforsecurity=False).hexdigest()
    assert str(error.value) == (
        f"train-images-idx3-ubyte could not be downloaded ({wrong.urls[0]}: sent a file with MD5 {sent}, published is "
        f"{'0' * 32}). Try again later, or fetch it by other means and put it in {tmp_path}/root/mnist."
    )
    assert files_under(tmp_path / "root") == []


def test_a_second_source_is_tried(tmp_path, monkeypatch):
    images, labels = mnist_parts(tmp_path)
    gone = (tmp_path / "gone").as_uri()
    publish(monkeypatch, "mnist", dataclasses.replace(images, urls=(gone, *images.urls)), labels)
    assert len(load("mnist", root=tmp_path / "root", download=True)) == 3


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    publish(monkeypatch, "mnist", *mnist_parts(tmp_path))

    def full(url, stream):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_copy", full)
    with pytest.raises(DataFileError) as error:
        load("mnist", root=tmp_path / "root", download=True)
    assert str(error.value) == (
        f"mnist could not be written to {tmp_path}/root/mnist: [Errno 28] No space left on device. "
        "Free some space there or choose another data root; nothing half-written was left."
    )
    assert files_under(tmp_path / "root") == []


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    publish(monkeypatch, "mnist", *mnist_parts(tmp_path))
    monkeypatch.setattr(download, "_copy", lambda url, stream: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        load("mnist", root=tmp_path / "root", download=True)
    assert files_under(tmp_path / "root") == []


RECORD = bytes([7]) + bytes(3072)
TEST_BATCH = "cifar-10-batches-bin/test_batch.bin"


def test_only_the_expected_members_come_out_of_an_archive(tmp_path, monkeypatch):
    content = tar({"../../evil.txt": b"evil", "/evil.txt": b"evil", TEST_BATCH: RECORD, "other.bin": b"x"})
    publish(monkeypatch, "cifar10", public(tmp_path, "cifar.tar.gz", content, {TEST_BATCH: 3073}))
    assert load("cifar10", "test", root=tmp_path / "root", download=True).labels.tolist() == [7]
    assert files_under(tmp_path) == ["public/cifar.tar.gz", f"root/cifar10/{TEST_BATCH}"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {TEST_BATCH: RECORD * 2},
            f"{TEST_BATCH} in FILE holds 6146 bytes, expected 3073. Delete the archive and download it again.",
        ),
        ({"other.bin": b"x"}, f"FILE lacks {TEST_BATCH}. Delete it and download it again."),
    ],
)
def test_an_archive_that_holds_something_else(tmp_path, monkeypatch, members, message):
    publish(monkeypatch, "cifar10", public(tmp_path, "cifar.tar.gz", tar(members), {TEST_BATCH: 3073}))
    with pytest.raises(DataFileError) as error:
        load("cifar10", "test", root=tmp_path / "root", download=True)
    assert str(error.value).replace(str(tmp_path / "root" / "cifar10" / "cifar.tar.gz"), "FILE") == message


def test_a_link_in_an_archive_is_no_file(tmp_path, monkeypatch):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        link = tarfile.TarInfo(TEST_BATCH)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    publish(monkeypatch, "cifar10", public(tmp_path, "cifar.tar.gz", stream.getvalue(), {TEST_BATCH: 3073}))
    with pytest.raises(DataFileError, match=r"lacks cifar-10-batches-bin/test_batch\.bin"):
        load("cifar10", "test", root=tmp_path / "root", download=True)


def test_svhn_fetches_only_the_split_that_is_wanted(tmp_path, monkeypatch):
    extra = Archive("extra_32x32.mat", ((tmp_path / "gone").as_uri(),), "0" * 32)
    test = public(tmp_path, "test_32x32.mat", b"not a MATLAB file")
    publish(monkeypatch, "svhn", extra, test)
    with pytest.raises(DataFileError, match=r"test_32x32\.mat"):
        load("svhn", "test", root=tmp_path / "root", download=True)
    assert files_under(tmp_path / "root") == ["svhn/test_32x32.mat"]
