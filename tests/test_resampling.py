"""`upfirdn` and `resample_poly` against SciPy's, and what they do beyond it."""

import random
import tracemalloc
from contextlib import contextmanager

import numba
import numpy as np
import pytest
import scipy.signal

from numba_tconv import polyphase, resample_poly, resampling, upfirdn
from numba_tconv.boundaries import MODES

# Few enough rates and dtypes that the kernels for them compile in a minute, with every kind of kernel among them.
RATES = (1, 2, 3, 5, 13, 24)
TAPS = (1, 2, 3, 7, 20, 61)
LENGTHS = (1, 2, 3, 5, 17, 100, 301)
X_DTYPES = "?bhiqefdFD"
H_DTYPES = "iefdFD"
CASES, CASES_OF_A_TEST = 3200, 100
# Modes that need a slope or a sample to be reflected at: SciPy divides by zero on one sample.
NEED_TWO = {"reflect", "antireflect", "smooth", "line"}


def random_array(rng, shape, dtype):
    kind = np.dtype(dtype).kind
    values = rng.standard_normal(shape) * (20 if kind in "iu" else 1)
    if kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def random_layout(choice, array):
    """Return the same values, in memory in one of the ways that arrays come in."""
    layout = choice.choice(["C", "F", "reversed", "stepped", "read-only"])
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed":
        return array[::-1].copy()[::-1]
    if layout == "stepped":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    array.flags.writeable = layout != "read-only"
    return array


def random_signal(seed):
    """Return a choice, a signal, its axis and a filter."""
    choice, rng = random.Random(seed), np.random.default_rng(seed)  # noqa: S311 nothing secret
    ndim = choice.randint(1, 3)
    shape = [choice.randint(1, 5) for _ in range(ndim)]
    if choice.random() < 0.3:
        shape[choice.randrange(ndim)] = choice.randint(8, 40)  # enough neighbours to fill a vector
    axis = choice.randint(-ndim, ndim - 1)
    shape[axis] = choice.choice(LENGTHS)
    x = random_layout(choice, random_array(rng, shape, choice.choice(X_DTYPES)))
    return choice, x, axis, random_array(rng, choice.choice(TAPS), choice.choice(H_DTYPES))


def assert_close(y, expected, magnitude):
    """`magnitude` bounds the sum of what was added up: 8 roundings of it, or as many as SciPy's result itself has."""
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    tolerance = {"float32": 1e-6, "float64": 1e-14}[y.real.dtype.name]
    assert np.abs(y - expected).max(initial=0) <= tolerance * magnitude


def wide(array):
    return array.astype(complex if array.dtype.kind == "c" else float)


def forget_calls():
    """Let the kernel of each call be chosen anew."""
    from numba_tconv.backends.cpu import polyphase

    polyphase._call.cache_clear()
    polyphase._call_side_by_side.cache_clear()


@contextmanager
def prefer(monkeypatch, seed):
    """Let another kernel be the fastest with each seed, where it can serve the call; the first one that is."""
    from numba_tconv.backends.cpu import columns, fir, rational, segments, sparse

    modules = sparse, rational, columns, segments, fir
    with monkeypatch.context() as patched:
        for k, module in enumerate(modules if seed % 6 else ()):
            patched.setattr(module, "cost", lambda *_, is_fast=seed % 6 == k + 1: 0 if is_fast else 1e9)
        forget_calls()
        try:
            yield
        finally:
            forget_calls()


