"""The gradients of long signals and of few weights: lanes along time, windows of grad_output read where they lie.

    grad_x[c, (n, i)]    = sum_{f, k} conj(weight[c, f, k]) * window[f, k][n, i]
    grad_weight[c, f, k] = sum_{n, i} conj(x[n, c, i])      * window[f, k][n, i]
    window[f, k][n, i]   = g[n, f, stride*i + dilation*k - left]

`grad_x.py` and `grad_weight.py` copy windows into panels. But of grad_output sorted by phases, a window is a phase,
shifted: nothing has to be copied for each tap. So a table says where each window begins, and tiles of four channels
read it from there. For x, their rows are the weights as they lie in memory, and sums are complete, or nearly, before
they leave the registers. For the weight, their rows are x as it lies in memory, and lanes are added up once for a
block of samples; that pays where channels are few, or weights.

Sums of x are taken in the same order whatever the number of threads. Those of the weight are cut into chunks of
samples, how many depends on the shapes alone, and added in order: the same bits as well.
"""

from functools import lru_cache
from math import inf

import numpy as np
from numba import types

from numba_tconv.backends.cpu import jit, products
from numba_tconv.backends.cpu.grad_weight import stage_x
from numba_tconv.backends.cpu.grad_x import store_row
from numba_tconv.backends.cpu.products import (
    MOST_PHASES,
    Operands,
    begin_of,
    even_blocks,
    integers,
    is_woven,
    places_of_taps,
    shares,
    split_phases,
    stage_line,
)
from numba_tconv.backends.cpu.staging import has_plain_rows
from numba_tconv.backends.cpu.target import host, kept_in_l2
from numba_tconv.backends.cpu.tile import dot_windows, sum_windows
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry

# Of a block, where grad_output of all filters leaves room for so many: samples for x, for the weight, and at least; and
# bytes of grad_output that are sorted for it. Blocks of 1,024 samples of x took 1.2 times as long for 64 -> 8 (8, 4).
# For x, as `kept_in_l2`: a Zen 3, which has half a megabyte, ran 512 -> 256 (8, 4) at 77 % of the FMA peak with all of
# it, at 95 with a quarter. For the weight, where blocks are chunks of its sums, the same everywhere.
MOST_SAMPLES_X, MOST_SAMPLES_WEIGHT, FEWEST_SAMPLES, SORTED_BYTES = 4096, 2048, 256, 1 << 19
# Samples that windows reach beyond a block: what is sorted with it stays a few megabytes.
MOST_REACH = 1024
# Weights that no cache keeps until the next block of samples, in bytes.
LARGE_WEIGHTS = 1 << 24
# Of an item: sums of x that cannot be kept in the result, or for the weight samples of x that cannot be read in place.
STAGED_BYTES = 1 << 22
# Channels of a tile: for x, where each is a scalar for V vectors of sums, and for the weight, where it is a vector.
# With four, x took 1.08 to 1.16 times as long where a core has two units for multiply-add (a Xeon of 2023).
X_ROWS, WEIGHT_ROWS = 6, 4
# Channels of a tile of half as many vectors, in which six sums would wait for each other: 512 -> 256 (12, 6) with 16
# samples took 1.45 times as long, with 32 samples 1.17. Twelve rows may lie in one set of the L1 cache.
SHORT_X_ROWS = 8
# For the weight: items to aim at by cutting the samples into chunks, the fewest samples of a chunk, and of a signal.
ITEMS_WANTED, FEWEST_OF_CHUNK, FEWEST_OF_SIGNAL = 32, 1024, 512
# Channels that a window is worth copying for. With four times as many, dot products were up to a fifth slower: most of
# their loads lie across two cache lines.
CHANNELS_OF_WINDOW = 16
# Vectors of a channel's weights that leave too much of a panel empty, by registers: 64 -> 2 (12, 4) ran at 44 % of the
# FMA peak in panels of AVX2, and at 57 so.
FEW_WEIGHTS = {32: 2, 16: 4}


