"""What the layer means: each row of its contract. Oracles are the definition, SciPy and numbers found by hand."""

import copy
import pickle
import re
import subprocess
import sys
import threading
import timeit

import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal
from cases import assert_close
from numpy.testing import assert_allclose, assert_array_equal

from numba_tconv import (
    ConvTranspose1d,
    TransposedConvolution1DLayer,
    conv_transpose1d,
    getL2Factor,
    getLearnRateFactor,
    initializers,
    reference,
    setL2Factor,
    setLearnRateFactor,
    to_torch_weight,
    transposedConv1dLayer,
)
from numba_tconv._properties import declarations
from numba_tconv.formats import layout_of

DISPLAY = """\
  TransposedConvolution1DLayer with properties:

            Name: ''

   Hyperparameters
      FilterSize: 11
     NumChannels: 'auto'
      NumFilters: 96
          Stride: 4
    CroppingMode: 'manual'
    CroppingSize: [0 0]

   Learnable Parameters
         Weights: []
            Bias: []

  Use properties method to see a list of all properties."""


def ramp(*shape, dtype=np.float32):
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


def predicted(x, weights, bias=0.0, **options):
    """Return the output of a layer with one filter and one channel."""
    layer = transposedConv1dLayer(len(weights), 1, Weights=np.array([weights]).T * 1.0, Bias=[bias], **options)
    return layer.predict(np.array([x]) * 1.0, "CT")[0].tolist()


# -- display -------------------------------------------------------------------------------------------------------


def test_display_of_the_documentations_example():
    assert repr(transposedConv1dLayer(11, 96, Stride=4)) == DISPLAY
    assert str(transposedConv1dLayer(11, 96, Stride=4)) == DISPLAY


def test_display_of_what_is_set():
    layer = transposedConv1dLayer(11, 96, Stride=4, Name="it's up", Cropping="same").initialize(64)
    layer.Bias = np.zeros(96)
    expected = (
        DISPLAY.replace("''", "'it's up'")
        .replace("'auto'", "64")
        .replace("'manual'", "'same'")
        .replace("[0 0]", "[3 4]")
        .replace("Weights: []", "Weights: [11×96×64 single]")
        .replace("Bias: []", "Bias: [1×96 double]")
    )
    assert repr(layer) == expected


def test_display_drops_a_third_axis_of_size_1_as_matlab_does():
    layer = transposedConv1dLayer(3, 2, Weights=np.ones((3, 2)))
    assert "Weights: [3×2 double]\n" in repr(layer)


# -- the operation -------------------------------------------------------------------------------------------------

GOLDEN = [
    ("no flip", predicted, ([1, 2], [1, 10, 100]), {"Stride": 2}, [1, 10, 102, 20, 200]),
    ("default stride", predicted, ([1, 2], [1, 10, 100]), {}, [1, 12, 120, 200]),
    ("bias once", predicted, ([1, 2], [1, 10, 100], 0.5), {"Stride": 2}, [1.5, 10.5, 102.5, 20.5, 200.5]),
    ("gaps hold the bias", predicted, ([1, 2], [1, 10], 0.5), {"Stride": 3}, [1.5, 10.5, 0.5, 2.5, 20.5]),
    ("both ends", predicted, ([1, 2], [1, 10, 100]), {"Stride": 2, "Cropping": 1}, [10, 102, 20]),
    ("left and right", predicted, ([1, 2], [1, 10, 100]), {"Stride": 2, "Cropping": (2, 0)}, [102, 20, 200]),
    ("right alone", predicted, ([1, 2], [1, 10, 100]), {"Stride": 2, "Cropping": (0, 3)}, [1, 10]),
    ("all but one", predicted, ([1, 2], [1, 10, 100]), {"Stride": 2, "Cropping": (2, 2)}, [102]),
    ("same, odd: right", predicted, ([1, 2], [1, 10, 100]), {"Stride": 2, "Cropping": "same"}, [1, 10, 102, 20]),
    ("same, even", predicted, ([1, 2], [1, 10, 100]), {"Cropping": "same"}, [12, 120]),
    ("same, K = stride", predicted, ([1, 2], [1, 10]), {"Stride": 2, "Cropping": "same"}, [1, 10, 2, 20]),
    (
        "same, K < stride: bias at the end",
        predicted,
        ([1, 2], [1, 10], 0.5),
        {"Stride": 4, "Cropping": "same"},
        [1.5, 10.5, 0.5, 0.5, 2.5, 20.5, 0.5, 0.5],
    ),
]


@pytest.mark.parametrize(
    ("function", "arguments", "options", "expected"),
    [pytest.param(*row[1:], id=row[0]) for row in GOLDEN],
)
def test_golden(function, arguments, options, expected):
    assert function(*arguments, **options) == expected