@pytest.mark.parametrize("first", range(0, CASES, CASES_OF_A_TEST))
def test_upfirdn_is_scipys(first, monkeypatch):
    for seed in range(first, first + CASES_OF_A_TEST):
        choice, x, axis, h = random_signal(seed)
        up, down, mode = choice.choice(RATES), choice.choice(RATES), choice.choice(MODES)
        cval = choice.choice([0, 0, 2.5])
        if mode in NEED_TWO and x.shape[axis] == 1:
            mode = "edge"
        options = {"axis": axis, "mode": mode, "cval": cval}
        expected = scipy.signal.upfirdn(wide(h), wide(x), up, down, **options)
        dtype = scipy.signal.upfirdn(h, x, up, down, **options).dtype
        # Beyond the ends a slope may go on for as long as the filter.
        reach = 2 * h.size if mode in {"smooth", "line", "antireflect"} else 1
        magnitude = reach * np.abs(wide(h)).sum() * max(np.abs(wide(x)).max(initial=0), cval)
        with prefer(monkeypatch, seed):
            y = upfirdn(h, x, up, down, **options)
        try:
            assert_close(y, expected.astype(dtype), magnitude)
        except AssertionError as error:
            error.add_note(
                f"seed {seed}: x {x.shape} {x.dtype} axis {axis}, h {h.shape} {h.dtype}, {up}/{down}, {mode}"
            )
            raise


def test_the_grid_reaches_every_kernel(monkeypatch):
    """Were it to miss one, the test above would show nothing about it."""
    from numba_tconv.backends.cpu import columns, polyphase, rational, segments, sparse

    reached, modes, rates = set(), set(), set()
    fir_call = polyphase.FirCall
    monkeypatch.setattr(polyphase, "FirCall", lambda *args: (reached.add("fir"), fir_call(*args))[1])
    for name, module in (("sparse", sparse), ("rational", rational), ("columns", columns), ("segments", segments)):
        kernel = module.kernel
        monkeypatch.setattr(
            module, "kernel", lambda *args, name=name, kernel=kernel: (reached.add((name, *args[1:])), kernel(*args))[1]
        )
    for seed in range(400):
        choice, x, axis, h = random_signal(seed)
        up, down, mode = choice.choice(RATES), choice.choice(RATES), choice.choice(MODES)
        with prefer(monkeypatch, seed):
            upfirdn(h, x, up, down, axis)
        modes.add(mode)
        rates.add((up > 1, down > 1, up > 12))
    # One by one for real taps, complex ones and complex ones on complex signals; columns for both kinds of taps.
    kernels = {("sparse", 1, 1), ("sparse", 2, 1), ("sparse", 2, 2), ("columns", 1), ("columns", 2)}
    assert reached == {"fir", ("rational",), ("segments",), *kernels}
    assert modes == set(MODES)
    assert len(rates) == 6


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_resample_poly_is_scipys(first):
    for seed in range(first, first + 100):
        choice, x, axis, h = random_signal(seed)
        if x.dtype == bool:  # SciPy subtracts and reflects booleans, which NumPy refuses
            x = x.astype("b")
        padtype = choice.choice([*MODES, "mean", "median", "minimum", "maximum"])
        if x.dtype.kind == "c" and padtype in {"median", "minimum", "maximum"}:
            padtype = "mean"
        if padtype in NEED_TWO and x.shape[axis] == 1:
            padtype = "edge"
        cval = 2.0 if padtype == "constant" and choice.random() < 0.5 else None
        up, down = choice.choice([(160, 147), *((up, down) for up in RATES for down in RATES)])
        window = choice.choice([("kaiser", 5.0), "hann", ("kaiser", 8.0), np.real(wide(h))])
        options = {"axis": axis, "window": window, "padtype": padtype, "cval": cval}
        with np.errstate(over="ignore"):
            expected = scipy.signal.resample_poly(x, up, down, **options)
            y = resample_poly(x, up, down, **options)
        # SciPy computes float32 in float32 as well: the two may be apart by twice the rounding of either.
        magnitude = 4 * h.size * max(1, np.abs(wide(x)).max(), np.abs(expected).max())
        try:
            assert_close(y, expected, magnitude) if up != down else np.testing.assert_array_equal(y, expected)
        except AssertionError as error:
            error.add_note(f"seed {seed}: x {x.shape} {x.dtype} axis {axis}, {up}/{down}, {window}, {padtype}")
            raise


# -- beyond SciPy --------------------------------------------------------------------------------------------------


