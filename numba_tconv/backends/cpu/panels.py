"""The panel path: rows of time, lanes of filters and branches; a matrix product whose left side is never written down.

    acc[row, lane] = sum_{c, j} x[c, row - step*j] * panel[c, j, lane]          lane = (filter, branch)

Work is cut into items of (group, block of rows, group of lane panels). An item walks the reduction in blocks: it stages
the samples of a few channels (zeros at the borders, cast, contiguous), and runs the register tile over its rows and
panels, so that a panel's block is reused from L1 by all rows and the accumulators stay in L2. Then the epilogue
adds the bias, crops, interleaves and stores.

All signals of a batch lie behind each other as one long row axis with the halo's zeros between them, so that sixteen
signals of 33 rows fill the tiles as well as one of 528; rows inside a halo are computed and never stored.
"""

import numpy as np
from numba import literally, njit

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.layout import Layout
from numba_tconv.backends.cpu.staging import put, stage_samples, zero_run
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import panel_rows, weave_rows
from numba_tconv.geometry import Geometry

# Numbers of the reduction (channels x taps) between two visits to the accumulators: a visit costs about 50 cycles,
# 256 steps of a 12x2 tile 6,000. 512 was no faster.
REDUCTION_BLOCK = 256
BLOCK_ROWS = 256
BLOCK_LANES = 256
STAGE_SIZE = 1 << 18

(
    ITEMS, ROW_BLOCKS, BLOCK_OF_ROWS, LANE_GROUPS, TOTAL_ROWS,
    SIGNALS, PERIOD, FIRST_ROW, ROWS, LENGTH, IS_HALF,
    CHANNELS, REDUCED, IS_MERGED, TAPS, STEP, HALO, CHANNEL_BLOCK, TAP_BLOCK, STAGE_ROW,
    FILTERS, FILTER_LANES, WEIGHT_PARTS, PARTS, BLOCKS, ACC_SIZE,
    STRIDE, DILATION, LEFT, OUTPUT_LENGTH, SCRATCH,
    IS_WOVEN,
) = range(32)  # fmt: skip


@njit
def _stage(x, scratch, at, problem, group, channel, count, first, span):
    """Stage `span` samples of `count` reduced channels, from place `first` of the row axis on."""
    signals, period, halo = problem[SIGNALS], problem[PERIOD], problem[HALO]
    per_batch = problem[SIGNALS] // x.shape[0]
    for k in range(count):
        c, part = divmod(channel + k, 2) if problem[IS_MERGED] else (channel + k, 0)
        c += group * problem[CHANNELS]
        row = at + k * problem[STAGE_ROW]
        place = first
        while place < first + span:
            signal, offset = divmod(place, period)
            run = min(period - offset, first + span - place)
            if signal < signals:
                n, signal_part = divmod(signal, per_batch)
                time = problem[FIRST_ROW] - halo + offset
                stage_samples(
                    x, n, c, time, part + signal_part, run, problem[LENGTH], problem[IS_HALF], scratch,
                    row + place - first,
                )  # fmt: skip
            else:
                run = first + span - place
                zero_run(scratch, row + place - first, run)
            place += run


@njit
def _store_rows(
    out, start, bias, b0, scratch, at, acc_row, problem, lane_from, lane_to, time, count, skip_from, skip_to
):  # fmt: skip
    """Store lanes of one filter for `count` rows, but those from `skip_from` to `skip_to`: any crop, stride, dtype."""
    stride, dilation, weight_parts = problem[STRIDE], problem[DILATION], problem[WEIGHT_PARTS]
    row = 0
    while row < count:
        if row == skip_from and skip_to > row:
            row = skip_to
            continue
        for lane in range(lane_from, lane_to):
            branch, part = divmod(lane, weight_parts)
            t = time + stride * row + dilation * branch
            if 0 <= t < problem[OUTPUT_LENGTH]:
                value = scratch[at + row * acc_row + lane - lane_from] + bias[b0 + part]
                put(out, start + t * out.strides[2] + part * out.strides[3], value)
        row += 1


