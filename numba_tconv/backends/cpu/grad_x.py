"""The gradient of x: rows of channels, lanes of time; a strided convolution of grad_output with the same filters.

    grad_x[n, c, i] = sum_{f, k} conj(weight[c, f, k]) * g[n, f, stride*i + dilation*k - left]

An item is a block of channels by a block of time, where the signals of the batch lie behind each other. It walks
through the filters and taps: a block of weights and the windows of grad_output that they meet are staged, then the
register tile runs over all rows and lanes while the sums wait in L2. Time runs along the lanes, so what is stored are
runs of the result as it lies in memory. Every sum is taken in the same order whatever the number of threads.

Long signals are `windows.py`'s, unless their windows lie far apart, or `winograd.py`'s, where every phase has two taps;
a few samples are `dots.py`'s.
"""

from math import gcd

import numpy as np
from numba import types

from numba_tconv.backends.cpu import jit, products
from numba_tconv.backends.cpu.products import (
    BLOCK_BYTES,
    DIRECT_VISITS,
    LINE_BYTES,
    LONGEST_RUN,
    MOST_LANES,
    MOST_PHASES,
    MOST_ROWS,
    MOST_SHORT,
    STEPS,
    Operands,
    begin_of,
    even_blocks,
    integers,
    is_woven,
    places_of_taps,
    reduction,
    row_step,
    stage_taps,
    steps_of,
)
from numba_tconv.backends.cpu.staging import copy_bytes, is_same_dtype, put
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import panel_rows
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry


@jit.helper
def store_row(out, scratch, at, problem, row, part, first, last):
    """Store the sums of one row, signal by signal."""
    channel, row_part = divmod(row, problem[products.ROW_PARTS])
    place = first
    while place < last:
        n, i = divmod(place, problem[products.LENGTH])
        run = min(problem[products.LENGTH] - i, last - place)
        source, step = at + place - first, out.strides[2]
        offset = n * out.strides[0] + channel * out.strides[1] + i * step + (part + row_part) * out.strides[3]
        if is_same_dtype(out, scratch) and step == out.itemsize:
            copy_bytes(address(out) + offset, address(scratch) + source * step, run * step)
        else:
            for k in range(run):
                put(out, offset + k * step, scratch[source + k])
        place += run


@jit.helper
def _offset(out, problem, place, width):
    """Return the bytes from the begin of a row of `out` to a panel's lanes, or -1 where they are not a run of it."""
    n, i = divmod(place, problem[products.LENGTH])
    return n * out.strides[0] + i * out.strides[2] if i + width <= problem[products.LENGTH] else -1


def kernel_arguments(g_dtype: np.dtype, dtype: np.dtype, out_dtype: np.dtype) -> tuple:
    """Return the types of the arguments of `kernel`."""
    return (
        jit.array(dtype, 1, readonly=True), jit.array(g_dtype, 4, "A", readonly=True), jit.array(out_dtype, 4, "A"),
        jit.array(dtype, 1), jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1), types.int64,
    )  # fmt: skip