def test_a_filter_that_has_changed_is_packed_anew(rng):
    """Small filters are recognised by their bytes, so other values, shapes, dtypes and rates are others."""
    x, h = rng.standard_normal(40), rng.standard_normal(12)
    for taps in (h, h[::-1], h.view(complex), h.reshape(3, 4), h.view(np.int64) % 100, h.astype("f")):
        for up, down in ((2, 1), (2, 3)):
            for _ in range(2):
                y = upfirdn(taps, x, up, down)
                expected = [scipy.signal.upfirdn(row, x, up, down) for row in np.atleast_2d(taps)]
                np.testing.assert_allclose(np.atleast_2d(y), expected, rtol=1e-5, atol=1e-5)
    before, h[3] = upfirdn(h, x, 2), 5
    np.testing.assert_allclose(upfirdn(h, x, 2), scipy.signal.upfirdn(h, x, 2), rtol=1e-13, atol=1e-13)
    assert not np.array_equal(upfirdn(h, x, 2), before)


def test_every_kernel_gives_the_same_bits(rng):
    """Signals side by side, one after the other, few of them, blocks of another size: one chain of multiply-adds."""
    for up, down, taps in (
        (2, 1, 33),
        (3, 2, 61),
        (1, 4, 81),
        (13, 1, 40),
        (160, 147, 3201),
        (1, 147, 9),
        (8, 147, 100),
    ):
        x, h = rng.standard_normal((500, 40), dtype=np.float32), rng.standard_normal(taps, dtype=np.float32)
        columns = upfirdn(h, x, up, down, axis=0)
        rows = upfirdn(h, np.ascontiguousarray(x.T), up, down)
        np.testing.assert_array_equal(columns, rows.T)
        np.testing.assert_array_equal(upfirdn(h, x[:, 3], up, down), rows[3])
        pair = np.ascontiguousarray(x[:, 3:5]).view(np.complex64)[:, 0]
        np.testing.assert_array_equal(upfirdn(h, pair, up, down).imag, rows[4])


@pytest.mark.parametrize(("dtype", "h_dtype"), ["ff", "dd", "Ff", "fF", "FF", "DD"])
@pytest.mark.parametrize(("up", "down", "taps"), [(1, 1, 40), (4, 1, 23), (3, 2, 20), (2, 5, 1), (20, 1, 50)])
def test_whichever_kernel_serves_gives_these_bits(dtype, h_dtype, up, down, taps, rng, monkeypatch):
    x = rng.standard_normal((20, 90, 2)).view(complex)[..., 0]
    h = rng.standard_normal((taps, 2)).view(complex)[:, 0]
    x, h = ((a if kind in "FD" else a.real).astype(kind) for a, kind in ((x, dtype), (h, h_dtype)))
    expected = upfirdn(h, x, up, down)
    for seed in range(6):
        with prefer(monkeypatch, seed):
            np.testing.assert_array_equal(upfirdn(h, x, up, down), expected)
            np.testing.assert_array_equal(upfirdn(h, np.ascontiguousarray(x.T), up, down, axis=0).T, expected)
            np.testing.assert_array_equal(upfirdn(h, x[3, ::-1][::-1], up, down), expected[3])


@pytest.mark.parametrize("dtype", ["f", "d", "F", "D"])
@pytest.mark.parametrize("h_dtype", ["f", "d", "F", "D"])
@pytest.mark.parametrize(("up", "down", "taps"), [(1, 60, 7), (7, 60, 3), (7, 60, 40), (1, 60, 1)])
def test_few_outputs_are_summed_one_by_one(dtype, h_dtype, up, down, taps, rng, monkeypatch):
    from numba_tconv.backends.cpu import columns, rational

    monkeypatch.setattr(rational, "kernel", None)
    monkeypatch.setattr(columns, "kernel", None)
    forget_calls()
    x = rng.standard_normal((3, 2, 100)).view(complex)
    h = rng.standard_normal(2 * taps).view(complex)
    x, h = ((a if kind in "FD" else a.real).astype(kind) for a, kind in ((x, dtype), (h, h_dtype)))
    for signals in (x, x[::-1, ::2, ::-1], x[0], x[0, 0]):
        y = upfirdn(h, signals, up, down)
        expected = scipy.signal.upfirdn(h.astype("D"), signals.astype("D"), up, down)
        assert y.dtype == np.result_type(x, h)
        np.testing.assert_allclose(y, expected, atol=(1e-5 if y.real.dtype == np.float32 else 1e-13) * taps)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize(("up", "down", "length"), [(160, 147, 90), (1, 4, 30), (16, 1, 3), (25, 36, 11), (3, 2, 5)])
