"""Weights from and to PyTorch and Keras: permutations, and the same output as the real layers."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from cases import assert_close
from numpy.testing import assert_array_equal

from numba_tconv import (
    from_keras_weight,
    from_torch_weight,
    reference,
    to_keras_weight,
    to_torch_weight,
    transposedConv1dLayer,
)

WEIGHTS = np.random.default_rng(4).standard_normal((5, 2, 3)).astype(np.float32)


def test_torch_has_the_axes_reversed():
    weight = to_torch_weight(WEIGHTS)
    assert weight.shape == (3, 2, 5)
    assert weight[2, 1, 4] == WEIGHTS[4, 1, 2]
    assert np.shares_memory(weight, WEIGHTS)
    assert_array_equal(from_torch_weight(weight), WEIGHTS, strict=True)


def test_keras_has_the_same_axes():
    assert_array_equal(to_keras_weight(WEIGHTS), WEIGHTS, strict=True)
    assert_array_equal(from_keras_weight(WEIGHTS), WEIGHTS, strict=True)
    assert np.shares_memory(from_keras_weight(WEIGHTS), WEIGHTS)


@pytest.mark.parametrize("convert", [from_torch_weight, to_torch_weight, from_keras_weight, to_keras_weight])
def test_three_axes(convert):
    with pytest.raises(ValueError, match=r"^weight must have the axes \(.*, .*, .*\); got the shape \(5, 2\)$"):
        convert(WEIGHTS[..., 0])


def test_layers_weights_go_to_the_engine_without_a_copy():
    layer = transposedConv1dLayer(5, 2, Weights=WEIGHTS)
    assert to_torch_weight(layer.Weights).flags.c_contiguous
    assert np.shares_memory(to_torch_weight(layer.Weights), layer.Weights)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("options", "cropping"),
    [
        ({"stride": 3}, 0),
        ({"stride": 2, "padding": 2}, 2),
        ({"stride": 3, "padding": 1, "output_padding": 1}, (1, 0)),
        ({"stride": 1, "bias": False}, 0),
    ],
)
def test_layer_of_torch(options, cropping):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch.nn.ConvTranspose1d(3, 2, 5, **options)
    ours = transposedConv1dLayer(
        5,
        2,
        Stride=options["stride"],
        Cropping=cropping,
        Weights=from_torch_weight(theirs.weight),
        Bias=[] if theirs.bias is None else theirs.bias.detach().numpy(),
    )
    x = torch.randn(4, 3, 9)
    weight = theirs.weight.detach().abs().numpy()
    magnitude = reference.scatter(x.abs().numpy(), weight, stride=options["stride"]).max() + 1
    expected = theirs(x).detach().numpy()
    assert_close(ours.predict(x.numpy(), "BCT"), expected, np.full(expected.shape, 2 * magnitude))

    back = torch.nn.ConvTranspose1d(3, 2, 5, **options)
    back.weight.data = torch.tensor(to_torch_weight(ours.Weights))
    if back.bias is not None:
        back.bias.data = torch.tensor(ours.Bias[0])
    assert_array_equal(back(x).detach().numpy(), expected)


# Keras chooses its backend when it is imported, and raises warnings of its own: it gets a process.
KERAS = """
import json, sys
import keras
import numpy as np
rows = []
for options in json.loads(sys.argv[1]):
    layer = keras.layers.Conv1DTranspose(2, **options, bias_initializer="normal")
    x = keras.random.normal((4, 9, 3), seed=1)
    y = layer(x)
    arrays = layer.kernel, layer.bias, x, y
    rows.append([keras.ops.convert_to_numpy(array).tolist() for array in arrays])
print(json.dumps(rows))
"""
# Keras pads 'valid' to the stride where the filter is shorter, so those rows are 'same' alone.
KERAS_OPTIONS = [
    {"kernel_size": kernel_size, "strides": strides, "padding": padding}
    for kernel_size, strides in ((5, 3), (4, 2), (5, 2), (3, 1), (2, 2), (1, 2), (2, 4))
    for padding in ("valid", "same")
    if padding == "same" or kernel_size >= strides
]


@pytest.mark.peers
def test_layer_of_keras():
    pytest.importorskip("torch")
    if importlib.util.find_spec("keras") is None:
        pytest.skip("could not import 'keras'")
    command = [sys.executable, "-c", KERAS, json.dumps(KERAS_OPTIONS)]
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    for options, row in zip(KERAS_OPTIONS, json.loads(printed.splitlines()[-1]), strict=True):
        kernel, bias, x, expected = (np.array(values, np.float32) for values in row)
        layer = transposedConv1dLayer(
            options["kernel_size"],
            2,
            Stride=options["strides"],
            Cropping="same" if options["padding"] == "same" else 0,
            Weights=from_keras_weight(kernel),
            Bias=bias,
        )
        y = layer.predict(x, "BTC")
        assert_close(y, expected, np.full(expected.shape, 2 * np.abs(expected).max()))
