"""The gradients against their definition, PyTorch's autograd and central differences; function and plan."""

import math
import random
import re
from dataclasses import replace

import numba
import numpy as np
import pytest
from cases import LARGE, LAYOUTS, Case, assert_close, assert_gradients_close, poison, random_case, random_values
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from numba_tconv import ConvTranspose1d, conv_transpose1d, conv_transpose1d_backward, reference
from numba_tconv.backends.cpu import backward
from numba_tconv.geometry import geometry, window

NAMES = ("x", "weight", "bias")
# (dtype of x, of weight, of grad_output); every other one would compile kernels of its own, for seconds.
KINDS = [
    ("float32", "float32", "float32"),
    ("float64", "float64", "float64"),
    ("complex64", "float32", "complex64"),
    ("float32", "complex64", "complex64"),
    ("complex64", "complex64", "complex64"),
    ("complex64", "complex64", "float32"),
    ("complex128", "complex128", "complex128"),
    ("float64", "complex128", "float64"),
    ("float16", "float16", "float16"),
    ("int16", "float32", "float32"),
    ("float32", "bool", "float32"),
]
COUNT = 60


def grad_output(case, dtype):
    """Return a gradient of the output in the case's layout; its values belong to the case."""
    batch = () if case.batch is None else (case.batch,)
    shape = (*batch, case.groups * case.filters, case.output_length)
    rng = np.random.default_rng(case.seed + 1)
    return LAYOUTS[case.out_layout or "contiguous"](random_values(rng, shape, dtype))


def draw(rng, kind):
    """Return a case of a kind and a gradient of its output, in any layout."""
    case = replace(random_case(rng, ("float32", "float32")), x_dtype=kind[0], weight_dtype=kind[1])
    case = replace(case, bias_dtype=None, out_layout=rng.choice(list(LAYOUTS)))
    return case, grad_output(case, kind[2])


