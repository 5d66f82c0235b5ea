"""Layers whose channels see no other, where signals are short: lanes are channels.

    out[f, stride*q + b - left] = bias[f] + sum_j weight[f, b + branches*j] * x[q - step*j]
    grad_x[n, i]                = sum_{f, k} weight[f, k] * g[n, f, stride*i + dilation*k - left]
    grad_weight[f, k]           = sum_{n, i} x[n, i] * g[n, f, stride*i + dilation*k - left]

Every number here is a vector of channels, each of which has filters of its own. With lanes along time, few samples
leave most of them empty, and a signal takes its set-up whatever its length. So the samples of a block of channels and
their weights are transposed in registers, every sum is one of products of vectors, for any stride and dilation, and
what was summed up is transposed back. 64 x 512 signals of one sample, 4 taps: 480 us with lanes along time, 168 so.

Sums of the forward pass are added up as in `fir.py` or in panels, whose bias comes first or last: long signals and
their parts have the same bits. Gradients have the same for any number of threads; those of the weight are cut into
chunks of signals, as the shapes alone decide.
"""

from functools import lru_cache

import numpy as np
from numba import literally

from numba_tconv.backends.cpu import grad_weight, grad_x, jit, threads
from numba_tconv.backends.cpu.moves import MOST_WOVEN, copy_windows, transpose
from numba_tconv.backends.cpu.staging import zero_run
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import lane_sums
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry

# Outputs of a tile: enough accumulators to hide the latency of the multiply-add.
R = 8
# Of a block of time: numbers of grad_output, which stay in L1.
BLOCK_NUMBERS = 1 << 12
# Multiply-adds that take as long as moving a number.
MOVING = 8
# Bytes of the signals that are served: beyond, lanes along time are as fast, 64 samples with vectors of 256 bits as
# with those of 512. So they are for the gradient of x with a dilation or several filters, not taken by `decimation.py`,
# and for that of the weight, in samples.
MOST_BYTES, MOST_BYTES_X, MOST_BYTES_OTHER, MOST_SAMPLES_WEIGHT = 256, 384, 1024, 512
# Where all filters and phases of a channel fill a vector, panels have lanes enough: samples, and outputs.
FEW_SAMPLES, FEW_OUTPUTS = 8, 128
# Numbers of all filters of a channel, and outputs that a sample reaches: a vector for each is kept.
MOST_WEIGHTS, MOST_REACH = 1024, 4096
# The gradient of the weight is cut as for so many workers, however many there are: the same bits.
SHARES = 8

(
    ITEMS, BLOCKS, BATCH, SIGNALS_OF_ITEM, CHANNELS, FILTERS, TAPS, LENGTH, OUTPUT_LENGTH, STRIDE, DILATION, LEFT,
    BRANCHES, STEP, HALO, FIRST_ROW, ROWS, BLOCK, WEIGHT, X, G, LINE, SCRATCH, IS_BIAS_LAST,
) = range(24)  # fmt: skip


@jit.helper
def _gather(source, step, count, first, run, length, scratch, target, line, lanes):
    """Write `run` samples of `count` signals, from time `first` on, to rows of lanes; zeros beyond the signals.

    Sample 0 of the first signal lies at the address `source`, that of the next one `step` numbers on.
    """
    base, itemsize = address(scratch), scratch.itemsize
    begin = min(max(-first, 0), run)
    end = max(min(length - first, run), begin)
    zero_run(scratch, target, begin * lanes)
    for k in range(begin, end, lanes):
        here = min(lanes, end - k)
        start, to = source + (first + k) * itemsize, base + (target + k * lanes) * itemsize
        if here == lanes == count:
            transpose(start, step, to, lanes, scratch, literally(lanes))
        else:
            copy_windows(start, step, base + line * itemsize, lanes, count, here, scratch, literally(lanes))
            transpose(base + line * itemsize, lanes, to, lanes, scratch, literally(lanes))
    zero_run(scratch, target + end * lanes, (run - end) * lanes)


