"""The panel path: rows of time, lanes of filters and branches; a matrix product whose left side is never written down.

    acc[row, lane] = sum_{c, j} x[c, row - step*j] * panel[c, j, lane]          lane = (filter, branch)

Work is cut into items of (group, block of rows, group of lane panels). An item walks the reduction in blocks: it stages
the samples of a few channels (zeros at the borders, cast, contiguous), and runs the register tile over its rows and
panels, so that a panel's block is reused from L1 by all rows and the accumulators stay in L2. Then the epilogue
adds the bias, crops, interleaves and stores. An item of a single call may have all rows, block by block, and pack its
own panels first.

All signals of a batch lie behind each other as one long row axis with the halo's zeros between them, so that sixteen
signals of 33 rows fill the tiles as well as one of 528; rows inside a halo are computed and never stored.
"""

import numpy as np
from numba import literally

from numba_tconv.backends.cpu import jit, threads
from numba_tconv.backends.cpu.layout import Layout
from numba_tconv.backends.cpu.moves import copy_rows, copy_windows, prefetch_run, weave_tile
from numba_tconv.backends.cpu.pack import pack_runs, pack_woven, woven_places
from numba_tconv.backends.cpu.staging import (
    first_line,
    has_plain_rows,
    odd_lines,
    put,
    stage_samples,
    whole_lines,
    zero_run,
)
from numba_tconv.backends.cpu.target import LINE_OF_CACHE, host
from numba_tconv.backends.cpu.tile import panel_pair, panel_rows
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry

# Numbers of the reduction (channels x taps) between two visits to the accumulators: a visit costs about 50 cycles, 192
# steps of a 12x2 tile 2,300 with two multiply-add units. So a block of a panel leaves some of L1 to the samples, and to
# whatever else runs on the core: 256, where it fills 32 KB, was 3 % slower on a Xeon of 2023, and 512 no faster there.
REDUCTION_BLOCK = 192
# Most taps for whose number the tile has a loop of its own: fewer instructions, which count where a core is shared.
# Layers have two taps mostly.
FEW_TAPS = 4
# Accumulators and staged samples of an item: a quarter of a megabyte each, so that both stay in L2.
BLOCK_SIZE = 1 << 16
BLOCK_LANES = 256
FEWEST_ROWS, MOST_ROWS = 256, 1024
# Below, a call takes as long as its weights come from memory. So all channels are staged at once, for few items, and a
# panel is read from end to end, while what lies so many bytes ahead travels into L2. 1024 -> 512 (16, 8) of one sample:
# 3.0 ms when blocks of the reduction came first, panels second; then 1.8, and with panels in pairs a fifth less.
# With more rows the panel behind the one that is multiplied is called there: where L3 is slow (a Xeon of 2023)
# 2048 -> 1024 (8, 4) with 117 samples ran at 78 % of the FMA peak without, on one thread, and does at 92 so.
FEW_ROWS = 48
AHEAD = 1 << 12
STAGE_SIZE = 1 << 18
# Weights of a single call are packed by the items that use them, a block of the reduction at a time, so that L2 still
# has them: for whatever is worth it, and up to so many rows; for more, items could not share rows. 1536 -> 768 (8, 4),
# 32 x 32 samples: 140 ms with all 38 MB packed first, 124 so, 121 by a plan. A slab of them is kept for further rows.
FEWEST_WEIGHTS = 1 << 18
MOST_SLAB_ROWS = 1280
SLAB_BYTES = 1 << 23
# While a channel is packed, the first bytes of one behind it travel into L2: a run begins in another page, where the
# processor takes a few lines to notice. A single call was up to 1.17 times as fast; with whole runs some were slower.
CHANNELS_AHEAD, RUN_AHEAD = 2, 256
# Signals of fewer rows than this many halos are staged without one. 64 x 16 rows, 7 taps: 57 % of the FMA peak with
# halos between the signals, 64 without; 64 x 64 rows: the same.
FEWEST_HALOS = 8


