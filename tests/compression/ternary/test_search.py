"""Budgets, batches, restarts and what comes back; what cannot be searched is refused."""

import math

import pytest
import torch
from torch import nn

from deepcollapse.compression.ternary import train_discrete
from deepcollapse.errors import LabelError, LayerNameError, MemoryBudgetError, NonFiniteError, OptionError, ShapeError
from deepcollapse.networks import build
from unchecked import shapes_unchecked


def problem(n=40):
    torch.manual_seed(0)
    inputs = torch.randn(n, 4)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), inputs, inputs[:, :3].argmax(dim=1)


def test_the_network_stays_as_it_was_and_the_copy_is_ordinary():
    network, inputs, labels = problem()
    network.train()
    before, state = [p.clone() for p in network.parameters()], torch.get_rng_state()
    found = train_discrete(network, inputs, labels, order="random", initial="random", seed=3)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert found.network.training
    assert all(p.requires_grad for p in found.network.parameters())
    for name, scale in found.scales.items():
        weight = found.network.get_submodule(name).weight
        assert weight.dtype == torch.float32
        assert weight.unique().numel() <= 3
        assert torch.equal(weight, (scale * (found.codes[name].double() - 1)).float())
        assert torch.equal(found.network.get_submodule(name).bias, network.get_submodule(name).bias)
    plain = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    plain.load_state_dict(found.network.state_dict())
    loss = nn.functional.cross_entropy(plain(inputs), labels).item()
    assert loss == pytest.approx(found.loss, rel=1e-5)
    assert found.loss < 0.7 * found.start_loss
    assert len(found.path) == found.changes + 1 == len(found.moves) + 1


def test_the_same_seed_gives_the_same_and_restarts_keep_the_best():
    network, inputs, labels = problem()
    options = {"order": "random", "initial": "random"}
    runs = [train_discrete(network, inputs, labels, seed=seed, **options) for seed in (5, 6, 7)]
    together = train_discrete(network, inputs, labels, seed=5, restarts=3, **options)
    assert together.runs == tuple(run.loss for run in runs)
    assert together.loss == min(together.runs)


def test_budgets_end_the_search_and_say_so():
    network, inputs, labels = problem()
    one = train_discrete(network, inputs, labels, sweeps=1)
    assert (one.outcome, len(one.sweeps), one.local_minimum) == ("out of sweeps", 1, False)
    assert one.evaluations == 2 * (24 + 18)
    short = train_discrete(network, inputs, labels, seconds=1e-9)
    assert (short.outcome, short.changes) == ("out of time", 0)
    assert short.loss == short.start_loss


def test_an_interrupt_keeps_what_was_reached():
    network, inputs, labels = problem()
    seen = []

    def stop(sweep):
        seen.append(sweep)
        if len(seen) == 2:
            raise KeyboardInterrupt

    found = train_discrete(network, inputs, labels, progress=stop, restarts=5)
    assert (found.outcome, len(found.runs)) == ("interrupted", 1)
    assert found.sweeps == tuple(seen)
    assert found.loss == pytest.approx(seen[-1].loss, rel=1e-12)
    logits = found.network.double()(inputs.double())
    assert nn.functional.cross_entropy(logits, labels).item() == pytest.approx(found.loss, rel=1e-6)


def test_batches_drawn_anew_keep_the_best_met_on_all_samples():
    network, inputs, labels = problem()
    found = train_discrete(network, inputs, labels, batch_size=10, sweeps=6, order="random")
    assert found.outcome == "out of sweeps"
    assert found.loss == pytest.approx(min(found.start_loss, *(sweep.loss for sweep in found.sweeps)), rel=1e-12)
    logits = found.network.double()(inputs.double())
    assert nn.functional.cross_entropy(logits, labels).item() == pytest.approx(found.loss, rel=1e-5)


def test_a_larger_set_does_at_least_as_well_as_its_part_tried_from_there():
    network, inputs, labels = problem()
    coarse = train_discrete(network, inputs, labels, scale=0.5)
    fine = train_discrete(coarse.network, inputs, labels, values=(-2, -1, 0, 1, 2), scale=0.5, order="random")
    assert fine.start_loss == pytest.approx(coarse.loss, rel=1e-6)
    assert fine.loss <= coarse.loss + 1e-6
    assert fine.local_minimum


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.inside(x)


def refusal(network, inputs, labels, kind, **options):
    with pytest.raises(kind) as error, shapes_unchecked():
        train_discrete(network, inputs, labels, **options)
    return str(error.value)


