"""The gradient of the weight: rows of channels, lanes of (filter, tap), as the caller's weights lie.

    grad_weight[c, f, k] = sum_{n, i} conj(x[n, c, i]) * g[n, f, stride*i + dilation*k - left]

An item is a block of channels by a block of (filter, tap), summed up over a chunk of all samples (n, i). Where the
weights are few, several chunks give every thread something to do; how many depends on the shapes alone, and their
sums are added in order, so the result has the same bits for any number of threads.

Few weights, and few channels, of long signals are `windows.py`'s.
"""

import numpy as np
from numba import literally, types

from numba_tconv.backends.cpu import jit, products
from numba_tconv.backends.cpu.moves import copy_windows
from numba_tconv.backends.cpu.products import (
    BLOCK_BYTES,
    DIRECT_VISITS,
    LINE_BYTES,
    LONGEST_RUN,
    MOST_ROWS,
    Operands,
    begin_of,
    even_blocks,
    integers,
    reduction,
    row_step,
    stage_windows,
    steps_of,
)
from numba_tconv.backends.cpu.staging import copy_bytes, has_plain_rows, stage_samples
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import panel_rows
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry

# Items to aim at by cutting the samples into chunks, and the fewest samples of a chunk.
ITEMS_WANTED = 32
# Few items are cut while blocks of (filter, tap) are wide: then x is staged once more.
FEWEST_ITEMS, FEWEST_LANES = 12, 128
FEWEST_SAMPLES = 1024
# Up to here all rows of a run are copied together: a call for each 8 samples was a quarter of the time of 72 x 8.
SHORT_RUN = 64


@jit.helper
def stage_x(x, scratch, at, a_r, problem, row, rows, part, first, last, lanes):
    """Stage the rows of A: of each channel the samples from place `first` to `last`, the signals behind each other."""
    length, row_parts = problem[products.LENGTH], problem[products.ROW_PARTS]
    is_plain = has_plain_rows(x, scratch)
    place = first
    while place < last:
        n, i = divmod(place, length)
        run = min(length - i, last - place)
        target = at + place - first
        if is_plain and run <= SHORT_RUN and row_parts == 1:
            source = address(x) + n * x.strides[0] + row * x.strides[1] + i * x.strides[2] + part * x.strides[3]
            copy_windows(
                source, x.strides[1] // x.itemsize, address(scratch) + target * x.itemsize, a_r, rows, run, scratch,
                literally(lanes),
            )  # fmt: skip
        else:
            for r in range(rows):
                channel, row_part = divmod(row + r, row_parts)
                is_crossed = row_part == 1  # the imaginary result takes the other part of x, the imaginary one negative
                stage_samples(
                    x, n, channel, i, 1 - part if is_crossed else part, run, length, problem[products.IS_HALF_X],
                    scratch, target + r * a_r,
                )  # fmt: skip
                if is_crossed and part == 0:
                    for k in range(run):
                        scratch[target + r * a_r + k] = -scratch[target + r * a_r + k]
        place += run


def kernel_arguments(x_dtype: np.dtype, g_dtype: np.dtype, dtype: np.dtype) -> tuple:
    """Return the types of the arguments of `kernel`."""
    return (
        jit.array(x_dtype, 4, "A", readonly=True), jit.array(g_dtype, 4, "A", readonly=True), jit.array(dtype, 1),
        jit.array(dtype, 1), jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1), types.int64,
    )  # fmt: skip


