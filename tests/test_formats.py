"""Formats: labels in any order, what is refused, which layouts are copied, and xarray's names."""

import itertools
import re

import numpy as np
import pytest
from cases import assert_close
from numpy.testing import assert_array_equal

from numba_tconv import reference, transposedConv1dLayer
from numba_tconv.formats import FORMATS, is_data_array, layout_of

SIZES = {"S": 7, "C": 3, "B": 2, "T": 5}
ORDERS = ["".join(order) for known in FORMATS for order in itertools.permutations(known)]
WEIGHTS = np.random.default_rng(1).standard_normal((4, 2, 3)).astype(np.float32)
BIAS = np.float32([0.5, -2])


def by_definition(X, labels, **options):
    """Apply the scatter sum to every pair of channels and samples, wherever the labels say that it lies."""
    where = [labels.index("C"), labels.index("S" if "S" in labels else "T")]
    moved = np.moveaxis(X, where, [-2, -1])
    signals = moved.reshape(-1, *moved.shape[-2:])
    y = np.stack([reference.scatter(x, np.einsum("kfc->cfk", WEIGHTS), BIAS, **options) for x in signals])
    return np.moveaxis(y.reshape(*moved.shape[:-2], *y.shape[-2:]), [-2, -1], where)


def make_layer(**options):
    return transposedConv1dLayer(4, 2, Stride=2, Weights=WEIGHTS, Bias=BIAS, **options)


def make_input(labels, dtype=np.float32):
    shape = tuple(SIZES[label] for label in labels)
    return np.random.default_rng(2).standard_normal(shape).astype(dtype)


def test_there_are_six_formats():
    assert FORMATS == ("CBT", "SCB", "SCBT", "CT", "SC", "SCT")
    assert len(ORDERS) == len(set(ORDERS)) == 6 + 6 + 24 + 2 + 2 + 6


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("labels", ORDERS)
def test_every_order_of_the_labels(labels, order):
    X = np.asarray(make_input(labels), order=order)
    y = make_layer(Cropping=(1, 2)).predict(X, labels)
    upsampled = "S" if "S" in labels else "T"
    sizes = SIZES | {"C": 2, upsampled: (SIZES[upsampled] - 1) * 2 + 4 - 3}
    assert y.shape == tuple(sizes[label] for label in labels)
    magnitude = by_definition(abs(X), labels, stride=2) + 10
    expected = by_definition(X, labels, stride=2, padding=(1, 2))
    assert_close(y, expected, np.broadcast_to(magnitude.max(), expected.shape))
    assert_array_equal(make_layer(Cropping=(1, 2)).forward(X, labels), y)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("labels", ORDERS)
def test_only_a_layout_that_needs_a_copy_is_copied(labels, order):
    """B and T join without a copy where they are neighbours in memory; everything else is a transposed view."""
    X = np.asarray(make_input(labels), order=order)
    is_view = np.shares_memory(layout_of(X, labels).to_engine(X), X)
    assert is_view == ("BT" in labels or "TB" in labels or len(labels) < 4)


@pytest.mark.parametrize("labels", ORDERS)
def test_the_output_is_not_copied(labels):
    y = make_layer().predict(make_input(labels), labels)
    base = y if y.base is None else y.base
    assert base.flags.c_contiguous
    assert base.size == y.size


def test_a_chain_of_layers_copies_nothing():
    """What one layer returns reaches the next as contiguous memory."""
    y = make_layer().predict(make_input("SCBT"), "SCBT")
    assert layout_of(y, "SCBT").to_engine(y).flags.c_contiguous


@pytest.mark.parametrize(
    "labels", ["cbt", "CB", "C", "T", "B", "", "CBTS ", "CBU", "CCT", "CTT", "CBTB", "ST", "BT", "SBT"]
)
def test_labels_that_are_no_format(labels):
    X = np.ones((3,) * len(labels), np.float32)
    message = f"format must be one of CBT, SCB, SCBT, CT, SC, SCT, in any order of the labels; got {labels!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_layer().predict(X, labels)


@pytest.mark.parametrize(
    ("labels", "shape"), [("CBT", (3, 5)), ("CT", (2, 3, 5)), ("SCBT", (7,)), ("CT", ()), ("SC", (0,))]
)
def test_another_number_of_axes(labels, shape):
    with pytest.raises(ValueError, match=rf"each of the {len(shape)} axes .*'{labels}' .*CBT, SCB, SCBT, CT, SC, SCT"):
        make_layer().predict(np.ones(shape, np.float32), labels)


@pytest.mark.parametrize("labels", [None, 3, ["C", "T"], {"x": "C"}, b"CT", ("C", "T")])
def test_format_that_is_no_text(labels):
    with pytest.raises(TypeError, match=r"^format must be a text, one of CBT, SCB, SCBT, CT, SC, SCT in any order"):
        make_layer().predict(np.ones((3, 5), np.float32), labels)