def test_many_short_signals_are_filtered_side_by_side(dtype, is_complex, up, down, length, rng, monkeypatch):
    from numba_tconv.backends.cpu import segments

    calls, kernel = [], segments.kernel
    monkeypatch.setattr(segments, "kernel", lambda dtype: calls.append(dtype) or kernel(dtype))
    forget_calls()
    x = rng.standard_normal((270, 2 * length)).view(complex)
    x = (x if np.dtype(dtype).kind == "c" else x.real).astype(dtype)
    h = rng.standard_normal(61).astype(x.real.dtype)
    if is_complex and x.dtype.kind == "c":
        h = h + h[::-1] * x.dtype.type(1j)
    together = upfirdn(h, x, up, down)
    assert len(calls) == 1
    out = np.zeros((270, 2 * together.shape[1]), dtype)[:, ::2]
    np.testing.assert_array_equal(upfirdn(h, x[:, ::-1], up, down, out=out), upfirdn(h, x[:, ::-1].copy(), up, down))
    for signal, result in zip(x, together, strict=True):
        np.testing.assert_array_equal(upfirdn(h, signal, up, down), result)


def test_threads_do_not_change_the_bits(rng):
    x, h = rng.standard_normal((3, 200_000), dtype=np.float32), rng.standard_normal(61, dtype=np.float32)
    threads = numba.get_num_threads()
    for up, down in ((4, 1), (3, 2), (147, 160)):
        parallel = upfirdn(h, x, up, down), upfirdn(h, x.T, up, down, axis=0)
        numba.set_num_threads(1)
        serial = upfirdn(h, x, up, down), upfirdn(h, x.T, up, down, axis=0)
        numba.set_num_threads(threads)
        for a, b in zip(parallel, serial, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("h_shape", "x_shape", "axis"),
    [
        ((3, 9), (100,), -1),  # filters make a new axis
        ((4, 9), (4, 100), -1),  # a filter for each channel
        ((4, 9), (100, 4), 0),
        ((3, 1, 9), (4, 100), -1),  # every filter for every channel
        ((3, 1, 9), (100, 4), 0),
        ((2, 4, 9), (2, 4, 100), 2),
        ((4, 9), (2, 100, 4), 1),
        ((2, 1, 9), (2, 4, 100), -1),
        ((1, 9), (4, 100), -1),
        ((5, 2, 1, 9), (2, 100, 3), 1),
    ],
)
@pytest.mark.parametrize("rates", [(1, 1), (3, 1), (3, 2), (13, 5), (2, 81)])
def test_banks_broadcast(h_shape, x_shape, axis, rates, rng):
    h, x = rng.standard_normal(h_shape), rng.standard_normal(x_shape)
    axis -= len(x_shape) if axis >= 0 else 0
    for mode in ("constant", "reflect"):
        y = upfirdn(h, x, *rates, axis=axis, mode=mode)
        signals = np.moveaxis(x, axis, -1)
        lead = np.broadcast_shapes(h.shape[:-1], signals.shape[:-1])
        filters = np.broadcast_to(h, (*lead, h.shape[-1]))
        signals = np.broadcast_to(signals, (*lead, signals.shape[-1]))
        result = np.moveaxis(y, axis, -1)
        assert result.shape[:-1] == lead
        for place in np.ndindex(lead):
            expected = scipy.signal.upfirdn(filters[place], signals[place], *rates, mode=mode)
            np.testing.assert_allclose(result[place], expected, atol=1e-12)