@njit
def _store(out, bias, scratch, acc, acc_row, problem, group, lane_from, lane_to, first, last, unit, lanes):
    """The epilogue for places `first` to `last` of the row axis: add the bias, crop, interleave, cast, store."""
    rows, stride, filter_lanes = problem[ROWS], problem[STRIDE], problem[FILTER_LANES]
    lane_to = min(lane_to, problem[FILTERS] * filter_lanes)
    is_woven = problem[IS_WOVEN] and (lane_to - lane_from) % lanes == 0
    place = first
    while place < last:
        signal, row = divmod(place, problem[PERIOD])
        count = min(rows, row + last - place) - row
        n, signal_part = divmod(signal, problem[SIGNALS] // out.shape[0])
        time = stride * (problem[FIRST_ROW] + row) - problem[LEFT]
        source = acc + (place - first) * acc_row
        woven_from = woven_to = 0
        if is_woven:
            # Rows before `woven_from` begin left of the output, rows from `woven_to` on end right of it.
            woven_from = min(count, max(0, -(time // stride)))
            inside = min(count, (problem[OUTPUT_LENGTH] - time) // stride)
            woven_to = woven_from + max(0, inside - woven_from) // (lanes // unit) * (lanes // unit)
            start = n * (out.strides[0] // out.itemsize) + time + woven_from * stride
            for lane in range(lane_from, lane_to, lanes):
                f, offset = divmod(lane, filter_lanes)
                channel = group * problem[FILTERS] + f
                filter_step = out.strides[1] // out.itemsize
                weave_rows(
                    scratch, source + woven_from * acc_row + lane - lane_from, acc_row, bias, channel,
                    out, start + channel * filter_step + offset, stride, filter_step, woven_to - woven_from,
                    literally(unit), literally(lanes),
                )  # fmt: skip
        if woven_to - woven_from < count:
            lane = lane_from
            while lane < lane_to:
                f, offset = divmod(lane, filter_lanes)
                run = min(filter_lanes - offset, lane_to - lane)
                channel = group * problem[FILTERS] + f
                start = n * out.strides[0] + channel * out.strides[1] + signal_part * out.strides[3]
                _store_rows(
                    out, start, bias, channel * problem[PARTS] + signal_part, scratch, source + lane - lane_from,
                    acc_row, problem, offset, offset + run, time, count, woven_from, woven_to,
                )  # fmt: skip
                lane += run
        place += problem[PERIOD] - row


@jit.once
def kernel(x_dtype, dtype, out_dtype, V, unit):
    """Return the compiled kernel `(x, panels, bias, out, scratch, problem, worker, n_workers)`."""
    lanes, R = host().lanes(dtype.itemsize), host().panel_rows
    width = V * lanes

    def run(x, panels, bias, out, scratch, problem, worker, n_workers):
        reduced, taps, step = problem[REDUCED], problem[TAPS], problem[STEP]
        blocks, lane_groups, stage_row = problem[BLOCKS], problem[LANE_GROUPS], problem[STAGE_ROW]
        acc = worker * problem[SCRATCH]
        stage = acc + problem[ACC_SIZE]
        for index in range(worker * problem[ITEMS] // n_workers, (worker + 1) * problem[ITEMS] // n_workers):
            item, lane_group = divmod(index, lane_groups)
            group, row_block = divmod(item, problem[ROW_BLOCKS])
            first = row_block * problem[BLOCK_OF_ROWS]
            last = min(problem[TOTAL_ROWS], first + problem[BLOCK_OF_ROWS])
            block_from = lane_group * blocks // lane_groups
            block_to = (lane_group + 1) * blocks // lane_groups
            acc_row = (block_to - block_from) * width
            for channel in range(0, reduced, problem[CHANNEL_BLOCK]):
                n_channels = min(problem[CHANNEL_BLOCK], reduced - channel)
                for tap in range(0, taps, problem[TAP_BLOCK]):
                    n_taps = min(problem[TAP_BLOCK], taps - tap)
                    reach = (n_taps - 1) * step
                    start = first + problem[HALO] - tap * step - reach
                    _stage(x, scratch, stage, problem, group, channel, n_channels, start, last - first + reach)
                    for block in range(block_from, block_to):
                        panel = ((group * blocks + block) * reduced + channel) * taps + tap
                        panel_rows(
                            scratch, stage + reach, stage_row, -step,
                            panels, panel * width, taps * width, n_channels, n_taps,
                            scratch, acc + (block - block_from) * width, acc_row,
                            last - first, channel + tap == 0, R, V, lanes,
                        )  # fmt: skip
            _store(
                out, bias, scratch, acc, acc_row, problem, group, block_from * width, block_to * width,
                first, last, unit, lanes,
            )  # fmt: skip

    return jit.compile_kernel(run, jit.kernel_arguments(x_dtype, dtype, out_dtype))


def _split(total_rows, blocks, groups, width, n_workers):
    """Return (row blocks, rows of one, panel groups): items that fit L2 and come out even over the workers."""
    rows = host().panel_rows
    row_blocks = -(-total_rows // BLOCK_ROWS)
    lane_groups = max(1, blocks * width // BLOCK_LANES)
    if groups * row_blocks * lane_groups < 4 * n_workers:
        # Few items: cut rows while that leaves each several tiles, because every cut of the lanes stages the
        # samples once more; what is still missing comes from the lanes.
        most = max(row_blocks, total_rows // (8 * rows))
        row_blocks = min(-(-row_blocks // n_workers) * n_workers, most) if groups % n_workers else row_blocks
        if groups * row_blocks % n_workers:
            lane_groups = min(blocks, -(-lane_groups // n_workers) * n_workers)
    block_of_rows = -(-total_rows // row_blocks)
    block_of_rows = -(-block_of_rows // rows) * rows if row_blocks > 1 else total_rows
    return -(-total_rows // block_of_rows), block_of_rows, lane_groups


def problem(layout: Layout, geometry: Geometry, batch: int, n_workers: int, *, is_half: bool, is_plain_out: bool):
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    signals = batch * layout.signals
    rows, halo, length = geometry.rows, geometry.halo, geometry.length
    # The zeros behind one signal serve as those before the next where no row beyond the halo is cropped.
    shares_halo = geometry.first_row == 0 and rows - halo >= length
    period = rows if shares_halo else rows + halo
    total_rows = (signals - 1) * period + rows
    row_blocks, block_of_rows, lane_groups = _split(
        total_rows, layout.blocks, layout.groups, layout.width, n_workers
    )
    step, taps = geometry.input_step, layout.taps
    tap_block = min(taps, max(REDUCTION_BLOCK, 1), 1 + STAGE_SIZE // (4 * step))
    stage_row = block_of_rows + (tap_block - 1) * step
    lines = -(-stage_row // 16) | 1  # an odd number of cache lines: channels must not meet in one set of the cache
    stage_row = lines * 16
    fitting = max(1, min(REDUCTION_BLOCK // tap_block, STAGE_SIZE // stage_row))
    channel_block = min(layout.reduced_channels, fitting) if tap_block == taps else 1
    acc_size = block_of_rows * -(-layout.blocks // lane_groups) * layout.width
    scratch = acc_size + channel_block * stage_row
    values = {
        ITEMS: layout.groups * row_blocks * lane_groups,
        ROW_BLOCKS: row_blocks,
        BLOCK_OF_ROWS: block_of_rows,
        LANE_GROUPS: lane_groups,
        TOTAL_ROWS: total_rows,
        SIGNALS: signals,
        PERIOD: period,
        FIRST_ROW: geometry.first_row,
        ROWS: rows,
        LENGTH: length,
        IS_HALF: is_half,
        CHANNELS: layout.channels,
        REDUCED: layout.reduced_channels,
        IS_MERGED: layout.reduced_channels > layout.channels,
        TAPS: taps,
        STEP: step,
        HALO: halo,
        CHANNEL_BLOCK: channel_block,
        TAP_BLOCK: tap_block,
        STAGE_ROW: stage_row,
        FILTERS: layout.filters,
        FILTER_LANES: layout.filter_lanes,
        WEIGHT_PARTS: layout.weight_parts,
        PARTS: layout.parts,
        BLOCKS: layout.blocks,
        ACC_SIZE: acc_size,
        STRIDE: geometry.stride,
        DILATION: geometry.dilation,
        LEFT: geometry.left,
        OUTPUT_LENGTH: geometry.output_length,
        SCRATCH: scratch,
        IS_WOVEN: is_plain_out and layout.parts == 1 and geometry.is_interleaved and weave_unit(layout) > 0,
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), scratch


def weave_unit(layout: Layout) -> int:
    """Lanes that one filter has in a vector of a row, or 0 where filters do not come out even with vectors."""
    lanes = host().lanes(layout.dtype.itemsize)
    unit = min(layout.filter_lanes, lanes)
    return unit if lanes % unit == 0 and layout.filter_lanes % unit == 0 else 0
