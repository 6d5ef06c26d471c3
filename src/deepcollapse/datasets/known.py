"""The data sets known by name: classes, sizes, source, and the files they lie in. Imports no torch.

The command line lists them from here at once, and every loader takes its names, shapes and checksums from here.
"""

import difflib

from deepcollapse.datasets import names
from deepcollapse.datasets.facts import Archive, DatasetFacts, plain
from deepcollapse.errors import UnknownNameError

_IDX_FILES = {
    "train": "train-images-idx3-ubyte and train-labels-idx1-ubyte (plain or .gz), or train*.parquet",
    "test": "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (plain or .gz), or test*.parquet",
}


def _idx(name: str, title: str, classes: tuple[str, ...], md5s: str, urls: tuple[str, ...], **facts) -> DatasetFacts:
    """MNIST and the sets that took over its format, its file names and its sizes."""
    parts = (f"{split}-{part}-ubyte.gz" for split in ("train", "t10k") for part in ("images-idx3", "labels-idx1"))
    return DatasetFacts(
        name=name,
        title=title,
        class_names=classes,
        shape=(1, 28, 28),
        sizes={"train": 60_000, "test": 10_000},
        files=_IDX_FILES,
        inside=("raw", "mnist", "fashion_mnist", "data/fashion"),
        archives=tuple(
            Archive(file, tuple(url + file for url in urls), md5) for file, md5 in zip(parts, md5s.split(), strict=True)
        ),
        shares_names=True,
        **facts,
    )


