"""The judges on the rank that mini-batch descent leaves, at the edges of their criteria: runs made by hand."""

import pandas
import pytest

from deepcollapse.records.study import Judgement
from deepcollapse.studies.galanti2022 import STUDY
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.training import Recipe

SMOKE = STUDY.scales["smoke"]
CLAIMS = {claim.id: claim for claim in STUDY.claims}
BATCHES, FADED = SMOKE["batches"], SMOKE["faded"]
MIDDLE = {name: SMOKE[name] for name in ("epochs", "batch", "rate", "decay")}


def run(tmp_path, seed=0, rank=10.0, memory=(1e-16, 0.1, 0.5, 0.1, 0.5), left=None, **setting) -> Finished:
    """A run of which the rank of one layer and what its last steps left are known."""
    recipe = Recipe(seed=seed, momentum=0.0, **(MIDDLE | setting))
    parts = ("error", "tail", "bound", "frobenius_tail", "frobenius_bound")
    rows = [("rank_at_one_per_mille_of_norm_weight", "blocks.0", rank)]
    rows += [(f"rank_memory_{part}_weight", "blocks.0", value) for part, value in zip(parts, memory, strict=True)]
    rows += [("initial_weights_left", "network", left)] if left is not None else []
    frame = pandas.DataFrame(rows, columns=["measure", "layer", "value"])
    frame = frame.assign(split=None, baseline=None, epoch=recipe.epochs, array=None)
    return Finished(recipe, tmp_path / f"{recipe.batch}-{recipe.rate}-{recipe.decay}-{recipe.epochs}-{seed}", frame)


def judged(claim: str, runs: list[Finished]) -> Judgement:
    (found,) = CLAIMS[claim].judged(Evidence(SMOKE, runs)).judgements
    return found


def over_batches(tmp_path, ranks, seeds=3, **setting) -> list[Finished]:
    return [
        run(tmp_path, seed, rank, batch=batch, **setting)
        for seed in range(seeds)
        for batch, rank in zip(BATCHES, ranks, strict=True)
    ]


@pytest.mark.parametrize(
    ("ranks", "rising", "falling"),
    [
        ((1, 2, 3, 4, 5), "holds", "fails"),
        ((1, 2, 4, 3, 5), "holds", "fails"),  # correlation 0.9
        ((1, 2, 5, 3, 4), "fails", "fails"),  # 0.7
        ((5, 4, 2, 3, 1), "fails", "holds"),
        ((5, 3, 4, 1, 2), "fails", "holds"),  # -0.8
        ((4, 3, 5, 2, 1), "fails", "fails"),  # -0.7
        ((3, 3, 3, 3, 3), "fails", "fails"),
    ],
)
def test_rank_is_to_follow_each_setting(tmp_path, ranks, rising, falling):
    runs = over_batches(tmp_path, ranks)
    assert judged("batch", runs).verdict == rising
    assert judged("batch", [one for one in runs if one.recipe.batch > 1]).verdict == "not tested"
    for setting in ("rate", "decay"):
        swept = [
            run(tmp_path, seed, float(rank), **{setting: at})
            for seed in range(3)
            for at, rank in zip(SMOKE[f"{setting}s"], ranks, strict=True)
        ]
        assert judged(setting, swept).verdict == falling


def equal_steps(tmp_path, ranks) -> list[Finished]:
    return [
        run(tmp_path, seed, rank, batch=batch, epochs=epochs)
        for seed in range(3)
        for (batch, epochs), rank in zip(FADED.items(), ranks, strict=True)
    ]


def test_runs_of_equal_steps_and_of_equal_epochs_are_judged_apart(tmp_path):
    up, down = (1.0, 2.0, 3.0, 4.0, 5.0), (5.0, 4.0, 3.0, 2.0, 1.0)
    both = over_batches(tmp_path, up) + equal_steps(tmp_path, down)
    assert [judged(claim, both).verdict for claim in ("batch", "faded")] == ["holds", "fails"]
    both = over_batches(tmp_path, down) + equal_steps(tmp_path, up)
    assert [judged(claim, both).verdict for claim in ("batch", "faded")] == ["fails", "holds"]
    assert judged("faded", over_batches(tmp_path, up)).verdict == "not tested"


