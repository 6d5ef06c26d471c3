import pytest
import torch

from deepcollapse.compression.ternary import ternary_projection
from deepcollapse.compression.ternary.projection import checked_values, project
from deepcollapse.errors import NonFiniteError, OptionError

WEIGHT = torch.tensor([[0.9, -0.2, 0.05], [-1.1, 0.4, -0.6]], dtype=torch.float64)
TERNARY = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)


def test_signs_and_scale_of_a_known_weight():
    signs, scale = ternary_projection(WEIGHT)
    assert signs.tolist() == [[1, 0, 0], [-1, 1, -1]]
    assert scale == pytest.approx(0.75, rel=1e-12)
    # The threshold is .7 mean|w| = .3791666667: what lies on either side of it by a hair goes either way.
    above, below = WEIGHT.clone(), WEIGHT.clone()
    above[1, 1], below[1, 1] = 0.3773, 0.37
    assert 0.7 * WEIGHT.abs().mean() == pytest.approx(0.3791666667, abs=5e-11)
    assert ternary_projection(above)[0][1, 1] == 1
    assert ternary_projection(below)[0][1, 1] == 0


@pytest.mark.parametrize("shape", [(2, 3), (2, 1, 3, 3), (0,)])
def test_nothing_gives_nothing(shape):
    signs, scale = ternary_projection(torch.zeros(shape))
    assert signs.shape == shape
    assert not signs.any()
    assert scale == 0
    codes, scale = project(torch.zeros(shape), TERNARY)
    assert scale == 1
    assert (codes == 1).all()


def test_type_is_kept_and_scale_goes_with_the_weight():
    signs, scale = ternary_projection(WEIGHT.float())
    assert signs.dtype == torch.float32
    assert ternary_projection(4 * WEIGHT)[1] == pytest.approx(4 * scale, rel=1e-6)


def test_a_given_scale_takes_the_nearest_and_the_lower_one_half_way():
    codes, scale = project(torch.tensor([-0.9, -0.5, -0.4, 0.5, 0.6, 7.0]), TERNARY, scale=1.0)
    assert (codes.tolist(), scale) == ([0, 0, 1, 1, 2, 2], 1.0)


def test_other_sets_end_where_neither_scale_nor_assignment_can_be_better():
    weight = torch.randn(200, generator=torch.Generator().manual_seed(0)).double()
    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    codes, scale = project(weight, values)
    assert torch.equal(codes, (weight[:, None] - scale * values).abs().argmin(dim=1))
    q = values[codes]
    assert scale == pytest.approx(float((weight * q).sum() / q.square().sum()), rel=1e-12)


def test_bad_weights_and_sets_are_refused():
    with pytest.raises(NonFiniteError) as error:
        ternary_projection(torch.tensor([1.0, torch.nan]))
    assert str(error.value) == (
        "the weight holds 1 NaN or infinite entries; start from a network that trained without diverging."
    )
    for values, shown in (([1.0], "[1.0]"), ([0.0, 0.0], "[0.0, 0.0]"), ([0.0, torch.inf], "[0.0, inf]")):
        with pytest.raises(OptionError) as refused:
            checked_values(values)
        assert str(refused.value) == f"values must be two or more distinct finite numbers; got {shown}."
    assert checked_values((1, -1)).tolist() == [-1.0, 1.0]