_ALL = (
    DatasetFacts(
        name="digits",
        title="Handwritten digits of the UCI repository, inside scikit-learn: no download",
        class_names=names.DIGITS,
        shape=(1, 8, 8),
        sizes={"train": 1438, "test": 359},
        source="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        licence="CC BY 4.0",
        files={},
    ),
    DatasetFacts(
        name="iris",
        title="Iris: four lengths of 150 flowers, inside scikit-learn: no download",
        class_names=names.IRIS,
        shape=(1, 1, 4),
        sizes={"train": 120, "test": 30},
        source="https://archive.ics.uci.edu/dataset/53/iris",
        licence="CC BY 4.0",
        files={},
    ),
    # MD5s of the four sets in the IDX format: torchvision's, which has fetched them from these places for years.
    _idx(
        "mnist",
        "MNIST: handwritten digits",
        names.DIGITS,
        "f68b3c2dcbeaaa9fbdd348bbdeb94873 d53e105ee54ea40749a09fcbcd1e9432"
        " 9fb629c4189551a2d022fa330f9573f3 ec29112dd5afa0611ce80d1b7f02629c",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        source="http://yann.lecun.com/exdb/mnist/",
        licence="CC BY-SA 3.0",
        folders=("mnist",),
    ),
    _idx(
        "fashion-mnist",
        "Fashion-MNIST: articles of clothing",
        names.FASHION,
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d 25c81989df183df01b3e8a0aad5dffbe"
        " bef4ecab320f06d8554ea6380940ec79 bb300cfdad3c16e7a12a480ee83cd310",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        source="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        folders=("fashionmnist",),
    ),
    _idx(
        "kmnist",
        "Kuzushiji-MNIST: cursive Japanese characters",
        names.KUZUSHIJI,
        "bdb82020997e1d708af4cf47b453dcf7 e144d726b3acfaa3e44228e80efcd344"
        " 5c965bf0a639b31b8f53240b1b52f4d7 7320c461ea6c1c855c0b718fb2a4b134",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        source="https://github.com/rois-codh/kmnist",
        licence="CC BY-SA 4.0",
        folders=("kmnist", "kuzushijimnist"),
    ),
    DatasetFacts(
        name="cifar10",
        title="CIFAR-10: small colour photographs",
        class_names=names.CIFAR10,
        shape=(3, 32, 32),
        sizes={"train": 50_000, "test": 10_000},
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence=None,
        files={
            "train": "data_batch_1.bin ... data_batch_5.bin (or data_batch_1 ... data_batch_5), or train*.parquet",
            "test": "test_batch.bin (or test_batch), or test*.parquet",
        },
        folders=("cifar10", "cifar10jpeg", "cifar10batchesbin", "cifar10batchespy"),
        inside=("cifar-10-batches-bin", "cifar-10-batches-py", "plain_text", "data"),
        # The binary version, with the MD5s of the page named above: its records cannot hold code, as pickles can.
        archives=(
            Archive(
                "cifar-10-binary.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                "c32a1d4ab5d03f1284b67883e8d87530",
                {
                    f"cifar-10-batches-bin/{part}.bin": 10_000 * 3073
                    for part in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
                },
            ),
        ),
    ),
    DatasetFacts(
        name="cifar100",
        title="CIFAR-100: small colour photographs, the 100 fine labels",
        class_names=names.CIFAR100,
        shape=(3, 32, 32),
        sizes={"train": 50_000, "test": 10_000},
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence=None,
        files={
            "train": "train.bin (or the pickle train), or train*.parquet",
            "test": "test.bin (or the pickle test), or test*.parquet",
        },
        folders=("cifar100", "cifar100binary", "cifar100python"),
        inside=("cifar-100-binary", "cifar-100-python", "cifar100", "data"),
        archives=(
            Archive(
                "cifar-100-binary.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
                "03b5dce01913d631647c71ecec9e9cb8",
                {"cifar-100-binary/train.bin": 50_000 * 3074, "cifar-100-binary/test.bin": 10_000 * 3074},
            ),
        ),
    ),
    DatasetFacts(
        name="svhn",
        title="Street View House Numbers, cropped digits",
        class_names=names.DIGITS,
        shape=(3, 32, 32),
        sizes={"train": 73_257, "test": 26_032, "extra": 531_131},
        source="http://ufldl.stanford.edu/housenumbers/",
        licence="non-commercial use only",
        files={split: f"{split}_32x32.mat, or {split}*.parquet" for split in ("train", "test", "extra")},
        folders=("svhn",),
        inside=("cropped_digits", "data"),
        archives=tuple(
            Archive(f"{split}_32x32.mat", (f"http://ufldl.stanford.edu/housenumbers/{split}_32x32.mat",), md5)
            for split, md5 in (
                ("train", "e26dedcc434d2e4c54c9b2d4a06d8373"),
                ("test", "eb5a983be6a315427106f1b164d9cef3"),
                ("extra", "a93ce644f1a588dc4d68dda5feec44a7"),
            )
        ),
    ),
    DatasetFacts(
        name="stl10",
        title="STL-10: colour photographs, the labelled part",
        class_names=names.STL10,
        shape=(3, 96, 96),
        sizes={"train": 5_000, "test": 8_000},
        source="https://cs.stanford.edu/~acoates/stl10/",
        licence=None,
        files={split: f"{split}_X.bin and {split}_y.bin, or {split}*.parquet" for split in ("train", "test")},
        folders=("stl10", "stl10binary"),
        inside=("stl10_binary", "data"),
        archives=(
            Archive(
                "stl10_binary.tar.gz",
                ("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",),
                "91f7769df0f17e558f3565bffb0c7dfb",
                {
                    "stl10_binary/train_X.bin": 5_000 * 27_648,
                    "stl10_binary/train_y.bin": 5_000,
                    "stl10_binary/test_X.bin": 8_000 * 27_648,
                    "stl10_binary/test_y.bin": 8_000,
                },
            ),
        ),
    ),
    DatasetFacts(
        name="imagenet",
        title="ImageNet (ILSVRC 2012), 224 x 224 or, as imagenet@SIZE, any other size; test = the validation images",
        class_names=tuple(names.IMAGENET.values()),
        shape=(3, 224, 224),
        sizes={"train": 1_281_167, "test": 50_000},
        source="https://www.image-net.org/download.php",
        licence="non-commercial research, by agreement with the source",
        files={"train": "train/n01440764/*.JPEG and so on", "test": "val/n01440764/*.JPEG and so on"},
        folders=("imagenet", "imagenet1k", "ilsvrc", "ilsvrc2012"),
        inside=("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC"),
        extra="images",
    ),
    DatasetFacts(
        name="mnist1d",
        title="MNIST-1D: ten one-dimensional shapes, generated on the spot",
        class_names=names.DIGITS,
        shape=(1, 1, 40),
        sizes={"train": 4_000, "test": 1_000},
        source="https://github.com/greydanus/mnist1d",
        licence="Apache-2.0",
        files={},
        extra="mnist1d",
    ),
)

DATASETS: dict[str, DatasetFacts] = {facts.name: facts for facts in _ALL}

# Names that lead to data of the user's own, and what each means.
PREFIXES = {
    "folder:PATH": "a folder of images, one sub-folder a class, resized to folder:PATH@SIZE (64 x 64 if not said)",
    "hf:NAME": "a Hugging Face data set of images (hf:NAME:CONFIGURATION, hf:NAME@SIZE), by the extra `hf`",
    "package.module:loader": "a function of your own that is given the split and returns the data",
}


def find_facts(name: str) -> DatasetFacts:
    """The facts of the data set of that name; case, hyphens and underscores do not matter.

    >>> find_facts("FashionMNIST").name
    'fashion-mnist'

    Raises:
        UnknownNameError: no data set goes by this name; the message suggests close ones.
    """
    by_plain_name = {plain(known): facts for known, facts in DATASETS.items()}
    if plain(name) in by_plain_name:
        return by_plain_name[plain(name)]
    close = difflib.get_close_matches(plain(name), by_plain_name, n=1, cutoff=0.5)
    suggestion = f" Did you mean {by_plain_name[close[0]].name!r}?" if close else ""
    raise UnknownNameError(
        f"no data set is called {name!r}.{suggestion} Known: {', '.join(DATASETS)}; or {', '.join(PREFIXES)}."
    )