@jit.helper
def _find_windows(g, scratch, windows, w0, start, problem, n, channel, filters, part, i, count, lanes):
    """Sort the grad_output of some filters by phases, write where the windows of `count` samples from i on begin."""
    stride, itemsize = problem[products.STRIDE], scratch.itemsize
    filter_size, line_size = problem[products.FILTER_SIZE], problem[products.PANEL_SIZE]
    reach = problem[products.DILATION] * (filter_size - 1) // stride
    run = -(-(-(-count // lanes) * lanes + reach) // lanes) * lanes
    span = stride * run
    for f in range(filters):
        line = start + problem[products.LINE] + f * line_size
        spare = start + problem[products.SPARE] + f * line_size
        time = stride * i - problem[products.LEFT]
        run_at = stage_line(g, n, channel + f, time, part, span, problem, scratch, line, span * g.strides[2])
        phases = split_phases(scratch, run_at, line, spare, stride, run, lanes)
        for k in range(filter_size):
            place = problem[products.PLACES + 2 * k] * run + problem[products.PLACES + 2 * k + 1]
            windows[w0 + f * filter_size + k] = phases + place * itemsize


@jit.helper
def x_item(problem, index):
    """Return what an item of the gradient of x is: (n, part, group, first row, rows, first sample, samples)."""
    item, row_block = divmod(index, problem[products.ROW_BLOCKS])
    item, block = divmod(item, problem[products.LANE_BLOCKS])
    item, group = divmod(item, problem[products.GROUPS])
    n, part = divmod(item, problem[products.PARTS])
    row, i = row_block * problem[products.ROW_BLOCK], block * problem[products.LANE_BLOCK]
    rows = min(problem[products.ROW_BLOCK], problem[products.ROWS] - row)
    count = min(problem[products.LANE_BLOCK], problem[products.LENGTH] - i)
    return n, part, group, group * problem[products.ROWS] + row, rows, i, count


def x_arguments(g_dtype: np.dtype, dtype: np.dtype, out_dtype: np.dtype) -> tuple:
    """Return the types of the arguments of a kernel of the gradient of x that has a table of windows."""
    return (
        jit.array(dtype, 1, readonly=True), jit.array(g_dtype, 4, "A", readonly=True), jit.array(out_dtype, 4, "A"),
        jit.array(dtype, 1), jit.array(np.int64, 1), jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1),
        types.int64,
    )  # fmt: skip


@jit.once
def x_kernel(g_dtype, dtype, out_dtype):
    """Return the compiled kernel `(weight, g, out, scratch, windows, problem, turns, worker)` of the gradient of x.

    weight is flat: (channel * row part, reduced part, filter, tap); windows are addresses.
    """
    lanes, V, itemsize = host().lanes(dtype.itemsize), host().window_vectors, dtype.itemsize
    few = max(1, V // 2)

    def run(weight, g, out, scratch, windows, problem, turns, worker):
        problem = integers_at(address(problem))
        filters, filter_size = problem[products.FILTERS], problem[products.FILTER_SIZE]
        reduced_filters, most_filters = problem[products.REDUCED_PARTS] * filters, problem[products.FILTER_BLOCK]
        start, w0 = begin_of(scratch, worker, problem), worker * most_filters * filter_size
        acc, acc_row = start + problem[products.ACC], problem[products.CHANNEL_STEP]
        is_direct = problem[products.IS_DIRECT] == 1
        weight_row = reduced_filters * filter_size
        index = take_first(turns)
        while index < problem[products.ITEMS]:
            n, part, group, row, rows, i, count = x_item(problem, index)
            D = address(scratch) + acc * itemsize, acc_row
            if is_direct:
                D = address(out) + n * out.strides[0] + row * out.strides[1] + i * itemsize, out.strides[1] // itemsize
            reduced = 0
            while reduced < reduced_filters:
                reduced_part, f = divmod(reduced, filters)
                here = min(most_filters, filters - f)
                _find_windows(
                    g, scratch, windows, w0, start, problem, n, group * filters + f, here, part + reduced_part, i,
                    count, lanes,
                )  # fmt: skip
                a = address(weight) + (row * weight_row + reduced * filter_size) * itemsize
                counts = rows, here * filter_size, count
                if count <= few * lanes:
                    sum_windows(scratch, a, weight_row, windows, w0, counts, D, reduced == 0, SHORT_X_ROWS, few, lanes)
                else:
                    sum_windows(scratch, a, weight_row, windows, w0, counts, D, reduced == 0, X_ROWS, V, lanes)
                reduced += here
            for r in range(0 if is_direct else rows):
                place = n * problem[products.LENGTH] + i
                store_row(out, scratch, acc + r * acc_row, problem, row + r, part, place, place + count)
            index = take(turns)

    return jit.compile_kernel(run, x_arguments(g_dtype, dtype, out_dtype))


@jit.once
def weight_kernel(x_dtype, g_dtype, dtype):
    """Return the compiled kernel `(x, g, sums, scratch, windows, problem, turns, worker)` of the weight's gradient.

    sums is flat: (chunk, part, channel * row part, filter, tap); windows are addresses.
    """
    lanes, C, itemsize = host().lanes(dtype.itemsize), host().window_columns, dtype.itemsize

    def run(x, g, sums, scratch, windows, problem, turns, worker):
        problem = integers_at(address(problem))
        rows_of_group, length = problem[products.ROWS], problem[products.LENGTH]
        filter_size = problem[products.FILTER_SIZE]
        n_lanes, most_filters = problem[products.FILTERS] * filter_size, problem[products.FILTER_BLOCK]
        start, w0 = begin_of(scratch, worker, problem), worker * most_filters * filter_size
        stage, row_step = start + problem[products.STAGE], problem[products.CHANNEL_STEP]
        is_in_place = has_plain_rows(x, scratch) and problem[products.ROW_PARTS] == 1
        blocks = problem[products.LANE_BLOCKS]
        index = take_first(turns)
        while index < problem[products.ITEMS]:
            item, row_block = divmod(index, problem[products.ROW_BLOCKS])
            item, filter_block = divmod(item, problem[products.FILTER_BLOCKS])
            item, group = divmod(item, problem[products.GROUPS])
            chunk, part = divmod(item, problem[products.PARTS])
            row = group * rows_of_group + row_block * problem[products.ROW_BLOCK]
            rows = min(problem[products.ROW_BLOCK], rows_of_group - row_block * problem[products.ROW_BLOCK])
            target = (chunk * problem[products.PARTS] + part) * problem[products.GROUPS] * rows_of_group + row
            f = filter_block * most_filters
            filters = min(most_filters, problem[products.FILTERS] - f)
            D = address(sums) + (target * n_lanes + f * filter_size) * itemsize, n_lanes
            begin = chunk * problem[products.CHUNK]
            end = min(problem[products.BATCH] * blocks, begin + problem[products.CHUNK])
            for reduced_part in range(problem[products.REDUCED_PARTS]):
                for place in range(begin, end):
                    n, block = divmod(place, blocks)
                    i = block * problem[products.LANE_BLOCK]
                    count = min(problem[products.LANE_BLOCK], length - i)
                    A = address(scratch) + stage * itemsize, row_step
                    if is_in_place:
                        source = n * x.strides[0] + row * x.strides[1] + i * itemsize
                        A = address(x) + source, x.strides[1] // itemsize
                    else:
                        first = n * length + i
                        stage_x(
                            x, scratch, stage, row_step, problem, row, rows, reduced_part, first, first + count, lanes
                        )
                    _find_windows(
                        g, scratch, windows, w0, start, problem, n, group * problem[products.FILTERS] + f, filters,
                        part + reduced_part, i, count, lanes,
                    )  # fmt: skip
                    dot_windows(
                        scratch, A, windows, w0, (rows, filters * filter_size, count), D,
                        reduced_part == 0 and place == begin, WEIGHT_ROWS, C, lanes,
                    )  # fmt: skip
            index = take(turns)

    arguments = (
        jit.array(x_dtype, 4, "A", readonly=True), jit.array(g_dtype, 4, "A", readonly=True), jit.array(dtype, 1),
        jit.array(dtype, 1), jit.array(np.int64, 1), jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1),
        types.int64,
    )  # fmt: skip
    return jit.compile_kernel(run, arguments)


def x_cost(geometry: Geometry, dtype: np.dtype, operands: Operands) -> float:
    """Return about how long the gradient of x takes here, as `backward.x_path` compares it."""
    if not _is_near(geometry):
        return inf
    lanes, length, batch = host().lanes(dtype.itemsize), geometry.length, operands.batch
    vectors, reduced = batch * -(-length // lanes), operands.reduced_filters * geometry.filter_size
    # With 32 registers the tile of panels has twice as many rows, and loads less for a multiplication.
    multiplied = (0.24 if host().registers == 32 else 0.215) * vectors * operands.rows * reduced
    blocks = batch * -(-length // MOST_SAMPLES_X)
    looked_up, stored = 5.3 * blocks * reduced, 1.5 * vectors * operands.rows
    weights = operands.rows * reduced
    from_memory = 0.1 * blocks * weights if weights * dtype.itemsize > LARGE_WEIGHTS else 0.0
    is_slow = not is_woven(geometry.stride)
    span = geometry.stride * vectors * lanes + batch * geometry.filter_size
    in_phases = operands.reduced_filters * span * (0.1 * dtype.itemsize + 0.65 * is_slow)
    return multiplied + looked_up + stored + from_memory + in_phases


@lru_cache(maxsize=4096)
def serves_weight(geometry: Geometry, dtype: np.dtype, channels: int, filters: int) -> bool:
    """Whether the gradient of the weight should come from here: where windows are dear to copy, or fill no panel."""
    lanes, filter_size = host().lanes(dtype.itemsize), geometry.filter_size
    if not _is_near(geometry) or geometry.length < FEWEST_OF_SIGNAL:
        return False
    is_dear = channels * filter_size <= CHANNELS_OF_WINDOW * lanes * -(-filter_size // lanes)
    fits = _most(geometry, dtype, filters, SORTED_BYTES) >= FEWEST_SAMPLES
    return fits and (is_dear or filters * filter_size <= FEW_WEIGHTS[host().registers] * lanes)


def _reach(geometry: Geometry) -> int:
    """Return how many samples of a phase the windows of a sample lie apart."""
    return geometry.dilation * (geometry.filter_size - 1) // geometry.stride


def _is_near(geometry: Geometry) -> bool:
    """Whether the windows of neighbouring samples, and of the taps, lie near each other."""
    return geometry.stride <= MOST_PHASES and _reach(geometry) <= MOST_REACH


def _most(geometry: Geometry, dtype: np.dtype, filters: int, sorted_bytes: int) -> int:
    """Return of how many samples the grad_output of so many filters has so many bytes."""
    return sorted_bytes // dtype.itemsize // (filters * geometry.stride)


def _problem(
    geometry: Geometry,
    dtype: np.dtype,
    operands: Operands,
    block: int,
    filter_block: int,
    values: dict[int, int],
    sizes: dict[int, int],
) -> tuple[np.ndarray, int]:
    """Add what both kernels find their windows by."""
    lanes = host().lanes(dtype.itemsize)
    line = geometry.stride * (block + -(-_reach(geometry) // lanes) * lanes)
    values |= {
        products.LANE_BLOCK: block,
        products.LANE_BLOCKS: -(-geometry.length // block),
        products.CHANNEL_STEP: block + 16,  # rows must not meet in one set of the cache
        products.FILTER_BLOCK: filter_block,
        products.PANEL_SIZE: line,
        products.IN_PLACE: is_woven(geometry.stride),
    }
    sizes |= {products.LINE: filter_block * line, products.SPARE: filter_block * line}
    numbers, scratch = integers(geometry, operands, values, sizes)
    return np.append(numbers, places_of_taps(geometry, geometry.filter_size)), scratch


def x_problem(geometry: Geometry, dtype: np.dtype, n_workers: int, operands: Operands) -> tuple[np.ndarray, int]:
    """Return the integers of the gradient of x, and the numbers of scratch for one worker."""
    rows, filters = operands.rows, operands.filters
    sorted_bytes = kept_in_l2(SORTED_BYTES)
    most = min(MOST_SAMPLES_X, max(FEWEST_SAMPLES, _most(geometry, dtype, filters, sorted_bytes)))
    block, blocks = even_blocks(geometry.length, most, host().lanes(dtype.itemsize))
    filter_block = max(1, min(filters, _most(geometry, dtype, 1, sorted_bytes) // block))
    row_blocks = -(-rows * block * dtype.itemsize // STAGED_BYTES)
    items = operands.batch * operands.n_products * blocks * row_blocks
    # Few items are cut by channels, for which grad_output is sorted once more.
    row_block, row_blocks = even_blocks(rows, -(-rows // (row_blocks * shares(items, n_workers))), X_ROWS)
    values = {
        products.ITEMS: operands.batch * operands.n_products * blocks * row_blocks,
        products.ROW_BLOCK: row_block,
        products.ROW_BLOCKS: row_blocks,
        products.IS_DIRECT: operands.is_plain_out,
    }
    return _problem(geometry, dtype, operands, block, filter_block, values, {products.ACC: row_block * (block + 16)})


def weight_problem(geometry: Geometry, dtype: np.dtype, n_workers: int, operands: Operands) -> tuple[np.ndarray, int]:
    """Return the integers of the gradient of the weight, and the numbers of scratch for one worker."""
    batch, rows, filters = operands.batch, operands.rows, operands.filters
    most = min(MOST_SAMPLES_WEIGHT, _most(geometry, dtype, filters, SORTED_BYTES))
    block, blocks = even_blocks(geometry.length, most, host().lanes(dtype.itemsize))
    row_blocks = -(-rows * block * dtype.itemsize // STAGED_BYTES)
    items = operands.n_products * row_blocks
    chunks = max(1, min(-(-ITEMS_WANTED // items), batch * blocks, batch * geometry.length // FEWEST_OF_CHUNK))
    chunk, chunks = even_blocks(batch * blocks, -(-batch * blocks // chunks), 1)
    # Few items are cut by filters, for which x is read once more, and then by channels, for which grad_output is sorted
    # once more. The order of the sums stays the same.
    filter_block, filter_blocks = even_blocks(filters, -(-filters // shares(items * chunks, n_workers)), 1)
    row_blocks *= shares(items * chunks * filter_blocks, n_workers)
    row_block, row_blocks = even_blocks(rows, -(-rows // row_blocks), WEIGHT_ROWS)
    values = {
        products.ITEMS: operands.n_products * row_blocks * chunks * filter_blocks,
        products.ROW_BLOCK: row_block,
        products.ROW_BLOCKS: row_blocks,
        products.CHUNK: chunk,
        products.CHUNKS: chunks,
        products.FILTER_BLOCKS: filter_blocks,
    }
    return _problem(geometry, dtype, operands, block, filter_block, values, {products.STAGE: row_block * (block + 16)})
