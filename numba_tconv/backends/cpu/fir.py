"""The FIR path: rows of a filter's branches, lanes of time; for groups with few filters, where data flows through once.

    row[branch, q] = bias + sum_{c, j} tap[c, j, branch] * x[c, q - step*j]

An item is one block of rows of one filter and signal. Its tiles read the caller's samples and write the caller's
output in place wherever both are plain (contiguous in time, of the dtype that is computed in); where a signal or its
output begins and ends, a vector of rows at a time, by masks. Other arrays go through scratch: zeros around the signal
on the way in, the crop on the way out.

With real taps and pairs contiguous in time, a complex signal is one real signal of twice the samples, whose lanes are
woven in units of two.
"""

import numpy as np

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.layout import Layout
from numba_tconv.backends.cpu.staging import copy_bytes, odd_lines, put, stage_samples
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import fir_edge, fir_tile
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry

# Channels that all tiles of an item visit before the next ones come; meanwhile their sums wait in L2. So x is read in a
# few long runs, which the processor fetches by itself; asking for them as well cost a depthwise layer 30 %. With all
# channels staged for one tile after the other, 128 -> 1 (8, 4) with 30,000 samples took two threads 821 us, now 463;
# with four at once 631. On one thread sixteen took 1126 us, eight 821.
CHANNELS_AT_ONCE = 8
# Rows of an item; of a long signal, as many as make so many bytes of output, for memory delivers long runs sooner: a
# million samples took 603 us in items of 4,096 rows and 568 so, ten millions 7.5 and 6.7 ms. A worker should still have
# eight items, or the last one keeps the others waiting.
BLOCK_ROWS = 4096
BLOCK_BYTES = 1 << 18
ITEMS_OF_WORKER = 8
# Numbers that an item stages, and sums that wait. In Fortran order the next channel's samples lie in the same cache
# lines, which are still there after a thousand rows: eight times as many took 4.4 ms where these take 3.0.
STAGE_SIZE = 1 << 13
SUMS_SIZE = 1 << 15
# A turn is one block of rows, or as many short signals as have so many rows together: with a turn for each, two threads
# spent more on the counter of turns than on signals of 16 samples.
ROWS_OF_TURN = 4096
# Multiply-adds that take as long as a signal takes whatever its length: 20 ns.
WORK_OF_SIGNAL = 1 << 10

# Behind any sample.
EVERYWHERE = 1 << 60

# What the direct path needs as well, then what is the FIR path's own.
(
    ITEMS, ROW_BLOCKS, BLOCK_OF_ROWS, SIGNALS, FIRST_ROW, ROWS, LENGTH, IS_HALF,
    CHANNELS, REDUCED, IS_MERGED, TAPS, STEP, HALO, STAGE_ROW, FILTERS, BRANCHES, PARTS,
    STRIDE, DILATION, LEFT, OUTPUT_LENGTH, SCRATCH, IS_PLAIN_OUT, COMMON,
) = range(25)  # fmt: skip
AT_ONCE, ALL_FILTERS, SUMS, IS_PLAIN_X, ITEMS_OF_TURN, WHOLE_FROM, WHOLE_TO = range(COMMON, COMMON + 7)


@jit.helper
def stage_channels(x, scratch, at, problem, n, group, part, first, count, unit, channels):
    """Stage `count` rows' samples of some channels of the group, (the first, how many), from time `first` on."""
    for channel in range(channels[1]):
        c, x_part = divmod(channels[0] + channel, 2) if problem[IS_MERGED] else (channels[0] + channel, 0)
        stage_samples(
            x, n, group * problem[CHANNELS] + c, first * unit, part + x_part, count * unit,
            problem[LENGTH] * unit, problem[IS_HALF], scratch, at + channel * problem[STAGE_ROW],
        )  # fmt: skip