@pytest.mark.parametrize("scale", STUDY.scales.values(), ids=STUDY.scales.keys())
def test_runs_for_equal_steps_take_equally_many(scale):
    """Of 10 classes, or of MNIST where all of it is trained on."""
    samples = 10 * (scale["per_class"] or 6000)
    steps = [epochs * -(-samples // batch) for batch, epochs in scale["faded"].items()]
    assert len(steps) >= 5
    assert max(steps) <= 1.01 * min(steps)
    found = {(r.batch, r.epochs) for r in STUDY.recipes(scale) if (r.rate, r.decay) == (scale["rate"], scale["decay"])}
    assert found >= {*scale["faded"].items(), *((batch, scale["epochs"]) for batch in scale["batches"])}


def test_what_is_left_of_initial_weights_is_told_at_both_ends(tmp_path):
    shares = dict(zip(BATCHES, (3e-20, 1e-9, 1e-5, 1e-3, 0.0612), strict=True))
    runs = [
        run(tmp_path, seed, float(batch), batch=batch, left=shares[batch]) for batch in BATCHES for seed in range(3)
    ]
    assert judged("batch", runs).measured == (
        "correlation with batch size 1 (1 to 1); mean rank 1 (1 to 1) at batch 1, 16 (16 to 16) at batch 16; of the "
        "initial weights 3e-20 is left at batch 1, 0.061 at batch 16"
    )


@pytest.mark.parametrize(("without", "verdict"), [(1.9, "holds"), (2.1, "fails"), (-1.9, "holds"), (-2.1, "fails")])
def test_without_decay_a_fifth_of_the_effect_is_allowed(tmp_path, without, verdict):
    rises = over_batches(tmp_path, (10.0, 13.0, 15.0, 18.0, 20.0))
    still = over_batches(tmp_path, (10.0, 90.0, 0.0, 50.0, 10.0 + without), decay=0.0)
    assert judged("none", rises + still).verdict == verdict
    assert judged("none", over_batches(tmp_path, (3.0,) * 5) + still).verdict == "fails"  # no effect to share


def test_a_batch_that_is_missing_is_not_replaced_by_the_next(tmp_path):
    rises = over_batches(tmp_path, (10.0, 13.0, 15.0, 18.0, 20.0))
    moves = over_batches(tmp_path, (10.0, 12.0, 13.0, 14.0, 15.0), decay=0.0)
    assert judged("none", rises + moves).verdict == "fails"
    for missing in (BATCHES[0], BATCHES[-1]):
        left = [one for one in moves if one.recipe.batch != missing]
        found = judged("none", rises + left)
        assert (found.verdict, found.why) == (
            "not tested",
            "the criterion is for at least 3 seeds with the smallest and the largest batch, of 1 and 16, with decay "
            "and without, and 0 have these",
        )
    assert judged("none", rises + [one for one in moves if one.recipe.batch != 4]).verdict == "fails"


@pytest.mark.parametrize(
    ("memory", "verdict"),
    [
        ((1e-10, 0.5, 0.5, 0.5, 0.5), "holds"),
        ((1.1e-10, 0.5, 0.5, 0.5, 0.5), "fails"),  # the identity
        ((1e-16, 0.5 + 1e-9, 0.5, 0.5, 0.5), "fails"),  # the spectral norm
        ((1e-16, 0.5, 0.5, 0.5 + 1e-9, 0.5), "fails"),  # the Frobenius norm
    ],
)
def test_identity_and_both_inequalities_are_to_hold_in_every_run(tmp_path, memory, verdict):
    assert judged("bound", [run(tmp_path), run(tmp_path, 1, memory=memory)]).verdict == verdict
