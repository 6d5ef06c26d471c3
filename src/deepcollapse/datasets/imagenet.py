"""ImageNet, ILSVRC 2012 (https://www.image-net.org): train/ and val/ with a folder a class, named by WordNet."""

from pathlib import Path

from deepcollapse.datasets import names
from deepcollapse.datasets.dataset import Dataset
from deepcollapse.datasets.facts import DatasetFacts
from deepcollapse.datasets.folder import read_folder
from deepcollapse.datasets.images import Fit
from deepcollapse.datasets.root import folders, missing

DEFAULT_SIZE = 224
_FOLDERS = {"train": "train", "test": "val"}


def load_imagenet(facts: DatasetFacts, split: str, root: Path, size: int = DEFAULT_SIZE) -> Dataset:
    """The split, its shorter side resized to 8/7 of `size` (256 for 224) and the centre of `size` x `size` cut out.

    The labels of ImageNet's own test set are not public, so `test` is the 50,000 validation images. All 1000 classes
    keep their numbers where only some of the folders are there.

    Raises:
        DataFileError: the folders are not there, or the validation images lie unsorted.
    """
    for folder in folders(facts, root):
        part = folder / _FOLDERS[split]
        if part.is_dir() and any(child.name in names.IMAGENET for child in part.iterdir()):
            fit = Fit(size, resize=round(size * 8 / 7))
            dataset = read_folder(facts.name, split, part, list(names.IMAGENET), fit, facts.class_names)
            return dataset if split == "train" else dataset.noted("the validation images")
        if part.is_dir() and next(part.glob("*.JPEG"), None):
            found = f"the images in {part} lie unsorted; move each into the folder of its class (n01440764 ...)"
            raise missing(facts, split, root, found)
    raise missing(facts, split, root)
