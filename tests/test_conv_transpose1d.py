"""The transposed convolution of arrays against its definitions: function and plan, both paths, serial and parallel."""

import random
from collections import defaultdict
from dataclasses import replace

import numba
import numpy as np
import pytest
from cases import (
    COMMON,
    KINDS,
    LARGE,
    LAYOUTS,
    WRITABLE_LAYOUTS,
    assert_close,
    poison,
    random_case,
    random_cases,
    tap_by_tap,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from numba_tconv import ConvTranspose1d, conv_transpose1d, reference
from numba_tconv.backends.cpu import forward, scatter, threads
from numba_tconv.geometry import geometry

CHUNKS, CHUNK = 24, 100
# Bits of results are compared, and NaN is equal to itself there.
BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def run(case, *arrays):
    """Return the result of a case, and check that nothing around `out` was written to."""
    out = case.out()
    y = conv_transpose1d(*arrays, **case.options, out=out)
    assert y.dtype == case.dtype
    if out is not None:
        assert y is out
        frame = out if out.base is None else out.base
        poisoned = np.count_nonzero(np.isnan(frame))
        assert poisoned == frame.size - np.count_nonzero(~np.isnan(y)), "written outside of out"
    return y


def geometry_of(case):
    padding = case.padding if case.padding == "same" or isinstance(case.padding, tuple) else (case.padding,) * 2
    return geometry(case.length, case.filter_size, case.stride, padding, case.output_padding, case.dilation)


def check(case):
    arrays = case.arrays()
    assert_close(run(case, *arrays), *case.expected(*arrays))


def bits(array):
    real = np.ascontiguousarray(array).view(array.real.dtype)
    return real.view(BITS[real.itemsize])


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_cases(chunk):
    for case in random_cases(chunk, CHUNK):
        try:
            check(case)
        except Exception as error:
            error.add_note(repr(case))
            raise


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(st.randoms(use_true_random=False), st.sampled_from(list(KINDS)))
def test_small_failures(rng, kind):
    """The same cases, drawn by hypothesis, which would reduce a failure to its simplest form."""
    check(random_case(rng, kind))


@pytest.mark.parametrize("name", LARGE)
def test_large_cases(name):
    case = LARGE[name]
    check(case)
    x, weight, bias = case.arrays()
    y = ConvTranspose1d(weight, bias, **case.options)(x, out=case.out())
    assert_close(y, *case.expected(x, weight, bias))
    if not name.startswith("scatter"):
        assert_array_equal(bits(y), bits(conv_transpose1d(x, weight, bias, **case.options)))


@pytest.fixture
def launches(monkeypatch):
    """Record (path, multiply-adds) of every launch in place of running it."""
    recorded, works = [], []
    workers = threads.workers

    def launch(kernel, arguments, n_workers):
        recorded.append((kernel.py_func.__module__.rpartition(".")[2], works[-1]))

    monkeypatch.setattr(threads, "workers", lambda work: works.append(work) or workers(work))
    monkeypatch.setattr(threads, "launch", launch)
    return recorded


def test_random_cases_are_varied(launches, monkeypatch):
    """Were the generator stuck, the tests above would pass on little."""
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)
    cases = [case for chunk in range(CHUNKS) for case in random_cases(chunk, CHUNK)]
    assert len(cases) >= 2000
    assert len({replace(case, seed=0) for case in cases}) > 0.95 * len(cases)
    assert {(case.x_dtype, case.weight_dtype) for case in cases} == set(KINDS)
    assert {case.dtype.name for case in cases} == {"float16", "float32", "float64", "complex64", "complex128"}
    assert {case.x_layout for case in cases} == {case.weight_layout for case in cases} == set(LAYOUTS)
    assert {case.out_layout for case in cases} == {None, *WRITABLE_LAYOUTS}
    assert {type(case.padding) for case in cases} == {int, tuple, str}

    paths = defaultdict(list)
    for case in cases:
        launches.clear()
        conv_transpose1d(*case.arrays(), **case.options)
        name = launches[-1][0] if launches else None
        is_on_the_way = name == "panels" and "pack" not in dict(launches)
        paths["packed on the way" if is_on_the_way else name].append((case, geometry_of(case)))
    assert set(paths) >= {"fir", "panels", "scatter", "direct"}
    assert len(paths["direct"]) > 60
    assert len(paths["scatter"]) > 40
    assert len(paths["packed on the way"]) > 8
    some = [(case, g) for case, g in paths["panels"] if g.branches > 32 and 8 * g.filter_size <= g.branches]
    assert {g.is_interleaved for _, g in some} == {True, False}, "branches that are left out"
    assert len({(case.x_dtype, case.out_layout) for case, _ in some}) > 10
    for path in (paths["fir"], paths["panels"]):
        assert len(path) > 500
        assert {(case.dtype.kind, case.weight_dtype[0] == "c") for case, _ in path} == {("f", 0), ("c", 0), ("c", 1)}
        assert {g.branches for _, g in path} >= {1, 2, 3, 4}
        assert {g.taps_per_branch for _, g in path} >= set(range(1, 11))
        assert len({g.stride for _, g in path}) > 8
        assert {g.dilation for _, g in path} >= {1, 2, 3, 4, 5, 6, 7, 40}
        assert {g.input_step for _, g in path} == {1, 2, 3, 5, 7, 40}
        assert {g.length for _, g in path} >= {1, 2, 3, 10, 30}
        assert max(g.length for _, g in path) > 400
        assert {case.batch for case, _ in path} >= {None, 1, 2, 3, 4, 5}
        assert {(case.groups, case.channels) for case, _ in path} >= {(1, 1), (1, 2), (2, 1), (3, 2), (12, 1), (1, 300)}
        for is_interleaved in (True, False):
            some = [(case, g) for case, g in path if g.is_interleaved == is_interleaved]
            assert any(g.left == 0 == g.right == g.extension for _, g in some)
            assert any(g.first_row > g.halo for _, g in some), "only later rows are kept"
            assert any(g.left % g.stride > 0 for _, g in some), "the first row is cut in two"
            assert any(g.right > g.stride * g.halo > 0 for _, g in some), "the last rows are not kept"
            assert any(g.output_length == 1 for _, g in some)
            assert any(g.filter_size < g.branches for _, g in some), "a branch without taps"
            assert any(g.filter_size % g.branches for _, g in some), "branches of different size"
            assert any(case.padding == "same" and g.extension for case, g in some)
            assert any(case.padding == "same" and g.right == g.left + 1 for case, g in some)
            assert any(case.output_padding for case, _ in some)