def check(case, g):
    x, weight, _ = case.arrays()
    gradients = conv_transpose1d_backward(g, x, weight, **case.options)
    assert_gradients_close(gradients, case, g, x, weight)
    return gradients


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_random_cases(kind, monkeypatch):
    """As if each way of computing a gradient served a third of them: it takes all."""
    rng = random.Random("-".join(kind))  # noqa: S311 nothing secret
    for number in range(COUNT):
        case, g = draw(rng, kind)
        path = (backward.dots, backward.windows, backward.grad_x)[number % 3]
        monkeypatch.setattr(backward, "x_path", lambda *_, path=path: path)
        monkeypatch.setattr(backward.windows, "serves_weight", lambda *_, served=number % 3 == 1: served)
        try:
            check(case, g)
        except Exception as error:
            error.add_note(repr(case))
            raise


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[2], KINDS[4], KINDS[8]], ids="-".join)
def test_channels_that_see_no_other(kind, monkeypatch):
    """Their gradient of x is filtered and decimated, but for what that cannot do: dilation, a long crop, float16."""
    monkeypatch.setattr(backward.depthwise, "serves_x", lambda *_: False)
    rng, filtered = random.Random("-".join(kind)), []  # noqa: S311
    run, short = backward.Bank.run, backward.decimation.input_gradient
    monkeypatch.setattr(backward.Bank, "run", lambda *arguments: filtered.append(run(*arguments)))
    monkeypatch.setattr(backward.decimation, "input_gradient", lambda *arguments: filtered.append(short(*arguments)))
    for _ in range(COUNT):
        size, length = rng.choice((1, 2, 5, 16, 41)), rng.choice((1, 2, 15, 40, 150, 700))
        left, right = (rng.randint(0, size), rng.randint(0, size)) if length > 2 * size else (0, 0)
        case = Case(
            rng.choice((None, 1, 3)), rng.choice((1, 2, 5, 40)), 1, 1, size, length, rng.choice((1, 2, 3, 4, 8, 17)),
            padding=(left, right), dilation=rng.choice((1, 1, 1, 2)), x_dtype=kind[0], weight_dtype=kind[1],
            x_layout=rng.choice(list(LAYOUTS)), out_layout=rng.choice(list(LAYOUTS)), seed=rng.randrange(1 << 30),
        )  # fmt: skip
        before = len(filtered)
        check(case, grad_output(case, kind[2]))
        is_filtered = kind[0] != "float16" and case.dilation == 1 and left < size
        assert len(filtered) - before == is_filtered, case
    assert len(filtered) > COUNT // 2 or kind[0] == "float16"


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[2], KINDS[8]], ids="-".join)
def test_channels_side_by_side(kind, monkeypatch):
    """Channels that see no other, as lanes: for x and for the weight; and as ever where numbers are no plain floats."""
    rng, taken = random.Random("-".join(kind)), []  # noqa: S311
    for way in (backward.depthwise.input_gradient, backward.depthwise.weight_gradient):

        def record(*arguments, way=way):
            taken.append(way)
            return way(*arguments)

        monkeypatch.setattr(backward.depthwise, way.__name__, record)
    for _ in range(COUNT):
        case = Case(
            rng.choice((None, 1, 3, 20)), rng.choice((16, 20, 33, 40)), 1, rng.choice((1, 1, 2, 3)),
            rng.choice((1, 2, 5, 16, 41)), rng.choice((1, 2, 15, 40, 90)), rng.choice((1, 2, 3, 4, 8, 17)),
            dilation=rng.choice((1, 1, 1, 2)), x_dtype=kind[0], weight_dtype=kind[1],
            x_layout=rng.choice(list(LAYOUTS)), out_layout=rng.choice(list(LAYOUTS)), seed=rng.randrange(1 << 30),
        )  # fmt: skip
        left = rng.randint(0, (case.full_length - 1) // 2)
        case = replace(case, padding=(left, rng.randint(0, (case.full_length - 1) // 2)))
        check(case, grad_output(case, kind[2]))
    assert not taken if kind not in KINDS[:2] else len(set(taken)) == 2
    assert all(taken.count(way) > COUNT // 6 for way in taken)


@pytest.mark.parametrize(
    ("length", "filter_size", "stride", "dilation"),
    [(100_000, 64, 32, 1), (60, 1024, 4, 1), (60, 3, 1, 2000), (200, 5, 2, 1000), (60, 2, 100_000, 1)],
)
def test_channels_side_by_side_take_little_scratch(length, filter_size, stride, dilation):
    """However long signals are, and however far the taps lie apart: two megabytes for each worker."""
    geometry, dtype, depthwise = window(length, filter_size, stride, dilation, 0, 1), np.dtype("f"), backward.depthwise
    assert depthwise.serves_x(geometry, dtype, 64, 1)
    assert depthwise._gradient_problem(geometry, dtype, 3, 64, 1, 2)[1] <= 1 << 19


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 1, 50, 20, 16, 1, 8),
        Case(2, 3, 37, 9, 15, 16, 4, padding=(3, 9), x_layout="stepped", out_layout="reversed"),
        Case(None, 1, 9, 40, 7, 25, 2, dilation=3, padding="same", x_dtype="float16", weight_dtype="float16"),
        Case(3, 1, 21, 13, 50, 5, 3, x_dtype="complex64", weight_dtype="complex64"),
        Case(4, 2, 17, 1, 64, 8, 5, x_dtype="float64"),
        Case(1, 1, 6, 1, 70, 3, 40_000),
        Case(64, 1, 2, 7, 26, 9, 8, padding=(3, 0)),
        Case(90, 2, 33, 20, 36, 3, 2, padding=5),
    ],
    ids=lambda case: f"{case.channels}->{case.filters}",
)
def test_few_samples_read_weights_in_place(case, monkeypatch):
    monkeypatch.setattr(backward.windows, "x_cost", lambda *_: math.inf)  # some of them would be its
    monkeypatch.setattr(backward, "x_path", backward.x_path.__wrapped__)  # what this chooses is not kept
    monkeypatch.setattr(backward, "_x_problem", None)  # whoever took the other way would fail
    check(case, grad_output(case, case.dtype))


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[4], KINDS[5], KINDS[8]], ids="-".join)
def test_two_taps_of_a_phase(kind, monkeypatch):
    """Three multiply-adds for four: any length and layout, short signals together, others in blocks."""
    winograd = backward.winograd
    monkeypatch.setattr(backward, "x_path", lambda *_: winograd)
    monkeypatch.setattr(backward, "_winograd_problem", winograd.problem)  # none is kept for another size of a block
    rng = random.Random("-".join(kind))  # noqa: S311 nothing secret
    reached = []
    for _ in range(COUNT):
        monkeypatch.setattr(winograd, "FEWEST_SAMPLES", rng.choice((1, 40, 512)))
        monkeypatch.setattr(winograd, "SORTED_BYTES", rng.choice((1 << 8, 1 << 12, 1 << 19)))
        monkeypatch.setattr(winograd, "STAGED_BYTES", rng.choice((1 << 9, 1 << 22)))
        stride = rng.choice((1, 2, 3, 4, 5, 6, 8, 12, 16))
        case = Case(
            rng.choice((None, 1, 5)), rng.choice((1, 2)), rng.choice((2, 5, 6, 7, 13)), rng.choice((1, 2, 7, 10)),
            2 * stride, rng.choice((1, 2, 15, 40, 95, 150)), stride, x_dtype=kind[0], weight_dtype=kind[1],
            x_layout=rng.choice(list(LAYOUTS)), out_layout=rng.choice(list(LAYOUTS)), seed=rng.randrange(1 << 30),
        )  # fmt: skip
        left = rng.randint(0, (case.full_length - 1) // 2)
        case = replace(case, padding=(left, rng.randint(0, (case.full_length - 1) // 2)))
        check(case, grad_output(case, kind[2]))
        of_case = geometry(case.length, case.filter_size, case.stride, case.padding, 0, 1)
        operands = backward.Operands(case.batch or 1, 1, case.channels, case.filters, 1, 1, 1, is_half=False)
        assert winograd.cost(of_case, np.dtype("f"), operands) < math.inf
        numbers, _ = winograd.problem(of_case, np.dtype("f"), 1, operands)
        of = backward.products
        cut = numbers[of.LANE_BLOCKS] > 1, numbers[of.FILTER_BLOCK] < case.filters, numbers[of.ROW_BLOCKS] > 1
        reached.append((case.length % 2, numbers[of.SIGNALS] > 1, *cut))
    assert all(map(any, zip(*reached, strict=True)))


@pytest.mark.parametrize(
    ("filter_size", "stride", "dilation"), [(9, 4, 1), (4, 4, 1), (8, 4, 2), (22, 11, 1), (128, 64, 1)]
)
def test_other_filters_take_four_products(filter_size, stride, dilation):
    """More or fewer than two taps of a phase, taps apart, phases that shuffles do not sort, and too many of them."""
    operands = backward.Operands(1, 1, 64, 64, 1, 1, 1, is_half=False)
    of_case = geometry(1000, filter_size, stride, (0, 0), 0, dilation)
    assert backward.winograd.cost(of_case, np.dtype("f"), operands) == math.inf


@pytest.mark.parametrize(
    ("case", "path"),
    [
        (Case(1, 1, 512, 256, 8, 1892, 4), "winograd"),  # two taps of every phase
        (Case(1, 1, 1024, 512, 16, 1, 8), "dots"),  # few samples
        (Case(16, 1, 4, 64, 24, 20, 8), "dots"),  # few channels of short signals
        (Case(64, 1, 4, 64, 8, 96, 4), "windows"),
        (Case(64, 1, 1024, 512, 24, 8, 8), "grad_x"),  # many short signals
        (Case(1, 1, 1026, 1, 1024, 224, 256), "grad_x"),  # windows too far apart to be sorted
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.channels}->{value.filters}",
)
def test_path_of_the_gradient_of_x(case, path):
    """Where one path is far ahead of the others, the costs must say so, for vectors of any length."""
    of_case = geometry(case.length, case.filter_size, case.stride, (0, 0), 0, 1)
    operands = backward.Operands(case.batch, 1, case.channels, case.filters, 1, 1, 1, is_half=False)
    assert backward.x_path(of_case, np.dtype(np.float32), operands) is getattr(backward, path)


def test_random_cases_are_varied():
    rng = random.Random(1)  # noqa: S311
    cases = [draw(rng, KINDS[0])[0] for _ in range(len(KINDS) * COUNT)]
    assert {case.out_layout for case in cases} == set(LAYOUTS)
    for name in ("batch", "groups", "stride", "dilation", "output_padding", "filters", "channels"):
        assert len({getattr(case, name) for case in cases}) > 2, name
    assert {type(case.padding) for case in cases} == {int, tuple, str}


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(st.randoms(use_true_random=False))
def test_central_differences(rng):
    """Of half the squared output, whose gradient is the output, along a random direction."""
    case, _ = draw(rng, KINDS[1])
    x, weight, _ = case.arrays()
    generator = np.random.default_rng(case.seed)
    arrays = [x, weight, generator.standard_normal(case.groups * case.filters)]
    directions = [generator.standard_normal(array.shape) for array in arrays]

    def loss(step):
        moved = [array + step * direction for array, direction in zip(arrays, directions, strict=True)]
        return np.sum(conv_transpose1d(*moved, **case.options) ** 2) / 2

    y = conv_transpose1d(*arrays, **case.options)
    gradients = conv_transpose1d_backward(y, x, weight, **case.options)
    slopes = [np.sum(gradient * direction) for gradient, direction in zip(gradients, directions, strict=True)]
    # The error of central differences is of the second order, that of the loss's digits 1e-16 / step.
    step = 1e-5
    difference = (loss(step) - loss(-step)) / (2 * step)
    scale = sum(np.sum(abs(gradient * d)) for gradient, d in zip(gradients, directions, strict=True)) + loss(0)
    assert abs(difference - sum(slopes)) <= 1e-6 * scale


@pytest.mark.parametrize("kind", [("float64", "float64"), ("complex128", "float64"), ("complex128", "complex128")])
def test_adjoint(kind):
    """<A x, g> == <x, A' g>, and the same for the operator that the weight is put into."""
    rng = random.Random(3)  # noqa: S311
    for _ in range(40):
        case, g = draw(rng, (*kind, kind[0]))
        x, weight, _ = case.arrays()
        y = conv_transpose1d(x, weight, **case.options)
        magnitudes = [abs(array) for array in (x, weight)]
        scale = np.sum(reference.scatter(*magnitudes, **case.options) * abs(g))
        gradients = conv_transpose1d_backward(g, x, weight, wrt=("x", "weight"), **case.options)
        for array, gradient in zip((x, weight), gradients, strict=False):
            difference = np.sum(y.conj() * g) - np.sum(array.conj() * gradient)
            # Of a real argument the imaginary part of the product is not kept.
            difference = difference if array.dtype.kind == "c" else difference.real
            assert abs(difference) <= 1e-12 * scale, case


# Beyond the forward pass's: chunks of the weight's sums, windows far apart, many taps, a block of lanes that is cut.
MORE = {
    "long signals, few weights": Case(2, 1, 8, 4, 4, 9000, 2, padding=1),
    "windows far apart": Case(3, 1, 40, 2, 700, 37, 100, padding=(20, 3)),
    "windows far apart, few taps": Case(1, 1, 8, 100, 4, 200, 40),
    "windows far apart, with dilation": Case(2, 1, 20, 2, 60, 37, 50, dilation=3),
    "one tap": Case(2, 1, 300, 40, 1, 700),
    "short signals that fill no panel": Case(41, 1, 60, 30, 16, 5, 8, padding=4),
    "short signals that begin in one block and end in the next": Case(90, 1, 30, 40, 6, 13, 3, dilation=2),
    "few channels and samples": Case(8, 1, 7, 90, 6, 5, 3),
    "many short signals": Case(80, 1, 60, 30, 16, 8, 8, padding=4),
    "rows and lanes of several blocks": Case(2, 1, 600, 50, 12, 600, 6, padding=3),
    "one signal": Case(1, 1, 1, 1, 41, 40_000, 4, padding=(20, 17)),
    "windows in place, blocks of filters": Case(1, 1, 30, 600, 4, 300, 2, padding=1),
    "windows in place, signals of several blocks": Case(2, 1, 5, 3, 7, 9001, 3, dilation=2, padding=(4, 1)),
    "windows in place, phases of a large stride": Case(2, 1, 6, 5, 31, 600, 31, padding=7),
    "windows in place, complex": Case(2, 1, 9, 17, 4, 700, 2, x_dtype="complex64", weight_dtype="complex64"),
    "few channels of many short signals": Case(130, 1, 3, 40, 40, 5, 8),
    "few samples of a large layer": Case(2, 1, 520, 70, 16, 9, 8, padding=4),
    "signals that see no other": Case(3, 70, 1, 1, 15, 500, 4, padding=5),
    "signals that see no other, long filters": Case(3, 70, 1, 1, 41, 300, 4, padding=5),
    "signals that see no other, of few samples": Case(3, 70, 1, 1, 41, 33, 7, padding=(5, 90)),
    "one signal of several blocks": Case(1, 1, 1, 1, 4, 20_001, 2, padding=1),
}
CASES = {**LARGE, **MORE}


@pytest.mark.parametrize("name", CASES)
def test_large_cases_on_any_number_of_threads(name):
    case = replace(CASES[name], bias_dtype=None)
    g = grad_output(case, case.dtype)
    expected = check(case, g)
    x, weight, _ = case.arrays()
    before, most = numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS
    try:
        for n_threads in {1, most, (most + 1) // 2}:
            numba.set_num_threads(n_threads)
            gradients = conv_transpose1d_backward(g, x, weight, **case.options)
            for gradient, wanted in zip(gradients, expected, strict=True):
                assert gradient.tobytes() == wanted.tobytes(), f"{n_threads} threads"
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("names", [(), ("x",), ("weight",), ("bias",), ("weight", "x"), {"x", "bias"}, "x", "weight"])
def test_what_is_not_asked_for_is_none(names):
    case = Case(2, 1, 30, 40, 7, 50, 3)
    g, (x, weight, _) = grad_output(case, "float32"), case.arrays()
    everything = conv_transpose1d_backward(g, x, weight, **case.options)
    some = conv_transpose1d_backward(g, x, weight, **case.options, wrt=names)
    assert some._fields == NAMES
    for name in NAMES:
        if name in ({names} if isinstance(names, str) else names):
            assert_array_equal(getattr(some, name), getattr(everything, name))
        else:
            assert getattr(some, name) is None


def test_nothing_depends_on_fresh_memory(monkeypatch):
    """Every number is written, and no sum takes in what was in memory before."""
    rng = random.Random(4)  # noqa: S311
    some = [draw(rng, KINDS[0]) for _ in range(60)]
    some += [(case, grad_output(case, "float32")) for case in MORE.values()]
    for case, g in some:
        x, weight, _ = case.arrays()
        expected = conv_transpose1d_backward(g, x, weight, **case.options)
        with monkeypatch.context() as patched:
            patched.setattr(np, "empty", poison)
            gradients = conv_transpose1d_backward(g, x, weight, **case.options)
        for gradient, wanted in zip(gradients, expected, strict=True):
            assert_array_equal(gradient, wanted, err_msg=repr(case))


def test_bad_samples_stay_where_they_belong():
    """A NaN reaches the sums that it is a term of, and no other signal, channel, tap or group."""
    rng, some = random.Random(5), 0  # noqa: S311
    for _ in range(60):
        case, g = draw(rng, KINDS[0])
        g = g.copy()
        x, weight, _ = (None if array is None else np.abs(array) + 1 for array in case.arrays())
        g[tuple(rng.randrange(size) for size in g.shape)] = np.nan
        gradients = conv_transpose1d_backward(g, x, weight, **case.options)
        reached = reference.gradients(np.isnan(g), np.ones(x.shape), np.ones(weight.shape), **case.options)
        for gradient, expected in zip(gradients, reached, strict=True):
            assert_array_equal(np.isnan(gradient), expected != 0, err_msg=repr(case))
            some += 0 < np.count_nonzero(expected) < expected.size
    assert some > 60


@pytest.mark.parametrize("name", [name for name, case in MORE.items() if case.groups * case.channels > 1])
def test_bad_channel_stays_alone(name):
    """A NaN in x reaches the weights of its channel and no other, also where rows are read in place."""
    case = MORE[name]
    x, weight, _ = case.arrays()
    x[..., 1, :] = np.nan
    gradient = conv_transpose1d_backward(grad_output(case, "float32"), x, weight, **case.options, wrt="weight").weight
    assert_array_equal(np.flatnonzero(np.isnan(gradient).any(axis=(1, 2))), [1])


def test_bias_sums_keep_their_digits():
    """A running sum of so many equal numbers would be off in the third digit; pairs are exact to rounding."""
    g, x = np.full((3, 1, 5_000_000), 0.1, np.float32), np.zeros((3, 1, 5_000_000), np.float32)
    total = conv_transpose1d_backward(g, x, np.ones((1, 1, 1), np.float32), wrt="bias").bias
    assert abs(total[0] - g.sum(dtype=float)) <= 2e-7 * total[0]


@pytest.mark.parametrize("dtype", ["float32", "complex64", "int16"])
def test_empty_batch(dtype):
    x, weight = np.ones((0, 2, 7), dtype), np.ones((2, 5, 3), np.float32)
    gradients = conv_transpose1d_backward(np.ones((0, 5, 15), np.float32), x, weight, stride=2)
    assert gradients.x.shape == x.shape
    assert_array_equal(gradients.weight, np.zeros(weight.shape, np.float32), strict=True)
    assert_array_equal(gradients.bias, np.zeros(5, np.result_type(dtype, np.float32)), strict=True)


def test_lists_are_arrays():
    lists = [[1.0, 10.0, 100.0, 1000.0]], [[1.0, 2.0]], [[[1.0, 1.0]]]
    expected = reference.gradients(*lists, stride=2)
    gradients = conv_transpose1d_backward(*lists, stride=2)
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert_array_equal(gradient, wanted, strict=True)


# -- the plan ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2], KINDS[4]], ids="-".join)
def test_plan(kind):
    rng = random.Random(6)  # noqa: S311
    for _ in range(20):
        case, g = draw(rng, kind)
        x, weight, _ = case.arrays()
        expected = conv_transpose1d_backward(g, x, weight, **case.options)
        plan = ConvTranspose1d(weight, np.ones(case.groups * case.filters, np.float32), **case.options)
        gradients = plan.backward(g, x)
        for gradient, wanted in zip(gradients, (*expected[:2], expected.bias.real), strict=True):
            assert_array_equal(gradient, wanted, strict=True)
        assert plan.backward(g, x, wrt="weight").x is None
        assert ConvTranspose1d(weight, **case.options).backward(g, x).bias is None


def test_plan_with_a_complex_bias():
    g = np.array([[1 + 1j, 2, 3j]], np.complex64)
    plan = ConvTranspose1d(np.ones((1, 1, 1), np.float32), np.array([1j], np.complex64))
    assert_array_equal(plan.backward(g, g).bias, np.array([3 + 4j], np.complex64), strict=True)


# -- options and errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 3},
        {"padding": 1},
        {"padding": (0, 1)},
        {"padding": (1, 0)},
        {"padding": "same"},
        {"output_padding": 1},
        {"groups": 2},
        {"dilation": 2},
    ],
    ids=str,
)
def test_every_option_matters(rng, options):
    x, weight = rng.standard_normal((2, 4, 9)), rng.standard_normal((4, 6, 5))

    def gradients(**options):
        y = conv_transpose1d(x, weight, **options)
        return conv_transpose1d_backward(np.cos(np.arange(y.size)).reshape(y.shape), x, weight, **options)

    for base, changed in zip(gradients(stride=2), gradients(**{"stride": 2} | options), strict=True):
        assert base.shape != changed.shape or not np.allclose(base, changed)


GOOD = {
    "grad_output": np.ones((2, 6, 14), np.float32),
    "x": np.ones((2, 4, 7), np.float32),
    "weight": np.ones((4, 3, 4), np.float32),
    "stride": 2,
    "padding": 1,
    "groups": 2,
}


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("grad_output", np.ones((2, 6, 13)), ValueError, "of the output, (2, 6, 14); got (2, 6, 13)"),
        ("grad_output", np.ones((6, 14)), ValueError, "of the output, (2, 6, 14); got (6, 14)"),
        ("grad_output", np.ones((2, 6, 14), complex), TypeError, "be real where x and weight are; got complex128"),
        ("grad_output", np.ones((2, 6, 14), object), TypeError, "got ndarray"),
        ("grad_output", None, TypeError, "got NoneType"),
        ("x", np.ones((2, 3, 7)), ValueError, "weight has 4 input channels, x has 3 (shape (2, 3, 7))"),
        ("weight", np.ones((4, 3)), ValueError, "got (4, 3)"),
        ("wrt", "y", ValueError, "wrt must hold names out of 'x', 'weight' and 'bias'; got 'y'"),
        ("wrt", ("x", "w"), ValueError, "got ('x', 'w')"),
        ("wrt", None, TypeError, "got None"),
        ("wrt", True, TypeError, "got True"),
        ("stride", 0, ValueError, "stride must be a positive int; got 0"),
        ("padding", -1, ValueError, "padding must be a non-negative int, (left, right) or 'same'; got -1"),
        ("groups", 3, ValueError, "groups must divide the 4 input channels of weight; got 3"),
        ("dilation", 1.0, TypeError, "dilation must be a positive int; got 1.0"),
        ("output_padding", 2, ValueError, "output_padding must be smaller than stride or dilation; got 2"),
        ("device", "cuda", RuntimeError, "cuda"),
    ],
)
def test_bad_input(name, value, error, message):
    conv_transpose1d_backward(**GOOD)
    with pytest.raises(error, match=re.escape(message)):
        conv_transpose1d_backward(**{**GOOD, name: value})


# -- peers -------------------------------------------------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[4]], ids="-".join)
def test_autograd_of_torch(kind):
    torch = pytest.importorskip("torch")
    rng = random.Random(7)  # noqa: S311
    for _ in range(60):
        case, _ = draw(rng, kind)
        if not isinstance(case.padding, int):
            case = replace(case, padding=0)
        g = grad_output(case, kind[2])
        arrays = [array.astype(case.dtype) for array in case.arrays()[:2]]
        arrays.append(np.zeros(case.groups * case.filters, case.dtype))
        g = g.astype(case.dtype)
        tensors = [torch.tensor(array.copy(), requires_grad=True) for array in arrays]
        torch.conv_transpose1d(*tensors, **case.options).backward(torch.tensor(g.copy()))
        magnitudes = reference.gradients(abs(g), *(abs(array) for array in arrays[:2]), **case.options)
        gradients = conv_transpose1d_backward(g, *arrays[:2], **case.options)
        for gradient, tensor, magnitude in zip(gradients, tensors, magnitudes, strict=True):
            # Two results, each off by what a single one may be.
            assert_close(gradient, tensor.grad.numpy(), 2 * magnitude)
