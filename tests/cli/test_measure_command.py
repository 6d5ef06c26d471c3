import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from deepcollapse.records import Run


def values(done, measure, layer="head.input"):
    """Split or baseline -> value, of the JSON that `measure` prints."""
    rows = [r for r in done.json["records"] if (r["measure"], r["layer"]) == (measure, layer) and r["array"] is None]
    return {row["baseline"] or row["split"]: row["value"] for row in rows}


NAMED = ["--parameters", "width=16", "depth=2", "--per-class", "12", "--test-per-class", "5", "--json"]


def test_a_run_is_measured_as_it_was_at_the_end(trained, call):
    done = call("measure", trained, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["weights"] == str(trained / "weights.safetensors")
    rows = Run.open(trained).records().query("epoch == 2 and array.isna() and baseline.isna()")
    for measure in ("within_class_variability", "cdnv", "self_duality"):
        recorded = rows.query("measure == @measure and layer == 'head.input' and split == 'train'").value.item()
        # float32 features in batches of another size
        assert values(done, measure)["train"] == pytest.approx(recorded, rel=1e-4)


def test_tables_fit_80_columns(trained, call, here):
    done = call("measure", trained, "--baselines", "--layers", "all")
    assert done.code == 0
    assert "at the head's input" in done.out
    assert "within_class_variability of" in done.out
    assert "untrained" in done.out
    assert "stem" in done.out
    assert [line for line in done.out.splitlines() if len(line) > 80 and "weights.safetensors" not in line] == []


def test_measures_that_are_asked_for_are_the_ones_shown(trained, call):
    done = call("measure", trained, "--measures", "cdnv", "equinorm", "--layers", "input")
    tables = [line.split(" of ")[0].strip() for line in done.out.splitlines() if " of  " in line]
    assert tables == ["cdnv", "equinorm_means", "equinorm_classifier"]
    assert "head.input" in done.out
    assert "blocks.0" not in done.out


def test_baselines_stand_beside_the_training_data(trained, call):
    done = call("measure", trained, "--baselines", "--json")
    assert set(values(done, "within_class_variability")) == {"train", "test", "untrained", "shuffled labels"}


def test_a_network_by_name_with_the_runs_weights_is_the_run(trained, call):
    weights = trained / "weights.safetensors"
    named = call("measure", "mlp", "--weights", weights, *NAMED)
    assert (named.code, named.err) == (0, "")
    assert named.json["weights"] == str(weights)
    assert values(named, "cdnv") == values(call("measure", trained, "--json"), "cdnv")


def test_weights_by_pickle_of_tensors(trained, call, here):
    torch.save({"state_dict": load_file(trained / "weights.safetensors")}, "weights.pt")
    assert call("measure", "mlp", "--weights", "weights.pt", *NAMED).code == 0


def test_first_weights_are_not_taken_for_trained_ones(call):
    done = call("measure", "mlp", *NAMED)
    assert done.json["weights"] == "untrained, as drawn at first; name trained ones with --weights"
    assert values(done, "cdnv") == values(call("measure", "mlp", *NAMED), "cdnv")  # the seed decides them
    told = call("measure", "mlp", *NAMED[:-1]).out.replace("\n", " ")
    assert "Weights: untrained, as drawn at first; name trained ones with --weights." in told


def test_a_factory_in_the_current_folder(here, call):
    (here / "nets.py").write_text(
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_classes))\n"
    )
    done = call("measure", "nets:net", "--per-class", "12", "--json")
    assert done.code == 0, done.err
    assert done.json["weights"] == "as nets:net gave them; name others with --weights"
    assert {record["layer"] for record in done.json["records"]} >= {"2", "head", "head.input"}


def test_without_a_head(trained, call):
    done = call("measure", trained, "--head", "none", "--layers", "blocks.0", "--json")
    assert done.code == 0, done.err
    of_weights = {record["layer"] for record in done.json["records"] if "_weight" in record["measure"]}
    assert of_weights == {"blocks.0.linear", "blocks.1.linear", "head"}, "the last layer is one like the others"
    assert {record["layer"] for record in done.json["records"]} - of_weights == {"network", "blocks.0"}


def test_out_is_a_run_folder_with_a_page(trained, call, here):
    done = call("measure", trained, "--out", "m")
    assert done.out.endswith("\nPage: m/report.html\n")
    run = Run.open("m")
    assert set(run.records().split.dropna()) == {"train", "test"}
    assert run.provenance["measured"] == str(trained)
    assert run.provenance["weights"] == str(trained / "weights.safetensors")
    assert run.recipe == Run.open(trained).recipe
    assert call("report", "m").code == 0
    again = call("measure", "m")
    assert again.err == f"deepcollapse: m holds measurements of {trained}, and no network. Name {trained} itself.\n"
    taken = call("measure", trained, "--out", "m")
    assert (taken.code, taken.err) == (
        1,
        "deepcollapse: m is there already. Choose a new or empty folder with --out.\n",
    )


def test_how_a_network_from_elsewhere_was_trained_is_not_made_up(call, here):
    assert call("measure", "mlp", *NAMED, "--out", "m").code == 0
    assert set(Run.open("m").recipe) == {
        "dataset",
        "network",
        "parameters",
        "seed",
        "standardise",
        "per_class",
        "test_per_class",
    }


def test_a_run_that_has_not_ended(trained, call, here):
    shutil.copytree(trained, "half", ignore=shutil.ignore_patterns("weights.safetensors"))
    done = call("measure", "half")
    assert done.code == 1
    assert done.err == (
        "deepcollapse: there are no weights at half/weights.safetensors. If training has not ended yet, go on with "
        "deepcollapse train --resume --out half; or name other weights with --weights.\n"
    )


def test_wrong_weights_are_explained(trained, call, here):
    done = call("measure", "mlp", "--weights", "nowhere.pt", *NAMED)
    assert (done.code, done.json["error"]) == (1, "WeightsError")
    assert done.json["message"] == "there is no file or folder of weights at nowhere.pt."
    save_file({"head.weight": torch.ones(3, 3)}, "other.safetensors")
    done = call("measure", "mlp", "--weights", "other.safetensors", *NAMED)
    assert done.json["message"].startswith("other.safetensors does not fit the network: ")


def test_layers_and_measures_that_are_not_there(trained, call):
    done = call("measure", trained, "--layers", "block.0", "--json")
    assert (done.code, done.json["error"]) == (1, "LayerNameError")
    done = call("measure", trained, "--measures", "cdvn", "--json")
    assert (done.code, done.json["error"]) == (1, "UnknownNameError")
