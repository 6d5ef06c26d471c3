"""Measuring inside a loop of the user's own."""

import math

import pytest
import torch
from torch import nn
from toy import CLASSES, assert_same_numbers, blobs, cut, hooks_of, mlp, raises

from deepcollapse import Monitor, measure
from deepcollapse.errors import BatchError, CaptureError, OptionError

NO_PASS = (
    "labels were given and no forward pass of the monitored network was finished with them. Call monitor.labels(y) "
    "right before network(x), and open the monitor on the network that is called (for a compiled one, either)."
)


def watch(net: nn.Module, batches: list, **how) -> Monitor:
    with Monitor(net, **how) as monitor:
        for x, y in batches:
            monitor.labels(y)
            net(x)
    return monitor


def test_a_monitor_finds_what_measure_finds():
    net, batches = mlp().eval(), cut(*blobs(), 25)
    for how in ({}, {"weighting": "sample"}, {"layers": ["0", "input"]}, {"measures": ["cdnv"]}):
        assert_same_numbers(watch(net, batches, **how).compute(), measure(net, batches, **how))
    assert sum(hooks_of(net)) == 0


def test_a_test_split_is_held_against_the_class_means_of_train():
    net, train, test = mlp().eval(), [blobs()], cut(*blobs(30, seed=2), 10)
    trained = watch(net, train).compute()
    tested = watch(net, test, split="test", means_of=trained).compute()
    assert_same_numbers(tested, measure(net, test, split="test", means_of=trained))


def test_in_training_the_measurement_says_that_features_moved_and_gradients_flow():
    net, batches = mlp().train(), cut(*blobs(), 25)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    with Monitor(net) as monitor:
        for x, y in batches:
            monitor.labels(y)
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
    measured = monitor.compute()
    assert net.training
    assert measured.notes == ("the network ran in training mode: features moved while they were measured",)
    assert measured.moments["1"].num_samples == 60
    assert not measured.moments["1"].mean.requires_grad


def test_labels_without_a_forward_pass():
    net, y = mlp().eval(), blobs()[1]
    with raises(CaptureError, NO_PASS), Monitor(net) as monitor:
        monitor.labels(y)
        monitor.labels(y)
    with raises(CaptureError, NO_PASS), Monitor(net) as monitor:
        monitor.labels(y)
    assert sum(hooks_of(net)) == 0


def test_a_forward_pass_without_labels_is_warned_of_once_and_counted():
    net, (x, y) = mlp().eval(), blobs()
    message = "^the monitored network ran without monitor.labels"
    with pytest.warns(UserWarning, match=message) as caught, Monitor(net) as monitor:  # noqa: PT031
        net(x)
        monitor.labels(y)
        net(x)
        net(x)
    assert len(caught) == 1
    measured = monitor.compute()
    assert measured.notes == ("2 forward passes came without labels and are left out",)
    assert measured.moments["1"].num_samples == 60


def test_reset_starts_anew():
    net, epochs = mlp().eval(), ([blobs()], cut(*blobs(seed=5), 30))
    expected = [measure(net, batches) for batches in epochs]
    with Monitor(net) as monitor:
        for batches, whole in zip(epochs, expected, strict=True):
            monitor.reset()
            for x, y in batches:
                monitor.labels(y)
                net(x)
            assert_same_numbers(monitor.compute(), whole)


def test_beyond_the_budget_a_second_look_is_nan_with_the_reason_and_the_rest_stands():
    net, batches = mlp().eval(), cut(*blobs(), 25)
    measured = watch(net, batches, memory_budget="1kB").compute()
    reason = (
        "it takes a second look at the features, and those passed the memory budget of 1000 bytes; raise "
        "memory_budget, or use deepcollapse.measure, which runs the network twice"
    )
    for name in ("within_class_variability", "nearest_class_mean_disagreement", "nearest_class_mean_accuracy"):
        assert math.isnan(measured[name])
        assert next(r.note for r in measured.records if r.measure == name) == reason
    expected = measure(net, batches)
    for name in ("cdnv", "trace_ratio", "equinorm_means", "self_duality", "effective_rank_features"):
        assert measured[name] == expected[name]
    assert measured["accuracy", "network"] == expected["accuracy", "network"]
    assert measured.notes == ("features passed the memory budget of 1000 bytes: measures of a second look are NaN",)


