import pytest
import torch
from dataset_files import encoded, pixels, write

from deepcollapse.datasets import load
from deepcollapse.errors import DataFileError, OptionError

pytest.importorskip("PIL", exc_type=ImportError)


def picture(folder, name: str, height: int = 8, width: int = 8, seed: int = 0):
    image = pixels(1, height, width, 3, seed=seed)[0]
    write(folder / name, encoded(image))
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def test_a_folder_a_class(tmp_path):
    cat = picture(tmp_path / "cat", "b.png")
    deep = picture(tmp_path / "cat" / "more", "a.PNG", seed=1)
    dog = picture(tmp_path / "dog", "c.png", seed=2)
    write(tmp_path / "dog" / "readme.txt", b"not an image")
    write(tmp_path / "dog" / ".hidden.png", b"not an image")
    (tmp_path / "empty").mkdir()
    data = load(f"folder:{tmp_path}@8")
    assert data.class_names == ("cat", "dog", "empty")
    assert data.class_counts().tolist() == [2, 1, 0]
    assert data.image_shape == (3, 8, 8)
    images, labels = next(iter(data.batches(3)))
    assert torch.equal(images, torch.stack([cat, deep, dog]))
    assert labels.tolist() == [0, 0, 1]
    assert data.note == "all images of the folder: it has no splits"


def test_splits_number_their_classes_alike(tmp_path):
    for name in ("ant", "bee", "cat"):
        picture(tmp_path / "train" / name, "1.png")
    picture(tmp_path / "val" / "cat", "1.png")
    data = load(f"folder:{tmp_path}", "test")
    assert data.labels.tolist() == [2]
    assert data.class_names == ("ant", "bee", "cat")
    assert data.image_shape == (3, 64, 64)
    assert data.note == "the images of val/"
    picture(tmp_path / "val" / "dog", "1.png")
    with pytest.raises(DataFileError) as error:
        load(f"folder:{tmp_path}", "test")
    assert str(error.value) == f"{tmp_path}/val has classes that the training split lacks: dog. Rename or remove them."


