import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import pixels, python2_pickle, write, write_cifar_pickle

from deepcollapse.datasets import load
from deepcollapse.errors import DataFileError

BATCHES = [f"data_batch_{i}" for i in range(1, 6)]


def write_binary(folder: Path, parts: list[str]) -> np.ndarray:
    """Two images a part, of labels 1 and 2."""
    images = pixels(2 * len(parts), 3072)
    for i, part in enumerate(parts):
        write(folder / f"{part}.bin", bytes([1]) + images[2 * i].tobytes() + bytes([2]) + images[2 * i + 1].tobytes())
    return images.reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("place", ["cifar10", "CIFAR-10/cifar-10-batches-bin", "cifar-10-batches-bin", "."])
def test_binary_records(tmp_path, place):
    images = write_binary(tmp_path / place, BATCHES)
    train = load("cifar10", root=tmp_path)
    assert torch.equal(train.images, torch.from_numpy(images))
    assert train.labels.tolist() == [1, 2] * 5
    assert train.class_names[:2] == ("airplane", "automobile")


def test_cifar100_takes_the_fine_label(tmp_path):
    images = pixels(2, 3072)
    records = b"".join(
        bytes([coarse, fine]) + image.tobytes() for coarse, fine, image in zip((3, 4), (97, 5), images, strict=True)
    )
    write(tmp_path / "cifar-100-binary" / "test.bin", records)
    test = load("CIFAR-100", "test", root=tmp_path)
    assert test.labels.tolist() == [97, 5]
    assert test.class_names[97] == "wolf"
    assert torch.equal(test.images, torch.from_numpy(images).reshape(-1, 3, 32, 32))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_today(tmp_path, protocol):
    images = pixels(10, 3072)
    for i, part in enumerate(BATCHES):
        write_cifar_pickle(tmp_path / "cifar10" / part, images[2 * i : 2 * i + 2], [i, 9 - i], "labels", protocol)
    train = load("cifar10", root=tmp_path)
    assert torch.equal(train.images, torch.from_numpy(images).reshape(-1, 3, 32, 32))
    assert train.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]


def test_pickles_as_python_2_wrote_them(tmp_path):
    images = pixels(2, 3072)
    write(tmp_path / "cifar-100-python" / "train", python2_pickle(images, [3, 99], "fine_labels"))
    train = load("cifar100", root=tmp_path)
    assert torch.equal(train.images, torch.from_numpy(images).reshape(-1, 3, 32, 32))
    assert train.labels.tolist() == [3, 99]


class Runs:
    """What a hostile pickle holds."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def refusal(tmp_path, content: bytes) -> str:
    file = write(tmp_path / "cifar10" / "test_batch", content)
    with pytest.raises(DataFileError) as error:
        load("cifar10", "test", root=tmp_path)
    return str(error.value).replace(str(file), "FILE")


def test_a_pickle_that_runs_something_is_not_run(tmp_path):
    marker = tmp_path / "was run"
    assert refusal(tmp_path, pickle.dumps({"data": Runs(marker)})).endswith(
        ": a data file may hold arrays and plain values only, and this one could run code. It was not read; fetch the "
        "data from its source."
    )
    assert not marker.exists()
    assert refusal(tmp_path, b"cos\nsystem\n(S'true'\ntR.").startswith("FILE asks for os.system: a data file may hold")


# Each names only what is let in, and asks of it what numpy itself never does.
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L99999999999999L\ntS'b'\ntR.",
            "ValueError: an array is rebuilt in an unusual way",
        ),
        (b"cnumpy\nndarray\n(L99999999999999L\ntR.", "TypeError: '_ArrayType' object is not callable"),
        (b"cnumpy\ndtype\n(S'O'\ntR.", "ValueError: an array of object"),
        (b"c_codecs\nencode\n(Vx\nVzlib\ntR.", "ValueError: bytes in the encoding 'zlib'"),
    ],
)
def test_a_pickle_that_misuses_what_is_let_in(tmp_path, content, reason):
    assert refusal(tmp_path, content) == (
        f"FILE ({len(content)} bytes) is not a readable pickle: {reason}. "
        "The file is truncated or damaged: fetch it again."
    )


def test_a_truncated_pickle(tmp_path):
    whole = python2_pickle(pixels(2, 3072), [0, 1], "labels")
    assert refusal(tmp_path, whole[:2000]) == (
        "FILE (2000 bytes) is not a readable pickle: UnpicklingError: pickle data was truncated. "
        "The file is truncated or damaged: fetch it again."
    )


def test_a_pickle_of_something_else(tmp_path):
    asked = "FILE does not hold 'data' (uint8, images x 3072) and 'labels' (a list of whole numbers); it holds "
    assert (
        refusal(tmp_path, pickle.dumps({"data": pixels(2, 100), "fine": []})) == f"{asked}data, fine. Fetch it again."
    )
    assert refusal(tmp_path, pickle.dumps([1, 2])) == f"{asked}list. Fetch it again."


def test_a_truncated_binary_file(tmp_path):
    write_binary(tmp_path / "cifar10", ["test_batch"])
    file = tmp_path / "cifar10" / "test_batch.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataFileError) as error:
        load("cifar10", "test", root=tmp_path)
    assert str(error.value) == (
        f"{file} holds 6145 bytes; expected a whole number of records of 3073 bytes (1 records and 3072 bytes were "
        "found). The file is truncated or of another format: fetch it again."
    )


def test_a_missing_part_is_named(tmp_path):
    write_binary(tmp_path / "cifar10", BATCHES[:3])
    with pytest.raises(DataFileError) as error:
        load("cifar10", root=tmp_path)
    assert f": {tmp_path}/cifar10 lacks data_batch_4.bin, data_batch_5.bin. Put them in" in str(error.value)
