"""The update rules: steps computed by hand, factors, states, and PyTorch's optimizers where it is installed."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from numba_tconv import adamupdate, rmspropupdate, sgdmupdate, transposedConv1dLayer


def layer_of_two_numbers(**options):
    """Return a layer whose parameters are the numbers 2, with one tap, and 1."""
    return transposedConv1dLayer(1, 1, Weights=[[2.0]], Bias=[1.0], **options)


def gradient(weights, bias):
    return {"Weights": np.full((1, 1, 1), weights, float), "Bias": np.full((1, 1), bias, float)}


def numbers(arrays):
    """Return the two numbers in a layer or in a state."""
    if not isinstance(arrays, dict):
        arrays = {"Weights": arrays.Weights, "Bias": arrays.Bias}
    return arrays["Weights"].item(), arrays["Bias"].item()


# Each solver as a function of (net, gradient, state, iteration), and a state as the tuple of what it returns.


def sgdm(net, grad, state, iteration, **options):
    net, *state = sgdmupdate(net, grad, *(state or ([],)), 0.1, 0.5, **options)
    return net, state


def adam(net, grad, state, iteration, **options):
    net, *state = adamupdate(net, grad, *(state or ([], [])), iteration, 0.1, 0.5, 0.75, 1.0, **options)
    return net, state


def rmsprop(net, grad, state, iteration, **options):
    net, *state = rmspropupdate(net, grad, *(state or ([],)), 0.1, 0.75, 1.0, **options)
    return net, state


SOLVERS = [sgdm, adam, rmsprop]


# -- by hand -------------------------------------------------------------------------------------------------------


def test_sgdm_by_hand():
    """Rate 0.1, momentum 0.5. The weight has twice the rate; L2 0.5 acts on the weight alone, as by default."""
    layer = layer_of_two_numbers(WeightLearnRateFactor=2)
    # weight: g = 3 + 0.5*2 = 4, v = -0.2*4 = -0.8, p = 2 - 0.8 = 1.2;  bias: v = -0.1*4 = -0.4, p = 1 - 0.4 = 0.6
    layer, vel = sgdmupdate(layer, gradient(3, 4), [], 0.1, 0.5, L2Regularization=0.5)
    assert_allclose(numbers(layer), (1.2, 0.6), rtol=1e-14)
    assert_allclose(numbers(vel), (-0.8, -0.4), rtol=1e-14)
    # weight: g = 3 + 0.5*1.2 = 3.6, v = 0.5*-0.8 - 0.2*3.6 = -1.12, p = 0.08
    # bias: v = 0.5*-0.4 - 0.1*2 = -0.4, p = 0.2
    layer, vel = sgdmupdate(layer, gradient(3, 2), vel, 0.1, 0.5, L2Regularization=0.5)
    assert_allclose(numbers(layer), (0.08, 0.2), rtol=1e-13)
    assert_allclose(numbers(vel), (-1.12, -0.4), rtol=1e-14)


def test_adam_by_hand():
    """Rate 0.1, decays 0.5 and 0.75, epsilon 1. The bias has half the rate; L2 1 acts on the bias alone."""
    layer = layer_of_two_numbers(BiasLearnRateFactor=0.5, WeightL2Factor=0, BiasL2Factor=1)
    # weight: g = 2, m = 0.5*2 = 1, v = 0.25*4 = 1, m/(1 - 0.5) = 2, v/(1 - 0.75) = 4, p = 2 - 0.1*2/(2 + 1)
    # bias: g = 3 + 1 = 4, m = 2, v = 4, m/(1 - 0.5) = 4, v/(1 - 0.75) = 16, p = 1 - 0.05*4/(4 + 1) = 0.96
    layer, m, v = adamupdate(layer, gradient(2, 3), [], [], 1, 0.1, 0.5, 0.75, 1, L2Regularization=1)
    assert_allclose(numbers(layer), (29 / 15, 0.96), rtol=1e-14)
    assert_allclose(numbers(m), (1, 2), rtol=1e-14)
    assert_allclose(numbers(v), (1, 4), rtol=1e-14)
    # weight: g = 4, m = 0.5 + 2 = 2.5, v = 0.75 + 4 = 4.75, m/0.75 = 10/3, v/0.4375 = 76/7,
    #         p = 29/15 - 0.1*(10/3)/(sqrt(76/7) + 1) = 1.9333333 - 0.0776093 = 1.8557240
    # bias: g = 0.04 + 0.96 = 1, m = 1.5, v = 3.25, m/0.75 = 2, v/0.4375 = 52/7,
    #       p = 0.96 - 0.05*2/(sqrt(52/7) + 1) = 0.96 - 0.0268417 = 0.9331583
    layer, m, v = adamupdate(layer, gradient(4, 0.04), m, v, 2, 0.1, 0.5, 0.75, 1, L2Regularization=1)
    assert_allclose(numbers(layer), (1.8557240, 0.9331583), rtol=1e-7)
    assert_allclose(numbers(m), (2.5, 1.5), rtol=1e-14)
    assert_allclose(numbers(v), (4.75, 3.25), rtol=1e-14)


def test_rmsprop_by_hand():
    """Rate 0.1, decay 0.75, epsilon 1. L2 0.5, times 2 for the weight and 1 for the bias."""
    layer = layer_of_two_numbers(WeightL2Factor=2, BiasL2Factor=1)
    # weight: g = 2 + 1*2 = 4, v = 0.25*16 = 4, p = 2 - 0.1*4/(2 + 1);  bias: g = 1.5 + 0.5 = 2, v = 1, p = 1 - 0.1*2/2
    layer, v = rmspropupdate(layer, gradient(2, 1.5), [], 0.1, 0.75, 1, L2Regularization=0.5)
    assert_allclose(numbers(layer), (28 / 15, 0.9), rtol=1e-14)
    assert_allclose(numbers(v), (4, 1), rtol=1e-14)
    # weight: g = 2 + 28/15 - 28/15 = 2, v = 3 + 1 = 4, p = 28/15 - 0.1*2/3 = 1.8
    # bias: g = 3.55 + 0.45 = 4, v = 0.75 + 4 = 4.75, p = 0.9 - 0.4/(sqrt(4.75) + 1) = 0.9 - 0.1258080 = 0.7741920
    layer, v = rmspropupdate(layer, gradient(2 - 28 / 15, 3.55), v, 0.1, 0.75, 1, L2Regularization=0.5)
    assert_allclose(numbers(layer), (1.8, 0.7741920), rtol=1e-7)
    assert_allclose(numbers(v), (4, 4.75), rtol=1e-14)


def test_defaults_are_matlabs():
    """One step from 0 with the gradient 1: minus the rate, times what the rule makes of a gradient of 1."""
    zero, one = {"p": np.zeros(1)}, {"p": np.ones(1)}
    net, vel = sgdmupdate(zero, one)
    assert_allclose(net["p"], -0.01)
    assert_allclose(sgdmupdate(zero, one, vel)[1]["p"], -0.01 * 1.9)
    net, m, v = adamupdate(zero, one, None, None, 1)
    assert_allclose((net["p"], m["p"], v["p"]), [[-0.001], [0.1], [0.001]], rtol=1e-7)
    net, v = rmspropupdate(zero, one)
    assert_allclose((net["p"], v["p"]), [[-0.001 / 0.1**0.5], [0.1]], rtol=1e-6)
    epsilon_counts = {"p": np.full(1, 1e-8)}
    assert_allclose(adamupdate(zero, epsilon_counts, [], [], 1)[0]["p"], -0.0005, rtol=1e-6)


# -- factors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("frozen", "other"), [("Weights", "Bias"), ("Bias", "Weights")])
def test_a_factor_of_0_freezes_a_parameter_and_its_state(solver, frozen, other):
    layer, state = solver(layer_of_two_numbers(), gradient(3, 4), None, 1)  # a velocity to be left over
    setattr(layer, {"Weights": "WeightLearnRateFactor", "Bias": "BiasLearnRateFactor"}[frozen], 0)
    after, new_state = solver(layer, gradient(np.nan, np.nan), state, 2, L2Regularization=0.1)
    assert_array_equal(getattr(after, frozen), getattr(layer, frozen), strict=True)
    assert np.isnan(getattr(after, other)).all()
    for old, new in zip(state, new_state, strict=True):
        assert_array_equal(new[frozen], old[frozen], strict=True)


@pytest.mark.parametrize("solver", SOLVERS)
def test_l2_factors_add_the_parameter_to_its_gradient_and_nothing_else(solver):
    layer = layer_of_two_numbers(WeightL2Factor=3, BiasL2Factor=0.5)
    regularized = solver(layer, gradient(3, 4), None, 1, L2Regularization=0.1)
    by_hand = solver(layer, gradient(3 + 0.1 * 3 * 2, 4 + 0.1 * 0.5 * 1), None, 1)
    assert_allclose(numbers(regularized[0]), numbers(by_hand[0]), rtol=1e-15)
    for ours, expected in zip(regularized[1], by_hand[1], strict=True):
        assert_allclose(numbers(ours), numbers(expected), rtol=1e-15)
    unregularized = solver(layer, gradient(3, 4), None, 1)
    off = layer_of_two_numbers(WeightL2Factor=0, BiasL2Factor=0)
    assert numbers(solver(off, gradient(3, 4), None, 1, L2Regularization=0.1)[0]) == numbers(unregularized[0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_dict_is_updated_with_factors_of_1(solver):
    net = {"Weights": np.full((1, 1, 1), 2.0), "Bias": np.full((1, 1), 1.0)}
    layer = layer_of_two_numbers(BiasL2Factor=1)
    updated = solver(net, gradient(3, 4), None, 1, L2Regularization=0.1)
    expected = solver(layer, gradient(3, 4), None, 1, L2Regularization=0.1)
    assert numbers(updated[0]) == numbers(expected[0])
    assert updated[1] == expected[1]


# -- what changes, and what does not -------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["layer", "dict"])
def test_nothing_given_is_changed(solver, kind):
    net = layer_of_two_numbers() if kind == "layer" else {"Weights": np.ones((1, 1, 1)), "Bias": np.ones((1, 1))}
    first, state = solver(net, gradient(3, 4), None, 1)
    before = copy.deepcopy((net, first, state))
    second, _ = solver(first, gradient(3, 4), state, 2)
    assert second != first
    assert (net, first, state) == before


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["layer", "dict"])
def test_in_place_where_asked(solver, kind):
    net = layer_of_two_numbers() if kind == "layer" else {"Weights": np.ones((1, 1, 1)), "Bias": np.ones((1, 1))}
    _, state = solver(net, gradient(3, 4), None, 1)
    expected, expected_state = solver(net, gradient(1, 2), state, 2)
    arrays = dict(net) if kind == "dict" else {}
    updated, new_state = solver(net, gradient(1, 2), state, 2, inplace=True)
    assert updated is net
    assert net == expected
    assert all(net[name] is array for name, array in arrays.items())
    assert all(new is old for new, old in zip(new_state, state, strict=True))
    assert new_state == expected_state


@pytest.mark.parametrize("solver", SOLVERS)
def test_parameters_keep_their_dtype_and_shape(solver):
    layer = transposedConv1dLayer(3, 2).initialize(4, rng=0)
    grad = {"Weights": np.ones((3, 2, 4)), "Bias": np.ones((1, 2), np.int8)}
    after, state = solver(layer, grad, None, 1, L2Regularization=0.1)
    assert (after.Weights.dtype, after.Bias.dtype) == (np.float32, np.float32)
    assert all(array.dtype == np.float32 for arrays in state for array in arrays.values())
    assert (after.Weights != layer.Weights).all()
    assert after.Weights.T.flags.c_contiguous


# -- errors --------------------------------------------------------------------------------------------------------

BAD = [
    ("^net must be a TransposedConvolution1DLayer or a dict of arrays; got list$", {"net": [1.0]}),
    ("^net must have Weights and Bias: initialize it first$", {"net": transposedConv1dLayer(1, 1)}),
    (r"^net\['p'\] must be a float32 or float64 array; got int64$", {"net": {"p": np.ones(1, np.int64)}}),
    (r"^net\['p'\] must be a float32 or float64 array; got list$", {"net": {"p": [1.0]}}),
    ("^grad must have an array for each of 'p'; got 'q'$", {"grad": {"q": [1.0]}}),
    ("^grad must have an array for each of 'p'; got list$", {"grad": [1.0]}),
    (r"^grad\['p'\] must have the shape \(1,\); got \(2,\)$", {"grad": {"p": [1.0, 2.0]}}),
    (r"^grad\['p'\] must be an array of real numbers; got complex128$", {"grad": {"p": [1j]}}),
    ("^learnRate must be a finite non-negative number; got -1$", {"learnRate": -1}),
    ("^L2Regularization must be a finite non-negative number; got nan$", {"L2Regularization": float("nan")}),
]


@pytest.mark.parametrize(("message", "changes"), BAD)
@pytest.mark.parametrize("update", [sgdmupdate, rmspropupdate])
def test_bad_arguments(update, message, changes):
    with pytest.raises((TypeError, ValueError), match=message):
        update(**{"net": {"p": np.ones(1)}, "grad": {"p": [1.0]}, **changes})


@pytest.mark.parametrize(
    ("update", "name", "value", "rule"),
    [
        (sgdmupdate, "momentum", 1.1, r"a number in \[0, 1\]"),
        (adamupdate, "iteration", 0, "a positive integer"),
        (adamupdate, "gradDecay", 1, r"a number in \[0, 1\)"),
        (adamupdate, "sqGradDecay", -0.1, r"a number in \[0, 1\)"),
        (adamupdate, "epsilon", 0, r"a number in \(0, inf\)"),
        (rmspropupdate, "sqGradDecay", 1, r"a number in \[0, 1\)"),
        (rmspropupdate, "epsilon", float("inf"), r"a number in \(0, inf\)"),
    ],
)
def test_bad_numbers(update, name, value, rule):
    arguments = {"averageGrad": None, "averageSqGrad": None, "iteration": 1} if update is adamupdate else {}
    with pytest.raises(ValueError, match=f"^{name} must be {rule}; got {value}$"):
        update({"p": np.ones(1)}, {"p": [1.0]}, **{**arguments, name: value})


def test_a_state_that_does_not_fit():
    with pytest.raises(ValueError, match=r"^vel\['p'\] must have the shape \(1,\); got \(2,\)$"):
        sgdmupdate({"p": np.ones(1)}, {"p": [1.0]}, {"p": np.ones(2)})


# -- PyTorch -------------------------------------------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize(
    ("solver", "optimizer", "options"),
    [
        (sgdm, "SGD", {"momentum": 0.5}),
        (adam, "Adam", {"betas": (0.5, 0.75), "eps": 1.0}),
        (rmsprop, "RMSprop", {"alpha": 0.75, "eps": 1.0}),
    ],
)
def test_twenty_steps_as_pytorchs(solver, optimizer, options, rng):
    torch = pytest.importorskip("torch")
    net, state = {"p": rng.standard_normal((3, 4))}, None
    tensor = torch.tensor(net["p"], requires_grad=True)
    peer = getattr(torch.optim, optimizer)([tensor], lr=0.1, weight_decay=0.3, **options)
    for iteration in range(1, 21):
        grad = rng.standard_normal((3, 4))
        tensor.grad = torch.tensor(grad)
        peer.step()
        net, state = solver(net, {"p": grad}, state, iteration, L2Regularization=0.3)
    assert_allclose(net["p"], tensor.detach().numpy(), rtol=1e-12, atol=1e-12)
