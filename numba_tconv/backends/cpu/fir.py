"""The FIR path: rows of a filter's branches, lanes of time; for groups with few filters, where data flows through once.

    row[branch, q] = bias + sum_{c, j} tap[c, j, branch] * x[c, q - step*j]

An item is one block of rows of one filter and signal. Its tiles read the caller's samples and write the caller's
output in place wherever both are plain (contiguous in time, of the dtype that is computed in); tiles at a border, and
all tiles of other arrays, go through scratch: zeros around the signal on the way in, the crop on the way out.

With real taps and pairs contiguous in time, a complex signal is one real signal of twice the samples, whose lanes are
woven in units of two.
"""

import numpy as np

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.layout import Layout
from numba_tconv.backends.cpu.staging import copy_bytes, put, stage_samples
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import fir_tile
from numba_tconv.backends.cpu.turns import take
from numba_tconv.backends.cpu.vectors import address
from numba_tconv.geometry import Geometry

# Staged samples of one item stay in L2.
STAGE_SIZE = 1 << 16
BLOCK_ROWS = 4096
# From here on channels are staged even where they could be read in place: a tile visits every channel before the next
# tile comes, and channels that lie a power of two apart push each other out of the cache. 64 -> 1 (25, 4) took 34 ms
# in place, 15 staged; while one block is multiplied, the next one travels into L2.
STAGED_CHANNELS = 8

(
    ITEMS, ROW_BLOCKS, BLOCK_OF_ROWS, SIGNALS, FIRST_ROW, ROWS, LENGTH, IS_HALF,
    CHANNELS, REDUCED, IS_MERGED, TAPS, STEP, HALO, STAGE_ROW,
    FILTERS, ALL_FILTERS, BRANCHES, PARTS,
    STRIDE, DILATION, LEFT, OUTPUT_LENGTH, SCRATCH,
    IS_PLAIN_X, IS_PLAIN_OUT,
) = range(26)  # fmt: skip


@jit.helper
def _stage(x, scratch, at, problem, n, group, part, first, count, unit):
    """Stage `count` rows' samples of every channel of the group from time `first` on."""
    for channel in range(problem[REDUCED]):
        c, x_part = divmod(channel, 2) if problem[IS_MERGED] else (channel, 0)
        stage_samples(
            x, n, group * problem[CHANNELS] + c, first * unit, part + x_part, count * unit,
            problem[LENGTH] * unit, problem[IS_HALF], scratch, at + channel * problem[STAGE_ROW],
        )  # fmt: skip


@jit.helper
def _store(out, scratch, at, problem, n, f, part, row, count, parts):
    """Store `count` woven rows from scratch: any crop, stride and dtype."""
    time, step = problem[STRIDE] * row - problem[LEFT], out.strides[3]
    start = n * out.strides[0] + f * out.strides[1] + part * step
    for _ in range(count):
        for branch in range(problem[BRANCHES]):
            t = time + problem[DILATION] * branch
            if 0 <= t < problem[OUTPUT_LENGTH]:
                for p in range(parts):
                    put(out, start + t * out.strides[2] + p * step, scratch[at + p])
            at += parts
        time += problem[STRIDE]