@jit.once
def kernel(g_dtype, dtype, out_dtype, V):
    """Return the compiled kernel `(weight, g, out, scratch, problem, turns, worker)`.

    weight is flat: (channel * row part, reduced part, filter, tap).
    """
    lanes, R, itemsize = host().lanes(dtype.itemsize), host().panel_rows, dtype.itemsize
    width, a_r = V * lanes, row_step(dtype.itemsize)

    def run(weight, g, out, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        filters, filter_size, rows_of_group = (
            problem[products.FILTERS],
            problem[products.FILTER_SIZE],
            problem[products.ROWS],
        )
        n_row_blocks, most_rows = problem[products.ROW_BLOCKS], problem[products.ROW_BLOCK]
        reduced = problem[products.REDUCED_PARTS] * filters * filter_size
        start = begin_of(scratch, worker, problem)
        acc, stage, panels = (
            start + problem[products.ACC],
            start + problem[products.STAGE],
            start + problem[products.PANELS],
        )
        is_direct = problem[products.IS_DIRECT] == 1
        index = take_first(turns)
        while index < problem[products.ITEMS]:
            item, row_block = divmod(index, problem[products.ROW_BLOCKS])
            item, lane_block = divmod(item, problem[products.LANE_BLOCKS])
            part, group = divmod(item, problem[products.GROUPS])
            row = group * rows_of_group + row_block * problem[products.ROW_BLOCK]
            rows = min(problem[products.ROW_BLOCK], rows_of_group - row_block * problem[products.ROW_BLOCK])
            first = lane_block * problem[products.LANE_BLOCK]
            last = min(problem[products.LANES], first + problem[products.LANE_BLOCK])
            n_panels = -(-(last - first) // width)
            acc_row = n_panels * width
            summed = 0
            while summed < reduced:
                f, tap = divmod(summed, filter_size)
                reduced_part, f = divmod(f, filters)
                n_filters = min(problem[products.FILTER_BLOCK], filters - f)
                n_taps = min(problem[products.TAP_BLOCK], filter_size - tap)
                count = n_filters * n_taps
                for r in range(rows):
                    source = address(weight) + ((row + r) * reduced + summed) * itemsize
                    copy_bytes(address(scratch) + (stage + r * a_r) * itemsize, source, count * itemsize)
                stage_taps(
                    g, scratch, panels, start, problem, group * filters + f, part + reduced_part, tap, n_filters,
                    n_taps, first, last, width, lanes,
                )  # fmt: skip
                # The next weights travel into L2 meanwhile, a line of every row with every panel.
                next_row, next_summed = row, summed + count
                if next_summed == reduced:
                    next_row, next_summed = group * rows_of_group + (row_block + 1) % n_row_blocks * most_rows, 0
                ahead = address(weight) + (next_row * reduced + next_summed) * itemsize
                steps = steps_of(count)
                n_lines = -(-count * itemsize // (64 * n_panels))
                # Tile by tile a run of R rows of the output, or panel by panel all rows of the sums.
                for r in range(0, rows, R if is_direct else rows):
                    for panel in range(n_panels):
                        lines = address(scratch) + (panels + panel * problem[products.PANEL_SIZE]) * itemsize
                        D = address(scratch) + (acc + r * acc_row + panel * width) * itemsize, acc_row
                        offset = _offset(out, problem, first + panel * width, width) if is_direct else -1
                        if offset >= 0:
                            D = address(out) + (row + r) * out.strides[1] + offset, out.strides[1] // itemsize
                        panel_rows(
                            scratch, (stage + r * a_r, count // steps, 1), (lines, count // steps * width),
                            (min(R, rows - r) if is_direct else rows, steps, count // steps), D, summed == 0,
                            ((ahead + 64 * n_lines * panel, reduced * itemsize, reduced * itemsize, n_lines),), 0,
                            R, V, lanes, a_r, 0,
                        )  # fmt: skip
                summed += count
            run_of_lanes = width if is_direct else last - first
            for place in range(first, last, run_of_lanes):
                end = min(last, place + run_of_lanes)
                for r in range(rows if not is_direct or _offset(out, problem, place, width) < 0 else 0):
                    store_row(out, scratch, acc + r * acc_row + place - first, problem, row + r, part, place, end)
            index = take(turns)

    return jit.compile_kernel(run, kernel_arguments(g_dtype, dtype, out_dtype))


def cost(geometry: Geometry, dtype: np.dtype, operands: Operands) -> float:
    """Return about how long the gradient of x takes here, as `backward.x_path` compares it."""
    samples, reduced = operands.batch * geometry.length, operands.reduced_filters * geometry.filter_size
    weights, lanes = operands.rows * reduced, host().lanes(dtype.itemsize)
    multiplied = 0.215 * weights * -(-samples // lanes)
    # Half as long vectors copy windows by more instructions.
    staged = (0.08 if host().vector_bits == 512 else 0.1) * samples * reduced
    staged += 0.125 * weights * -(-samples // MOST_LANES)
    stored = 0.15 * samples * operands.rows
    is_slow = not is_woven(geometry.stride)
    runs = operands.batch * 5.5 * reduced + is_slow * 0.45 * geometry.stride * samples * operands.reduced_filters
    return multiplied + dtype.itemsize * (staged + stored) + runs


def problem(
    geometry: Geometry, dtype: np.dtype, vectors: int, n_workers: int, operands: Operands
) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    itemsize = dtype.itemsize
    lanes, most = host().lanes(itemsize), reduction(itemsize)
    width, rows, time = vectors * lanes, operands.rows, operands.batch * geometry.length
    row_block, row_blocks = even_blocks(rows, MOST_ROWS, 1)
    reduced = operands.reduced_filters * geometry.filter_size
    is_direct = operands.is_plain_out and reduced <= DIRECT_VISITS * most
    if reduced <= most:
        most_lanes = min(LONGEST_RUN, BLOCK_BYTES // itemsize // reduced)
    else:
        most_lanes = MOST_LANES if is_direct else min(MOST_LANES, BLOCK_BYTES // itemsize // row_block)
    lane_block, lane_blocks = even_blocks(time, most_lanes, width)
    # Few items: cut what is staged again most cheaply, grad_output for every block of rows, weights for one of time.
    while (items := operands.n_products * row_blocks * lane_blocks) < 2 * n_workers or (
        items % n_workers and items < 8
    ):
        if time > 4 * width * lane_blocks and time * row_blocks > rows * lane_blocks:
            lane_blocks += 1
        elif rows > 2 * host().panel_rows * row_blocks:
            row_blocks += 1
        else:
            break
    row_block, row_blocks = even_blocks(rows, -(-rows // row_blocks), 1)
    lane_block, lane_blocks = even_blocks(time, -(-time // lane_blocks), width)
    tap_block, _ = even_blocks(geometry.filter_size, most, 1)
    filter_block = max(1, most // geometry.filter_size)
    for steps in (STEPS, STEPS // 2):  # a reduction that is cut into so many steps can prefetch
        unit = steps // gcd(steps, geometry.filter_size)
        if filter_block >= unit:
            filter_block = filter_block // unit * unit
            break
    filter_block = filter_block if tap_block == geometry.filter_size else 1
    stride, dilation = geometry.stride, geometry.dilation
    # A part of one signal, or all signals that a block has parts of.
    reach = dilation * (tap_block - 1) // stride
    samples = lane_block + reach
    if geometry.length < MOST_SHORT:
        samples = min(2 + (lane_block - 2) // geometry.length, operands.batch) * (geometry.length + reach)
    line = stride * (samples + lanes)
    has_lines = stride <= MOST_PHASES and line * itemsize <= LINE_BYTES
    # Windows are transposed by whole tiles, whose last rows may be no taps.
    panel_size = (min(filter_block, operands.filters) * tap_block + -tap_block % lanes) * width
    values = {
        products.ITEMS: operands.n_products * row_blocks * lane_blocks,
        products.ROW_BLOCK: row_block,
        products.ROW_BLOCKS: row_blocks,
        products.LANES: time,
        products.LANE_BLOCK: lane_block,
        products.LANE_BLOCKS: lane_blocks,
        products.FILTER_BLOCK: filter_block,
        products.TAP_BLOCK: tap_block,
        products.HAS_LINES: has_lines,
        products.PANEL_SIZE: panel_size,
        products.WORKERS: n_workers,
        products.IS_DIRECT: is_direct,
        products.IN_PLACE: is_woven(stride),
    }
    sizes = {
        products.ACC: row_block * lane_block,
        products.STAGE: row_block * row_step(itemsize),
        products.PANELS: lane_block // width * panel_size,
        products.LINE: line if has_lines else max(lanes * most, lane_block),
        products.SPARE: line if has_lines else 0,
    }
    numbers, scratch = integers(geometry, operands, values, sizes)
    return np.append(numbers, places_of_taps(geometry, tap_block)), scratch
