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
from numba import literally

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.layout import Layout
from numba_tconv.backends.cpu.staging import put, stage_samples, zero_run
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import address, copy_rows, panel_rows, weave_rows
from numba_tconv.geometry import Geometry

# Numbers of the reduction (channels x taps) between two visits to the accumulators: a visit costs about 50 cycles,
# 256 steps of a 12x2 tile 6,000. 512 was no faster.
REDUCTION_BLOCK = 256
# Accumulators and staged samples of an item: a quarter of a megabyte each, so that both stay in L2.
BLOCK_SIZE = 1 << 16
BLOCK_LANES = 256
FEWEST_ROWS, MOST_ROWS = 256, 1024
STAGE_SIZE = 1 << 18

# How rows leave the accumulators: woven in registers, copied in vectors, or number by number.
GENERAL, WEAVE, COPY = range(3)

(
    ITEMS, ROW_BLOCKS, BLOCK_OF_ROWS, LANE_GROUPS, TOTAL_ROWS,
    SIGNALS, PERIOD, FIRST_ROW, ROWS, LENGTH, IS_HALF,
    CHANNELS, REDUCED, IS_MERGED, TAPS, STEP, HALO, CHANNEL_BLOCK, TAP_BLOCK, STAGE_ROW,
    FILTERS, FILTER_LANES, WEIGHT_PARTS, PARTS, BLOCKS, ACC_SIZE,
    STRIDE, DILATION, LEFT, OUTPUT_LENGTH, SCRATCH,
    STORE,
) = range(32)  # fmt: skip


@jit.helper
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


@jit.helper
def _sample_address(x, problem, group, channel, place):
    """Return about where the sample of a reduced channel at a place of the row axis lies: for prefetching alone."""
    signal, row = divmod(place, problem[PERIOD])
    n = signal // (problem[SIGNALS] // x.shape[0])
    c = group * problem[CHANNELS] + (channel >> problem[IS_MERGED])
    return address(x) + n * x.strides[0] + c * x.strides[1] + (problem[FIRST_ROW] + row) * x.strides[2]


@jit.helper
def _store_rows(out, start, bias, b0, scratch, at, acc_row, problem, lane_from, lane_to, time, row_from, row_to):
    """Store lanes of one filter for some rows: any crop, stride and dtype."""
    stride, dilation, last_part = problem[STRIDE], problem[DILATION], problem[WEIGHT_PARTS] - 1
    for row in range(row_from, row_to):
        for lane in range(lane_from, lane_to):
            branch, part = lane >> last_part, lane & last_part
            t = time + stride * row + dilation * branch
            if 0 <= t < problem[OUTPUT_LENGTH]:
                value = scratch[at + row * acc_row + lane - lane_from] + bias[b0 + part]
                put(out, start + t * out.strides[2] + part * out.strides[3], value)


