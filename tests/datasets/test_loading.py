import subprocess
import sys
from pathlib import Path

import pytest

import deepcollapse.datasets as package
from deepcollapse.datasets import DATASETS, data_root, find_facts, load
from deepcollapse.errors import OptionError, UnknownNameError


def test_facts_are_known_without_torch():
    code = (
        "import sys, deepcollapse.datasets as d; assert len(d.DATASETS) == 11; assert d.data_root('x');"
        "print([m for m in ('torch', 'numpy', 'pandas', 'sklearn', 'scipy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_every_public_name_is_there():
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError) as error:
        _ = package.nothing
    assert str(error.value) == "module 'deepcollapse.datasets' has no attribute 'nothing'"


@pytest.mark.parametrize("facts", DATASETS.values(), ids=DATASETS)
def test_facts_hold_together(facts):
    classes = {"cifar100": 100, "imagenet": 1000, "iris": 3}.get(facts.name, 10)
    assert facts.num_classes == len(set(facts.class_names)) == classes
    assert {"train", "test"} <= set(facts.splits)
    assert set(facts.files) in (set(), set(facts.splits))
    assert all(len(archive.md5) == 32 and archive.urls for archive in facts.archives)
    assert find_facts(facts.name.upper().replace("-", "_")) is facts


def test_wrong_names_splits_and_sizes():
    known = ", ".join(DATASETS)
    with pytest.raises(UnknownNameError) as error:
        load("minst")
    assert str(error.value) == (
        f"no data set is called 'minst'. Did you mean 'mnist'? Known: {known}; or folder:PATH, hf:NAME, "
        "package.module:loader."
    )
    with pytest.raises(UnknownNameError) as error:
        load("qqq")
    assert str(error.value).startswith(f"no data set is called 'qqq'. Known: {known}; or")
    with pytest.raises(OptionError) as option_error:
        load("digits", "validation")
    assert str(option_error.value) == "digits has no split 'validation'; it has train, test."
    with pytest.raises(OptionError) as option_error:
        load("mnist@32")
    assert str(option_error.value) == "mnist has images of one size, (1, 28, 28); leave @32 out."


def test_the_data_root_is_the_argument_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPCOLLAPSE_DATA", str(tmp_path / "variable"))
    assert data_root(tmp_path / "argument") == tmp_path / "argument"
    assert data_root() == tmp_path / "variable"
    assert data_root("~/data") == Path.home() / "data"
    monkeypatch.setenv("DEEPCOLLAPSE_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert data_root() == tmp_path / "deepcollapse" / "data"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert data_root() == Path.home() / "Library" / "Caches" / "deepcollapse" / "data"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert data_root() == tmp_path / "local" / "deepcollapse" / "data"