(
    ITEMS, ROW_BLOCKS, BLOCK_OF_ROWS, LANE_GROUPS, TOTAL_ROWS,
    SIGNALS, PERIOD, FIRST_ROW, ROWS, LENGTH, IS_HALF,
    CHANNELS, REDUCED, IS_MERGED, TAPS, STEP, SHARED_HALO, COPIES, CHANNEL_BLOCK, VISIT, TAP_BLOCK, STAGE_ROW,
    FILTERS, FILTER_LANES, WEIGHT_PARTS, PARTS, BLOCKS, BLOCKS_TOGETHER, FILTER_BLOCK, FILTER_BLOCK_LANES, LONG_ROWS,
    ACC_SIZE, STRIDE, DILATION, LEFT, OUTPUT_LENGTH, SCRATCH, IS_PLAIN_OUT,
    ROWS_OF_ITEM, DEPTH, IS_SHORT, SLAB, FILTER_SIZE, IS_FULL, PLACES,
) = range(45)  # fmt: skip


@jit.helper
def _stage(x, scratch, at, step, problem, group, channel, count, first, span, shift, lanes):
    """Stage `span` samples of `count` reduced channels, from place `first` of the row axis on, `shift` rows earlier."""
    signals, period, length = problem[SIGNALS], problem[PERIOD], problem[LENGTH]
    per_batch = problem[SIGNALS] // x.shape[0]
    # Runs of few samples are copied for all channels in one go: a call for each made 1024 -> 512 (16, 8) take 1.4 times
    # as long with 32 signals of one sample.
    is_short = problem[IS_SHORT] and has_plain_rows(x, scratch)
    for k in range(count if is_short else 0):
        zero_run(scratch, at + k * step, span)
    place = first
    while place < first + span:
        signal, offset = divmod(place, period)
        run, target = min(period - offset, first + span - place), at + place - first
        n, part = divmod(min(signal, signals - 1), per_batch)
        time = problem[FIRST_ROW] - problem[SHARED_HALO] + offset - shift
        if signal >= signals:  # nothing but zeros
            run, time = first + span - place, length
        if is_short:
            begin = max(0, time)
            end = max(begin, min(length, time + run))
            source = (group * problem[CHANNELS] + channel) * x.strides[1] + n * x.strides[0] + begin * x.itemsize
            copy_windows(
                address(x) + source, x.strides[1] // x.itemsize,
                address(scratch) + (target + begin - time) * x.itemsize, step, count, end - begin, scratch, lanes,
            )  # fmt: skip
        else:
            for k in range(count):
                c, x_part = divmod(channel + k, 2) if problem[IS_MERGED] else (channel + k, 0)
                stage_samples(
                    x, n, group * problem[CHANNELS] + c, time, part + x_part, run, length, problem[IS_HALF], scratch,
                    target + k * step,
                )  # fmt: skip
        place += run


@jit.helper
def _sample_address(x, problem, group, channel, place):
    """Return about where the sample of a reduced channel at a place of the row axis lies: for prefetching alone."""
    signal, row = divmod(place, problem[PERIOD])
    n = signal // (problem[SIGNALS] // x.shape[0])
    c = group * problem[CHANNELS] + (channel >> problem[IS_MERGED])
    return address(x) + n * x.strides[0] + c * x.strides[1] + (problem[FIRST_ROW] + row) * x.strides[2]


@jit.helper
def _put_rows(out, start, bias, b0, scratch, at, acc_row, problem, lane_from, lane_to, time, count):
    """Store rows of one filter number by number: any crop, stride and dtype."""
    stride, dilation, last_part = problem[STRIDE], problem[DILATION], problem[WEIGHT_PARTS] - 1
    for row in range(count):
        for lane in range(lane_from, lane_to):
            branch, part = lane >> last_part, lane & last_part
            t = time + stride * row + dilation * branch
            if 0 <= t < problem[OUTPUT_LENGTH]:
                value = scratch[at + row * acc_row + (lane - lane_from) * problem[FILTER_BLOCK]] + bias[b0 + part]
                put(out, start + t * out.strides[2] + part * out.strides[3], value)