@pytest.mark.parametrize("labels", ["BCT", "TBC", "BSCT", "TSCB"])
def test_no_observations(labels):
    shape = tuple({**SIZES, "B": 0}[label] for label in labels)
    y = make_layer().predict(np.ones(shape, np.float32), labels)
    assert y.size == 0
    assert y.shape[labels.index("B")] == 0
    assert y.shape[labels.index("C")] == 2
    dLdX, gradients = make_layer().backward(np.ones(shape, np.float32), y, labels)
    assert dLdX.shape == shape
    assert not any(array.any() for array in gradients.values())


# -- xarray --------------------------------------------------------------------------------------------------------


def test_without_xarray_nothing_is_a_data_array(monkeypatch):
    monkeypatch.delitem(__import__("sys").modules, "xarray", raising=False)
    assert not is_data_array(np.ones(3))


@pytest.mark.parametrize("labels", ["BCT", "TC", "CSB", "SBTC"])
def test_data_array_whose_dims_are_labels(labels):
    xarray = pytest.importorskip("xarray")
    X = make_input(labels)
    y = make_layer().predict(xarray.DataArray(X, dims=list(labels), name="ecg", attrs={"unit": "mV"}))
    assert isinstance(y, xarray.DataArray)
    assert y.dims == tuple(labels)
    assert (y.name, y.attrs) == ("ecg", {"unit": "mV"})
    assert_array_equal(y.values, make_layer().predict(X, labels))


def test_data_array_keeps_the_coordinates_that_still_hold():
    xarray = pytest.importorskip("xarray")
    coords = {
        "time": np.arange(5) / 360,
        "lead": ["I", "II", "III"],
        "patient": [7, 9],
        "age": ("patient", [50, 60]),
        "gain": ("lead", [1.0, 2.0, 3.0]),
        "site": "here",
    }
    X = xarray.DataArray(make_input("BCT"), dims=("patient", "lead", "time"), coords=coords)
    for format in ({"patient": "B", "lead": "C", "time": "T"}, "BCT"):
        y = make_layer().predict(X, format)
        assert y.dims == X.dims
        assert set(y.coords) == {"patient", "age", "site"}
        assert_array_equal(y.age, [50, 60])
        assert_array_equal(y.values, make_layer().predict(X.values, "BCT"))
    assert set(X.coords) == set(coords)


def test_mapping_may_name_some_dims_alone():
    xarray = pytest.importorskip("xarray")
    X = xarray.DataArray(make_input("BCT"), dims=("B", "C", "time"))
    assert_array_equal(make_layer().forward(X, {"time": "T"}), make_layer().predict(X.values, "BCT"))


def test_gradients_of_a_data_array():
    """The gradient with respect to X has everything that X has; that of the output may have its dims in any order."""
    xarray = pytest.importorskip("xarray")
    coords = {"time": np.arange(5) / 360, "lead": ["I", "II", "III"]}
    X = xarray.DataArray(make_input("BCT"), dims=("patient", "lead", "time"), coords=coords, name="ecg")
    format = {"patient": "B", "lead": "C", "time": "T"}
    layer = make_layer()
    Y = layer.forward(X, format)
    expected, weights = layer.backward(X.values, 2 * Y.values, "BCT")
    for dLdY in (2 * Y, (2 * Y).transpose("time", "patient", "lead"), 2 * Y.values):
        dLdX, gradients = layer.backward(X, dLdY, format)
        assert (dLdX.dims, dLdX.name, set(dLdX.coords)) == (X.dims, "ecg", set(coords))
        assert_array_equal(dLdX.values, expected)
        assert_array_equal(gradients["Weights"], weights["Weights"])


@pytest.mark.parametrize("format", [None, {"time": "T"}, {"lead": "C", "time": "X"}, {"lead": "C", "time": 1}])
def test_data_array_whose_dims_say_nothing(format):
    xarray = pytest.importorskip("xarray")
    X = xarray.DataArray(make_input("CT"), dims=("lead", "time"))
    with pytest.raises(ValueError, match=r"format must map the dims \('lead', 'time'\) to the labels"):
        make_layer().predict(X, format)


def test_data_array_whose_dims_are_no_format():
    xarray = pytest.importorskip("xarray")
    with pytest.raises(ValueError, match=r"format must be one of CBT.* got 'BT'"):
        make_layer().predict(xarray.DataArray(np.ones((2, 3)), dims=("B", "T")))


def test_initialize_from_a_data_array():
    xarray = pytest.importorskip("xarray")
    X = xarray.DataArray(make_input("TC"), dims=("time", "C"))
    layer = transposedConv1dLayer(4, 2).initialize(X, {"time": "T"}, rng=0)
    assert layer == transposedConv1dLayer(4, 2).initialize(3, rng=0)