@pytest.mark.parametrize("filter_size", [1, 2, 3, 8, 11])
@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("crop", [0, (1, 0), "same"])
def test_is_the_definition(filter_size, stride, crop):
    rng = np.random.default_rng(filter_size)
    weights, bias = rng.standard_normal((filter_size, 3, 2)), rng.standard_normal(3)
    x = rng.standard_normal((4, 2, 6))
    layer = transposedConv1dLayer(filter_size, 3, Stride=stride, Cropping=crop, Weights=weights, Bias=bias)
    definition = {"stride": stride, "padding": crop}
    arrays = np.einsum("kfc->cfk", weights), bias
    magnitude = reference.scatter(abs(x), *map(abs, arrays), **definition)
    y = layer.predict(x, "BCT")
    assert_close(y, reference.convolution_matrix(x, *arrays, **definition), magnitude)
    if crop == "same":
        assert y.shape[-1] == 6 * stride


@pytest.mark.parametrize(
    ("filter_size", "stride", "size"),
    [(11, 4, (3, 4)), (4, 2, (1, 1)), (2, 2, (0, 0)), (3, 2, (0, 1)), (2, 4, (0, 0)), (1, 1, (0, 0)), (5, 1, (2, 2))],
)
def test_crop_of_same_follows_the_rule(filter_size, stride, size):
    layer = transposedConv1dLayer(filter_size, 1, Stride=stride, Cropping="same")
    assert (layer.CroppingMode, layer.CroppingSize) == ("same", size)
    layer = transposedConv1dLayer(7, 1, Cropping="same")
    assert layer.CroppingSize == (3, 3)
    layer.Stride = stride
    layer.FilterSize = filter_size
    assert layer.CroppingSize == size


@pytest.mark.parametrize(
    ("x", "weights", "y"), [("f4", "f4", "f4"), ("f4", "f8", "f8"), ("f8", "f4", "f8"), ("i2", "f4", "f4")]
)
def test_dtype_is_that_of_numpy(x, weights, y):
    layer = transposedConv1dLayer(2, 1, Weights=np.ones((2, 1), weights), Bias=np.zeros(1, weights))
    assert layer.predict(np.ones((1, 3), x), "CT").dtype == y


def test_half_precision_and_complex_signals():
    layer = transposedConv1dLayer(2, 1, Stride=2, Weights=np.float32([[1], [2]]))
    assert_array_equal(layer.predict(np.float16([[1, 2]]), "CT"), np.float32([[1, 2, 2, 4]]), strict=True)
    assert_array_equal(layer.predict(np.complex64([[1j, 2]]), "CT"), np.complex64([[1j, 2j, 2, 4]]), strict=True)


def test_lists_are_arrays():
    layer = transposedConv1dLayer(2, 1, Weights=[[1], [2]])
    assert layer.Weights.dtype == np.float64
    assert_array_equal(layer.predict([[1, 2, 3]], "CT"), [[1, 4, 7, 6]])


# -- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["CBT", "SCB", "SCBT", "CT", "SC", "SCT", "TBC", "BSCT", "TCBS", "CS"])
@pytest.mark.parametrize("crop", [0, (1, 2), "same"])
def test_gradients_are_those_of_the_output(labels, crop, rng):
    """The output is linear in each of the three: its change along any direction is the gradient's product with it."""
    sizes = {"C": 3, "B": 2, "S": 5, "T": 4}
    X = rng.standard_normal([sizes[label] for label in labels])
    weights, bias = rng.standard_normal((7, 2, 3)), rng.standard_normal((1, 2))
    options = {"Stride": 3, "Cropping": crop}
    layer = transposedConv1dLayer(7, 2, Weights=weights, Bias=bias, **options)
    g = rng.standard_normal(layer.forward(X, labels).shape)
    dLdX, gradients = layer.backward(X, g, labels)
    assert dLdX.shape == X.shape
    assert {name: array.shape for name, array in gradients.items()} == {"Weights": (7, 2, 3), "Bias": (1, 2)}

    def output(X=X, weights=weights, bias=bias):
        return transposedConv1dLayer(7, 2, Weights=weights, Bias=bias, **options).predict(X, labels)

    dX, dW, db = rng.standard_normal(X.shape), rng.standard_normal(weights.shape), rng.standard_normal(bias.shape)
    rtol = 1e-11  # differences of outputs cancel
    assert_allclose(np.vdot(dLdX, dX), np.vdot(g, output(X=X + dX) - output()), rtol=rtol)
    assert_allclose(np.vdot(gradients["Weights"], dW), np.vdot(g, output(weights=weights + dW) - output()), rtol=rtol)
    assert_allclose(np.vdot(gradients["Bias"], db), np.vdot(g, output(bias=bias + db) - output()), rtol=rtol)


def test_gradients_by_hand():
    layer = transposedConv1dLayer(2, 1, Stride=2, Weights=[[1.0], [10.0]], Bias=[0.5])
    dLdX, gradients = layer.backward([[1, 2]], [[1.0, 2.0, 3.0, 4.0]], "CT")
    assert dLdX.tolist() == [[1 + 20, 3 + 40]]
    assert gradients["Weights"].tolist() == [[[1 + 2 * 3]], [[2 + 2 * 4]]]
    assert gradients["Bias"].tolist() == [[10]]