@jit.once
def kernel(x_dtype, dtype, out_dtype, S, unit, parts):
    """Return the compiled kernel `(x, taps, bias, out, scratch, problem, turns, worker)`."""
    lanes, V = host().lanes(dtype.itemsize), host().fir_vectors(S)
    tile_rows, tile_size, itemsize = V * lanes // unit, S * V * lanes, dtype.itemsize

    def run(x, taps, bias, out, scratch, problem, turns, worker):
        halo, step, length = problem[HALO], problem[STEP], problem[LENGTH]
        is_plain_x, is_plain_out = problem[IS_PLAIN_X], problem[IS_PLAIN_OUT]
        spill = worker * problem[SCRATCH]
        stage = spill + tile_size
        index = take(turns)
        while index < problem[ITEMS]:
            item, row_block = divmod(index, problem[ROW_BLOCKS])
            signal, f = divmod(item, problem[ALL_FILTERS])
            n, part = divmod(signal, problem[SIGNALS] // out.shape[0])
            group = f // problem[FILTERS]
            first = problem[FIRST_ROW] + row_block * problem[BLOCK_OF_ROWS]
            last = min(problem[FIRST_ROW] + problem[ROWS], first + problem[BLOCK_OF_ROWS])
            x_start = address(x) + n * x.strides[0] + group * problem[CHANNELS] * x.strides[1]
            out_start = address(out) + n * out.strides[0] + f * out.strides[1]
            spilled = address(scratch) + spill * itemsize
            staged_from = first - halo
            if not is_plain_x:
                count = last - first + tile_rows + halo
                _stage(x, scratch, stage, problem, n, group, part, staged_from, count, unit)
            for row in range(first, last, tile_rows):
                produced = (problem[STRIDE] * row - problem[LEFT]) * parts
                fits = produced >= 0 and produced + tile_size <= problem[OUTPUT_LENGTH] * parts
                if is_plain_x and row >= halo and row + tile_rows <= length:
                    source, channel_step = x_start + row * unit * itemsize, x.strides[1] // itemsize
                else:
                    if is_plain_x:
                        staged_from = row - halo
                        _stage(x, scratch, stage, problem, n, group, part, staged_from, tile_rows + halo, unit)
                    source = address(scratch) + (stage + (row - staged_from) * unit) * itemsize
                    channel_step = problem[STAGE_ROW]
                # What is read in place the processor fetches by itself: asking for it cost a depthwise layer 30 %.
                ahead = 0 if is_plain_x else x_start + (row + problem[BLOCK_OF_ROWS] + halo) * unit * x.strides[2]
                is_inside = is_plain_out and fits
                target = out_start + produced * itemsize if is_inside else spilled
                fir_tile(
                    source, channel_step, -step * unit,
                    taps, f * problem[REDUCED] * problem[TAPS] * S, problem[REDUCED], problem[TAPS],
                    bias, f * problem[PARTS] + part, target,
                    (ahead, x.strides[1]), S, V, lanes, unit, parts,
                )  # fmt: skip
                if is_inside:
                    continue
                if is_plain_out:
                    begin, end = max(0, -produced), min(tile_size, problem[OUTPUT_LENGTH] * parts - produced)
                    start = (produced + begin) * itemsize
                    copy_bytes(out_start + start, spilled + begin * itemsize, max(0, end - begin) * itemsize)
                else:
                    _store(out, scratch, spill, problem, n, f, part, row, min(tile_rows, last - row), parts)
            index = take(turns)

    return jit.compile_kernel(run, jit.kernel_arguments(x_dtype, dtype, out_dtype))


def own_parts(layout: Layout, unit: int) -> int:
    """Parts of a result that one item computes; a complex signal in two planes has one of two."""
    return 2 if unit == 2 or layout.weight_parts == 2 else 1


def problem(
    layout: Layout,
    geometry: Geometry,
    batch: int,
    n_workers: int,
    *,
    unit: int,
    is_half: bool,
    is_plain_x: bool,
    is_plain_out: bool,
) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    lanes, rows_of_filter = host().lanes(layout.dtype.itemsize), layout.filter_lanes
    vectors = host().fir_vectors(rows_of_filter)
    tile_rows = vectors * lanes // unit
    signals = batch * (1 if unit == 2 else layout.signals)
    filters = layout.groups * layout.filters
    # At least one item for each worker, at most what fits the stage.
    share = -(-geometry.rows * signals * filters // n_workers)
    fitting = STAGE_SIZE // (layout.reduced_channels * unit) - geometry.halo
    block_of_rows = max(tile_rows, min(geometry.rows, share, fitting, BLOCK_ROWS))
    block_of_rows = -(-block_of_rows // tile_rows) * tile_rows
    row_blocks = -(-geometry.rows // block_of_rows)
    stage_row = (-(-(block_of_rows + tile_rows + geometry.halo) * unit // 16) | 1) * 16
    scratch = rows_of_filter * vectors * lanes + layout.reduced_channels * stage_row
    values = {
        ITEMS: signals * filters * row_blocks,
        ROW_BLOCKS: row_blocks,
        BLOCK_OF_ROWS: block_of_rows,
        SIGNALS: signals,
        FIRST_ROW: geometry.first_row,
        ROWS: geometry.rows,
        LENGTH: geometry.length,
        IS_HALF: is_half,
        CHANNELS: layout.channels,
        REDUCED: layout.reduced_channels,
        IS_MERGED: layout.reduced_channels > layout.channels,
        TAPS: layout.taps,
        STEP: layout.input_step,
        HALO: geometry.halo,
        STAGE_ROW: stage_row,
        FILTERS: layout.filters,
        ALL_FILTERS: filters,
        BRANCHES: layout.branches,
        PARTS: layout.parts,
        STRIDE: geometry.stride,
        DILATION: geometry.dilation,
        LEFT: geometry.left,
        OUTPUT_LENGTH: geometry.output_length,
        SCRATCH: scratch,
        IS_PLAIN_X: is_plain_x and layout.reduced_channels < STAGED_CHANNELS,
        IS_PLAIN_OUT: is_plain_out and geometry.is_interleaved and own_parts(layout, unit) == layout.parts,
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), scratch
