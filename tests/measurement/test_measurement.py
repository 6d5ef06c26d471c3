"""The result of measuring, as it is read, printed, tabled and written."""

import math

import torch
from torch import nn
from toy import CLASSES, blobs, mlp, raises

from deepcollapse import measure, read_records
from deepcollapse.errors import UnknownNameError
from deepcollapse.records import Run


def test_numbers_are_looked_up_by_measure_and_layer():
    measured = measure(mlp(), [blobs()])
    frame = measured.to_frame().set_index(["measure", "layer"])["value"]
    assert measured["cdnv"] == measured["cdnv", "head.input"] == frame["cdnv", "head.input"]
    assert measured["cdnv", "1"] == frame["cdnv", "1"]
    assert measured["equinorm_classifier"] == frame["equinorm_classifier", "head"]
    assert measured["accuracy"] == frame["accuracy", "network"]
    message = (
        "nothing was measured under 'nc1' at the head or its input. Layers: 1, 3, head.input; to_frame() shows every "
        "number."
    )
    with raises(UnknownNameError, message):
        measured["nc1"]
    hinted = message.replace("'nc1'", "'equinorm_mean'").replace(
        "Layers", "Close names: equinorm_means, mean_norm_means, equiangularity_means. Layers"
    )
    with raises(UnknownNameError, hinted):
        measured["equinorm_mean"]
    with raises(UnknownNameError, message.replace("'nc1' at the head or its input", "'cdnv' at 7")):
        measured["cdnv", "7"]


def test_the_table_fits_80_columns_and_shows_baselines_and_notes():
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a_module_with_quite_a_long_name = nn.ModuleList([mlp(classes=4), mlp(inputs=4, classes=4)])
            self.head = nn.Linear(4, 5)

        def forward(self, x):
            for block in self.a_module_with_quite_a_long_name:
                x = block(x)
            return self.head(x)

    text = str(measure(Deep(), [blobs()], baselines=["untrained", "shuffled labels"], memory_budget=0))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"{'measure':<32}       value at collapse   untrained    shuffled"
    assert [line.split()[0] for line in lines[1:7]] == [
        "within_class_variability",
        "equinorm_means",
        "equiangularity_means",
        "maximal_angle_means",
        "self_duality",
        "nearest_class_mean_disagreement",
    ]
    assert all(len(line.split()) == 5 for line in lines[1:7])
    assert lines[8].split() == ["layer", "NC1", "untrained", "shuffled"]
    assert lines[9].split()[0] == "…odule_with_quite_a_long_name.0"
    assert "note: absent and left out: 3, 4" in lines
    assert "note: features passed the memory budget of 0 bytes: the network ran 4 times" in lines


def test_the_table_without_a_head_and_with_undefined_numbers():
    x, y = blobs()
    text = str(measure(mlp(), [(x, y * 0)], head=None, num_classes=CLASSES))
    assert text.splitlines()[1].split() == ["within_class_variability", "nan", "0"]
    assert "note: 1 of 3 classes have samples;" in text


def test_a_measurement_is_written_to_a_run_and_read_back(tmp_path):
    run = Run.create(
        tmp_path / "run", recipe={"a": 1}, class_names=["a", "b", "c"], data_digest={}, device="cpu", seed=0
    )
    x, y = blobs()
    net = mlp()
    train = measure(net, [(x, y)], baselines=["untrained"], max_scatter_dim=4)
    train.write(run, epoch=3)
    measure(net, [(x, y)], split="test", means_of=train).write(run, epoch=3, step=7)
    frame = read_records(tmp_path / "run")
    assert set(frame["epoch"]) == {3}
    assert set(frame["split"].dropna()) == {"train", "test"}
    assert set(frame.loc[frame["split"].isna(), "layer"]) == {"0", "2"}, "weights are no split's, and are told once"
    assert not frame[frame["step"].notna()]["split"].isna().any()
    row = frame[(frame.measure == "effective_rank_features") & (frame.split == "train")].iloc[0]
    assert math.isnan(row["value"])
    assert row["note"] == "dimension 8 is above max_scatter_dim=4, so no 8 x 8 scatter was kept"
    row = frame[(frame.measure == "cosines_means") & (frame.layer == "head.input") & (frame.split == "train")].iloc[0]
    assert row["array"] == "arrays/epoch-00003-train.safetensors#head.input/cosines_means"
    assert torch.equal(torch.from_numpy(run.read_array(row["array"])), train.arrays["head.input/cosines_means"])
    row = frame[(frame.measure == "simplex_3_points") & (frame.split == "test")].iloc[0]
    assert row["array"].startswith("arrays/epoch-00003-step-7-test.safetensors#")


def test_pictures_hold_points_means_classifier_and_labels_of_three_classes():
    measured = measure(mlp(classes=5), [blobs(90)])
    arrays = {key.removeprefix("head.input/"): value for key, value in measured.arrays.items()}
    assert arrays["simplex_3_points"].shape == (90, 2)
    assert arrays["simplex_3_labels"].tolist() == [0] * 30 + [1] * 30 + [2] * 30
    assert arrays["simplex_3_means"].shape == arrays["simplex_3_classifier"].shape == (3, 2)
    assert "simplex_4_points" not in arrays  # only three classes have samples
    assert torch.allclose(arrays["simplex_3_points"].mean(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-12)


def test_a_head_of_zeros_still_has_a_picture():
    net = mlp()
    nn.init.zeros_(net[4].weight)
    measured = measure(net, [blobs()])
    assert torch.equal(measured.arrays["head.input/simplex_3_classifier"], torch.zeros(3, 2, dtype=torch.float64))