@pytest.mark.parametrize("wrt", [(), ("X",), ["Weights"], {"Bias"}, ("Bias", "X"), "Bias"])
def test_some_gradients(wrt):
    layer = transposedConv1dLayer(2, 1, Weights=[[1.0], [10.0]], Bias=[0.5])
    every, everything = layer.backward([[1, 2]], [[1.0, 2.0, 3.0]], "CT")
    dLdX, gradients = layer.backward([[1, 2]], [[1.0, 2.0, 3.0]], "CT", wrt=wrt)
    wrt = {wrt} if isinstance(wrt, str) else set(wrt)
    assert set(gradients) == wrt - {"X"}
    assert all((gradients[name] == everything[name]).all() for name in gradients)
    assert (dLdX == every).all() if "X" in wrt else dLdX is None


def test_gradients_of_half_precision_and_complex_signals():
    layer = transposedConv1dLayer(2, 1, Stride=2, Weights=np.float32([[1], [2]]), Bias=np.float32([0]))
    X = np.complex64([[1j, 2]])
    g = np.complex64([[1, 1j, 2, 3]])
    dLdX, gradients = layer.backward(X, g, "CT")
    assert_array_equal(dLdX, np.complex64([[1 + 2j, 8]]), strict=True)
    assert_array_equal(gradients["Weights"].ravel(), np.float32([4, 1 + 6]), strict=True)  # Re conj(x) g
    assert_array_equal(gradients["Bias"], np.float32([[6]]), strict=True)
    dLdX, gradients = layer.backward(np.float16([[1, 2]]), np.float32([[1, 1, 1, 1]]), "CT")
    assert_array_equal(dLdX, np.float32([[3, 3]]), strict=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]], [[1.0, 2.0]], "CT"), r"^dLdY must have the shape \(1, 3\) of the output; got \(1, 2\)$"),
        (([[1.0, 2.0]], [[1.0], [2.0], [3.0]], "CT"), r"^dLdY must have the shape \(1, 3\) of the output; got \(3, 1"),
        (([[1.0, 2.0]], "gradient", "CT"), "^dLdY must be an array of bool"),
        (([[1.0], [2.0]], [[1.0]], "CT"), "^the input has 2 channels, NumChannels is 1$"),
        (([[1.0, 2.0]], [[1.0, 2.0, 3.0]], "CX"), "^format must be one of CBT"),
    ],
)
def test_bad_gradients(arguments, message):
    layer = transposedConv1dLayer(2, 1, Weights=[[1.0], [10.0]], Bias=[0.5])
    with pytest.raises((TypeError, ValueError), match=message):
        layer.backward(*arguments)


def test_backward_of_a_layer_without_weights():
    layer = transposedConv1dLayer(2, 1)
    with pytest.raises(ValueError, match=r"^backward needs Weights and Bias: initialize the layer, or predict, first$"):
        layer.backward([[1.0, 2.0]], [[1.0, 2.0, 3.0]], "CT")
    with pytest.raises(ValueError, match=r"^wrt must hold names out of 'X', 'Weights' and 'Bias'; got 'weight'$"):
        layer.backward([[1.0, 2.0]], [[1.0, 2.0, 3.0]], "CT", wrt="weight")
    assert layer == transposedConv1dLayer(2, 1)


# -- crop and length, channels -------------------------------------------------------------------------------------


def test_crop_that_leaves_nothing():
    layer = transposedConv1dLayer(3, 2, Stride=2, Cropping=(3, 4))
    message = "Cropping must leave at least one output sample; got [3 4] for a full length of 7, from 3 samples"
    for _ in range(2):  # with weights to draw, and with a plan at hand
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            layer.predict(np.ones((1, 3), np.float32), "CT")
        assert layer.predict(np.ones((1, 4), np.float32), "CT").shape == (2, 2)


def test_no_samples():
    layer = transposedConv1dLayer(3, 2)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"^X must have at least one sample to upsample; got the shape \(4, 0, 1\)$"
        ):
            layer.predict(np.ones((4, 0, 1), np.float32), "BTC")
        layer.initialize(1)


def test_an_input_that_is_refused_initializes_nothing():
    layer = transposedConv1dLayer(3, 2, Cropping=9)
    for X, format in ((np.ones((1, 3)), "CT"), (np.ones((1, 0)), "CT"), (np.ones((0, 3)), "CT"), (np.ones(3), "CT")):
        with pytest.raises(ValueError, match=r"^(Cropping|X|The number of channels|format) must"):
            layer.predict(X, format)
    with pytest.raises(TypeError, match=r"^X must be an array of bool"):
        layer.predict(np.full((1, 30), "x"), "CT")
    assert layer == transposedConv1dLayer(3, 2, Cropping=9)


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match=r"^X must be .* got a masked array$"):
        transposedConv1dLayer(3, 2).predict(np.ma.ones((1, 5)), "CT")


