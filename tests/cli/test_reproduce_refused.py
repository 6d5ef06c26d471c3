"""`deepcollapse reproduce` refuses what would fail in every run, in one line, before a folder is made."""

import json

import pytest
from small_study import recipes_of

import deepcollapse.studies
from deepcollapse.studies import SCALES, STUDIES, find
from deepcollapse.studies.refusing import refuse_impossible
from deepcollapse.studies.study import Scale, Study
from deepcollapse.training import Recipe

SCALE = Scale("Two tiny runs.", ("digits",), ("mlp",), (0, 1))
TINY = Recipe(epochs=1, width=8, depth=1, per_class=41, test_per_class=5, measurements=2)
recipes = recipes_of(TINY)
NETWORKS = (
    "There are mlp, relu-head, relu-head-resnet, vgg11, vgg13, vgg16, vgg19, resnet, resnet18, resnet34, resnet50, "
    "resnet101, resnet152, densenet40, densenet121, densenet201, densenet250; others are named package.module:factory, "
    "timm:NAME, torchvision:NAME or hf:NAME."
)


SMALL = Study("small", "A small study", "nobody2020", "Small.", {"smoke": SCALE}, (), recipes)


@pytest.fixture(autouse=True)
def small_study(monkeypatch, here):
    monkeypatch.setattr(deepcollapse.studies, "find", lambda name: SMALL)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--networks mpl", f"no network is called 'mpl'. Did you mean mlp? {NETWORKS}"),
        ("--networks mlp mpl", f"no network is called 'mpl'. Did you mean mlp? {NETWORKS}"),
        ("--networks densenet40", "network 'densenet40' has no parameter 'depth'. Did you mean width? It has "
         "blocks, growth, width, bottleneck, compression, stem."),
        ("--networks json:lode", "network 'json:lode': module 'json' has no 'lode'. Did you mean load or loads or "
         f"codecs? It was read from {json.__file__}."),
        ("--datasets digitz", "no data set is called 'digitz'. Did you mean 'digits'? Known: digits, iris, mnist, "
         "fashion-mnist, kmnist, cifar10, cifar100, svhn, stl10, imagenet, mnist1d; or folder:PATH, hf:NAME, "
         "package.module:loader."),
        ("--threads 0", "threads must be at least 1; got 0."),
        ("--threads 0 --dry-run", "threads must be at least 1; got 0."),
        ("--device gpu", "there is no device 'gpu' here (PyTorch knows none of that name; graphics cards are cuda, or "
         "cuda:1 for the second). Try --device cpu."),
    ],
)  # fmt: skip
def test_what_would_fail_in_every_run_is_told_before_anything_begins(flags, said, call, here):
    refused = call("reproduce", "small", "--scale", "smoke", *flags.split())
    assert (refused.code, refused.out, refused.err) == (1, "", f"deepcollapse: {said}\n")
    assert not (here / "runs").exists()


def test_samples_that_there_are_not_are_told_before_a_folder_is_made(call, here):
    refused = call("reproduce", "small", "--scale", "smoke", "--datasets", "iris", "--json")
    assert (refused.code, refused.json["error"]) == (1, "OptionError")
    assert refused.json["message"] == (
        "iris (train) has fewer samples than asked for (41) in: setosa (40), versicolor (40), virginica (40). The most "
        "that every class has is 40."
    )
    assert not (here / "runs").exists()


def test_a_folder_of_other_files_is_refused_and_one_that_was_begun_is_gone_on_with(call, here):
    (here / "other").mkdir()
    (here / "other" / "a.txt").write_text("mine")
    where = ["reproduce", "small", "--scale", "smoke", "--threads", "1", "--out"]
    refused = call(*where, "other")
    assert (refused.code, refused.out, refused.err) == (
        1, "", "deepcollapse: other holds files and is not a study. Choose a new or empty folder with --out.\n"
    )  # fmt: skip
    assert [path.name for path in (here / "other").iterdir()] == ["a.txt"]
    refused = call(*where, "other/a.txt")
    assert (refused.code, refused.out, refused.err) == (
        1, "", "deepcollapse: other/a.txt is a file, not a folder. Choose another place with --out.\n"
    )  # fmt: skip
    (here / "begun" / "tables").mkdir(parents=True)
    (here / "begun" / "notes.txt").write_text("mine")
    assert call(*where, "begun").code == 0
    (here / "begun" / "study.json").unlink()
    assert call(*where, "begun").code == 0
    (here / "empty").mkdir()
    assert call(*where, "empty").code == 0


def test_networks_of_ones_own_go_on_to_work(call, here):
    (here / "ours_to_try.py").write_text(
        "from torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, width, depth, num_classes):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(64, num_classes)\n\n"
        "    def forward(self, x):\n"
        "        return self.head(x.flatten(1))\n"
    )
    done = call("reproduce", "small", "--scale", "smoke", "--networks", "ours_to_try:Net", "--threads", "1", "--json")
    assert (done.code, done.json["runs"]) == (0, 2)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_no_scale_of_a_study_is_refused(name):
    study = find(name)
    assert set(study.scales) <= set(SCALES)
    for scale in study.scales.values():
        refuse_impossible(study, scale, device="cpu", threads=1)