def test_large_cases_are_what_their_names_say(launches, monkeypatch):
    monkeypatch.setattr(numba, "get_num_threads", lambda: 4)  # with many more, no item packs its own weights
    is_parallel = defaultdict(list)
    for name, case in LARGE.items():
        geometry = geometry_of(case)
        launches.clear()
        conv_transpose1d(*case.arrays(), **case.options)
        path, work = launches[-1]
        assert path == name.split(",")[0], name
        assert ("turning" in dict(launches)) == ("turned" in name), name
        assert ("pack" in dict(launches)) == (path == "panels" and "on the way" not in name), name
        is_parallel[path].append(work >= threads.PARALLEL_WORK)
        assert case.channels * geometry.taps_per_branch > 500 or "blocks of channels" not in name
        assert geometry.taps_per_branch > 256 or not name.endswith("blocks of taps")
        assert geometry.halo > 1 << 16 or "far apart" not in name
        assert geometry.halo > 1 << 20 or "huge" not in name
        assert geometry.first_row > 0 or "cropped" not in name
        assert (case.batch or 1) * geometry.rows > 512 or "short signals" not in name
    for path, seen in is_parallel.items():
        assert sum(seen) >= 5, path
        assert not all(seen), path


@pytest.mark.parametrize("definition", [reference.scatter, reference.zero_insertion, reference.convolution_matrix])
def test_tap_by_tap_is_the_scatter_sum(definition):
    for case in random_cases(7, 60):
        small = replace(case, length=min(case.length, 9), filter_size=min(case.filter_size, 7), padding="same")
        arrays = replace(small, output_padding=0, filters=min(small.filters, 3)).arrays()
        options = {**small.options, "output_padding": 0}
        np.testing.assert_allclose(tap_by_tap(*arrays, **options), definition(*arrays, **options), atol=1e-9)