@pytest.mark.parametrize("resolve", ["weights", "option", "initialize", "input", "first data"])
def test_number_of_channels_is_resolved_once(resolve):
    layer = transposedConv1dLayer(3, 2, **({"NumChannels": 4} if resolve == "option" else {}))
    assert layer.NumChannels == (4 if resolve == "option" else "auto")
    if resolve == "weights":
        layer.Weights = np.ones((3, 2, 4))
    elif resolve == "initialize":
        layer.initialize(4)
    elif resolve == "input":
        layer.initialize(np.ones((9, 4)), "TC")
    elif resolve == "first data":
        layer.predict(np.ones((4, 9)), "CT")
    assert layer.NumChannels == 4
    before = copy.deepcopy(layer)
    message = "the input has 5 channels, NumChannels is 4"
    with pytest.raises(ValueError, match=f"^{message}$"):
        layer.predict(np.ones((5, 9)), "CT")
    with pytest.raises(ValueError, match=f"^{message}$"):
        layer.initialize(np.ones((9, 5)), "TC")
    with pytest.raises(ValueError, match=f"^{message}$"):
        layer.initialize(5)
    with pytest.raises(ValueError, match=r"^Weights must have the shape .* \(3, 2, 4\); got \(3, 2, 5\)$"):
        layer.Weights = np.ones((3, 2, 5))
    assert layer == before


def test_one_channel_may_be_left_out():
    for weights in (ramp(3, 2), ramp(3, 2, 1)):
        layer = transposedConv1dLayer(3, 2, Weights=weights)
        assert layer.NumChannels == 1
        assert_array_equal(layer.Weights, weights.reshape(3, 2, 1), strict=True)


# -- weights and bias ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 2, 3), (3, 3, 3), (3, 2, 4), (2, 3, 3), (3, 3), (2, 3)])
def test_weights_of_another_shape(shape):
    with pytest.raises(ValueError, match=rf"NumChannels\) = \(3, 2, 3\); got \({', '.join(map(str, shape))}"):
        transposedConv1dLayer(3, 2, NumChannels=3, Weights=np.ones(shape))
    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 3), Stride=2)
    before = copy.deepcopy(layer)
    with pytest.raises(ValueError, match=r"^Weights must have the shape"):
        layer.Weights = np.ones(shape)
    assert layer == before


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (3,), (2, 2)])
def test_bias_of_another_shape(shape):
    layer = transposedConv1dLayer(3, 2)
    with pytest.raises(ValueError, match=r"^Bias must have the shape \(1, NumFilters\) = \(1, 2\); got \("):
        layer.Bias = np.ones(shape)
    assert layer == transposedConv1dLayer(3, 2)
    with pytest.raises(ValueError, match=r"^Bias must have the shape"):
        transposedConv1dLayer(3, 2, Bias=np.ones(shape))


@pytest.mark.parametrize("bias", [[1, 2], (1.0, 2.0), np.float64([1, 2]), np.float64([[1, 2]])])
def test_bias_is_reported_as_one_row(bias):
    assert_array_equal(transposedConv1dLayer(3, 2, Bias=bias).Bias, np.float64([[1, 2]]), strict=True)


def test_filter_size_can_be_set_while_the_weights_are_empty_or_fit():
    layer = transposedConv1dLayer(3, 2)
    layer.FilterSize = 5
    layer.Weights = ramp(5, 2, 3)
    layer.FilterSize = 5.0
    with pytest.raises(ValueError, match=r"\(3, 2, 3\); got \(5, 2, 3\)"):
        layer.FilterSize = 3
    assert layer.FilterSize == 5
    layer.Weights = []
    layer.FilterSize = 3
    assert layer == transposedConv1dLayer(3, 2, NumChannels=3)


def test_options_have_no_order():
    options = {"Weights": ramp(3, 2, 4), "NumChannels": 4, "Bias": ramp(2), "Cropping": "same", "Stride": 2}
    layers = [transposedConv1dLayer(3, 2, **dict(items)) for items in (options.items(), reversed(options.items()))]
    assert layers[0] == layers[1]