@jit.helper
def _scatter(scratch, source, run, target, step, count, line, lanes):
    """Write `run` rows of lanes to `count` signals, the first one at the address `target`."""
    base, itemsize = address(scratch), scratch.itemsize
    for k in range(0, run, lanes):
        here = min(lanes, run - k)
        start, to = base + (source + k * lanes) * itemsize, target + k * itemsize
        if here == lanes == count:
            transpose(start, lanes, to, step, scratch, literally(lanes))
        else:
            transpose(start, lanes, base + line * itemsize, lanes, scratch, literally(lanes))
            copy_windows(base + line * itemsize, lanes, to, step, count, here, scratch, literally(lanes))


@jit.helper
def _gather_filters(weight, channel, count, scratch, start, problem, lanes):
    """Write the filters of some channels to rows of lanes, those of a channel one behind the other."""
    size = problem[FILTERS] * problem[TAPS]
    source, target = address(weight) + channel * size * weight.itemsize, start + problem[WEIGHT]
    _gather(source, size, count, 0, size, size, scratch, target, start + problem[LINE], lanes)


@jit.helper
def _gather_rows(array, n, channel, filters, count, first, run, length, scratch, at, line, lanes):
    """`_gather` of signals of an array, whose channels lie `filters` apart."""
    source = address(array) + n * array.strides[0] + channel * array.strides[1]
    step = filters * array.strides[1] // array.itemsize
    _gather(source, step, count, first, run, length, scratch, at, line, lanes)


@jit.helper
def _signals_of(problem, index, lanes):
    """Return the first channel of an item, their number, its first signal, and the signal behind its last."""
    signals, block = divmod(index, problem[BLOCKS])
    c, n = block * lanes, signals * problem[SIGNALS_OF_ITEM]
    return c, min(lanes, problem[CHANNELS] - c), n, min(problem[BATCH], n + problem[SIGNALS_OF_ITEM])


@jit.helper
def _gather_windows(g, n, c, f, count, i, rows, scratch, start, problem, lanes):
    """Write the grad_output of filter f that all taps meet for `rows` samples from i on."""
    filters, stride = problem[FILTERS], problem[STRIDE]
    run = stride * (rows - 1) + problem[DILATION] * (problem[TAPS] - 1) + 1
    _gather_rows(
        g, n, c * filters + f, filters, count, stride * i - problem[LEFT], run, problem[OUTPUT_LENGTH], scratch,
        start + problem[G], start + problem[LINE], lanes,
    )  # fmt: skip


