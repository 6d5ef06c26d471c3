"""Laws over the layers: the worked examples, the law held to the letter, and layers that cannot be fitted."""

import math
import re

import pytest
from examples import assert_digits
from hypothesis import given, settings
from hypothesis.strategies import floats, integers

from deepcollapse.errors import NonFiniteError, OptionError, ShapeError
from deepcollapse.geometry.separation import effective_depth, equi_separation, tunnel_start


def test_effective_depth():
    errors = [0.4, 0.2, 0.03, 0.008, 0.009]
    assert effective_depth(errors, eps=0.01) == 4
    assert effective_depth(errors, eps=0.5) == 1
    assert effective_depth(errors, eps=0.001) == 6
    assert effective_depth([0.1, 0.05], eps=0.05) == 2


def test_tunnel_start():
    accuracies = [0.2, 0.5, 0.86, 0.89, 0.9]
    assert tunnel_start(accuracies) == 4
    assert tunnel_start(accuracies, share=0.95) == 3
    assert tunnel_start(accuracies, share=1.0) == 5
    assert tunnel_start([0.99, 0.1]) == 1


def test_worked_example():
    law = equi_separation([20, 9, 4.5, 2.1, 1, 0.52])
    assert_digits(law.rho, 0.481192064829921)
    assert_digits(law.intercept, 2.95956281765478)
    assert_digits(law.correlation, -0.999684366130507)
    assert_digits(law.r_squared, 0.999684366130507**2)


@given(layers=integers(2, 12), rho=floats(0.1, 3), first=floats(1e-300, 1e300))
@settings(derandomize=True, max_examples=25, deadline=None)
def test_the_law_to_the_letter(layers, rho, first):
    if abs(math.log(rho)) < 1e-3:
        return
    law = equi_separation([first * rho**layer for layer in range(layers)])
    assert_digits(law.rho, rho)
    assert_digits(law.intercept, math.log(first), atol=1e-10)
    assert_digits(law.correlation, math.copysign(1, math.log(rho)), rtol=1e-6)


@pytest.mark.parametrize("fuzziness", [[], [2.0], [2.0, 0.0], [2.0, -1.0], [2.0, math.nan], [math.inf, 1.0]])
def test_what_has_no_law(fuzziness):
    law = equi_separation(fuzziness)
    assert_digits([law.rho, law.intercept, law.correlation, law.r_squared], [math.nan] * 4)


def test_constant_fuzziness_has_no_correlation():
    law = equi_separation([0.1, 0.1, 0.1])
    assert_digits([law.rho, law.intercept, law.correlation, law.r_squared], [1, math.log(0.1), math.nan, math.nan])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: effective_depth([], eps=0.1), ShapeError,
         "errors is empty; pass one number for each layer, in order of depth."),
        (lambda: effective_depth([0.1, math.nan], eps=0.1), NonFiniteError,
         "errors of layer 2 of 2 is nan; leave that layer out."),
        (lambda: tunnel_start([]), ShapeError,
         "accuracies is empty; pass one number for each layer, in order of depth."),
        (lambda: tunnel_start([0.5], share=1.5), OptionError, "share must be above 0 and at most 1; got 1.5."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
