"""The small compute kernels for NVIDIA GPUs against the references and SciPy.

Blocks of a few threads and short chunks cross every edge of tiles, chunks and grids with little arithmetic.
"""

from itertools import product

import numpy as np
import pytest
import scipy.signal

from numba_tconv import geometry, reference
from numba_tconv.backends.cuda import fir, rates, sums, tap_sums
from numba_tconv.backends.cuda.compiler import configured, types
from numba_tconv.backends.cuda.parts import View
from numba_tconv.backends.cuda.problems import Sizes

# Numba copies host arrays to the GPU and back, which is for tests alone.
pytestmark = pytest.mark.filterwarnings("ignore:Host array used in CUDA kernel")

REAL = {"e": types.float32, "f": types.float32, "F": types.float32, "d": types.float64, "D": types.float64}
TOLERANCE = {"e": 2e-3, "f": 1e-5, "F": 1e-5, "d": 1e-13, "D": 1e-13}


def launch(kernel, blocks, threads, *arguments):
    configured(kernel, blocks, threads, 0)(*arguments)


def numbers(rng, shape, dtype):
    values = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (values if np.dtype(dtype).kind == "c" else values.real).astype(dtype)


def room(shape, dtype, layout):
    """Return flat real numbers that are all NaN, the view of an array in them, and that array.

    Its rows begin at multiples of four numbers, or follow one another, or everything lies askew.
    """
    *lead, time = shape
    if layout == "packed":
        memory = np.full(shape, np.nan, dtype)
        real = memory.real.dtype
        return memory.view(real).reshape(-1), View(0, tuple(s // real.itemsize for s in memory.strides)), memory
    padded = (*lead, time + -time % 4 + 4) if layout == "rows" else (*lead, 2, 2 * time + 1)
    memory = np.empty(padded, dtype)
    real = memory.real.dtype
    memory.view(real)[...] = np.nan
    there = memory[..., :time] if layout == "rows" else memory[..., 1, 1::2]
    start = (there.__array_interface__["data"][0] - memory.__array_interface__["data"][0]) // real.itemsize
    return memory.view(real).reshape(-1), View(start, tuple(s // real.itemsize for s in there.strides)), there


def place(values, layout):
    """Return flat real numbers and the view of `values` in them."""
    memory, view, there = room(values.shape, values.dtype, layout)
    there[...] = values
    return memory, view


def parts_of(array):
    return 2 if array.dtype.kind == "c" else 1


def check(there, expected, memory, dtype):
    tolerance = TOLERANCE[np.dtype(dtype).char]
    np.testing.assert_allclose(there, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max(initial=1))
    used = there.size * parts_of(there)
    assert np.isnan(memory).sum() == memory.size - used, "wrote beyond the output"


SMALL_FIR = fir.Tile(threads=8, taps=4, reach=8, blocks=1)  # tiles of 32 columns
# length, taps, stride, padding, output_padding, dilation
FIRS = {
    "depthwise": (37, 4, 2, (1, 1), 0, 1),
    "one tap": (35, 1, 1, (0, 0), 0, 1),
    "stride 1": (34, 11, 1, (3, 5), 0, 1),
    "chunks of taps": (34, 23, 4, (2, 9), 0, 1),
    "three branches": (37, 7, 3, (1, 0), 2, 1),
    "sets of branches": (9, 27, 10, (4, 7), 5, 1),
    "more branches than taps": (9, 3, 9, (0, 0), 4, 1),
    "same": (9, 2, 6, "same", 0, 1),
    "all cropped at the left": (20, 6, 2, (41, 0), 0, 1),
    "reach of two": (30, 7, 1, (3, 3), 0, 2),
    "reach of three, woven": (18, 9, 2, (5, 2), 1, 3),
    "reach of five": (29, 6, 1, (8, 3), 0, 5),
    "reach beyond a chunk": (9, 3, 2, (30, 7), 0, 41),
    "gap": (13, 5, 4, (3, 2), 3, 6),
    "gap of one branch": (13, 3, 3, (1, 0), 2, 3),
}


def run_fir(options, sizes, dtypes, layouts, seed, *, bias_parts=1, is_aligned=True, tile=SMALL_FIR, most_blocks=3):
    """Compute one FIR problem by the kernel and check it; returns what kind of kernel that was."""
    length, taps, stride, padding, output_padding, dilation = options
    (batch, groups, channels, filters), (x_dtype, out_dtype) = sizes, dtypes
    rng = np.random.default_rng(seed)
    real = np.dtype(np.float64 if np.dtype(out_dtype).char in "dD" else np.float32)
    shape = geometry.geometry(length, taps, stride, padding, output_padding, dilation)
    x = numbers(rng, (batch, groups * channels, length), x_dtype)
    weight = numbers(rng, (groups * channels, filters, taps), real)
    bias = numbers(rng, groups * filters, np.result_type(real, np.complex64) if bias_parts == 2 else real)
    expected = reference.scatter(
        x, weight, bias if bias_parts else None, stride=stride, padding=padding, output_padding=output_padding,
        groups=groups, dilation=dilation,
    )  # fmt: skip
    x_memory, x_view = place(x, layouts[0])
    w_memory, w_view = place(weight, "askew")
    out_memory, out_view, there = room(expected.shape, out_dtype, layouts[1])
    views = x_view, w_view, out_view
    kind, problem = fir.problem(shape, sizes, parts_of(x), views, bias_parts, tile, is_aligned=is_aligned)
    assert problem.first % 4 == 0
    kernel = fir.make_kernel(tile, kind, REAL[np.dtype(out_dtype).char])
    blocks = min(most_blocks, fir.blocks(problem))
    launch(kernel, blocks, tile.threads, x_memory, w_memory, bias.view(real), out_memory, tuple(problem))
    check(there, expected, out_memory, out_dtype)
    return kind


@pytest.mark.parametrize("name", FIRS)
@pytest.mark.parametrize("dtype", ["f", "F"])
def test_fir(name, dtype):
    for layout, sizes in (("rows", Sizes(1, 1, 1, 1)), ("askew", Sizes(1, 2, 1, 1))):
        kind = run_fir(FIRS[name], sizes, (dtype, dtype), (layout, layout), seed=1)
        assert kind.is_row_in == (layout == "rows")


@pytest.mark.parametrize(("x_dtype", "out_dtype"), [("e", "e"), ("e", "f"), ("f", "e"), ("d", "d"), ("D", "D")])
def test_fir_of_other_dtypes(x_dtype, out_dtype):
    for name in ("depthwise", "chunks of taps", "reach of five"):
        run_fir(FIRS[name], Sizes(1, 2, 1, 1), (x_dtype, out_dtype), ("rows", "rows"), seed=2)


@pytest.mark.parametrize("bias_parts", [0, 1, 2])
def test_fir_bias(bias_parts):
    for name in ("depthwise", "gap"):
        run_fir(FIRS[name], Sizes(1, 2, 1, 2), ("F", "F"), ("rows", "rows"), seed=3, bias_parts=bias_parts)


def test_fir_of_many_channels():
    for name in ("chunks of taps", "sets of branches", "reach of five", "gap"):
        run_fir(FIRS[name], Sizes(2, 2, 3, 2), ("f", "f"), ("rows", "rows"), seed=3)
    run_fir(FIRS["three branches"], Sizes(1, 1, 5, 1), ("F", "F"), ("rows", "askew"), seed=3, bias_parts=2)


def test_fir_of_many_signals():
    run_fir((5, 3, 2, (0, 1), 0, 1), Sizes(2, 2, 1, 3), "ff", ("rows", "rows"), seed=4)


@pytest.mark.parametrize("dtype", ["f", "F"])
def test_fir_rows_that_begin_anywhere(dtype):
    """Every misalignment of a tile's first number, and x and out that end with a tile or just before its end."""
    for length, left, right in ((66, 0, 2), (67, 1, 0), (68, 2, 1), (69, 3, 4), (63, 0, 0), (62, 0, 0), (63, 0, 1)):
        kind = run_fir((length, 4, 2, (left, right), 0, 1), Sizes(1, 1, 1, 1), (dtype, dtype), ("rows", "rows"), seed=4)
        assert kind.is_row_out


@pytest.mark.parametrize("dtype", ["f", "F"])
def test_fir_rows_that_follow_one_another(dtype):
    for stride, taps in ((1, 5), (2, 5), (4, 9)):
        kind = run_fir(
            (67, taps, stride, (1, 0), 0, 1), Sizes(2, 3, 1, 1), (dtype, dtype), ("packed", "packed"), seed=5
        )
        assert kind.is_row_out
        assert not kind.is_row_in


def test_fir_of_an_unaligned_memory():
    kind = run_fir(FIRS["depthwise"], Sizes(1, 1, 1, 1), ("f", "f"), ("rows", "rows"), seed=5, is_aligned=False)
    assert not kind.is_row_in
    assert not kind.is_row_out


def test_fir_keeps_infinite_samples_to_the_outputs_that_see_them():
    """Chunks are filled up to four taps, which must not multiply what the filter does not reach."""
    x, weight = np.zeros((1, 1, 60), np.float32), np.ones((1, 1, 6), np.float32)
    x[..., 20] = np.inf
    shape = geometry.geometry(60, 6, 1, (0, 0), 0, 1)
    (x_memory, x_view), (w_memory, w_view) = place(x, "rows"), place(weight, "rows")
    out_memory, out_view, there = room((1, 1, shape.output_length), np.float32, "rows")
    kind, problem = fir.problem(shape, Sizes(1, 1, 1, 1), 1, (x_view, w_view, out_view), 0, SMALL_FIR, is_aligned=True)
    kernel = fir.make_kernel(SMALL_FIR, kind, types.float32)
    launch(kernel, 2, SMALL_FIR.threads, x_memory, w_memory, w_memory, out_memory, tuple(problem))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(there[0, 0], np.where((np.arange(65) >= 20) & (np.arange(65) < 26), np.inf, 0))


THREADS = 8
# length, taps, up, down, left, output_length
RATES = {
    "3/2": (40, 20, 3, 2, 0, 70),
    "16/7 from within": (30, 35, 16, 7, 12, 60),
    "down": (90, 9, 1, 4, 3, 22),
    "common factor": (41, 13, 6, 4, 5, 66),
    "fewer taps than phases": (9, 3, 7, 2, 0, 40),
    "period beyond the outputs": (50, 9, 101, 7, 2, 13),
    "longer filter than signal": (5, 44, 2, 3, 1, 20),
    "from before the signal to behind its end": (20, 6, 2, 1, -9, 70),
    "one output": (10, 3, 1, 1, 4, 1),
}


def run_rates(options, sizes, dtypes, layouts, seed, *, is_flipped=False, is_conjugated=False, most_blocks=3):
    """Compute one change of rate by the kernels and check it."""
    length, filter_size, up, down, left, output_length = options
    (batch, channels, banks), (x_dtype, h_dtype, out_dtype) = sizes, dtypes
    rng = np.random.default_rng(seed)
    x, h = numbers(rng, (batch, channels, length), x_dtype), numbers(rng, (banks, filter_size), h_dtype)
    change = geometry.RateChange(*options)
    taps = (h[:, ::-1] if is_flipped else h).astype(complex)
    taps = np.broadcast_to(taps.conj() if is_conjugated else taps, (channels, filter_size))
    at = left + down * np.arange(output_length)
    expected = np.zeros((batch, channels, output_length), complex)
    for n, c in product(range(batch), range(channels)):
        full = scipy.signal.upfirdn(taps[c], x[n, c].astype(complex), up)
        inside = (at >= 0) & (at < len(full))
        expected[n, c, inside] = full[at[inside]]
    real = np.dtype(np.float64 if np.dtype(out_dtype).char in "dD" else np.float32)
    tap_parts, number = parts_of(h), REAL[np.dtype(out_dtype).char]
    x_memory, x_view = place(x, layouts[0])
    h_memory, h_view = place(h, "askew")
    out_memory, out_view, there = room(expected.shape, out_dtype, layouts[1])
    packing, size = rates.packing(change, banks, h_view, is_flipped=is_flipped, is_conjugated=is_conjugated)
    packed = np.full(size * tap_parts, np.nan, real)
    launch(rates.make_packer(THREADS, tap_parts, number), 2, THREADS, h_memory, packed, tuple(packing))
    assert np.isfinite(packed).all()
    problem = rates.problem(change, sizes, tap_parts, x_view, out_view, threads=THREADS)
    kernel = rates.make_kernel(THREADS, parts_of(x), tap_parts, number, is_row=rates.is_row(problem, parts_of(x)))
    blocks = min(most_blocks, rates.blocks(problem, THREADS))
    launch(kernel, blocks, THREADS, x_memory, packed, out_memory, tuple(problem))
    check(there, expected if there.dtype.kind == "c" else expected.real, out_memory, out_dtype)


@pytest.mark.parametrize("name", RATES)
def test_rates(name):
    run_rates(RATES[name], (2, 1, 1), "fff", ("rows", "rows"), seed=1)
    run_rates(RATES[name], (1, 2, 2), "fff", ("askew", "askew"), seed=2)


@pytest.mark.parametrize("dtypes", ["FfF", "fFF", "FFF", "ddd", "dDD", "efe", "fee"])
def test_rates_of_other_dtypes(dtypes):
    for name in ("3/2", "down"):
        run_rates(RATES[name], (1, 2, 1), dtypes, ("rows", "askew"), seed=3)


@pytest.mark.parametrize(("is_flipped", "is_conjugated"), [(True, False), (False, True), (True, True)])
def test_rates_of_turned_taps(is_flipped, is_conjugated):
    turned = {"is_flipped": is_flipped, "is_conjugated": is_conjugated}
    run_rates(RATES["16/7 from within"], (1, 2, 2), "FFF", ("rows", "rows"), seed=4, **turned)


@pytest.mark.parametrize("name", FIRS)
@pytest.mark.parametrize("dtype", ["f", "F"])
def test_gradient_of_x_of_one_channel_a_group(name, dtype):
    length, taps, stride, padding, output_padding, dilation = FIRS[name]
    rng = np.random.default_rng(5)
    shape = geometry.geometry(length, taps, stride, padding, output_padding, dilation)
    x, weight = numbers(rng, (2, 2, length), dtype), numbers(rng, (2, 1, taps), dtype)
    grad_output = numbers(rng, (2, 2, shape.output_length), dtype)
    expected, _, _ = reference.gradients(
        grad_output, x, weight, stride=stride, padding=padding, output_padding=output_padding, groups=2,
        dilation=dilation,
    )  # fmt: skip
    (g_memory, g_view), (w_memory, w_view) = place(grad_output, "rows"), place(weight, "rows")
    out_memory, out_view, there = room(x.shape, dtype, "rows")
    change, step = rates.gradient(shape)
    parts = parts_of(x)
    bank = View(w_view.start, (w_view.strides[0], w_view.strides[2]))
    packing, size = rates.packing(change, 2, bank, is_flipped=True, is_conjugated=True)
    packed = np.full(size * parts, np.nan, np.float32)
    launch(rates.make_packer(THREADS, parts, types.float32), 2, THREADS, w_memory, packed, tuple(packing))
    problem = rates.problem(change, (2, 2, 2), parts, g_view, out_view, step=step, threads=THREADS)
    kernel = rates.make_kernel(THREADS, parts, parts, types.float32, is_row=rates.is_row(problem, parts))
    blocks = min(5, rates.blocks(problem, THREADS))
    launch(kernel, blocks, THREADS, g_memory, packed, out_memory, tuple(problem))
    check(there, expected, out_memory, dtype)


def run_sums(shape, dtypes, layout, blocks, threads=THREADS):
    """Sum over batch and time by the kernel and check it; returns how many launches that took."""
    dtype, out_dtype = dtypes
    rng = np.random.default_rng(6)
    batch, channels, length = shape
    array = numbers(rng, shape, dtype)
    memory, view = place(array, layout)
    number = REAL[np.dtype(out_dtype).char]
    expected = array.astype(complex if array.dtype.kind == "c" else float).sum((0, 2))
    out_memory, out_view, there = room((channels,), out_dtype, layout)
    parts = parts_of(array)
    rows = View(view.start, tuple(view.strides[axis] for axis in (1, 0, 2)))
    steps = sums.problems((channels, batch, length), parts, rows, out_view, blocks, threads)
    kernel = sums.make_kernel(threads, parts, number)
    source = memory
    for step in steps:
        real = np.dtype(np.float64 if number is types.float64 else np.float32)
        target = out_memory if step is steps[-1] else np.full(sums.blocks(step) * parts, np.nan, real)
        launch(kernel, min(3, sums.blocks(step)), threads, source, target, tuple(step))
        source = target
    check(there, expected, out_memory, out_dtype)
    return len(steps)


@pytest.mark.parametrize("dtypes", ["ff", "FF", "dd", "DD", "ee", "ef"])
def test_sums(dtypes):
    for layout in ("rows", "askew"):
        assert run_sums((3, 2, 131), dtypes, layout, blocks=1) == 1
        assert run_sums((3, 2, 201), dtypes, layout, blocks=8) == 2


@pytest.mark.parametrize("shape", [(1, 1, 1), (40, 2, 3), (5, 1, 8), (0, 2, 5), (2, 3, 32), (2, 3, 33)])
def test_sums_of_every_length(shape):
    assert run_sums(shape, "ff", "rows", blocks=1) == 1


def test_sums_of_many_terms_are_split_for_accuracy(monkeypatch):
    monkeypatch.setattr(sums, "LONGEST", 2)
    monkeypatch.setattr(sums, "SHORTEST", 1)
    assert run_sums((1, 1, 700), "ff", "rows", blocks=1) == 2


@pytest.mark.parametrize("name", FIRS)
@pytest.mark.parametrize("dtype", ["f", "e"])
def test_gradient_of_the_weight_of_one_channel_a_group(name, dtype):
    length, taps, stride, padding, output_padding, dilation = FIRS[name]
    for batch, blocks, layout in ((2, 1, "rows"), (3, 40, "askew")):
        rng = np.random.default_rng(7)
        shape = geometry.geometry(length, taps, stride, padding, output_padding, dilation)
        x, weight = numbers(rng, (batch, 2, length), dtype), numbers(rng, (2, 1, taps), dtype)
        grad_output = numbers(rng, (batch, 2, shape.output_length), dtype)
        _, expected, _ = reference.gradients(
            grad_output, x, weight, stride=stride, padding=padding, output_padding=output_padding, groups=2,
            dilation=dilation,
        )  # fmt: skip
        (x_memory, x_view), (g_memory, g_view) = place(x, layout), place(grad_output, layout)
        problem, taps_of_one = tap_sums.problem(shape, (batch, 2), x_view, g_view, blocks, THREADS)
        assert problem.splits == 1 or blocks > 1
        there = np.full((2, taps, problem.splits), np.nan, np.float32)
        kernel = tap_sums.make_kernel(THREADS, taps_of_one, types.float32)
        launch(kernel, min(3, tap_sums.blocks(problem)), THREADS, x_memory, g_memory, there.reshape(-1), tuple(problem))
        np.testing.assert_allclose(there.sum(-1), expected[:, 0], atol=1e-5 * np.abs(expected).max(), rtol=1e-4)