@jit.once
def forward_kernel(dtype):
    """Return the compiled kernel `(x, weight, bias, out, scratch, problem, turns, worker)`; weight is flat."""
    lanes, itemsize = host().lanes(dtype.itemsize), dtype.itemsize

    def run(x, weight, bias, out, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        filters, stride, branches, size = problem[FILTERS], problem[STRIDE], problem[BRANCHES], problem[OUTPUT_LENGTH]
        start = worker * problem[SCRATCH]
        line, x_rows = start + problem[LINE], start + problem[X]
        base, first = address(scratch), problem[FIRST_ROW] - problem[HALO]
        is_bias_last = problem[IS_BIAS_LAST] == 1
        index = take_first(turns)
        while index < problem[ITEMS]:
            c, count, first_signal, end_signal = _signals_of(problem, index, lanes)
            zero_run(scratch, line, lanes * lanes)
            _gather_filters(weight, c, count, scratch, start, problem, lanes)
            for n in range(first_signal, end_signal):
                _gather_rows(
                    x, n, c, 1, count, first, problem[ROWS] + problem[HALO], problem[LENGTH], scratch, x_rows, line,
                    lanes,
                )  # fmt: skip
                for f in range(filters):
                    channel = c * filters + f
                    zero_run(scratch, line, lanes)
                    added = line + lanes if is_bias_last else line
                    for v in range(count):
                        scratch[added + v] = bias[channel + v * filters]
                    for branch in range(branches):
                        time = problem[DILATION] * branch - problem[LEFT]
                        q = max(0, -(time // stride))
                        rows = -((time - size) // stride) - q
                        taps = -((branch - problem[TAPS]) // branches)
                        tap = start + problem[WEIGHT] + (f * problem[TAPS] + branch) * lanes
                        sample, to = x_rows + (q - first) * lanes, start + problem[G] + (time + stride * q) * lanes
                        lane_sums(
                            scratch,
                            (base + tap * itemsize, branches * lanes),
                            (base + sample * itemsize, -problem[STEP] * lanes, lanes),
                            (rows, taps),
                            (base + line * itemsize, 0),
                            (base + to * itemsize, stride * lanes),
                            R,
                            lanes,
                        )
                    for t in range(size if is_bias_last else 0):
                        for v in range(lanes):
                            scratch[start + problem[G] + t * lanes + v] += scratch[added + v]
                    target = address(out) + n * out.strides[0] + channel * out.strides[1]
                    step = filters * out.strides[1] // itemsize
                    _scatter(scratch, start + problem[G], size, target, step, count, line, lanes)
            index = take(turns)

    return jit.compile_kernel(run, jit.kernel_arguments(dtype, dtype, dtype))


@jit.once
def x_kernel(dtype):
    """Return the compiled kernel `(weight, g, out, scratch, problem, turns, worker)`; weight is flat."""
    lanes, itemsize = host().lanes(dtype.itemsize), dtype.itemsize

    def run(weight, g, out, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        filters, taps, stride, length = problem[FILTERS], problem[TAPS], problem[STRIDE], problem[LENGTH]
        start = worker * problem[SCRATCH]
        line, g_rows, sums = start + problem[LINE], start + problem[G], start + problem[X]
        base = address(scratch)
        index = take_first(turns)
        while index < problem[ITEMS]:
            c, count, first_signal, end_signal = _signals_of(problem, index, lanes)
            zero_run(scratch, line, lanes * lanes)
            _gather_filters(weight, c, count, scratch, start, problem, lanes)
            for n in range(first_signal, end_signal):
                for i in range(0, length, problem[BLOCK]):
                    rows = min(problem[BLOCK], length - i)
                    zero_run(scratch, sums, rows * lanes)
                    for f in range(filters):
                        _gather_windows(g, n, c, f, count, i, rows, scratch, start, problem, lanes)
                        totals = base + sums * itemsize, lanes
                        lane_sums(
                            scratch,
                            (base + (start + problem[WEIGHT] + f * taps * lanes) * itemsize, lanes),
                            (base + g_rows * itemsize, problem[DILATION] * lanes, stride * lanes),
                            (rows, taps),
                            totals,
                            totals,
                            R,
                            lanes,
                        )
                    target = address(out) + n * out.strides[0] + c * out.strides[1] + i * itemsize
                    _scatter(scratch, sums, rows, target, out.strides[1] // itemsize, count, line, lanes)
            index = take(turns)

    return jit.compile_kernel(run, grad_x.kernel_arguments(dtype, dtype, dtype))


@jit.once
def weight_kernel(dtype):
    """Return the compiled kernel `(x, g, sums, scratch, problem, turns, worker)`.

    sums is flat: (chunk, channel, filter, tap).
    """
    lanes, itemsize = host().lanes(dtype.itemsize), dtype.itemsize

    def run(x, g, sums, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        filters, taps, stride, length = problem[FILTERS], problem[TAPS], problem[STRIDE], problem[LENGTH]
        start = worker * problem[SCRATCH]
        line, g_rows, x_rows = start + problem[LINE], start + problem[G], start + problem[X]
        base = address(scratch)
        index = take_first(turns)
        while index < problem[ITEMS]:
            c, count, first_signal, end_signal = _signals_of(problem, index, lanes)
            zero_run(scratch, line, lanes * lanes)
            zero_run(scratch, start + problem[WEIGHT], filters * taps * lanes)
            for n in range(first_signal, end_signal):
                for i in range(0, length, problem[BLOCK]):
                    rows = min(problem[BLOCK], length - i)
                    _gather_rows(x, n, c, 1, count, i, rows, length, scratch, x_rows, line, lanes)
                    for f in range(filters):
                        _gather_windows(g, n, c, f, count, i, rows, scratch, start, problem, lanes)
                        totals = base + (start + problem[WEIGHT] + f * taps * lanes) * itemsize, lanes
                        lane_sums(
                            scratch,
                            (base + x_rows * itemsize, lanes),
                            (base + g_rows * itemsize, stride * lanes, problem[DILATION] * lanes),
                            (taps, rows),
                            totals,
                            totals,
                            R,
                            lanes,
                        )
            size, chunk = filters * taps, index // problem[BLOCKS]
            target = address(sums) + (chunk * problem[CHANNELS] + c) * size * itemsize
            _scatter(scratch, start + problem[WEIGHT], size, target, size, count, line, lanes)
            index = take(turns)

    return jit.compile_kernel(run, grad_weight.kernel_arguments(dtype, dtype, dtype))


def _problem(
    geometry: Geometry,
    dtype: np.dtype,
    batch: int,
    channels: int,
    filters: int,
    n_workers: int,
    values: dict[int, int],
    x_rows: int,
    g_rows: int,
) -> tuple[np.ndarray, int]:
    """Return the kernels' integers as an array, and the numbers of scratch for one worker."""
    lanes, taps = host().lanes(dtype.itemsize), geometry.filter_size
    blocks = -(-channels // lanes)
    # Four items for each worker; every one transposes its weights.
    signals_of_item = -(-batch // min(batch, -(-4 * n_workers // blocks)))
    # Whole tiles are transposed, whose last rows may not exist.
    sizes = {WEIGHT: filters * taps + lanes, X: x_rows + lanes, G: g_rows + lanes, LINE: lanes}
    begin = 0
    for name, rows in sizes.items():
        values[name], begin = begin, begin + rows * lanes
    values |= {
        ITEMS: blocks * -(-batch // signals_of_item),
        BLOCKS: blocks,
        BATCH: batch,
        SIGNALS_OF_ITEM: signals_of_item,
        CHANNELS: channels,
        FILTERS: filters,
        TAPS: taps,
        LENGTH: geometry.length,
        OUTPUT_LENGTH: geometry.output_length,
        STRIDE: geometry.stride,
        DILATION: geometry.dilation,
        LEFT: geometry.left,
        SCRATCH: begin,
    }
    return np.array([int(values.get(k, 0)) for k in range(IS_BIAS_LAST + 1)], np.int64), begin


@lru_cache(maxsize=4096)
def forward_problem(
    geometry: Geometry,
    dtype: np.dtype,
    batch: int,
    channels: int,
    filters: int,
    n_workers: int,
    *,
    is_bias_last: bool,
) -> tuple[np.ndarray, int]:
    """Return the forward kernel's integers as an array, and the numbers of scratch for one worker."""
    values = {
        BRANCHES: geometry.branches,
        STEP: geometry.input_step,
        HALO: geometry.halo,
        FIRST_ROW: geometry.first_row,
        ROWS: geometry.rows,
        IS_BIAS_LAST: is_bias_last,
    }
    x_rows, g_rows = geometry.rows + geometry.halo, geometry.output_length
    return _problem(geometry, dtype, batch, channels, filters, n_workers, values, x_rows, g_rows)


@lru_cache(maxsize=4096)
def _gradient_problem(
    geometry: Geometry, dtype: np.dtype, batch: int, channels: int, filters: int, n_workers: int
) -> tuple[np.ndarray, int]:
    """Return the integers of the gradients' kernels as an array, and the numbers of scratch for one worker."""
    reach = geometry.dilation * (geometry.filter_size - 1) + 1
    span = max(BLOCK_NUMBERS // host().lanes(dtype.itemsize), 2 * reach)
    block = min(geometry.length, 1 + (span - reach) // geometry.stride)
    g_rows = geometry.stride * (block - 1) + reach
    return _problem(geometry, dtype, batch, channels, filters, n_workers, {BLOCK: block}, block, g_rows)


def work(geometry: Geometry, batch: int, channels: int, filters: int) -> int:
    """Return how many multiply-adds take as long as one of the three passes."""
    products = filters * geometry.filter_size * geometry.length
    moved = geometry.length + filters * geometry.output_length
    return batch * channels * (products + MOVING * moved)


def _fits(geometry: Geometry, dtype: np.dtype, channels: int, filters: int) -> bool:
    """Whether there are channels for a vector, and not too many weights, nor too far apart, for the scratch."""
    is_near = geometry.dilation * (geometry.filter_size - 1) <= MOST_REACH
    is_small = filters * geometry.filter_size <= MOST_WEIGHTS
    return channels >= host().lanes(dtype.itemsize) and is_small and is_near


def serves(geometry: Geometry, dtype: np.dtype, channels: int, filters: int, *, is_fir: bool) -> bool:
    """Whether the forward pass should come here, of what `fir.py` serves otherwise, or panels."""
    if is_fir:
        is_short = geometry.length * dtype.itemsize <= MOST_BYTES
    else:
        is_short = geometry.length <= FEW_SAMPLES and geometry.output_length <= FEW_OUTPUTS
    return is_short and geometry.is_interleaved and _fits(geometry, dtype, channels, filters)


def serves_x(geometry: Geometry, dtype: np.dtype, channels: int, filters: int) -> bool:
    """Whether the gradient of x should come from here."""
    most = MOST_BYTES_X if filters == geometry.dilation == 1 else MOST_BYTES_OTHER
    is_short = geometry.length * dtype.itemsize <= most or geometry.stride > MOST_WOVEN
    return is_short and _fits(geometry, dtype, channels, filters)


def serves_weight(geometry: Geometry, dtype: np.dtype, channels: int, filters: int) -> bool:
    """Whether the gradient of the weight should come from here, not for a few taps of many samples."""
    is_dense = geometry.stride <= 2 * (geometry.dilation * (geometry.filter_size - 1) + 1)
    is_short = geometry.length <= MOST_SAMPLES_WEIGHT
    return is_short and is_dense and _fits(geometry, dtype, channels, filters)


def input_gradient(geometry: Geometry, g: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """Write the gradient of x to `out`; it, `g` and the weight (channel, filter, tap) have one dtype and plain rows."""
    batch, channels = out.shape[:2]
    filters, dtype = weight.shape[1], out.dtype
    n_workers = threads.workers(work(geometry, batch, channels, filters))
    integers, size = _gradient_problem(geometry, dtype, batch, channels, filters, n_workers)
    scratch = np.empty(size * n_workers, dtype)
    threads.launch(x_kernel(dtype), (weight.reshape(-1), g, out, scratch, integers), n_workers)


def weight_gradient(geometry: Geometry, g: np.ndarray, x: np.ndarray, filters: int) -> np.ndarray:
    """Return the gradient of the weight (channel, filter, tap); `g` and `x` have one dtype and plain rows."""
    (batch, channels), dtype = x.shape[:2], x.dtype
    n_workers = threads.workers(work(geometry, batch, channels, filters))
    integers, size = _gradient_problem(geometry, dtype, batch, channels, filters, SHARES)
    chunks = integers[ITEMS] // integers[BLOCKS]
    sums = np.empty((chunks, channels, filters, geometry.filter_size), dtype)
    arrays = x, g, sums.reshape(-1), np.empty(size * n_workers, dtype), integers
    threads.launch(weight_kernel(dtype), arrays, n_workers)
    return sums[0] if chunks == 1 else sums.sum(axis=0)