def test_what_was_seen_in_inference_mode_and_under_autocast_is_measured_outside():
    net, batches = mlp().eval(), cut(*blobs(), 25)
    with torch.inference_mode():
        monitor = watch(net, batches)
    assert_same_numbers(monitor.compute(), measure(net, batches))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        monitor = watch(net, batches)
        inside = monitor.compute()
        expected = measure(net, batches)
    assert_same_numbers(inside, monitor.compute())
    assert_same_numbers(inside, expected)


def test_inference_mode_may_begin_and_end_while_a_monitor_is_open():
    net, batches = mlp().eval(), cut(*blobs(), 25)
    with Monitor(net) as monitor:
        for number, (x, y) in enumerate(batches):
            with torch.inference_mode(number == 0):
                monitor.labels(y)
                net(x)
    assert_same_numbers(monitor.compute(), measure(net, batches))


def test_the_classifier_is_that_of_the_last_forward_pass():
    net, (x, y) = mlp().double().eval(), blobs()
    expected = measure(net, [(x, y)])
    monitor = watch(net, [(x.double(), y)])
    nn.init.zeros_(net[4].weight)
    assert_same_numbers(monitor.compute(), expected)


def test_an_exception_removes_the_hooks_and_comes_through():
    net, (x, y) = mlp().eval(), blobs()
    net[0].register_forward_hook(lambda *_: None)
    before = hooks_of(net)
    with pytest.raises(ZeroDivisionError), Monitor(net) as monitor:  # noqa: PT012
        monitor.labels(y)
        _ = 1 / 0
    assert hooks_of(net) == before
    with monitor:  # and the monitor can be used again
        monitor.reset()
        monitor.labels(y)
        net(x)
    assert_same_numbers(monitor.compute(), measure(net, [(x, y)]))


def test_a_forward_pass_that_failed_does_not_count():
    net, (x, y) = mlp().eval(), blobs()
    with Monitor(net) as monitor:
        monitor.labels(y)
        with pytest.raises(RuntimeError):
            net(x[:, :1])
        with raises(CaptureError, NO_PASS):
            monitor.labels(y)
        monitor.labels(y)
        net(x)
    assert monitor.compute().moments["1"].num_samples == 60


def test_a_monitor_that_is_not_open_or_open_twice():
    net = mlp().eval()
    monitor = Monitor(net)
    message = "this monitor is not open, so it sees no forward pass. Use it inside `with monitor:`."
    with raises(CaptureError, message):
        monitor.labels(torch.zeros(3))
    with monitor:
        message = "this monitor is open already; use one `with monitor:` block at a time."
        with raises(CaptureError, message), monitor:
            pass
    assert sum(hooks_of(net)) == 0
    message = "the batches held nothing, so there is nothing to measure. Is the data loader empty?"
    with raises(BatchError, message):
        monitor.compute()


def test_arguments_are_checked_at_once():
    message = "the number of classes is read from the head, and none was given (head=None). Pass num_classes=..."
    with raises(OptionError, message):
        Monitor(mlp(), head=None)
    assert watch(mlp().eval(), [blobs()], head=None, num_classes=CLASSES).compute().layers == ("1", "3")


def test_two_monitors_on_one_network_do_not_mix():
    net, (x, y) = mlp().eval(), blobs()
    with Monitor(net, layers="0") as one, Monitor(net, layers="1") as two:
        for monitor in (one, two):
            monitor.labels(y)
        net(x)
    assert_same_numbers(one.compute(), measure(net, [(x, y)], layers="0"))
    assert_same_numbers(two.compute(), measure(net, [(x, y)], layers="1"))


def test_computing_in_inference_mode_gives_what_is_usable_outside():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    x, y = torch.randn(40, 3), torch.arange(40) % 2
    with torch.inference_mode():
        with Monitor(net) as monitor:
            monitor.labels(y)
            net(x)
        inside = monitor.compute()
    assert inside["within_class_variability"] == monitor.compute()["within_class_variability"]
    assert not inside.moments["head.input"].mean.is_inference()


def test_a_new_start_forgets_the_precision_of_what_was_before():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    x, y = torch.randn(40, 3), torch.arange(40) % 2
    with Monitor(net) as monitor:
        monitor.labels(y)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            net(x)
        assert monitor.compute()["feature_bits"] == 16
        monitor.reset()
        monitor.labels(y)
        net(x)
        assert monitor.compute()["feature_bits"] == 32