@jit.helper
def _copy_filter(out, start, bias, b0, scratch, at, acc_row, problem, lane_from, lane_to, time, count, lanes):
    """Store rows of a filter whose branches stand side by side: vectors inside the output, numbers at its ends."""
    stride, run, here = problem[STRIDE], problem[FILTER_LANES], lane_to - lane_from
    # Rows before `inside` begin left of the output, rows from `outside` on end right of it.
    inside = max(0, min(count, -(time // stride)))
    outside = max(inside, min(count, (problem[OUTPUT_LENGTH] - time) // stride))
    if here < lanes:
        # What a short run writes too much belongs to the rows behind it: those are stored after it.
        outside = max(inside, outside - (lanes - 1) // here) if here == run else inside
    copy_rows(
        scratch, at + inside * acc_row, acc_row, bias, b0, problem[WEIGHT_PARTS],
        out, start // out.itemsize + (time + inside * stride) * problem[WEIGHT_PARTS] + lane_from, run,
        outside - inside, here, literally(lanes),
    )  # fmt: skip
    for row, n_rows in ((0, inside), (outside, count - outside)):
        _put_rows(
            out, start, bias, b0, scratch, at + row * acc_row, acc_row, problem, lane_from, lane_to,
            time + row * stride, n_rows,
        )  # fmt: skip


@jit.helper
def _weave_filters(out, start, bias, b0, scratch, at, acc_row, problem, filters, begin, end, shift, spare, lanes):
    """Store outputs `begin` to `end` of filters that stand side by side: square tiles, transposed in registers.

    Output t is number `t + shift` of the rows. The last tiles overlap those before.
    """
    rows, parts = problem[FILTER_LANES], problem[WEIGHT_PARTS]
    size, f_step = out.itemsize, out.strides[1] // out.itemsize
    for f_next in range(0, filters, lanes):
        f = max(0, min(f_next, filters - lanes))
        count = min(lanes, filters - f)
        for k in range(count * parts):
            scratch[spare + k % parts * lanes + k // parts] = bias[b0 + f * parts + k]
        for t_next in range(begin, end, lanes):
            t = max(begin, min(t_next, end - lanes))
            row, branch = divmod(t + shift, rows)
            weave_tile(
                scratch, at + row * acc_row + f, problem[FILTER_BLOCK], acc_row, branch, rows,
                spare, (parts - 1) * lanes, out, start // size + f * f_step + t, f_step,
                (count, end - begin), literally(lanes),
            )  # fmt: skip


@jit.helper
def _store(out, bias, scratch, acc, acc_row, spare, problem, group, lane_from, lane_to, first, last, lanes):
    """Run the epilogue for places `first` to `last` of the row axis: bias, crop, interleave, cast, store."""
    stride, run, parts = problem[STRIDE], problem[FILTER_LANES], problem[WEIGHT_PARTS]
    aside, block_lanes = problem[FILTER_BLOCK], problem[FILTER_BLOCK_LANES]
    place = first
    while place < last:
        signal, row = divmod(place, problem[PERIOD])
        count = min(problem[ROWS], row + last - place) - row
        n, signal_part = divmod(signal, problem[SIGNALS] // out.shape[0])
        time = stride * (problem[FIRST_ROW] + row) - problem[LEFT]
        begin, end = max(0, time) * parts, min(problem[OUTPUT_LENGTH], time + count * stride) * parts
        source = acc + (place - first) * acc_row
        lane = lane_from
        while lane < lane_to:
            block, offset = divmod(lane, block_lanes)
            filters = min(aside, problem[FILTERS] - block * aside)
            row_from, row_to = offset // aside, min(run, (lane_to - block * block_lanes) // aside)
            channel = group * problem[FILTERS] + block * aside
            b0, at = channel * problem[PARTS] + signal_part, source + lane - lane_from
            start = n * out.strides[0] + channel * out.strides[1] + signal_part * out.strides[3]
            if problem[IS_PLAIN_OUT] and aside > 1:
                _weave_filters(
                    out, start, bias, b0, scratch, at, acc_row, problem, filters, begin, end, -time * parts, spare,
                    lanes,
                )  # fmt: skip
            elif problem[IS_PLAIN_OUT] and aside == 1 and filters > 0:
                _copy_filter(
                    out, start, bias, b0, scratch, at, acc_row, problem, row_from, row_to, time, count, lanes
                )  # fmt: skip
            else:
                for f in range(filters):
                    _put_rows(
                        out, start + f * out.strides[1], bias, b0 + f * problem[PARTS], scratch, at + f, acc_row,
                        problem, row_from, row_to, time, count,
                    )  # fmt: skip
            lane = (block + 1) * block_lanes
        place += problem[PERIOD] - row


@jit.helper
def _is_long(problem, block, width):
    """Whether the rows of a panel have all taps: those of other branches have one fewer."""
    return block * width % problem[FILTER_BLOCK_LANES] // problem[FILTER_BLOCK] < problem[LONG_ROWS]


@jit.helper
def _spread(at, n_channels, channel_size, rows, tile_rows):
    """Return the stream that calls a block of a panel into L2, evenly with all tiles of rows and channels in them."""
    of_row = n_channels * channel_size // rows
    return at, tile_rows * of_row // n_channels, of_row


@jit.helper
def _pack(weight, scratch, slab, problem, group, channel, count, block_from, block_to, width, lanes):
    """Pack the weights of some channels for the panels of an item, into the worker's slab."""
    depth, taps = problem[DEPTH], problem[TAPS]
    place = channel % depth
    shape = (
        problem[FILTERS], problem[FILTER_SIZE], problem[FILTER_LANES], taps, width, depth, problem[FILTER_BLOCK],
        problem[FILTER_BLOCK_LANES],
    )  # fmt: skip
    if not problem[IS_FULL]:  # taps and filters that do not exist are zero
        for block in range(block_to - block_from):
            zero_run(scratch, slab + (block * depth + place) * taps * width, count * taps * width)
    base = slab - block_from * depth * taps * width
    row = problem[FILTERS] * problem[FILTER_SIZE] * weight.itemsize
    ahead = address(weight) + block_from * taps * width * weight.itemsize
    for k in range(count):
        index = group * problem[REDUCED] + channel + k
        prefetch_run(ahead + (index + CHANNELS_AHEAD) * row, RUN_AHEAD)
        if problem[FILTER_BLOCK] == 1:
            pack_runs(weight, scratch, base, shape, index, place + k, block_from, block_to)
        else:
            pack_woven(weight, scratch, base, shape, index, place + k, block_from, block_to, problem, PLACES, lanes)


@jit.once
def kernel(x_dtype, dtype, out_dtype, V, is_packed):
    """Return the compiled kernel `(x, weights, bias, out, scratch, problem, turns, worker)`.

    The weights are panels, or else as the caller has them, flat: then an item's are packed on the way.
    """
    lanes, R = host().lanes(dtype.itemsize), host().panel_rows
    width, itemsize, pair_rows = V * lanes, dtype.itemsize, R // 2

    # In one piece: with the loops over panels as a helper that takes the tile's shape, it compiled a third longer.
    def run(x, weights, bias, out, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        reduced, taps, step = problem[REDUCED], problem[TAPS], problem[STEP]
        blocks, lane_groups, stage_row = problem[BLOCKS], problem[LANE_GROUPS], problem[STAGE_ROW]
        # The panels of filters that stand side by side are stored together.
        together = problem[BLOCKS_TOGETHER]
        units = blocks // together
        copies, depth, channel_size = problem[COPIES], problem[DEPTH], taps * width * itemsize
        acc = worker * problem[SCRATCH] + first_line(scratch)
        stage = acc + problem[ACC_SIZE]
        spare = acc + problem[SCRATCH] - 2 * lanes
        slab = acc + problem[SLAB]
        panels = address(weights) if is_packed else address(scratch) + slab * itemsize
        index = take_first(turns)
        while index < problem[ITEMS]:
            item, lane_group = divmod(index, lane_groups)
            group, row_block = divmod(item, problem[ROW_BLOCKS])
            row_from = row_block * problem[ROWS_OF_ITEM]
            row_to = min(problem[TOTAL_ROWS], row_from + problem[ROWS_OF_ITEM])
            block_from = lane_group * units // lane_groups * together
            block_to = (lane_group + 1) * units // lane_groups * together
            first_block = group * blocks if is_packed else -block_from
            acc_row = (block_to - block_from) * width
            for first in range(row_from, row_to, problem[BLOCK_OF_ROWS]):
                last = min(row_to, first + problem[BLOCK_OF_ROWS])
                is_few = last - first < FEW_ROWS and problem[CHANNEL_BLOCK] == reduced
                panel_ahead = AHEAD // itemsize if is_packed and is_few else 0
                next_first = (index + 1) // lane_groups % problem[ROW_BLOCKS] * problem[ROWS_OF_ITEM]
                if last < row_to:
                    next_first = last
                for channel in range(0, reduced, problem[CHANNEL_BLOCK]):
                    n_channels = min(problem[CHANNEL_BLOCK], reduced - channel)
                    if not is_packed and first == row_from:
                        _pack(
                            weights, scratch, slab, problem, group, channel, n_channels, block_from, block_to, width,
                            literally(lanes),
                        )  # fmt: skip
                    for tap in range(0, taps, problem[TAP_BLOCK]):
                        n_taps = min(problem[TAP_BLOCK], taps - tap)
                        if copies == 0:
                            reach, a_i, a_j = (n_taps - 1) * step, stage_row, -step
                            start, shift, n_shifts = first + problem[SHARED_HALO] - tap * step - reach, 0, 1
                        else:
                            reach, a_i, a_j = 0, copies * stage_row, stage_row
                            start, shift, n_shifts = first, tap * step, n_taps
                        for j in range(n_shifts):
                            _stage(
                                x, scratch, stage + j * a_j, a_i, problem, group, channel, n_channels, start,
                                last - first + reach, shift + j * step, literally(lanes),
                            )  # fmt: skip
                        # What is staged next travels into L2 while the first panel is multiplied, and with every
                        # panel the one behind it.
                        next_channel = channel + n_channels
                        if next_channel < reduced:
                            ahead = _sample_address(x, problem, group, next_channel, first)
                        else:
                            ahead = _sample_address(x, problem, group, next_channel - reduced, next_first)
                        samples = ahead, x.strides[1] >> problem[IS_MERGED], x.strides[2]
                        block = block_from
                        while block < block_to:
                            is_long = _is_long(problem, block, width)
                            # Few rows take as long as their panels come from memory, and two runs come faster than one.
                            is_pair = is_packed and last - first <= pair_rows and block + 1 < block_to
                            is_pair = is_pair and is_long == _is_long(problem, block + 1, width)
                            panel = ((first_block + block) * depth + channel % depth) * taps + tap
                            # Weights that were packed just now are in L2. (Those to be packed next, called there
                            # instead, made a single call 4 to 8 % slower.)
                            following = panels, 0, 0
                            if is_packed or first > row_from:
                                is_last = block + 1 == block_to
                                next_block = block_from if is_last else block + 1
                                next_panel = (first_block + next_block) * depth
                                next_panel += (next_channel if is_last else channel) % depth
                                at = panels + next_panel * channel_size
                                following = _spread(at, n_channels, channel_size, last - first, R)
                                if last - first < FEW_ROWS:  # fewer slots than lines
                                    samples = following[0] + LINE_OF_CACHE, following[1], following[2]
                            for c in range(0, n_channels, problem[VISIT]):
                                visit = min(problem[VISIT], n_channels - c)
                                counts = last - first, visit, n_taps if is_long else min(n_taps, taps - 1 - tap)
                                # Few rows feel a short inner loop: theirs is one over channels and taps. More rows
                                # keep two, for in the outer one the next samples of every channel are prefetched.
                                if is_few and copies == taps and is_long:
                                    counts = last - first, 1, visit * taps
                                A = stage + reach + c * a_i, a_i, a_j
                                at = panels + (panel + c * taps) * width * itemsize
                                D = address(scratch) + (acc + (block - block_from) * width) * itemsize, acc_row
                                is_first = channel + c + tap == 0
                                if is_pair:
                                    B = at, taps * width, depth * taps * width
                                    panel_pair(scratch, A, B, counts, D, is_first, panel_ahead, pair_rows, V, lanes)
                                else:
                                    panel_rows(
                                        scratch, A, (at, taps * width), counts, D, is_first, (samples, following),
                                        panel_ahead, R, V, lanes, 1, FEW_TAPS,
                                    )  # fmt: skip
                                samples = at, 0, 0
                            block += 2 if is_pair else 1
                _store(
                    out, bias, scratch, acc, acc_row, spare, problem, group, block_from * width, block_to * width,
                    first, last, lanes,
                )  # fmt: skip
            index = take(turns)

    return jit.compile_kernel(run, jit.kernel_arguments(x_dtype, dtype, out_dtype))


def _split(layout: Layout, total_rows: int, n_workers: int) -> tuple[int, int, int]:
    """Return (row blocks, rows of one, lane groups): items that fit L2 and come out even over the workers."""
    tile, groups = host().panel_rows, layout.groups
    # Panels that are stored together are computed together.
    blocks, width = layout.blocks // layout.blocks_together, layout.width * layout.blocks_together
    lane_groups = max(1, blocks * width // BLOCK_LANES)
    if total_rows < FEW_ROWS:
        lane_groups = min(lane_groups, max(2 * n_workers, total_rows * blocks * width // BLOCK_SIZE))
    lanes = -(-blocks // lane_groups) * width
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
        # Lanes of few filters cannot be cut: rather tiles for each worker than one that has nothing to do.
        # 187 -> 13 (12, 4) with 46 samples took 55 us on the one that had all of it, 41 so.
        if groups * row_blocks * lane_groups < n_workers:
            row_blocks = min(n_workers, -(-total_rows // tile))
    block_of_rows = -(-total_rows // row_blocks)
    if row_blocks > 1:
        block_of_rows = -(-block_of_rows // tile) * tile
    return -(-total_rows // block_of_rows), block_of_rows, lane_groups


def packs_on_the_way(layout: Layout, geometry: Geometry, batch: int) -> bool:
    """Whether items should pack the weights of a single call: worth it, and no worker waits long for another."""
    if layout.is_fir or layout.size < FEWEST_WEIGHTS:  # a small call asks no more than that
        return False
    rows = batch * layout.signals * geometry.rows
    n_workers = threads.workers(rows * layout.size)
    units, lanes = layout.blocks // layout.blocks_together, layout.width * layout.blocks_together
    return (
        lanes * layout.reduced_channels * layout.taps * layout.dtype.itemsize <= SLAB_BYTES
        and (layout.groups * units % n_workers == 0 or layout.groups * units >= 4 * n_workers)
        and rows <= (MOST_SLAB_ROWS if layout.groups * units * lanes >= 3 * n_workers * BLOCK_LANES else FEWEST_ROWS)
    )


def _split_slabs(layout: Layout, total_rows: int, n_workers: int) -> tuple[int, int, int]:
    """Return what `_split` does for items that pack their own weights: each has all rows, block by block."""
    units, width = layout.blocks // layout.blocks_together, layout.width * layout.blocks_together
    lane_bytes = layout.reduced_channels * layout.taps * layout.dtype.itemsize
    most_lanes = min(BLOCK_LANES, SLAB_BYTES // lane_bytes)
    lane_groups = -(-units * width // most_lanes)
    lane_groups = min(units, -(-lane_groups // n_workers) * n_workers)
    rows = max(FEWEST_ROWS, BLOCK_SIZE // (-(-units // lane_groups) * width))
    blocks = -(-total_rows // rows)
    return 1, -(-total_rows // (blocks * host().panel_rows)) * host().panel_rows, lane_groups


def problem(
    layout: Layout,
    geometry: Geometry,
    batch: int,
    n_workers: int,
    *,
    is_half: bool,
    is_plain_out: bool,
    is_packed: bool,
) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    signals = batch * layout.signals
    rows, halo, length = geometry.rows, geometry.halo, geometry.length
    # The zeros behind one signal serve as those before the next where no row beyond the halo is cropped. Otherwise
    # rows inside a halo are computed in vain: signals too short for that are staged once for each tap, without a halo.
    shares_halo = geometry.first_row == 0 and rows - halo >= length
    has_few_rows = signals * rows < FEW_ROWS
    has_copies = has_few_rows or (not shares_halo and signals > 1 and rows < FEWEST_HALOS * halo)
    period = rows if shares_halo or has_copies else rows + halo
    total_rows = (signals - 1) * period + rows
    split = _split if is_packed else _split_slabs
    row_blocks, block_of_rows, lane_groups = split(layout, total_rows, n_workers)
    step, taps = geometry.input_step, layout.taps
    tap_block = min(taps, REDUCTION_BLOCK, 1 + STAGE_SIZE // (4 * step))
    copies = tap_block if has_copies else 0
    stage_row = block_of_rows + (0 if has_copies else (tap_block - 1) * step)
    stage_row = odd_lines(stage_row)
    fitting = max(1, min(REDUCTION_BLOCK // tap_block, STAGE_SIZE // (max(1, copies) * stage_row)))
    channel_block = visit = min(layout.reduced_channels, fitting) if tap_block == taps else 1
    is_all_staged = tap_block == taps and layout.reduced_channels * copies * stage_row <= STAGE_SIZE // 2
    if is_packed and has_few_rows and is_all_staged:
        channel_block = layout.reduced_channels
    together = layout.blocks_together
    most_lanes = -(-layout.blocks // together // lane_groups) * together * layout.width
    acc_size = block_of_rows * most_lanes
    slab = acc_size + channel_block * max(1, copies) * stage_row
    depth = layout.reduced_channels if is_packed or block_of_rows < total_rows else channel_block
    slab_size = 0 if is_packed else most_lanes * depth * taps
    scratch = whole_lines(slab + slab_size + 2 * host().lanes(layout.dtype.itemsize), layout.dtype)
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
        SHARED_HALO: 0 if has_copies else halo,
        COPIES: copies,
        CHANNEL_BLOCK: channel_block,
        VISIT: visit,
        TAP_BLOCK: tap_block,
        STAGE_ROW: stage_row,
        FILTERS: layout.filters,
        FILTER_LANES: layout.filter_lanes,
        WEIGHT_PARTS: layout.weight_parts,
        PARTS: layout.parts,
        BLOCKS: layout.blocks,
        BLOCKS_TOGETHER: layout.blocks_together,
        FILTER_BLOCK: layout.filter_block,
        FILTER_BLOCK_LANES: layout.filter_block_lanes,
        # Where filters stand one behind the other, a panel may hold the first branches of the next one.
        LONG_ROWS: layout.long_rows if layout.filter_block > 1 else layout.filter_lanes,
        ACC_SIZE: acc_size,
        STRIDE: geometry.stride,
        DILATION: geometry.dilation,
        LEFT: geometry.left,
        OUTPUT_LENGTH: geometry.output_length,
        SCRATCH: scratch,
        IS_PLAIN_OUT: is_plain_out and layout.signals == 1,
        ROWS_OF_ITEM: block_of_rows if is_packed else total_rows,
        FILTER_SIZE: layout.filter_size * layout.weight_parts,
        IS_FULL: layout.is_full,
        SLAB: slab,
        DEPTH: depth,
        IS_SHORT: period < FEW_ROWS and layout.reduced_channels == layout.channels,
    }
    places = () if is_packed else woven_places(layout, depth)
    return np.array([*(int(values[k]) for k in range(len(values))), *places], np.int64), scratch