@jit.helper
def store_spilled(out, scratch, at, problem, n, f, part, row, count, size, parts):
    """Store `count` woven rows of a filter from scratch, where a tile left `size` numbers: any crop, stride, dtype."""
    time, step = problem[STRIDE] * row - problem[LEFT], out.strides[3]
    start = n * out.strides[0] + f * out.strides[1] + part * step
    if problem[IS_PLAIN_OUT]:
        begin, end = max(0, -time * parts), min(size, (problem[OUTPUT_LENGTH] - time) * parts)
        target = address(out) + start + (time * parts + begin) * out.itemsize
        copy_bytes(target, address(scratch) + (at + begin) * out.itemsize, max(0, end - begin) * out.itemsize)
        return
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
    few_rows, together = lanes // unit, host().fir_together(S)

    def run(x, taps, bias, out, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        halo, step = problem[HALO], problem[STEP] * unit
        signals_of_batch = problem[SIGNALS] // out.shape[0]
        is_plain_x, is_plain_out = problem[IS_PLAIN_X], problem[IS_PLAIN_OUT]
        # Complex taps on one complex channel go tap by tap, the imaginary half of a sample first, as in `sparse.py`.
        is_tap_major = problem[IS_MERGED] and problem[CHANNELS] == 1
        spill = worker * problem[SCRATCH]
        stage = spill + tile_size
        turn = take_first(turns) * problem[ITEMS_OF_TURN]
        while turn < problem[ITEMS]:
            item, row_block = divmod(turn, problem[ROW_BLOCKS])
            signal, f = divmod(item, problem[ALL_FILTERS])
            for _ in range(min(problem[ITEMS_OF_TURN], problem[ITEMS] - turn)):
                n, part = divmod(signal, signals_of_batch) if signals_of_batch > 1 else (signal, 0)
                group = f // problem[FILTERS] if problem[FILTERS] > 1 else f
                first = problem[FIRST_ROW] + row_block * problem[BLOCK_OF_ROWS]
                last = min(problem[FIRST_ROW] + problem[ROWS], first + problem[BLOCK_OF_ROWS])
                x_start = address(x) + n * x.strides[0] + group * problem[CHANNELS] * x.strides[1]
                out_start = address(out) + n * out.strides[0] + f * out.strides[1]
                spilled, b0 = address(scratch) + spill * itemsize, f * problem[PARTS] + part
                for channel in range(0, problem[REDUCED], problem[AT_ONCE]):
                    channels = channel, min(problem[AT_ONCE], problem[REDUCED] - channel)
                    is_first, is_last = channel == 0, channel + channels[1] == problem[REDUCED]
                    w0, counts = (f * problem[REDUCED] + channel) * problem[TAPS] * S, (channels[1], problem[TAPS])
                    if is_plain_x:
                        source, channel_step = x_start + channel * x.strides[1], x.strides[1] // itemsize
                        begin, end = 0, problem[LENGTH]
                    else:
                        begin, end = first - halo, last + few_rows
                        stage_channels(x, scratch, stage, problem, n, group, part, begin, end - begin, unit, channels)
                        source, channel_step = address(scratch) + (stage - begin * unit) * itemsize, problem[STAGE_ROW]
                    steps, exists = (channel_step, -step), (begin, end)
                    if is_tap_major:  # staged with zeros beyond the ends: all of it exists
                        source += channel_step * itemsize
                        steps, counts, exists = (-step, -channel_step), (problem[TAPS], 2), (-EVERYWHERE, EVERYWHERE)
                    # Rows whose samples and outputs all exist. Where they do not come out even, the last tile is moved
                    # to the left, over rows that are summed already: 96 samples, 4 taps by 2, took a Zen 3 110 ns with
                    # up to four single vectors instead, and take 65.
                    whole_from = max(first, begin + halo, problem[WHOLE_FROM])
                    whole_to = min(last, end, problem[WHOLE_TO])
                    has_tiles = whole_to - whole_from >= tile_rows
                    sums = spilled + problem[SUMS] * itemsize
                    row = first
                    while row < last:
                        is_whole = has_tiles and whole_from <= row < whole_to
                        if is_whole:
                            row = min(row, whole_to - tile_rows)
                        rows = tile_rows if is_whole else few_rows
                        produced = (problem[STRIDE] * row - problem[LEFT]) * parts
                        target, out_from, out_to = spilled, 0, tile_size
                        if is_plain_out:
                            target = out_start + produced * itemsize
                            out_from, out_to = -produced, problem[OUTPUT_LENGTH] * parts - produced
                        at = source + row * unit * itemsize
                        if is_whole:
                            fir_tile(
                                (at, steps[0], steps[1]), taps, w0, counts, bias, (b0, 0), (target, 0), sums,
                                is_first, is_last, 1, S, together, V, lanes, unit, parts, False,
                            )  # fmt: skip
                        else:
                            fir_edge(
                                (at, steps[0], steps[1], (exists[0] - row) * unit, (exists[1] - row) * unit),
                                taps, w0, counts, bias, b0, (target, out_from, out_to), sums,
                                is_first, is_last, S, lanes, unit, parts,
                            )  # fmt: skip
                        if is_last and not is_plain_out:
                            count = min(rows, last - row)
                            store_spilled(out, scratch, spill, problem, n, f, part, row, count, count * S * unit, parts)
                        sums += rows * S * unit * itemsize
                        row += rows
                row_block += 1
                if row_block == problem[ROW_BLOCKS]:
                    row_block, f = 0, f + 1
                if f == problem[ALL_FILTERS]:
                    f, signal = 0, signal + 1
            turn = take(turns) * problem[ITEMS_OF_TURN]

    return jit.compile_kernel(run, jit.kernel_arguments(x_dtype, dtype, out_dtype))


def own_parts(layout: Layout, unit: int) -> int:
    """Parts of a result that one item computes; a complex signal in two planes has one of two."""
    return 2 if unit == 2 or layout.weight_parts == 2 else 1


def integers_of(
    layout: Layout, geometry: Geometry, unit: int, *, is_half: bool, is_plain_out: bool
) -> dict[int, int | bool]:
    """Return the kernel's integers that follow from the operator and one signal."""
    return {
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
        FILTERS: layout.filters,
        BRANCHES: layout.branches,
        PARTS: layout.parts,
        STRIDE: geometry.stride,
        DILATION: geometry.dilation,
        LEFT: geometry.left,
        OUTPUT_LENGTH: geometry.output_length,
        IS_PLAIN_OUT: is_plain_out and own_parts(layout, unit) == layout.parts,
    }


def cost(layout: Layout, geometry: Geometry, signals: int) -> float:
    """Return about how many nanoseconds one core takes for signals of one filter, as `polyphase.py` compares it."""
    lanes, rows, unit = host().lanes(layout.dtype.itemsize), layout.filter_lanes, layout.signals
    terms, vectors = layout.reduced_channels * layout.taps, host().fir_vectors(rows)
    numbers, head = geometry.rows * unit, -(-geometry.halo * unit // lanes)
    whole = min(geometry.length * unit, numbers)
    tiles = -(-(whole - head * lanes) // (vectors * lanes)) if whole - head * lanes >= vectors * lanes else 0
    edges = head + -(-(numbers - whole) // lanes) if tiles else -(-numbers // lanes)
    of_edges = edges * (5.4 + 2.7 * rows + terms * (1.18 + 0.118 * rows))
    of_tiles = tiles * vectors * (2.0 * rows + terms * (0.19 + 0.164 * rows))
    return 1080 + signals * (8 + of_edges + of_tiles)


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
    at_once = min(layout.reduced_channels, CHANNELS_AT_ONCE)
    # At least one item for each worker, at most what fits the stage and the sums that wait.
    share = -(-geometry.rows * signals * filters // n_workers)
    long_run = BLOCK_BYTES // (rows_of_filter * unit * layout.dtype.itemsize)
    block_of_rows = min(geometry.rows, share, max(BLOCK_ROWS, min(long_run, share // ITEMS_OF_WORKER)))
    if not is_plain_x:
        block_of_rows = min(block_of_rows, STAGE_SIZE // (at_once * unit) - geometry.halo)
    if at_once < layout.reduced_channels:
        block_of_rows = min(block_of_rows, SUMS_SIZE // rows_of_filter)
    tiles = max(1, -(-block_of_rows // tile_rows))
    block_of_rows = tiles * tile_rows
    row_blocks = -(-geometry.rows // block_of_rows)
    items = signals * filters * row_blocks
    staged_rows = 0 if is_plain_x else block_of_rows + lanes // unit + geometry.halo
    stage_row = odd_lines(staged_rows * unit)
    tile_size = rows_of_filter * vectors * lanes
    sums = tile_size + at_once * stage_row
    scratch = sums + ((tiles + 1) * tile_size if at_once < layout.reduced_channels else 0)
    values = integers_of(layout, geometry, unit, is_half=is_half, is_plain_out=is_plain_out)
    whole_rows = 0, EVERYWHERE
    if values[IS_PLAIN_OUT]:
        whole_rows = -(-geometry.left // geometry.stride), (geometry.left + geometry.output_length) // geometry.stride
    values |= {
        WHOLE_FROM: whole_rows[0],
        WHOLE_TO: whole_rows[1],
        ITEMS: items,
        ROW_BLOCKS: row_blocks,
        BLOCK_OF_ROWS: block_of_rows,
        SIGNALS: signals,
        STAGE_ROW: stage_row,
        SCRATCH: scratch,
        AT_ONCE: at_once,
        ALL_FILTERS: filters,
        SUMS: sums,
        IS_PLAIN_X: is_plain_x,
        ITEMS_OF_TURN: max(1, min(ROWS_OF_TURN // block_of_rows, items // (8 * n_workers))),
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), scratch