@pytest.mark.parametrize(("height", "width"), [(10, 30), (30, 10), (3, 4), (10, 11)])
def test_the_shorter_side_is_resized_and_the_centre_cut_out(tmp_path, height, width):
    image = torch.zeros(height, width, 3, dtype=torch.uint8)
    image[height // 2, width // 2] = 255
    write(tmp_path / "cat" / "1.png", encoded(image.numpy()))
    (image,) = load(f"folder:{tmp_path}@10").images[torch.tensor([0])]
    assert image.shape == (3, 10, 10)
    brightest = image[0].flatten().argmax().item()
    assert abs(brightest // 10 - 5) <= 2
    assert abs(brightest % 10 - 5) <= 2


def test_lazy_images_select_shuffle_and_digest(tmp_path):
    for i in range(6):
        picture(tmp_path / f"class{i % 2}", f"{i}.png", seed=i)
    data = load(f"folder:{tmp_path}@8")
    chosen = data.select([4, 1])
    assert torch.equal(chosen.images[torch.tensor([0])], data.images[torch.tensor([4])])
    assert len(chosen.images) == 2
    assert chosen.digest == load(f"folder:{tmp_path}@8").select([4, 1]).digest != data.digest
    assert load(f"folder:{tmp_path}@4").digest != data.digest
    shuffled = data.batches(4, generator=torch.Generator().manual_seed(0))
    assert sorted(torch.cat([y for _, y in shuffled]).tolist()) == [0, 0, 0, 1, 1, 1]
    moved = tmp_path.with_name("elsewhere")
    tmp_path.rename(moved)
    assert load(f"folder:{moved}@8").digest == data.digest


def test_damaged_images_are_named(tmp_path):
    write(tmp_path / "cat" / "1.png", encoded(pixels(1, 64, 64, 3)[0])[:500])
    with pytest.raises(DataFileError) as error:
        list(load(f"folder:{tmp_path}").batches(1))
    assert str(error.value) == (
        f"{tmp_path}/cat/1.png (500 bytes): image file is truncated. Replace the file or remove it."
    )
    write(tmp_path / "cat" / "1.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(DataFileError) as error:
        list(load(f"folder:{tmp_path}").batches(1))
    assert str(error.value) == (
        f"{tmp_path}/cat/1.png (47 bytes): not a readable image (PNG, JPEG, BMP, GIF, WEBP, PPM, TIFF). "
        "Replace the file or remove it."
    )


def test_an_image_that_would_take_gigabytes_is_refused_by_its_header(tmp_path):
    write(tmp_path / "cat" / "1.ppm", b"P6 10001 10000 255\n" + bytes(100))
    with pytest.warns(Warning, match="decompression bomb"), pytest.raises(DataFileError) as error:
        list(load(f"folder:{tmp_path}").batches(1))
    assert str(error.value) == (
        f"{tmp_path}/cat/1.ppm is 10001 x 10000; images of more than 100000000 pixels are not read."
    )


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(DataFileError) as error:
        load(f"folder:{tmp_path}/nowhere")
    assert str(error.value) == (
        f"there is no folder {tmp_path}/nowhere. Give the folder whose sub-folders are the classes."
    )
    with pytest.raises(DataFileError) as error:
        load(f"folder:{tmp_path}")
    assert str(error.value) == (
        f"{tmp_path} holds no images (.png, .jpg, .jpeg, .bmp, .gif, .webp, .ppm, .pgm, .tif, .tiff) "
        "in folders of classes."
    )
    with pytest.raises(DataFileError) as error:
        load(f"folder:{tmp_path}", "test")
    assert str(error.value) == (
        f"{tmp_path} has no folder for the split 'test'. Put its classes in {tmp_path}/test, with the training classes "
        f"in {tmp_path}/train."
    )
    with pytest.raises(OptionError) as option_error:
        load(f"folder:{tmp_path}@0")
    assert str(option_error.value) == f"the size in 'folder:{tmp_path}@0' is 0; expected at least 1 pixel."


@pytest.mark.parametrize("place", ["imagenet", "ILSVRC2012", "imagenet/ILSVRC/Data/CLS-LOC", "."])
def test_imagenet(tmp_path, place):
    for split, name in (("train", "n01440764"), ("train", "n15075141"), ("val", "n15075141")):
        picture(tmp_path / place / split / name, "1.JPEG")
    train, test = load("imagenet@32", root=tmp_path), load("imagenet", "test", root=tmp_path)
    assert (train.num_classes, train.image_shape, test.image_shape) == (1000, (3, 32, 32), (3, 224, 224))
    assert [train.class_names[label] for label in train.labels] == ["tench", "toilet tissue"]
    assert test.labels.tolist() == [999]
    assert test.note == "the validation images"
    assert train.images.fit.resize == 37
    assert test.images.fit.resize == 256


def test_imagenet_missing_unsorted_or_with_strangers(tmp_path):
    with pytest.raises(DataFileError) as error:
        load("imagenet", root=tmp_path)
    assert str(error.value) == (
        f"imagenet (train) is read from train/n01440764/*.JPEG and so on; looked under the data root {tmp_path}: it "
        f"holds none of them. Put them in {tmp_path}/imagenet, set another data root (root=..., --data-root or "
        "DEEPCOLLAPSE_DATA); they can be had from https://www.image-net.org/download.php."
    )
    picture(tmp_path / "imagenet" / "val", "1.JPEG")
    with pytest.raises(DataFileError) as error:
        load("imagenet", "test", root=tmp_path)
    assert (
        f": the images in {tmp_path}/imagenet/val lie unsorted; move each into the folder of its class (n01440764 "
        "...). Put"
    ) in str(error.value)
    for name in ("n01440764", "n00000001"):
        picture(tmp_path / "imagenet" / "train" / name, "1.JPEG")
    with pytest.raises(DataFileError) as error:
        load("imagenet", root=tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/imagenet/train has classes that the training split lacks: n00000001. Rename or remove them."
    )