@pytest.mark.parametrize("name", ["Weights", "Bias"])
def test_learnables_are_read_only_views_that_nothing_makes_writable(name):
    def check(layer):
        array = getattr(layer, name)
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        assert not array.flags.owndata
        assert getattr(layer, name).base is array.base  # no copy for each look

    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4), Bias=ramp(2))
    for other in (layer, copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301
        check(other)
    check(transposedConv1dLayer(3, 2).initialize(4))
    check(transposedConv1dLayer(3, 2))


@pytest.mark.parametrize("name", ["Weights", "Bias"])
def test_learnables_are_copied_in(name):
    array = {"Weights": ramp(3, 2, 4), "Bias": ramp(1, 2)}[name]
    layer = transposedConv1dLayer(3, 2, **{name: array})
    kept = array.copy()
    array[...] = 0
    assert_array_equal(getattr(layer, name), kept, strict=True)


def test_weights_lie_in_memory_as_the_engine_takes_them():
    weights = ramp(3, 2, 4)
    for given in (weights, np.asfortranarray(weights), weights[::-1][::-1], weights.astype(">f4")):
        layer = transposedConv1dLayer(3, 2, Weights=given)
        assert_array_equal(layer.Weights, weights, strict=True)
        assert layer.Weights.T.flags.c_contiguous


def test_weights_that_are_not_finite_are_the_users_business():
    layer = transposedConv1dLayer(1, 1, Weights=[[np.nan]])
    assert np.isnan(layer.predict([[1.0]], "CT")).all()
    assert layer == copy.deepcopy(layer)


# -- the plan ------------------------------------------------------------------------------------------------------


@pytest.fixture
def plans(monkeypatch):
    """Record the plans that layers make."""
    made = []

    def make(*args, **options):
        made.append(ConvTranspose1d(*args, **options))
        return made[-1]

    monkeypatch.setattr("numba_tconv.layer.ConvTranspose1d", make)
    return made


def test_weights_are_packed_once(plans):
    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4))
    assert plans == []
    for length in (5, 9, 5):
        for format in ("CT", "SC"):
            X = ramp(4, length) if format == "CT" else ramp(length, 4)
            layer.predict(X, format)
            layer.forward(X, format)
    assert len(plans) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("Weights", ramp(3, 2, 4)[::-1]), ("Bias", [5, 6]), ("Stride", 3), ("Weights", [])],
    ids=["Weights", "Bias", "Stride", "no Weights"],
)
def test_what_the_plan_depends_on_drops_it(name, value):
    X = ramp(4, 6)
    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4), Bias=ramp(2), Cropping="same", WeightsInitializer="ones")
    before = layer.predict(X, "CT")
    setattr(layer, name, value)
    after = layer.predict(X, "CT")
    fresh = reference.scatter(X, to_torch_weight(layer.Weights), layer.Bias[0], stride=layer.Stride, padding="same")
    assert_array_equal(after, fresh)
    assert after.shape != before.shape or np.all(after != before)


def test_refused_assignment_and_needless_initialization_keep_the_plan(plans):
    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4))
    layer.predict(ramp(4, 6), "CT")
    layer.initialize(4)
    with pytest.raises(ValueError, match=r"^Stride"):
        layer.Stride = 0
    layer.predict(ramp(4, 6), "CT")
    assert len(plans) == 1


def test_plan_has_every_option(plans):
    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4), Stride=5, Cropping=(1, 2))
    layer.predict(ramp(4, 6), "CT")
    assert repr(plans[0]) == (
        "ConvTranspose1d(weight (4, 2, 3) float32, stride=5, padding=(1, 2), output_padding=0, groups=1, dilation=1)"
    )


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("method", ["predict", "forward", "backward"])
def test_every_method_passes_the_device_on(method, is_packed):
    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4), Bias=ramp(2))
    arguments = [ramp(4, 6), *([ramp(2, 8)] if method == "backward" else []), "CT"]
    if is_packed:
        getattr(layer, method)(*arguments)
    for device, error in (("cuda", RuntimeError), ("tpu", ValueError), (0, TypeError)):
        with pytest.raises(error, match=r"^device .*(cuda|tpu|0)"):
            getattr(layer, method)(*arguments, device=device)


def test_layer_is_the_function():
    layer = transposedConv1dLayer(11, 9, Stride=4, Cropping=(3, 4)).initialize(6, rng=0)
    x = np.random.default_rng(0).standard_normal((3, 6, 25), dtype=np.float32)
    expected = conv_transpose1d(x, to_torch_weight(layer.Weights), layer.Bias[0], stride=4, padding=(3, 4))
    assert_close(layer.predict(x, "BCT"), expected.astype(float), np.full(expected.shape, abs(expected).max()))


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["BCT", "TCB", "CT", "SCBT"])
def test_overhead_over_the_plan(labels):
    """5 µs at most; 1.7 are usual, 3.5 with four axes. The least of many times, because others interrupt."""
    weights = np.ones((5, 1, 1), np.float32)
    layer, plan = transposedConv1dLayer(5, 1, Stride=2, Weights=weights), ConvTranspose1d(weights.T, [0], stride=2)
    X = np.ones([16 if label == ("S" if "S" in labels else "T") else 1 for label in labels], np.float32)
    x = layout_of(X, labels).to_engine(X)

    def least(call):
        return min(timeit.repeat(call, number=200, repeat=200)) / 200

    assert least(lambda: layer.predict(X, labels)) - least(lambda: plan(x)) < 5e-6


def test_threads_may_share_a_layer():
    X = ramp(4, 50)
    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4))
    expected = layer.predict(X, "CT")
    failures = []

    def work():
        for _ in range(50):
            layer.Name = "again"  # drops the plan
            if not np.array_equal(layer.predict(X, "CT"), expected):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# -- initializers --------------------------------------------------------------------------------------------------

