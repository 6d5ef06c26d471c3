import pytest
from small import series

from deepcollapse.training import Recipe, train


@pytest.mark.slow
def test_the_default_recipe_collapses(tmp_path):
    # Measured less often, which changes nothing in training (test_loop.py), and takes a third of the time.
    run = train(Recipe(measurements=2, layers=("head.input",)), tmp_path / "run")
    [(onset, _)] = series(run, "tpt_onset").items()
    assert onset < 50
    assert series(run, "accuracy")[200] == 1

    def fall(measure, layer="head.input"):
        values = series(run, measure, layer)
        return values[onset] / values[200]

    assert fall("within_class_variability") >= 10
    assert fall("equinorm_means") >= 2
    assert fall("equiangularity_means") >= 2
    assert fall("self_duality") >= 2
