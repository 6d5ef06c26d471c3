"""Two small problems whose every step is known."""

import itertools

import pytest
import torch
from torch import nn

from deepcollapse.compression.ternary import train_discrete

ENGINES = ("torch", "compiled")
C_X, C_Y = torch.tensor([[1.0, 0], [0, 1], [1, 1], [2, -1]]), torch.tensor([0, 1, 1, 0])
D_X, D_Y = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]), torch.tensor([0, 1, 1, 0])
D_1 = torch.tensor([[1.0, 0, -1], [1, 1, 0], [0, -1, 1]])
D_2 = torch.tensor([[1.0, -1], [0, 1], [-1, 0]])


def network(*weights):
    """Maps x W1, relu, x W2, ... without biases; weights are (inputs, outputs)."""
    layers = []
    for weight in weights:
        layer = nn.Linear(*weight.shape, bias=False)
        layer.weight.data = weight.T.clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def weight(result, name):
    return result.network.get_submodule(name).weight.detach().T


@pytest.mark.parametrize("engine", ENGINES)
def test_one_layer_goes_the_known_way(engine):
    found = train_discrete(network(torch.zeros(2, 2)), C_X, C_Y, engine=engine)
    assert found.path == pytest.approx((0.6931471805599453, 0.61164964, 0.34206448, 0.1929003285), abs=5e-9)
    # Sweep 1 sees .69314718, .61164964, .61164964, .34206448, .19290033: all but the second weight move.
    assert found.moves.tolist() == [[0, 0, 0, 2], [0, 1, 0, 0], [0, 1, 1, 2]]
    assert [(s.changes, s.evaluations) for s in found.sweeps] == [(3, 8), (0, 8)]
    assert (found.changes, found.evaluations, found.outcome) == (3, 16, "local minimum")
    assert weight(found, "0").tolist() == [[1, 0], [-1, 1]]


def test_one_layer_ends_at_one_of_the_two_optima_of_all_81():
    losses = []
    for values in itertools.product((-1.0, 0.0, 1.0), repeat=4):
        logits = C_X.double() @ torch.tensor(values, dtype=torch.float64).reshape(2, 2)
        losses.append(float(nn.functional.cross_entropy(logits, C_Y)))
    found = train_discrete(network(torch.zeros(2, 2)), C_X, C_Y)
    assert found.loss == pytest.approx(min(losses), rel=1e-12)
    assert min(losses) == pytest.approx(0.1929003285, abs=5e-11)
    assert sum(loss < min(losses) + 1e-9 for loss in losses) == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_two_layers_in_turn(engine):
    found = train_discrete(network(D_1, D_2), D_X, D_Y, engine=engine)
    assert found.start_loss == pytest.approx(1.1929003285, abs=5e-11)
    assert found.loss == pytest.approx(0.753204434, abs=5e-10)
    assert [s.changes for s in found.sweeps] == [3, 0]
    assert weight(found, "0").tolist() == [[0, 0, 0], [1, 1, 1], [0, -1, 1]]
    assert weight(found, "2").tolist() == D_2.tolist()
    assert found.scales == {"0": 1.0, "2": 1.0}


@pytest.mark.parametrize("engine", ENGINES)
def test_two_layers_by_the_best_of_all_moves_get_further(engine):
    found = train_discrete(network(D_1, D_2), D_X, D_Y, engine=engine, moves="best")
    path = (1.19290033, 0.61164964, 0.55159239, 0.50320443, 0.45662101, 0.41003760)
    assert found.path == pytest.approx(path, abs=5.1e-9)
    assert found.path[1] == pytest.approx(0.6116496416, abs=1e-10)
    assert found.moves[0].tolist() == [0, 2, 0, 0]
    assert (len(found.sweeps), found.outcome) == (6, "local minimum")
    assert {s.evaluations for s in found.sweeps} == {30}


@pytest.mark.parametrize("engine", ENGINES)
def test_from_nothing_no_single_weight_leads_anywhere(engine):
    start = network(torch.zeros(3, 3), torch.zeros(3, 2))
    found = train_discrete(start, D_X, D_Y, engine=engine)
    assert found.loss == pytest.approx(0.6931471805599453, rel=1e-15)
    assert (found.changes, found.outcome, len(found.sweeps)) == (0, "local minimum", 1)


def test_random_orders_end_in_many_places_and_few_get_far():
    found = train_discrete(network(D_1, D_2), D_X, D_Y, order="random once", restarts=200, engine="compiled")
    assert min(found.runs) == pytest.approx(0.2684828, abs=5e-8)
    assert max(found.runs) == pytest.approx(0.8616496, abs=5e-8)
    assert len({round(loss, 6) for loss in found.runs}) > 5
    assert found.loss == min(found.runs)
    assert sum(loss < 0.3 for loss in found.runs) < 40