MOMENTS = {  # standard deviation for 11 x 96 filters of 64 channels, and the largest magnitude
    "glorot": (np.sqrt(2 / (11 * 64 + 11 * 96)), np.sqrt(6 / (11 * 64 + 11 * 96))),
    "he": (np.sqrt(2 / (11 * 64)), np.inf),
    "narrow-normal": (0.01, np.inf),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_distribution_of_weights(name):
    weights = transposedConv1dLayer(11, 96, WeightsInitializer=name).initialize(64, rng=3).Weights
    assert (weights.shape, weights.dtype) == ((11, 96, 64), np.float32)
    deviation, largest = MOMENTS[name]
    # 67,584 values: their mean is off by 1/260 of the deviation, the deviation by 1/368 of itself. Five times that.
    assert abs(weights.mean()) < deviation / 50
    assert weights.std() == pytest.approx(deviation, rel=1 / 70)
    assert abs(weights).max() <= np.float32(largest)
    flatness = np.mean((weights / weights.std()) ** 4.0)
    assert flatness == pytest.approx(1.8 if name == "glorot" else 3.0, rel=0.05)
    assert len(np.unique(weights)) > 60_000


def test_distribution_of_the_bias():
    bias = transposedConv1dLayer(1, 40_000, BiasInitializer="NarrowNormal").initialize(1, rng=3).Bias
    assert (bias.shape, bias.dtype) == ((1, 40_000), np.float32)
    assert bias.std() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize(("name", "value"), [("zeros", 0), ("ONES", 1)])
def test_constant_initializers(name, value):
    layer = transposedConv1dLayer(3, 2, WeightsInitializer=name, BiasInitializer=name).initialize(4)
    assert_array_equal(layer.Weights, np.full((3, 2, 4), value, np.float32), strict=True)
    assert_array_equal(layer.Bias, np.full((1, 2), value, np.float32), strict=True)


def test_defaults_are_glorot_and_zeros():
    layer = transposedConv1dLayer(3, 2).initialize(4, rng=5)
    assert layer.Weights.any()
    other = transposedConv1dLayer(3, 2, WeightsInitializer="glorot", BiasInitializer="zeros").initialize(4, rng=5)
    assert layer == other
    assert_array_equal(layer.Bias, np.zeros((1, 2), np.float32), strict=True)


@pytest.mark.parametrize("name", [*initializers.WEIGHTS, "icnr"])
def test_seed_and_generator(name):
    def draw(rng):
        return transposedConv1dLayer(6, 5, Stride=2, WeightsInitializer=name).initialize(4, rng=rng).Weights

    assert_array_equal(draw(7), draw(np.random.default_rng(7)))
    if name not in ("zeros", "ones"):
        assert not np.array_equal(draw(7), draw(8))
        assert not np.array_equal(draw(None), draw(None))
        generator = np.random.default_rng(7)
        assert not np.array_equal(draw(generator), draw(generator))


@pytest.mark.parametrize("seed", ["seed", -1, 1.5])
def test_rng_that_is_none(seed):
    layer = transposedConv1dLayer(3, 2)
    with pytest.raises((TypeError, ValueError), match=r"^rng must be a numpy.random.Generator or a seed; got "):
        layer.initialize(4, rng=seed)
    assert layer == transposedConv1dLayer(3, 2)


def test_callables_get_the_size():
    sizes = []

    def func(sz):
        sizes.append(sz)
        return ramp(*sz, dtype=np.float64)

    layer = transposedConv1dLayer(3, 2, WeightsInitializer=func, BiasInitializer=func).initialize(4)
    assert sizes == [(3, 2, 4), (1, 2)]
    assert_array_equal(layer.Weights, ramp(3, 2, 4), strict=True)
    assert_array_equal(layer.Bias, ramp(1, 2), strict=True)


def test_callables_must_not_leave_out_channels():
    layer = transposedConv1dLayer(3, 2, WeightsInitializer=lambda sz: ramp(*sz[:2]))
    with pytest.raises(
        ValueError, match=r"^WeightsInitializer must return .* the shape \(3, 2, 4\); got \(3, 2\) float32$"
    ):
        layer.initialize(4)


def test_callables_may_leave_out_what_matlab_leaves_out():
    options = {"WeightsInitializer": lambda sz: ramp(*sz[:2]), "BiasInitializer": lambda sz: ramp(sz[1])}
    layer = transposedConv1dLayer(3, 2, **options).initialize(1)
    assert_array_equal(layer.Weights, ramp(3, 2, 1), strict=True)
    assert_array_equal(layer.Bias, ramp(1, 2), strict=True)


WRONG = [lambda sz: ramp(*sz[::-1]), lambda sz: 1.0, lambda sz: np.ones(sz, int), lambda sz: np.ones(sz, complex)]


@pytest.mark.parametrize("func", WRONG, ids=["shape", "scalar", "int", "complex"])
@pytest.mark.parametrize(("name", "size"), [("WeightsInitializer", (3, 2, 4)), ("BiasInitializer", (1, 2))])
def test_callables_that_return_something_else(name, size, func):
    layer = transposedConv1dLayer(3, 2, **{name: func})
    message = rf"^{name} must return a real floating-point array of the shape {re.escape(str(size))}; got \(.*\) \w+$"
    with pytest.raises(ValueError, match=message):
        layer.initialize(4)
    assert layer == transposedConv1dLayer(3, 2, **{name: func})


def test_initializers_run_only_where_nothing_is_set():
    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4, dtype=np.float64)).initialize()
    assert_array_equal(layer.Weights, ramp(3, 2, 4, dtype=np.float64), strict=True)
    layer = transposedConv1dLayer(3, 2, Bias=ramp(2)).initialize(4)
    assert_array_equal(layer.Bias, ramp(1, 2), strict=True)
    before = copy.deepcopy(layer)
    assert layer.initialize(4, rng=1) is layer
    assert layer == before