@jit.helper
def _store(out, bias, scratch, acc, acc_row, problem, group, lane_from, lane_to, first, last, unit, lanes):
    """Run the epilogue for places `first` to `last` of the row axis: bias, crop, interleave, cast, store.

    Rows that lie inside a plain output as a whole are stored in vectors, and among them the filters whose lanes are
    all here; the rest number by number.
    """
    stride, run, parts = problem[STRIDE], problem[FILTER_LANES], problem[WEIGHT_PARTS]
    lane_to = min(lane_to, problem[FILTERS] * run)
    n_rows = lanes // unit
    is_woven = problem[STORE] == WEAVE and (lane_to - lane_from) % lanes == 0
    n_step, f_step = out.strides[0] // out.itemsize, out.strides[1] // out.itemsize
    place = first
    while place < last:
        signal, row = divmod(place, problem[PERIOD])
        count = min(problem[ROWS], row + last - place) - row
        n, signal_part = divmod(signal, problem[SIGNALS] // out.shape[0])
        time = stride * (problem[FIRST_ROW] + row) - problem[LEFT]
        source = acc + (place - first) * acc_row
        # Rows before `inside` begin left of the output, rows from `outside` on end right of it.
        inside = max(0, min(count, -(time // stride)))
        outside = max(inside, min(count, (problem[OUTPUT_LENGTH] - time) // stride))
        if is_woven:
            outside = inside + (outside - inside) // n_rows * n_rows
            for lane in range(lane_from, lane_to, lanes):
                f, offset = divmod(lane, run)
                channel = group * problem[FILTERS] + f
                weave_rows(
                    scratch, source + inside * acc_row + lane - lane_from, acc_row, bias, channel * parts, parts,
                    out, n * n_step + channel * f_step + (time + inside * stride) * parts + offset, run, f_step,
                    outside - inside, literally(unit), literally(lanes),
                )  # fmt: skip
        elif problem[STORE] == GENERAL:
            outside = inside
        else:
            # What a short run writes too much belongs to the rows behind it: those are stored after it.
            outside = max(inside, outside - (lanes - 1) // run)
        lane = lane_from
        while lane < lane_to:
            f, offset = divmod(lane, run)
            here = min(run - offset, lane_to - lane)
            channel = group * problem[FILTERS] + f
            b0, at = channel * problem[PARTS] + signal_part, source + lane - lane_from
            row_from, row_to = inside, outside
            if problem[STORE] != GENERAL and not is_woven:
                if here == run:
                    copy_rows(
                        scratch, at + inside * acc_row, acc_row, bias, channel * parts, parts,
                        out, n * n_step + channel * f_step + (time + inside * stride) * parts, run,
                        outside - inside, run, literally(lanes),
                    )  # fmt: skip
                else:
                    row_from = row_to = 0
            if row_from > 0 or row_to < count:
                start = n * out.strides[0] + channel * out.strides[1] + signal_part * out.strides[3]
                for rows in ((0, row_from), (row_to, count)):
                    _store_rows(
                        out, start, bias, b0, scratch, at, acc_row, problem, offset, offset + here, time, rows[0],
                        rows[1],
                    )  # fmt: skip
            lane += here
        place += problem[PERIOD] - row


@jit.once
def kernel(x_dtype, dtype, out_dtype, V, unit):
    """Return the compiled kernel `(x, panels, bias, out, scratch, problem, worker, n_workers)`."""
    lanes, R = host().lanes(dtype.itemsize), host().panel_rows
    width, itemsize = V * lanes, dtype.itemsize

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
            panel_step = reduced * taps * width if last - first < 64 else 0
            next_first = (index + 1) // lane_groups % problem[ROW_BLOCKS] * problem[BLOCK_OF_ROWS]
            for channel in range(0, reduced, problem[CHANNEL_BLOCK]):
                n_channels = min(problem[CHANNEL_BLOCK], reduced - channel)
                for tap in range(0, taps, problem[TAP_BLOCK]):
                    n_taps = min(problem[TAP_BLOCK], taps - tap)
                    reach = (n_taps - 1) * step
                    start = first + problem[HALO] - tap * step - reach
                    _stage(x, scratch, stage, problem, group, channel, n_channels, start, last - first + reach)
                    # What is staged next travels into L2 while the first panel is multiplied.
                    next_channel = channel + n_channels
                    if next_channel < reduced:
                        ahead = _sample_address(x, problem, group, next_channel, first)
                    else:
                        ahead = _sample_address(x, problem, group, next_channel - reduced, next_first)
                    steps = (x.strides[1] >> problem[IS_MERGED], x.strides[2])
                    for block in range(block_from, block_to):
                        if block > block_from:
                            ahead, steps = address(scratch), (0, 0)
                        panel = ((group * blocks + block) * reduced + channel) * taps + tap
                        panel_rows(
                            scratch,
                            (stage + reach, stage_row, -step),
                            (address(panels) + panel * width * itemsize, taps * width),
                            (last - first, n_channels, n_taps),
                            (acc + (block - block_from) * width, acc_row),
                            channel + tap == 0, (ahead, steps[0], steps[1], panel_step), R, V, lanes,
                        )  # fmt: skip
            _store(
                out, bias, scratch, acc, acc_row, problem, group, block_from * width, block_to * width,
                first, last, unit, lanes,
            )  # fmt: skip

    return jit.compile_kernel(run, jit.kernel_arguments(x_dtype, dtype, out_dtype))


def _split(layout: Layout, total_rows: int, n_workers: int) -> tuple[int, int, int]:
    """Return (row blocks, rows of one, panel groups): items that fit L2 and come out even over the workers."""
    tile, groups, blocks = host().panel_rows, layout.groups, layout.blocks
    lane_groups = max(1, blocks * layout.width // BLOCK_LANES)
    lanes = -(-blocks // lane_groups) * layout.width
    channels = min(layout.reduced_channels, max(1, REDUCTION_BLOCK // layout.taps))
    rows = max(FEWEST_ROWS, min(MOST_ROWS, BLOCK_SIZE // max(lanes, channels)))
    row_blocks = -(-total_rows // rows)
    if groups * row_blocks * lane_groups < 4 * n_workers:
        # Few items: cut rows while that leaves each several tiles, because every cut of the lanes stages the
        # samples once more; what is still missing comes from the lanes.
        most = max(row_blocks, total_rows // (8 * tile))
        if groups % n_workers:
            row_blocks = min(-(-row_blocks // n_workers) * n_workers, most)
        if groups * row_blocks % n_workers:
            lane_groups = min(blocks, -(-lane_groups // n_workers) * n_workers)
    block_of_rows = -(-total_rows // row_blocks)
    if row_blocks > 1:
        block_of_rows = -(-block_of_rows // tile) * tile
    return -(-total_rows // block_of_rows), block_of_rows, lane_groups


def problem(
    layout: Layout, geometry: Geometry, batch: int, n_workers: int, *, is_half: bool, is_plain_out: bool
) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    signals = batch * layout.signals
    rows, halo, length = geometry.rows, geometry.halo, geometry.length
    # The zeros behind one signal serve as those before the next where no row beyond the halo is cropped.
    shares_halo = geometry.first_row == 0 and rows - halo >= length
    period = rows if shares_halo else rows + halo
    total_rows = (signals - 1) * period + rows
    row_blocks, block_of_rows, lane_groups = _split(layout, total_rows, n_workers)
    step, taps = geometry.input_step, layout.taps
    tap_block = min(taps, REDUCTION_BLOCK, 1 + STAGE_SIZE // (4 * step))
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
        STORE: _store_mode(layout) if is_plain_out and geometry.is_interleaved else GENERAL,
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), scratch


def _store_mode(layout: Layout) -> int:
    if layout.signals == 2:  # the real and the imaginary plane of a result are computed apart
        return GENERAL
    return WEAVE if host().lanes(layout.dtype.itemsize) % layout.filter_lanes == 0 else COPY


def weave_unit(layout: Layout) -> int:
    """Lanes of one filter in a vector, where filters come out even with vectors; else a whole vector."""
    lanes = host().lanes(layout.dtype.itemsize)
    return layout.filter_lanes if _store_mode(layout) == WEAVE else lanes
