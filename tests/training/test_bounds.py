"""How far each layer is from rank K stands in the records of a run, beside its last epoch."""

import pytest
from small import files_of, small

from deepcollapse.theory.bounds.records import MEASURES
from deepcollapse.training import Recipe, train
from deepcollapse.training.data import prepare
from deepcollapse.training.estimate import BOUNDING, seconds_of_training
from deepcollapse.training.loop import build_network
from deepcollapse.training.place import Place

PLAIN = small(epochs=2, measurements=2, parameters=("batch_norm=false",))


@pytest.fixture(scope="module")
def plain(tmp_path_factory, few_measures):
    return train(PLAIN, tmp_path_factory.mktemp("runs") / "run", threads=1)


def bounds_of(run):
    """(layer, measure) -> row."""
    rows = run.records()
    rows = rows[rows.measure.isin(MEASURES)]
    assert not rows.duplicated(["layer", "measure"]).any()
    return {(row.layer, row.measure): row for row in rows.itertuples()}


def test_every_layer_has_both_sides_at_the_last_epoch_and_the_bounds_hold(plain):
    rows = bounds_of(plain)
    assert {row.epoch for row in rows.values()} == {2}
    assert {layer for layer, _ in rows} == {"blocks.0.linear", "blocks.1.linear", "head"}
    for layer in ("blocks.0.linear", "blocks.1.linear"):
        distance = rows[layer, "relative_distance_to_rank_k_weight"].value
        assert 0 < distance < 1
        for measure in MEASURES:
            if measure.startswith("rank_collapse_bound"):
                assert rows[layer, measure].value >= distance
        assert rows[layer, "rank_collapse_groups_weight"].value == 10
        note = rows[layer, "relative_distance_to_rank_k_weight"].note
        assert note.startswith("k = 10: not stationary: |decay W + gradient| is ")
    trivial = rows["head", "rank_collapse_bound_weight"]
    assert (trivial.note, trivial.value != trivial.value) == (
        "k = 10: trivially true: with 10 groups no rank of 10 x 48 lies above",
        True,
    )


def test_a_resumed_run_has_the_same_bounds(plain, broken_off):
    folder = broken_off(1, PLAIN)
    assert files_of(train(PLAIN, folder, resume=True).path) == files_of(plain.path)


def test_adamw_and_batch_norm_leave_no_bound_but_the_one_that_needs_no_decay(tmp_path):
    run = train(small(epochs=1, measurements=2, optimiser="adamw", rate=1e-3), tmp_path / "run", threads=1)
    rows = bounds_of(run)
    bound = rows["blocks.0.linear", "rank_collapse_bound_weight"]
    assert bound.value != bound.value
    assert bound.note == (
        "k = 10: scale-invariant, so that decay leaves no stationary point: its output goes into BatchNorm1d "
        "'blocks.0.norm'; AdamW takes decay apart from the gradient, so that no stationary point balances the two"
    )
    distance = rows["blocks.0.linear", "relative_distance_to_rank_k_weight"].value
    assert distance <= rows["blocks.0.linear", "rank_collapse_bound_alignment_weight"].value <= 1


def test_the_time_of_the_bounds_is_in_the_estimate_of_runs_that_reach_their_end(monkeypatch):
    recipe = Recipe(per_class=5, test_per_class=2, epochs=3, width=8, depth=1)
    splits = prepare(recipe)
    network, place = build_network(recipe, splits), Place.choose(recipe, "cpu")
    monkeypatch.setattr("deepcollapse.training.estimate.seconds_a_pass", lambda *_: 1.0)
    monkeypatch.setattr("deepcollapse.training.estimate._fastest", lambda *_: 0.0)
    monkeypatch.setattr("deepcollapse.training.estimate.MEASURING", 0.0)
    ends, broken = (seconds_of_training(recipe, splits, network, place, epochs) for epochs in ([3], [2]))
    measured = {epoch: 2.0 for epoch in recipe.measured_epochs()}
    assert ends - broken == BOUNDING + measured.get(3, 0) - measured.get(2, 0)
