import pytest
import torch
from dataset_files import encoded, pixels, write, write_parquet

from deepcollapse.datasets import load
from deepcollapse.errors import DataFileError

pytest.importorskip("pyarrow", exc_type=ImportError)
pytest.importorskip("PIL", exc_type=ImportError)


@pytest.mark.parametrize("place", ["cifar10", "cifar10-jpeg", "CIFAR-10/plain_text", "cifar-10"])
def test_shards_are_read_in_order(tmp_path, place):
    images = pixels(5, 32, 32, 3)
    files = [encoded(image) for image in images]
    write_parquet(tmp_path / place / "train-00001-of-00002.parquet", files[3:], [3, 4])
    write_parquet(tmp_path / place / "train-00000-of-00002.parquet", files[:3], [0, 1, 2])
    train = load("cifar10", root=tmp_path)
    assert torch.equal(train.images, torch.from_numpy(images).permute(0, 3, 1, 2))
    assert train.labels.tolist() == [0, 1, 2, 3, 4]
    assert train.note == "5 samples in the files; 50000 were published"


def test_the_root_itself_may_be_the_folder(tmp_path):
    write_parquet(tmp_path / "cifar10" / "test.parquet", [encoded(pixels(1, 32, 32, 3)[0])], [7])
    assert load("cifar10", "test", root=tmp_path / "cifar10").labels.tolist() == [7]


def test_a_nameless_folder_could_hold_anything_and_is_not_read(tmp_path):
    write_parquet(tmp_path / "train.parquet", [encoded(pixels(1, 32, 32, 3)[0])], [7])
    with pytest.raises(DataFileError):
        load("cifar10", root=tmp_path)


def test_grey_images_and_fine_labels(tmp_path):
    image = pixels(1, 28, 28)[0]
    write_parquet(tmp_path / "mnist" / "mnist" / "test-00000-of-00001.parquet", [encoded(image)], [4], image="image")
    assert torch.equal(load("mnist", "test", root=tmp_path).images[0, 0], torch.from_numpy(image))
    colour = [encoded(pixels(1, 32, 32, 3)[0])]
    write_parquet(tmp_path / "cifar100" / "test.parquet", colour, [42], label="fine_label")
    assert load("cifar100", "test", root=tmp_path).labels.tolist() == [42]


def test_jpeg_is_noted_as_lossy(tmp_path):
    write_parquet(tmp_path / "cifar10" / "test.parquet", [encoded(pixels(1, 32, 32, 3)[0], "JPEG")], [0])
    note = load("cifar10", "test", root=tmp_path).note
    assert note == "1 samples in the files; 10000 were published; decoded from JPEG, so not the published pixels"


def refusal(tmp_path) -> str:
    with pytest.raises(DataFileError) as error:
        load("cifar10", "test", root=tmp_path)
    return str(error.value).replace(str(tmp_path / "cifar10"), "FOLDER")


def test_damage_is_named(tmp_path):
    file = tmp_path / "cifar10" / "test.parquet"
    good = encoded(pixels(1, 32, 32, 3)[0])
    write_parquet(file, [good, good[:200]], [0, 1])
    assert refusal(tmp_path) == (
        "FOLDER/test.parquet, row 1 (200 bytes): image file is truncated. Replace the file or remove it."
    )
    write_parquet(file, [good, b"nothing"], [0, 1])
    assert refusal(tmp_path) == (
        "FOLDER/test.parquet, row 1 (7 bytes): not a readable image (PNG, JPEG, BMP, GIF, WEBP, PPM, TIFF). "
        "Replace the file or remove it."
    )
    write_parquet(file, [good, encoded(pixels(1, 16, 32, 3)[0])], [0, 1])
    assert refusal(tmp_path) == (
        "FOLDER/test.parquet, row 1: an image of 16 x 32; cifar10 has 32 x 32. The file is of another data set."
    )
    write_parquet(file, [good], [0], image="picture")
    assert refusal(tmp_path) == (
        "FOLDER/test.parquet has the columns picture, label; expected images in one of img, image and labels in one of "
        "fine_label, label, labels."
    )
    write(file, b"PAR1 cut short")
    assert refusal(tmp_path).startswith("FOLDER/test.parquet (14 bytes) is not a readable Parquet file: ")


def test_a_missing_shard_is_named(tmp_path):
    write_parquet(tmp_path / "cifar10" / "test-00000-of-00003.parquet", [encoded(pixels(1, 32, 32, 3)[0])], [0])
    assert "FOLDER lacks test-00001-of-00003.parquet, test-00002-of-00003.parquet. Put them in" in refusal(tmp_path)