def test_initialize_without_channels():
    with pytest.raises(ValueError, match="NumChannels is 'auto'"):
        transposedConv1dLayer(3, 2).initialize()
    assert transposedConv1dLayer(3, 2, NumChannels=4).initialize().Weights.shape == (3, 2, 4)


@pytest.mark.parametrize("channels", [0, -1, 1.5, "4", True, np.ones((2, 3))])
def test_initialize_with_bad_channels(channels):
    with pytest.raises((TypeError, ValueError), match=r"^The number of channels must be a positive integer; got "):
        transposedConv1dLayer(3, 2).initialize(channels)


def test_first_data_initializes():
    layer = transposedConv1dLayer(3, 2)
    y = layer.predict(ramp(4, 6), "CT")
    assert layer.Weights.shape == (3, 2, 4)
    assert_array_equal(layer.predict(ramp(4, 6), "CT"), y)


@pytest.mark.parametrize(("filter_size", "stride"), [(4, 2), (5, 2), (4, 4), (9, 3), (7, 3), (3, 1)])
def test_icnr_starts_with_equal_phases(filter_size, stride, rng):
    layer = transposedConv1dLayer(filter_size, 5, Stride=stride, WeightsInitializer="icnr").initialize(4, rng=1)
    y = layer.predict(rng.standard_normal((4, 30), dtype=np.float32), "CT")
    rows = y[:, : 30 * stride].reshape(5, 30, stride)
    assert_array_equal(rows, np.broadcast_to(rows[..., :1], rows.shape))
    assert rows.std() > 0.1


def test_icnr_needs_a_tap_for_each_phase():
    layer = transposedConv1dLayer(3, 5, Stride=4, WeightsInitializer="icnr")
    with pytest.raises(
        ValueError, match=r"^WeightsInitializer 'icnr' needs a FilterSize of at least Stride; got 3 < 4$"
    ):
        layer.initialize(4)
    assert layer.NumChannels == "auto"


# -- functions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", ["Weights", "Bias"])
@pytest.mark.parametrize(
    ("setter", "getter", "kind"),
    [
        (setLearnRateFactor, getLearnRateFactor, "LearnRateFactor"),
        (setL2Factor, getL2Factor, "L2Factor"),
    ],
)
def test_factors(setter, getter, kind, parameter):
    layer = transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4), Name="up")
    name = f"{parameter.removesuffix('s') if parameter == 'Weights' else parameter}{kind}"
    before = copy.deepcopy(layer)
    updated = setter(layer, parameter, 0.25)
    assert layer == before
    assert updated == transposedConv1dLayer(3, 2, Weights=ramp(3, 2, 4), Name="up", **{name: 0.25})
    assert getter(updated, parameter) == getattr(updated, name) == 0.25
    assert getter(layer, parameter) == getattr(layer, name) != 0.25
    with pytest.raises(ValueError, match=f"^{name} must be a finite non-negative number; got -1$"):
        setter(layer, parameter, -1)
    for wrong, nearest in (("weights", "Weights"), ("Biases", "Bias"), (None, "")):
        with pytest.raises(ValueError, match=f"^parameterName must be 'Weights' or 'Bias'; got .*{nearest}"):
            setter(layer, wrong, 1)
        with pytest.raises(ValueError, match=r"^parameterName must be 'Weights' or 'Bias'; got"):
            getter(layer, wrong)


# -- copies, equality ----------------------------------------------------------------------------------------------


def full_layer(**changes):
    options = {
        "Stride": 2,
        "Cropping": (1, 0),
        "WeightsInitializer": "he",
        "BiasInitializer": "ones",
        "Weights": ramp(3, 2, 4),
        "Bias": ramp(2),
        "WeightLearnRateFactor": 0.1,
        "BiasLearnRateFactor": 0.2,
        "WeightL2Factor": 0.3,
        "BiasL2Factor": 0.4,
        "Name": "up",
    }
    return transposedConv1dLayer(3, 2, **{**options, **changes})


CHANGES = {
    "Stride": 3,
    "Cropping": (0, 1),
    "WeightsInitializer": "zeros",
    "BiasInitializer": "zeros",
    "Weights": ramp(3, 2, 4) + 1,
    "Bias": ramp(2).astype(float),
    "WeightLearnRateFactor": 1,
    "BiasLearnRateFactor": 1,
    "WeightL2Factor": 1,
    "BiasL2Factor": 1,
    "Name": "down",
}


def copies(layer, tmp_path):
    yield copy.copy(layer)
    yield copy.deepcopy(layer)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.loads(pickle.dumps(layer, protocol))  # noqa: S301
    layer.save(tmp_path / "layer.npz")
    yield TransposedConvolution1DLayer.load(tmp_path / "layer.npz")