# -- bits ----------------------------------------------------------------------------------------------------------


def test_plan_is_the_function(monkeypatch):
    calls, choose, scattered = [], forward._call_once, 0
    monkeypatch.setattr(forward, "_call_once", lambda *arguments: calls.append(choose(*arguments)) or calls[-1])
    for case in random_cases(101, 300):
        x, weight, bias = case.arrays()
        y = conv_transpose1d(x, weight, bias, **case.options)
        plan = ConvTranspose1d(weight, bias, **case.options)
        expected = bits(plan(x))
        assert_array_equal(bits(plan(x)), expected, err_msg=f"the second time: {case!r}")
        assert_array_equal(bits(plan(x, out=case.out())), expected, err_msg=repr(case))
        kernel = getattr(calls[-1][0], "kernel", None)
        if kernel and kernel.py_func.__module__ == scatter.__name__:  # it adds up in another order
            assert_close(plan(x), *case.expected(x, weight, bias))
            scattered += 1
        else:
            assert_array_equal(bits(y), expected, err_msg=repr(case))
    assert 10 < scattered < 100


def test_plan_serves_any_length_batch_and_dtype(rng):
    weight, bias = rng.standard_normal((3, 2, 5)).astype(np.float32), np.ones(2, np.float32)
    plan = ConvTranspose1d(weight, bias, stride=2, padding="same")
    for shape in [(3, 7), (2, 3, 7), (3, 1), (1, 3, 100), (0, 3, 4)]:
        for dtype in ("float32", "float64", "complex64", "float16", "int16", "bool"):
            x = (10 * rng.standard_normal(shape)).astype(dtype)
            expected = conv_transpose1d(x, weight, bias, stride=2, padding="same")
            y = plan(x)
            assert y.dtype == expected.dtype
            assert y.shape == (*shape[:-2], 2, 2 * shape[-1])
            assert_array_equal(bits(y), bits(expected))


def test_plan_takes_a_complex_bias_for_complex_signals(rng):
    weight, bias = rng.standard_normal((1, 1, 3)).astype(np.float32), np.array([2 + 1j], np.complex64)
    x = rng.standard_normal((1, 9)).astype(np.complex64)
    expected = conv_transpose1d(x, weight, bias, stride=2)
    assert_array_equal(ConvTranspose1d(weight, bias, stride=2)(x), expected)


@pytest.mark.parametrize("filters", [1, 40])
def test_plan_does_not_see_later_changes(rng, filters):
    weight = rng.standard_normal((2, filters, 5)).astype(np.float32)
    bias = rng.standard_normal(filters).astype(np.float32)
    x = rng.standard_normal((2, 30)).astype(np.float32)
    expected = conv_transpose1d(x, weight, bias, stride=2)
    expected_double = conv_transpose1d(x.astype(float), weight, bias, stride=2)
    plan = ConvTranspose1d(weight, bias, stride=2)
    weight[...], bias[...] = 0, 0
    assert_array_equal(plan(x), expected)
    assert_array_equal(plan(x.astype(float)), expected_double)