@jit.once
def kernel(x_dtype, g_dtype, dtype, V):
    """Return the compiled kernel `(x, g, sums, scratch, problem, turns, worker)`.

    sums is flat: (chunk, part, channel * row part, filter, tap).
    """
    lanes, R, itemsize = host().lanes(dtype.itemsize), host().panel_rows, dtype.itemsize
    width, a_r, most = V * lanes, row_step(dtype.itemsize), reduction(dtype.itemsize)

    def run(x, g, sums, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        rows_of_group, lanes_of_group = problem[products.ROWS], problem[products.LANES]
        start = begin_of(scratch, worker, problem)
        acc, stage, panels = (
            start + problem[products.ACC],
            start + problem[products.STAGE],
            start + problem[products.PANELS],
        )
        samples = problem[products.BATCH] * problem[products.LENGTH]
        is_direct = problem[products.IS_DIRECT] == 1
        index = take_first(turns)
        while index < problem[products.ITEMS]:
            item, row_block = divmod(index, problem[products.ROW_BLOCKS])
            item, lane_block = divmod(item, problem[products.LANE_BLOCKS])
            item, group = divmod(item, problem[products.GROUPS])
            chunk, part = divmod(item, problem[products.PARTS])
            row = group * rows_of_group + row_block * problem[products.ROW_BLOCK]
            rows = min(problem[products.ROW_BLOCK], rows_of_group - row_block * problem[products.ROW_BLOCK])
            lane_from = lane_block * problem[products.LANE_BLOCK]
            lane_to = min(lanes_of_group, lane_from + problem[products.LANE_BLOCK])
            n_panels = -(-(lane_to - lane_from) // width)
            acc_row = n_panels * width
            begin = chunk * problem[products.CHUNK]
            target = (chunk * problem[products.PARTS] + part) * problem[products.GROUPS] * rows_of_group + row
            target = address(sums) + (target * lanes_of_group + lane_from) * itemsize
            n_direct = (lane_to - lane_from) // width if is_direct else 0
            end = min(samples, begin + problem[products.CHUNK])
            for reduced_part in range(problem[products.REDUCED_PARTS]):
                for first in range(begin, end, most):
                    last = min(end, first + most)
                    stage_x(x, scratch, stage, a_r, problem, row, rows, reduced_part, first, last, lanes)
                    stage_windows(
                        g, scratch, panels, start, problem, group * problem[products.FILTERS], part + reduced_part,
                        first, last, lane_from, lane_to, width, lanes,
                    )  # fmt: skip
                    # The samples that follow travel into L2 meanwhile, lines of every row with every panel.
                    count = last - first
                    steps = steps_of(count)
                    n_lines = -(-count * itemsize // (64 * n_panels))
                    n, i = divmod(last, problem[products.LENGTH])
                    channel = row // problem[products.ROW_PARTS]
                    ahead = address(x) + n * x.strides[0] + channel * x.strides[1] + i * x.strides[2]
                    channel_step = x.strides[1] // problem[products.ROW_PARTS]
                    # Tile by tile a run of R rows of the result, or panel by panel all rows of the sums.
                    for r in range(0, rows, R if is_direct else rows):
                        for panel in range(n_panels):
                            lines = address(scratch) + (panels + panel * problem[products.PANEL_SIZE]) * itemsize
                            D = address(scratch) + (acc + r * acc_row + panel * width) * itemsize, acc_row
                            if panel < n_direct:
                                D = target + (r * lanes_of_group + panel * width) * itemsize, lanes_of_group
                            panel_rows(
                                scratch, (stage + r * a_r, count // steps, 1), (lines, count // steps * width),
                                (min(R, rows - r) if is_direct else rows, steps, count // steps), D,
                                reduced_part == 0 and first == begin,
                                ((ahead + 64 * n_lines * panel, channel_step, channel_step, n_lines),), 0,
                                R, V, lanes, a_r, 0,
                            )  # fmt: skip
            done = n_direct * width
            for r in range(rows):
                copy_bytes(
                    target + (r * lanes_of_group + done) * itemsize,
                    address(scratch) + (acc + r * acc_row + done) * itemsize, (lane_to - lane_from - done) * itemsize,
                )  # fmt: skip
            index = take(turns)

    return jit.compile_kernel(run, kernel_arguments(x_dtype, g_dtype, dtype))


def problem(geometry: Geometry, dtype: np.dtype, vectors: int, operands: Operands) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    itemsize = dtype.itemsize
    most = reduction(itemsize)
    width, rows = vectors * host().lanes(itemsize), operands.rows
    n_lanes, samples = operands.filters * geometry.filter_size, operands.batch * geometry.length
    numbers = BLOCK_BYTES // itemsize
    row_block, row_blocks = even_blocks(rows, MOST_ROWS, 1)
    is_direct = operands.reduced_parts == 1 and samples <= DIRECT_VISITS * most
    most_lanes = min(LONGEST_RUN, numbers // min(samples, most))
    lane_block, lane_blocks = even_blocks(n_lanes, most_lanes, width)
    while operands.n_products * row_blocks * lane_blocks < FEWEST_ITEMS and n_lanes > FEWEST_LANES * lane_blocks:
        lane_block, lane_blocks = even_blocks(n_lanes, -(-n_lanes // (2 * lane_blocks)), width)
    blocks = operands.n_products * row_blocks * lane_blocks
    chunks = max(1, min(-(-ITEMS_WANTED // blocks), samples // FEWEST_SAMPLES))
    chunk, chunks = even_blocks(samples, -(-samples // chunks), most)
    line = geometry.stride * (most - 1) + geometry.dilation * (min(geometry.filter_size, lane_block) - 1) + 1
    has_lines = line * itemsize <= LINE_BYTES
    panel_size = min(samples, most) * width
    values = {
        products.ITEMS: blocks * chunks,
        products.ROW_BLOCK: row_block,
        products.ROW_BLOCKS: row_blocks,
        products.LANES: n_lanes,
        products.LANE_BLOCK: lane_block,
        products.LANE_BLOCKS: lane_blocks,
        products.CHUNK: chunk,
        products.CHUNKS: chunks,
        products.HAS_LINES: has_lines,
        products.PANEL_SIZE: panel_size,
        products.IS_DIRECT: is_direct,
        products.IN_PLACE: True,
    }
    sizes = {
        products.ACC: row_block * lane_block,
        products.STAGE: row_block * row_step(itemsize),
        products.PANELS: lane_block // width * panel_size,
        products.LINE: line if has_lines else lane_block,
    }
    return integers(geometry, operands, values, sizes)