@pytest.mark.parametrize(
    "make",
    [
        lambda: full_layer(),
        lambda: transposedConv1dLayer(3, 2),
        lambda: transposedConv1dLayer(3, 2, NumChannels=4, Cropping="same"),
        lambda: full_layer(Weights=np.full((3, 2, 4), np.nan), Bias=[]),
    ],
)
def test_copies_are_equal_and_independent(make, tmp_path):
    layer = make()
    for other in copies(layer, tmp_path):
        assert other == layer
        assert repr(other) == repr(layer)
        for name in layer.properties():
            assert_array_equal(getattr(other, name), getattr(layer, name), strict=name in ("Weights", "Bias"))
        other.Stride = 9
        assert layer.Stride != 9
        assert other != layer


def test_functions_are_copied_as_they_are():
    layer = transposedConv1dLayer(3, 2, WeightsInitializer=lambda sz: np.ones(sz), BiasInitializer=np.ones)
    for other in (copy.copy(layer), copy.deepcopy(layer), setL2Factor(layer, "Bias", 0)):
        assert other == layer
        assert other.WeightsInitializer is layer.WeightsInitializer
    layer.WeightsInitializer = np.zeros
    assert pickle.loads(pickle.dumps(layer)) == layer  # noqa: S301


def test_copies_compute_the_same(tmp_path):
    layer = full_layer()
    y = layer.predict(ramp(4, 6), "CT")
    for other in copies(layer, tmp_path):
        assert_array_equal(other.predict(ramp(4, 6), "CT"), y, strict=True)


@pytest.mark.parametrize("name", CHANGES)
def test_equality_sees_every_option(name):
    assert full_layer() == full_layer()
    assert full_layer() != full_layer(**{name: CHANGES[name]})


def test_equality_with_something_else():
    assert transposedConv1dLayer(3, 2) != transposedConv1dLayer(4, 2)
    assert transposedConv1dLayer(3, 2) != transposedConv1dLayer(3, 3)
    assert transposedConv1dLayer(3, 2) != transposedConv1dLayer(3, 2, NumChannels=1)
    assert transposedConv1dLayer(3, 2) != "layer"
    with pytest.raises(TypeError, match="unhashable"):
        hash(transposedConv1dLayer(3, 2))


def test_changes_are_of_every_option():
    options = {name for name, item in declarations(TransposedConvolution1DLayer).items() if item.access == "set"}
    assert set(CHANGES) == options - {"FilterSize"} | {"Cropping"}


# -- as a user would -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["CBT", "SCB", "SCBT", "CT", "SC", "SCT", "TC", "BSCT"])
def test_stereo_recording_is_interpolated_as_by_scipy(labels, tmp_path):
    """Write a WAV, read it, upsample both channels by 3 with weights of one's own, in every format."""
    rate, t = 8000, np.arange(400) / 8000
    stereo = np.stack([np.sin(2 * np.pi * 440 * t), np.sign(np.sin(2 * np.pi * 100 * t))], axis=1)
    scipy.io.wavfile.write(tmp_path / "stereo.wav", rate, (stereo * 20_000).astype(np.int16))
    rate, samples = scipy.io.wavfile.read(tmp_path / "stereo.wav")
    assert samples.shape == (400, 2)

    taps = (3 * scipy.signal.firwin(61, 1 / 3)).astype(np.float32)
    weights = np.zeros((61, 2, 2), np.float32)
    weights[:, 0, 0] = weights[:, 1, 1] = taps
    layer = transposedConv1dLayer(61, 2, Stride=3, Weights=weights, Cropping=(30, 28))

    upsampled = "S" if "S" in labels else "T"
    axes = {"C": 1, upsampled: 0}
    X = np.expand_dims(samples.astype(np.float32), [2 + n for n in range(len(labels) - 2)])
    X = X.transpose([axes.get(label, 2 + "".join(set(labels) - set(axes)).find(label)) for label in labels])
    y = layer.predict(X, labels)

    signals = samples.T.astype(np.float64)
    expected = scipy.signal.upfirdn(taps.astype(np.float64), signals, 3)[:, 30 : 30 + 1200]
    magnitude = scipy.signal.upfirdn(abs(taps).astype(np.float64), abs(signals), 3)[:, 30 : 30 + 1200]
    assert_close(
        np.moveaxis(y, [labels.index("C"), labels.index(upsampled)], [0, 1]).reshape(2, 1200), expected, magnitude
    )


def test_no_optional_package_is_loaded():
    code = """
import sys
import numpy as np
from numba_tconv import transposedConv1dLayer
layer = transposedConv1dLayer(2, 1, Stride=2, Weights=[[1.0], [1.0]])
print(layer.predict(np.array([[1.0, 2.0]]), "CT").tolist())
print({"matplotlib", "torch", "keras", "xarray"} & set(sys.modules))
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == "[[1.0, 1.0, 2.0, 2.0]]\nset()\n"