@pytest.mark.parametrize("name", LARGE)
def test_same_bits_on_any_number_of_threads(name):
    case, most = LARGE[name], numba.config.NUMBA_NUM_THREADS
    arrays = case.arrays()
    expected = bits(conv_transpose1d(*arrays, **case.options))
    assert_array_equal(bits(conv_transpose1d(*arrays, **case.options)), expected, err_msg="the second time")
    before = numba.get_num_threads()
    try:
        for n_threads in {1, (most + 1) // 2, most}:
            numba.set_num_threads(n_threads)
            y = conv_transpose1d(*arrays, **case.options)
            assert_array_equal(bits(y), expected, err_msg=f"{n_threads} threads")
    finally:
        numba.set_num_threads(before)


def test_nothing_depends_on_fresh_memory(monkeypatch):
    """Every sample is written, and no sum takes in what was in memory before."""
    for case in [*random_cases(102, 150), *LARGE.values()]:
        arrays = case.arrays()
        expected = conv_transpose1d(*arrays, **case.options)
        with monkeypatch.context() as patched:
            patched.setattr(np, "empty", poison)
            y = conv_transpose1d(*arrays, **case.options)
        assert_array_equal(bits(y), bits(expected), err_msg=repr(case))


# -- what the operation means ------------------------------------------------------------------------------------------


def floating_cases(seed, count):
    """Yield random cases that can hold NaN, of samples that can be written."""
    for case in random_cases(seed, count):
        if np.dtype(case.x_dtype).kind in "fc":
            yield replace(case, x_layout=case.x_layout if case.x_layout in WRITABLE_LAYOUTS else "contiguous")


def reached(case, bad, filter_size):
    """Return which outputs the bad samples are added to by filters of `filter_size` taps."""
    taps = np.ones((case.groups * case.channels, case.filters, filter_size))
    # The crop stays where it is, and the outputs after those of the case are cut off.
    longer = case.dilation * (filter_size - case.filter_size)
    left = max(0, case.full_length - case.length * case.stride) // 2 if case.padding == "same" else case.padding
    left, _ = left if isinstance(left, tuple) else (left, 0)
    stop = left + case.output_length
    options = {**case.options, "padding": 0, "output_padding": max(0, stop - case.full_length - longer)}
    return tap_by_tap(bad, taps, **options)[..., left:stop] != 0


def bad_samples(case, values):
    """Return the case's arrays with a few bad samples, weights without a zero, and the result."""
    x, weight, bias = case.arrays()
    rng = np.random.default_rng(case.seed)
    for value in values:
        x[tuple(rng.integers(x.shape))] = value
    weight = np.where(weight == 0, 1, weight).astype(weight.dtype)
    return ~np.isfinite(x), ~np.isfinite(run(case, x, weight, bias))


NOT_FINITE = [*((case, [value]) for value in (np.nan, np.inf) for case in floating_cases(103, 300))]
NOT_FINITE += [(case, [np.nan, np.inf, np.nan]) for case in LARGE.values() if np.dtype(case.x_dtype).kind in "fc"]


def test_bad_samples_stay_in_their_filter():
    """No other signal, channel or group, nothing outside the crop, and no sample farther than the filter.

    Filters are filled up with zeros to a multiple of the branches, and zero times NaN is NaN.
    """
    some = 0
    for case, values in NOT_FINITE:
        bad, y = bad_samples(case, values)
        filled = -(-case.filter_size // case.branches) * case.branches
        assert np.all(y >= reached(case, bad, case.filter_size)), case
        assert np.all(y <= reached(case, bad, filled)), case
        some += y.any() and not y.all()
    assert some > len(NOT_FINITE) // 3


def test_linear():
    for case in floating_cases(105, 150):
        x, weight, _ = case.arrays()
        other, *_ = replace(case, seed=case.seed + 1).arrays()
        mixed = (2 * x - 0.5 * other).astype(x.dtype)
        y = 2 * run(case, x, weight).astype(complex) - 0.5 * run(case, other, weight).astype(complex)
        magnitude = case.expected(2 * abs(x.astype(complex)) + 0.5 * abs(other.astype(complex)), weight, None)[1]
        # Six roundings, three of them to float16 where the case says so: of the mixture and of two results.
        unit = {"e": 2**-9, "f": 2e-5, "F": 2e-5, "d": 1e-12, "D": 1e-12}
        tolerance = max(unit[case.dtype.char], unit[np.dtype(case.x_dtype).char])
        error = abs(run(case, mixed, weight) - y)
        assert np.all(error <= 3 * tolerance * magnitude), case


def adjoint(y, weight, case):
    """Return the strided correlation with the filters: the gradient of the transposed convolution."""
    left = case.padding[0] if isinstance(case.padding, tuple) else case.padding
    full = np.zeros((*y.shape[:-1], left + y.shape[-1] + case.full_length), y.dtype)
    full[..., left : left + y.shape[-1]] = y
    full = full.reshape(*y.shape[:-2], case.groups, case.filters, -1)
    weight = weight.reshape(case.groups, case.channels, case.filters, case.filter_size)
    times = case.stride * np.arange(case.length) + case.dilation * np.arange(case.filter_size)[:, np.newaxis]
    x = np.einsum("gcfk,...gfki->...gci", weight, full[..., times])
    return x.reshape(*y.shape[:-2], case.groups * case.channels, case.length)


def test_adjoint(rng):
    """<A x, y> == <x, A' y> in double precision, without conjugation."""
    for kind in [("float64", "float64"), ("complex128", "float64"), ("complex128", "complex128")]:
        for seed in range(40):
            case = random_case(random.Random(seed), kind)  # noqa: S311
            case = replace(case, padding=0 if case.padding == "same" else case.padding, bias_dtype=None)
            x, weight, _ = case.arrays()
            forward_x = run(case, x, weight)
            y = rng.standard_normal(forward_x.shape)
            scale = np.sum(case.expected(x, weight, None)[1] * abs(y))
            difference = np.sum(forward_x * y) - np.sum(x * adjoint(y, weight, case))
            assert abs(difference) <= 1e-12 * scale, case


@pytest.mark.parametrize("filters", [1, 40])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("stride", 3),
        ("padding", 1),
        ("padding", (0, 1)),
        ("padding", (1, 0)),
        ("padding", "same"),
        ("output_padding", 1),
        ("groups", 2),
        ("dilation", 2),
        ("bias", "ones"),
        ("bias", None),
        ("out", "given"),
        ("device", "cuda"),
    ],
)
def test_every_option_matters(rng, option, value, filters):
    x = rng.standard_normal((2, 4, 9)).astype(np.float32)
    weight = rng.standard_normal((4, filters, 5)).astype(np.float32)
    bias = rng.standard_normal(filters).astype(np.float32)
    base = conv_transpose1d(x, weight, bias, stride=2)
    if option == "device":
        with pytest.raises(RuntimeError, match="cuda"):
            conv_transpose1d(x, weight, bias, stride=2, device=value)
        return
    if option == "out":
        out = np.zeros_like(base)
        assert conv_transpose1d(x, weight, bias, stride=2, out=out) is out
        assert_array_equal(out, base)
        return
    if option == "bias":
        bias = None if value is None else np.ones(filters, np.float32)
        changed = conv_transpose1d(x, weight, bias, stride=2)
    elif option == "groups":
        changed = conv_transpose1d(x, weight, np.tile(bias, 2), stride=2, groups=2)
    else:
        changed = conv_transpose1d(x, weight, bias, **{"stride": 2, option: value})
    assert changed.shape != base.shape or not np.allclose(changed, base)


