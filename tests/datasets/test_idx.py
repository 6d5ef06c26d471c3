import gzip
import struct

import numpy as np
import pytest
import torch
from dataset_files import idx, pixels, write, write_idx

from deepcollapse.datasets import load
from deepcollapse.errors import DataFileError


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", ["mnist", "MNIST/raw", "."])
def test_mnist_is_found_plain_or_packed_wherever_it_unpacks_to(tmp_path, suffix, place):
    images = write_idx(tmp_path / place, "train", 5, suffix)
    write_idx(tmp_path / place, "t10k", 3, suffix, seed=1)
    train, test = load("mnist", root=tmp_path), load("MNIST", "test", root=tmp_path)
    assert torch.equal(train.images, torch.from_numpy(images)[:, None])
    assert train.labels.tolist() == [0, 1, 2, 3, 4]
    assert len(test) == 3
    assert train.class_names[3] == "3"
    assert train.note == "5 samples in the files; 60000 were published"


def test_the_root_may_be_named_by_the_environment(tmp_path, monkeypatch):
    write_idx(tmp_path / "KMNIST")
    monkeypatch.setenv("DEEPCOLLAPSE_DATA", str(tmp_path))
    assert load("kmnist").class_names[1] == "ki"


def test_files_of_the_same_names_are_not_taken_from_another_set(tmp_path):
    write_idx(tmp_path / "mnist")
    for root in (tmp_path / "mnist", tmp_path):
        with pytest.raises(DataFileError):
            load("fashion-mnist", root=root)
    write_idx(tmp_path / "FashionMNIST" / "raw", seed=1)
    with pytest.raises(DataFileError):
        load("mnist", root=tmp_path / "FashionMNIST")
    assert load("fashion-mnist", root=tmp_path / "FashionMNIST" / "raw").class_names[0] == "T-shirt/top"


def test_missing_files_are_named_with_every_way_out(tmp_path):
    with pytest.raises(DataFileError) as error:
        load("mnist", root=tmp_path)
    assert str(error.value) == (
        "mnist (train) is read from train-images-idx3-ubyte and train-labels-idx1-ubyte (plain or .gz), or "
        f"train*.parquet; looked under the data root {tmp_path}: it holds none of them. "
        f"Put them in {tmp_path}/mnist, set another data root (root=..., --data-root or DEEPCOLLAPSE_DATA), or "
        "have them fetched from https://ossci-datasets.s3.amazonaws.com/mnist/ with download=True (--download)."
    )
    with pytest.raises(DataFileError) as error:
        load("mnist", root=tmp_path / "nowhere")
    assert f"looked under the data root {tmp_path}/nowhere: that folder does not exist. Put" in str(error.value)


def test_one_file_of_two(tmp_path):
    write_idx(tmp_path / "mnist")
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataFileError) as error:
        load("mnist", root=tmp_path)
    there = tmp_path / "mnist" / "train-images-idx3-ubyte"
    assert f": {there} is there, train-labels-idx1-ubyte is not. Put them in" in str(error.value)


def damaged(tmp_path, content: bytes, suffix: str = "") -> str:
    write_idx(tmp_path / "mnist", suffix=suffix)
    file = tmp_path / "mnist" / f"train-images-idx3-ubyte{suffix}"
    file.write_bytes(content)
    with pytest.raises(DataFileError) as error:
        load("mnist", root=tmp_path)
    return str(error.value).replace(str(file), "FILE")


WHOLE = idx(pixels(5, 28, 28))


def test_a_truncated_file(tmp_path):
    assert damaged(tmp_path, WHOLE[:-100]) == (
        "FILE should hold 3936 bytes unpacked by its own header, and holds 3836 bytes. Fetch it again."
    )


def test_a_file_that_goes_on_too_long(tmp_path):
    assert damaged(tmp_path, WHOLE + b"0") == (
        "FILE should hold 3936 bytes unpacked by its own header, and holds more. Fetch it again."
    )


def test_a_truncated_gzip_file(tmp_path):
    packed = gzip.compress(WHOLE)[:1000]
    assert damaged(tmp_path, packed, ".gz") == (
        "FILE (1000 bytes) cannot be unpacked: Compressed file ended before the end-of-stream marker was reached. "
        "Fetch it again."
    )


def test_a_gzip_file_whose_content_was_cut(tmp_path):
    assert damaged(tmp_path, gzip.compress(WHOLE[:-1]), ".gz") == (
        "FILE should hold 3936 bytes unpacked by its own header, and holds 3935 bytes. Fetch it again."
    )


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_header_that_claims_terabytes_takes_no_memory(tmp_path, suffix):
    claim = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 28, 28) + bytes(1000)
    content = gzip.compress(claim) if suffix else claim
    held = f"{len(content)} bytes packed" if suffix else "1016 bytes"
    assert damaged(tmp_path, content, suffix) == (
        f"FILE should hold {(2**32 - 1) * 784 + 16} bytes unpacked by its own header, and holds {held}. Fetch it again."
    )


def test_something_else(tmp_path):
    assert damaged(tmp_path, b"<html>not found</html>") == (
        "FILE does not start like an IDX file of unsigned bytes (00 00 08 and the number of axes, then their sizes): "
        "it starts with 3c 68 74 6d 6c 3e 6e 6f. Fetch it again."
    )
    assert damaged(tmp_path, b"").endswith("it starts with nothing. Fetch it again.")


def test_images_of_another_size(tmp_path):
    assert damaged(tmp_path, idx(pixels(5, 32, 32))) == "FILE holds entries of shape (32, 32); expected (28, 28)."


def test_labels_that_do_not_belong(tmp_path):
    write_idx(tmp_path / "mnist")
    labels = write(tmp_path / "mnist" / "train-labels-idx1-ubyte", idx(np.array([0, 1, 2], np.uint8)))
    images = tmp_path / "mnist" / "train-images-idx3-ubyte"
    with pytest.raises(DataFileError) as error:
        load("mnist", root=tmp_path)
    assert str(error.value) == (
        f"{images}, {labels}: 5 images and 3 labels. The files do not belong together: fetch them again."
    )
    write(labels, idx(np.array([0, 1, 2, 3, 10], np.uint8)))
    with pytest.raises(DataFileError) as error:
        load("mnist", root=tmp_path)
    assert str(error.value) == (
        f"{images}, {labels}: labels 0 to 10; mnist has labels 0 to 9. The file is of another data set, or damaged: "
        "fetch it again."
    )