def test_a_bank_that_does_not_broadcast():
    with pytest.raises(ValueError, match=r"shape"):
        upfirdn(np.ones((3, 9)), np.ones((4, 100)))


@pytest.mark.parametrize("rates", [(2, 1), (3, 2)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_out_of_any_strides(rates, axis, rng):
    x, h = rng.standard_normal((5, 20, 6), dtype=np.float32), rng.standard_normal(9, dtype=np.float32)
    expected = upfirdn(h, x, *rates, axis=axis)
    buffer = np.full([2 * size for size in expected.shape], np.nan, np.float32)
    for out in (np.empty_like(expected), np.empty_like(expected, order="F"), buffer[::2, ::-2, 1::2]):
        assert upfirdn(h, x, *rates, axis=axis, out=out) is out
        np.testing.assert_array_equal(out, expected)
    assert np.isnan(buffer[1::2]).all()


def test_out_that_does_not_fit(rng):
    x, h = np.ones(10, np.float32), np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"out must have the shape \(21,\); got \(20,\)"):
        upfirdn(h, x, 2, out=np.empty(20, np.float32))
    with pytest.raises(TypeError, match="out must have the dtype float32; got float64"):
        upfirdn(h, x, 2, out=np.empty(21))
    both = np.ones(40, np.float32)
    with pytest.raises(ValueError, match="out must not overlap"):
        upfirdn(h, both[:10], 2, out=both[5:26])
    with pytest.raises(TypeError, match="out must be an ndarray; got list"):
        upfirdn(h, x, 2, out=[0.0] * 21)


def test_one_sample_has_no_slope():
    for mode in NEED_TWO:
        np.testing.assert_array_equal(upfirdn([1, 1, 1], [2.0], mode=mode), upfirdn([1, 1, 1], [2.0], mode="edge"))


def test_no_signals_but_time():
    assert upfirdn(np.ones(5), np.ones((0, 10)), 2).shape == (0, 23)
    assert upfirdn(np.ones(5), np.ones((10, 0)), 2, 3, axis=0).shape == (8, 0)
    assert resample_poly(np.ones((10, 0)), 2, 3).shape == (7, 0)


ONE = np.ones(1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: upfirdn(ONE, []), ValueError, r"x must have at least one sample along axis -1; got the shape \(0,\)"),
        (
            lambda: upfirdn([], ONE),
            ValueError,
            r"h must have the shape \(taps,\) or \(..., taps\), no size 0; got \(0,\)",
        ),
        (lambda: upfirdn(1.0, ONE), ValueError, r"h must have the shape .* got \(\)"),
        (lambda: upfirdn(ONE, 1.0), ValueError, r"axis must be an axis of x, which has the shape \(\); got -1"),
        (lambda: upfirdn(ONE, ONE, 0), ValueError, "up must be a positive int; got 0"),
        (lambda: upfirdn(ONE, ONE, 1.5), TypeError, "up must be a positive int; got 1.5"),
        (lambda: upfirdn(ONE, ONE, True), TypeError, "up must be a positive int; got True"),
        (lambda: upfirdn(ONE, ONE, 1, -2), ValueError, "down must be a positive int; got -2"),
        (lambda: upfirdn(ONE, ONE, axis=1), ValueError, r"axis must be an axis of x, .* \(1,\); got 1"),
        (lambda: upfirdn(ONE, ONE, axis=0.0), TypeError, "axis must be an int; got 0.0"),
        (lambda: upfirdn(ONE, ONE, mode="same"), ValueError, "mode must be one of 'constant', .*; got 'same'"),
        (lambda: upfirdn(ONE, ONE, method=1), ValueError, "method must be one of 'auto', 'direct', 'fft'; got 1"),
        (lambda: upfirdn(ONE, ONE, device="tpu"), ValueError, "device must be 'auto', 'cpu' or 'cuda'; got 'tpu'"),
        (lambda: upfirdn(ONE, np.ones(3, np.longdouble)), TypeError, "x must be an array of .*; got .*128"),
        (lambda: upfirdn(ONE, ["a"]), TypeError, "x must be an array of"),
        (lambda: resample_poly(ONE, 2, 0), ValueError, "down must be a positive int; got 0"),
        (lambda: resample_poly(ONE, 2, 1, padtype="no"), ValueError, "padtype must be one of 'mean', .*; got 'no'"),
        (lambda: resample_poly(ONE, 2, 1, padtype="mean", cval=1), ValueError, "cval must be .* got 1 with 'mean'"),
        (
            lambda: resample_poly(ONE, 2, 1, window=np.eye(2)),
            ValueError,
            r"window must be 1-D .* got the shape \(2, 2\)",
        ),
        (lambda: resample_poly(ONE, 2, 1, window=[]), ValueError, r"window must have .* got \(0,\)"),
        (lambda: resample_poly(ONE, 10**9 + 7, 10**9), ValueError, "must not exceed 1048576 .*; got 1000000007"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_rates_may_be_whole_floats():
    np.testing.assert_array_equal(upfirdn([1, 2], [1, 2, 3], 2.0, np.float64(1)), upfirdn([1, 2], [1, 2, 3], 2, 1))


def test_coprime_rates_take_no_memory():
    """Zeros inserted for 48000/44099 would be 8 GB here, and every 44099th kept."""
    x = np.ones(20_000, np.float32)
    resample_poly(x, 48000, 44099)  # designs the filter, 960001 taps
    tracemalloc.start()
    y = resample_poly(x, 48000, 44099)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert y.shape == (21_770,)
    assert np.abs(y[100:-100] - 1).max() < 1e-3
    assert peak < 64 << 20


def test_rates_beyond_the_filter_take_no_memory():
    upfirdn([1.0, 2.0], [3.0, 4.0, 5.0], 2, 3)  # compiled before memory is counted
    tracemalloc.start()
    y = upfirdn([1.0, 2.0], [3.0, 4.0, 5.0], 10**9, 10**9)
    z = upfirdn([1.0, 2.0, 3.0], [3.0, 4.0, 5.0], 1, 10**9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(y, [3, 4, 5])
    np.testing.assert_array_equal(z, [3])
    assert peak < 1 << 20


@pytest.mark.parametrize(("up", "down", "taps"), [(1, 3, 900), (1, 1, 3000), (1, 500, 50), (48, 7, 5000), (1, 2999, 9)])
@pytest.mark.parametrize("seed", range(6))
def test_many_signals_take_little_memory(up, down, taps, seed, monkeypatch):
    """No kernel keeps more than 16 MiB for each thread."""
    x, h = np.ones((200, 3000)), np.ones(taps)
    with prefer(monkeypatch, seed):
        upfirdn(h, x, up, down, method="direct")  # compiled before memory is counted
        tracemalloc.start()
        y = upfirdn(h, x, up, down, method="direct")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak - y.nbytes < numba.get_num_threads() * (16 << 20)


def test_a_design_is_kept_and_cannot_be_spoilt():
    first = resampling.low_pass(np.dtype("f"), 3, 2, ("kaiser", 5.0))[0]
    assert resampling.low_pass(np.dtype("f"), 3, 2, ("kaiser", 5.0))[0] is first
    assert not first.flags.writeable
    window = np.ones(5)
    resample_poly(np.ones(10), 3, 2, window=window)
    np.testing.assert_array_equal(window, np.ones(5))
    # A window that holds an array cannot be looked up.
    unhashable = ("kaiser", np.array(5.0))
    np.testing.assert_array_equal(resample_poly(np.ones(50), 3, 2, window=unhashable), resample_poly(np.ones(50), 3, 2))


def test_equal_rates_copy():
    x = np.arange(5)
    y = resample_poly(x, 3, 3)
    np.testing.assert_array_equal(x, y)
    assert not np.may_share_memory(x, y)


def test_a_bad_sample_stays_where_it_is(rng):
    """NaN reaches the outputs that see it, and with them at most those whose filter is filled up with zeros."""
    h = rng.standard_normal(20)
    for up, down in ((3, 1), (3, 2), (1, 1), (13, 4)):
        x = rng.standard_normal(200)
        expected = upfirdn(h, x, up, down)
        x[100] = np.nan
        bad = np.isnan(upfirdn(h, x, up, down))
        places = np.arange(bad.size) * down - 100 * up
        assert bad[(places >= 0) & (places < h.size)].all()
        assert not bad[(places < 0) | (places >= -(-h.size // up) * up)].any()
        np.testing.assert_array_equal(upfirdn(h, x, up, down)[~bad], expected[~bad])


@pytest.mark.parametrize("mode", MODES)
def test_a_bad_end_reaches_what_is_made_of_it(mode, rng):
    """NaN at an end spoils samples beyond it, as many as in SciPy's result, and none inside."""
    h = rng.standard_normal(20)
    for length, end in ((60, 0), (60, -1), (5000, 0), (5000, -1), (7, 0)):
        x = rng.standard_normal(length)
        x[end] = np.nan
        y, expected = upfirdn(h, x, 2, mode=mode), scipy.signal.upfirdn(h, x, 2, mode=mode)
        np.testing.assert_allclose(y, expected, atol=1e-10)


def test_what_is_made_up_is_as_exact_as_the_samples():
    """Beyond the left end antireflect samples are made from those near it, not from the far end."""
    x = np.concatenate([np.arange(50.0), [1e12]]).astype(np.float32)
    y = upfirdn(np.ones(8, np.float32), x, mode="antireflect")
    np.testing.assert_array_equal(y[:7], [sum(range(n - 7, n + 1)) for n in range(7)])


# -- methods -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f", "d", "F", "D"])
@pytest.mark.parametrize("rates", [(1, 1), (3, 1), (1, 3), (3, 2), (13, 5), (160, 147)])
def test_methods_agree(dtype, rates, rng):
    for taps, length in ((1, 1), (5, 3), (2000, 20_000), (20_000, 3000)):
        x, h = random_array(rng, (2, length), dtype), random_array(rng, taps, "d" if dtype in "dD" else "f")
        direct, fft = (upfirdn(h, x, *rates, method=method) for method in ("direct", "fft"))
        assert direct.dtype == fft.dtype
        scale = np.sqrt((np.abs(h) ** 2).sum()) * np.sqrt(min(taps, length))
        tolerance = 1e-5 if dtype in "fF" else 1e-13
        assert np.abs(direct - fft).max() < tolerance * 8 * scale


def test_long_filters_are_transformed(monkeypatch):
    transformed = []
    write_by_fft = polyphase.write_by_fft
    monkeypatch.setattr(polyphase, "write_by_fft", lambda *args: (transformed.append(True), write_by_fft(*args)))
    for taps, up, method, expected in (
        (1 << 16, 1, "auto", True), (1 << 16, 1, "direct", False), (81, 4, "auto", False), (3, 1, "fft", True),
    ):  # fmt: skip
        upfirdn(np.ones(taps), np.ones(3), up, method=method)
        assert bool(transformed) == expected
        transformed.clear()


def test_outputs_farther_apart_than_blocks(rng):
    """Most blocks of a transform then hold no output of some phase."""
    h, x = rng.standard_normal(9), rng.standard_normal(800_000)
    for up, down in [(1, 300_000), (2, 599_999)]:
        expected = scipy.signal.upfirdn(h, x, up, down)
        y = upfirdn(h, x, up, down, method="fft")
        np.testing.assert_allclose(y, expected, atol=1e-9)


@pytest.mark.parametrize(("shape", "axis"), [((0, 30), 1), ((0, 30, 40), 1), ((3, 30, 0), 1)])
@pytest.mark.parametrize(("up", "down"), [(2, 1), (3, 2)])
def test_no_signals(shape, axis, up, down):
    y = upfirdn(np.ones(5, np.float32), np.ones(shape, np.float32), up, down, axis=axis)
    count = -(-(29 * up + 5) // down)
    assert y.shape == (*shape[:axis], count, *shape[axis + 1 :])
    assert y.dtype == np.float32
