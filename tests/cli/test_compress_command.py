import contextlib
import io

import pytest
import torch

from deepcollapse.cli import main
from deepcollapse.compression.coded_layers import CodedLayer
from deepcollapse.compression.files import load_compressed
from deepcollapse.networks import load_network
from deepcollapse.records import Run
from deepcollapse.training import Recipe, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network has learnt its digits."""
    recipe = Recipe(epochs=12, width=64, depth=2, per_class=60, batch=32, measurements=2, layers=("head.input",))
    return train(recipe, tmp_path_factory.mktemp("runs") / "digits", device="cpu")


@pytest.fixture(scope="module")
def compressed(run, tmp_path_factory):
    """The folder of its compressed network, and what the command printed."""
    out, told = tmp_path_factory.mktemp("out") / "small", io.StringIO()
    with contextlib.redirect_stdout(told), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        assert main(["compress", str(run.path), "--target", "size=30%", "--out", str(out)]) == 0
    return out, told.getvalue()


def test_what_is_shown_fits_eighty_columns_and_says_what_came_of_it(compressed):
    _, told = compressed
    assert all(len(line) <= 80 or "/" in line for line in told.splitlines())
    for words in ("by low-rank: at most 30 % of the bytes", "half the test samples", "blocks.0.linear", "is met."):
        assert words in " ".join(told.split())


def test_the_run_holds_the_network_its_numbers_and_a_page(compressed, run):
    out, _ = compressed
    made = Run.open(out)
    facts = made.provenance["compression"]
    assert facts["met"] is True
    assert (facts["method"], facts["size"]) == ("low-rank", 0.3)
    assert made.provenance["compressed"] == str(run.path)
    rows = made.records()
    whole = rows[(rows.layer == "network") & rows.step.isna()]
    before = whole[whole.baseline == "original"].set_index("measure")["value"]
    after = whole[whole.baseline.isna()].set_index("measure")["value"]
    assert after["stored_bytes"] <= 0.3 * before["stored_bytes"]
    assert "Accuracy over size" in (out / "report.html").read_text()


def test_few_test_samples_are_joined_by_training_samples(run, call, tmp_path):
    done = call("compress", run.path, "--out", tmp_path / "few")
    told = " ".join(done.out.split())
    assert "Networks are chosen by half the test samples, and because these are few by training samples too." in told
    rows = Run.open(tmp_path / "few").records()
    tried = rows[(rows.measure == "accuracy") & rows.step.notna()]["value"]
    # 179 test samples, and 600 training samples.
    assert all(round(value * 779, 6) == round(value * 779) for value in tried)


def test_the_numbers_are_those_of_the_network_in_the_file(compressed, run):
    from deepcollapse.training.data import prepare
    from deepcollapse.training.evaluate import evaluate

    out, _ = compressed
    recipe = Recipe.from_mapping(run.recipe)
    splits = prepare(recipe)
    network = load_network("mlp", num_classes=10, image_shape=(1, 8, 8), width=64, depth=2)
    read = load_compressed(network, out / "compressed.safetensors")
    scores = evaluate(read, splits.test.batches(64), torch.nn.functional.cross_entropy)
    rows = Run.open(out).records()
    told = rows[(rows.measure == "accuracy") & (rows.split == "test") & rows.baseline.isna()]
    assert told["value"].tolist() == [scores.accuracy]


def test_a_compressed_network_can_be_measured(compressed, call):
    out, _ = compressed
    found = call("measure", out, "--measures", "cdnv", "--json").json
    accuracy = [row for row in found["records"] if row["measure"] == "accuracy" and row["split"] == "test"]
    assert found["weights"] == str(out / "compressed.safetensors")
    rows = Run.open(out).records()
    told = rows[(rows.measure == "accuracy") & (rows.split == "test") & rows.baseline.isna()]
    assert [row["value"] for row in accuracy] == told["value"].tolist()


def test_json_holds_every_row_and_verify_finds_it_sound(run, call, tmp_path):
    out = tmp_path / "coded"
    found = call("compress", run.path, "--method", "coded", "--target", "size=25%", "--out", out, "--json").json
    assert found["met"] is True
    assert len(found["records"]) == len(Run.open(out).records())
    checked = call("compress", "verify", out, "--json").json
    assert checked["sound"] is True
    assert {one["form"] for one in checked["containers"]} <= {"hac", "shac", "delta", "delta-huffman"}
    network = load_network("mlp", num_classes=10, image_shape=(1, 8, 8), width=64, depth=2)
    read = load_compressed(network, out / "compressed.safetensors")
    names = {f"{name}.code" for name, module in read.named_modules() if isinstance(module, CodedLayer)}
    assert {one["name"] for one in checked["containers"]} == names


def test_a_network_whose_head_is_coded_can_be_measured(run, call, tmp_path):
    out = tmp_path / "hac"
    call("compress", run.path, "--method", "hac", "--target", "size=30%", "--fine-tune", "0", "--out", out)
    measured = call("measure", out, "--measures", "self_duality", "--json")
    assert measured.code == 0
    assert [row["layer"] for row in measured.json["records"] if row["measure"] == "self_duality"] == ["head.input"] * 2


def test_the_bytes_told_are_those_of_the_file(compressed):
    out, _ = compressed
    rows = Run.open(out).records()
    told = rows[(rows.measure == "stored_bytes") & (rows.layer == "network") & rows.step.isna() & rows.baseline.isna()]
    assert told["value"].tolist() == [(out / "compressed.safetensors").stat().st_size]


def test_a_damaged_file_fails_verification(compressed, call, tmp_path):
    out, _ = compressed
    data = bytearray((out / "compressed.safetensors").read_bytes())
    data[-3] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(data)
    done = call("compress", "verify", tmp_path / "damaged.safetensors")
    assert done.code == 1
    assert "is damaged" in done.err
    assert "SHA-256" in done.err


def test_a_target_that_cannot_be_met_says_so_and_exits_with_three(run, tmp_path, call):
    done = call("compress", run.path, "--target", "size=0.01%", "--out", tmp_path / "none")
    assert done.code == 3
    told = " ".join(done.out.split())
    assert "Nothing that was tried keeps to the target (at most 0.01 % of the bytes); the network is as it was." in told
    assert "Closest comes " in told
    assert not (tmp_path / "none" / "compressed.safetensors").exists()


def test_slips_are_told_before_any_work(run, call, tmp_path):
    done = call("compress", run.path, "--target", "10%")
    assert (
        done.err
        == "deepcollapse: a target is written accuracy-drop=0.2% or size=10% (of the original's bytes); got '10%'.\n"
    )
    (tmp_path / "file").write_text("")
    done = call("compress", run.path, "--out", tmp_path)
    assert done.err == f"deepcollapse: {tmp_path} is there already. Choose a new or empty folder with --out.\n"
    done = call("compress", run.path, "--method", "zip", "--json")
    assert (done.code, done.json["error"]) == (1, "OptionError")


def test_a_page_of_a_compressed_run_beside_others(compressed, run, tmp_path, call):
    out, _ = compressed
    assert call("report", run.path, out, "--out", tmp_path / "both.html").code == 0
    page = (tmp_path / "both.html").read_text()
    assert "Compressed networks" in page
    assert "Neural collapse" in page