# -- arrays and dtypes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filters", [1, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16", "int16"])
def test_empty_batch(dtype, filters):
    y = conv_transpose1d(np.ones((0, 2, 7), dtype), np.ones((2, filters, 3), np.float32), np.ones(filters), stride=2)
    assert y.shape == (0, filters, 15)
    assert y.dtype == np.result_type(dtype, np.float32)


def test_lists_are_arrays():
    expected = reference.scatter([[1, 2]], [[[1, 10]]], [0.5], stride=2)
    y = conv_transpose1d([[1, 2]], [[[1, 10]]], [0.5], stride=2)
    assert_array_equal(y, expected)
    assert y.dtype == np.float64
    assert_array_equal(ConvTranspose1d([[[1, 10]]], (0.5,), stride=2)([[1, 2]]), expected)


@pytest.mark.parametrize("dtype", "?bBhHiIlLqQ")
def test_integers_are_exact_to_their_ends(dtype):
    """Converted as NumPy converts: every 8- and 16-bit integer, and both ends of the wider ones."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        values = np.array([False, True, True])
    elif kind.itemsize <= 2:
        values = np.arange(1 << 8 * kind.itemsize, dtype=f"u{kind.itemsize}").view(kind)
    else:
        info = np.iinfo(kind)
        near = np.array([0, 1, 2, 1000, (1 << 24) + 1, (1 << 30) + 1], kind)
        values = np.concatenate([near, info.max - near, info.min + near])
    y = conv_transpose1d(values[np.newaxis], np.ones((1, 1, 1), np.float32), stride=2)
    assert_array_equal(y[0, ::2], values.astype(y.dtype))
    assert not y[0, 1::2].any()


def test_every_half_comes_in_and_goes_out():
    """All 65,536 of them, subnormal numbers, infinities and NaN included, and ties that round to even."""
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    factors = np.array([1, -1, 0.5, 1 / 3, 1.5, 2**-14, 1024, 3e4, 6e-8], np.float16)
    for factor in factors:
        with np.errstate(all="ignore"):
            expected = (x.astype(np.float32) * np.float32(factor)).astype(np.float16)
        y = conv_transpose1d(x[np.newaxis], np.full((1, 1, 1), factor), stride=2)[0, ::2]
        assert_array_equal(y, expected)
        numbers = ~np.isnan(expected)
        # The sum starts from the bias, a positive zero, where a factor alone may give a negative one.
        assert_array_equal(bits(y[numbers] + np.float16(0)), bits(expected[numbers] + np.float16(0)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_halves_widen_exactly(dtype):
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        assert_array_equal(conv_transpose1d(x[np.newaxis], np.ones((1, 1, 1), dtype))[0], x.astype(dtype))


def test_real_weights_keep_the_parts_of_a_complex_signal_apart():
    x = np.full((1, 9), complex(np.nan, 2), np.complex64)
    for array in (x, x[:, ::-1], LAYOUTS["stepped"](x)):
        y = conv_transpose1d(array, np.ones((1, 1, 2), np.float32), stride=2)
        assert np.isnan(y.real).all()
        assert_array_equal(y.imag, np.full((1, 18), 2))


# -- peers ---------------------------------------------------------------------------------------------------------


@pytest.mark.peers
def test_torch():
    torch = pytest.importorskip("torch")
    kinds = [kind for kind in COMMON if kind[0] == kind[1] != "float16"]
    rng, count = random.Random(106), 0  # noqa: S311
    while count < 200:
        case = random_case(rng, rng.choice(kinds))
        if not isinstance(case.padding, int):
            case = replace(case, padding=0)
        if "read-only" in (case.x_layout, case.weight_layout):  # torch.from_numpy would warn
            continue
        arrays = [None if array is None else array.astype(case.dtype) for array in case.arrays()]
        tensors = [None if array is None else torch.from_numpy(array.copy()) for array in arrays]
        expected = torch.conv_transpose1d(*tensors, **case.options)
        magnitude = case.expected(*arrays)[1]
        # Two results, each off by what a single one may be.
        assert_close(run(case, *arrays), expected.numpy(), 2 * magnitude)
        count += 1
