import numpy as np
import pytest
import torch
from dataset_files import pixels, write
from scipy.io import savemat

from deepcollapse.datasets import load
from deepcollapse.errors import DataFileError


def test_svhn_digits_are_numbered_by_themselves(tmp_path):
    held = pixels(32, 32, 3, 4)
    (tmp_path / "SVHN").mkdir()
    savemat(tmp_path / "SVHN" / "train_32x32.mat", {"X": held, "y": np.array([[10], [1], [9], [10]], np.uint8)})
    train = load("svhn", root=tmp_path)
    assert train.labels.tolist() == [0, 1, 9, 0]
    assert torch.equal(train.images[2], torch.from_numpy(held[..., 2]).permute(2, 0, 1))


def svhn_refusal(tmp_path, held: dict | None = None, cut: int | None = None) -> str:
    file = write(tmp_path / "svhn" / "test_32x32.mat", b"")
    if held is not None:
        savemat(file, held, do_compression=True)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(DataFileError) as error:
        load("svhn", "test", root=tmp_path)
    return str(error.value).replace(str(file), "FILE")


def test_svhn_damage(tmp_path):
    labels = np.ones((2, 1), np.uint8)
    asked = "should hold X (32, 32, 3, n) uint8 and y (n, 1); it holds X (32, 32, 3"
    advice = "It is truncated or of another kind: fetch it again."
    message = svhn_refusal(tmp_path, {"X": pixels(32, 32, 3, 3), "y": labels})
    size = (tmp_path / "svhn" / "test_32x32.mat").stat().st_size
    assert message == f"FILE ({size} bytes) {asked}, 3) uint8, y (2, 1) uint8. {advice}"
    assert svhn_refusal(tmp_path, {"X": pixels(32, 32, 3, 2), "y": 0 * labels}) == (
        "FILE: the smallest label is 0; SVHN has labels 1 to 10. Fetch it again."
    )
    whole = {"X": pixels(32, 32, 3, 2), "y": labels}
    assert svhn_refusal(tmp_path, whole, 3000) == f"FILE (3000 bytes) {asked}, 2) uint8. {advice}"
    for cut in (0, 100):
        message = svhn_refusal(tmp_path, whole, cut)
        assert message.startswith(f"FILE ({cut} bytes) is not a readable MATLAB file: ")
        assert message.endswith(" It is truncated or damaged: fetch it again.")


def test_stl10_is_stored_column_by_column(tmp_path):
    images = pixels(3, 3, 96, 96)
    folder = tmp_path / "stl10_binary"
    write(folder / "test_X.bin", images.transpose(0, 1, 3, 2).tobytes())
    write(folder / "test_y.bin", bytes([1, 10, 4]))
    test = load("STL-10", "test", root=tmp_path)
    assert torch.equal(test.images, torch.from_numpy(images))
    assert [test.class_names[label] for label in test.labels] == ["airplane", "truck", "cat"]


def test_stl10_damage(tmp_path):
    file = write(tmp_path / "stl10" / "train_X.bin", bytes(27648 + 5))
    with pytest.raises(DataFileError) as error:
        load("stl10", root=tmp_path)
    assert f": {file} is there, train_y.bin is not. Put them in" in str(error.value)
    labels = write(file.with_name("train_y.bin"), bytes([0]))
    with pytest.raises(DataFileError) as error:
        load("stl10", root=tmp_path)
    assert str(error.value) == (
        f"{file} holds 27653 bytes; expected a whole number of records of 27648 bytes (1 records and 5 bytes were "
        "found). The file is truncated or of another format: fetch it again."
    )
    write(file, bytes(27648))
    with pytest.raises(DataFileError) as error:
        load("stl10", root=tmp_path)
    assert str(error.value) == (
        f"{file}, {labels}: labels -1 to -1; stl10 has labels 0 to 9. The file is of another data set, or damaged: "
        "fetch it again."
    )