def test_what_is_no_chain_is_named_and_the_layers_after_it_can_be_searched():
    _, inputs, labels = problem()
    network = nn.Sequential(Residual(), nn.ReLU(), nn.Linear(4, 3))
    kind = "These need a chain of linear maps and convolutions with channelwise functions between"
    assert refusal(network, inputs, labels, LayerNameError) == (
        "module '0' (Residual) stands in the way of trials of single weights: layer '0.inside' lies inside it. "
        f'{kind}; name layers after it alone, for example layers=("head",).'
    )
    found = train_discrete(network, inputs, labels, layers=["2"])
    assert list(found.scales) == ["2"]
    late = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    assert refusal(late, inputs, labels, LayerNameError, layers=["0"]) == (
        "module '1' (LayerNorm) stands in the way of trials of single weights: it is neither a linear map nor a known "
        f"channelwise function. {kind}; name layers after it alone."
    )
    assert refusal(Residual(), inputs, labels, LayerNameError) == (
        "the network itself (Residual) stands in the way of trials of single weights: layer 'inside' lies inside it. "
        f"{kind}; pass an nn.Sequential."
    )
    shared = nn.Linear(4, 4)
    assert refusal(nn.Sequential(shared, nn.ReLU(), shared), inputs, labels, LayerNameError) == (
        "module '2' (Linear) stands in the way of trials of single weights: it is used twice, so one weight acts at "
        f'two places. {kind}; name layers after it alone, for example layers=("head",).'
    )


def test_a_residual_networks_head_alone():
    network = build("resnet18", num_classes=3, image_shape=(1, 8, 8), width=2)
    images, labels = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    found = train_discrete(network, images, labels, layers=["head"])
    assert list(found.scales) == ["head"]
    assert found.local_minimum


def test_options_and_samples_out_of_range():
    network, inputs, labels = problem()
    for options, message in (
        ({"initial": "zeros"}, "initial must be one of round, random; got 'zeros'."),
        ({"loss": "hinge"}, "loss must be one of cross_entropy, squared; got 'hinge'."),
        ({"order": "sorted"}, "order must be one of rows, random, random once; got 'sorted'."),
        ({"moves": "all"}, "moves must be one of in turn, best; got 'all'."),
        ({"engine": "cuda"}, "engine must be one of auto, compiled, torch; got 'cuda'."),
        ({"scale": 0.0}, "scale must be above 0 and finite, or None for one a layer; got 0.0."),
        ({"scale": math.nan}, "scale must be above 0 and finite, or None for one a layer; got nan."),
        ({"screening": 1.5}, "screening is a share of the weights, above 0 and at most 1; got 1.5."),
        ({"sweeps": -1}, "sweeps must be at least 0, or None for no limit; got -1."),
        ({"seconds": 0.0}, "seconds must be above 0, or None for no limit; got 0.0."),
        ({"restarts": 0}, "restarts must be at least 1; got 0."),
        ({"batch_size": 0}, "batch_size must be at least 1, or None for all samples; got 0."),
        (
            {"batch_size": 4},
            "with batch_size every sweep sees other samples and no sweep can be the last; give sweeps or seconds.",
        ),
    ):
        assert refusal(network, inputs, labels, OptionError, **options) == message
    assert refusal(network, inputs, labels + 1, LabelError) == (
        f"{int((labels == 2).sum())} of 40 labels lie outside 0 to 2, for which the network has logits; the first is 3."
    )
    assert refusal(network, inputs, labels[:3], ShapeError) == (
        "40 inputs came with labels of shape (3,); expected one label for each input, and at least one of both."
    )
    inputs[3, 1] = math.inf
    assert refusal(network, inputs, labels, NonFiniteError) == ("1 of 40 inputs hold NaN or infinity; leave them out.")


def test_more_samples_than_memory_holds_are_refused_before_it_is_taken(monkeypatch):
    network, inputs, labels = problem()
    monkeypatch.setattr("deepcollapse.compression.ternary.stages.memory_of", lambda device: 2**14)
    assert refusal(network, inputs, labels, MemoryBudgetError) == (
        "trials would keep 48 numbers for each of 40 samples, 0 GiB of 0; give fewer samples, or name later layers "
        "alone."
    )


def test_what_compiled_loops_cannot_run():
    _, inputs, labels = problem()
    gelu = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))
    assert refusal(gelu, inputs, labels, OptionError, engine="compiled") == (
        "engine='compiled' runs chains of linear layers alone: GELU after layer '0' is not among its functions. "
        "Use engine='torch'."
    )
    assert train_discrete(gelu, inputs, labels).local_minimum


@pytest.mark.parametrize("engine", ["torch", "compiled"])
@pytest.mark.parametrize(
    ("seed", "moves"), [(0, "in turn"), (30, "in turn"), (34, "in turn"), (9, "best"), (41, "best")]
)
def test_logits_that_are_rounded_by_more_than_losses_differ_do_not_let_the_loss_rise(seed, moves, engine):
    torch.manual_seed(seed)
    widths = [(4, 6), (6, 6), (6, 3)]
    linear = [nn.Linear(*width, bias=False) for width in widths]
    network = nn.Sequential(linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])
    scale = 10.0 ** torch.randint(5, 13, ()).item()
    inputs = torch.randn(16, 4) * scale
    inputs[:8] *= 3 / scale
    found = train_discrete(network, inputs, torch.randint(0, 3, (16,)), engine=engine, moves=moves, sweeps=100)
    assert found.outcome == "local minimum"
    losses = [found.start_loss, *(sweep.loss for sweep in found.sweeps)]
    assert losses == sorted(losses, reverse=True)
    assert found.loss <= found.start_loss
