"""The scatter path: weights that are used once are read where they lie, and packed by nobody.

    product[row, (f, k)] = sum_c x[c, row] * weight[c, (f, k)]        out[f, stride*row + dilation*k] += product

Lanes run along the caller's own (filter, tap) axis, rows along the input's samples, the reduction over channels alone.
An item owns some filters of a group and all rows, so its sums overlap with nobody else's.

Packing the 33 MB of a 1024 -> 512 (16, 8) layer takes 5 ms, this path with one sample 2 or less.
"""

import numpy as np

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.layout import Layout
from numba_tconv.backends.cpu.staging import copy_bytes, odd_lines, put, stage_rows, zero_run
from numba_tconv.backends.cpu.target import host, l2_bytes
from numba_tconv.backends.cpu.tile import panel_rows
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry

# Below, packing is cheap, lanes are empty, or adding products up outweighs the sums over channels.
SMALLEST_WEIGHT = 1 << 9
FEWEST_LANES = 4
FEWEST_CHANNELS = 24
# Large weights of fewer filters are too few to share.
FEWEST_FILTERS = 4
# Up to here the rows need one or two passes over a block of weights: reading it in place is free. With more rows,
# channels that lie a power of two apart would meet in one set of the cache, and packing them on the way is faster: but
# not of weights so small that the caches keep them, unless the rows are as many as channels. 256 -> 16 (8, 4) with 16
# samples: 56 us packed, 27 here; 1019 -> 4 (4, 2) with 2: 51 and 18; 128 -> 128 (4, 2) with 60: 78 and 90.
FEW_ROWS = 16
SMALL_WEIGHT, MOST_ROWS = 1 << 15, 64
# Beyond, the products of one filter, or its full output, are too much to keep.
MOST_PRODUCTS = 1 << 20
LONGEST_OUTPUT = 1 << 16

# Channels lie a power of two apart as a rule, so their lines meet in few sets of L2, which must keep them until they
# are multiplied: one channel for so many bytes of it. With sixteen for half a megabyte, a Zen 3 took 1.75 ms to read
# 33 MB, and takes 1.1 with eight.
CHANNELS_AT_ONCE, L2_OF_CHANNEL = 16, 1 << 16
# Weights are called into L2 so early.
BYTES_AHEAD = 1024
# Of an item: long runs are what the memory likes.
PRODUCTS_OF_ITEM = 1 << 17

(
    SIGNALS, LENGTH, IS_HALF, GROUPS, CHANNELS, FILTERS, FILTER_SIZE, PARTS,
    SHARES, CHANNEL_BLOCK, ACC_SIZE, STAGE_ROW, STAGE_SIZE, BLOCK_SIZE, SCRATCH,
    STRIDE, DILATION, LEFT, FULL_LENGTH, OUTPUT_LENGTH,
) = range(20)  # fmt: skip


@jit.helper
def _store_filter(out, bias, scratch, acc, acc_row, sums, problem, channel):
    """Add up the products of one filter for every signal; bias, crop, cast, store."""
    length, filter_size, stride, dilation = problem[LENGTH], problem[FILTER_SIZE], problem[STRIDE], problem[DILATION]
    for signal in range(problem[SIGNALS]):
        n, part = divmod(signal, problem[SIGNALS] // out.shape[0])
        zero_run(scratch, sums, problem[FULL_LENGTH])
        for row in range(length):
            source, target = acc + (signal * length + row) * acc_row, sums + row * stride
            for k in range(filter_size):
                scratch[target + k * dilation] += scratch[source + k]
        added = bias[channel * problem[PARTS] + part]
        offset = n * out.strides[0] + channel * out.strides[1] + part * out.strides[3]
        for t in range(problem[OUTPUT_LENGTH]):
            i = problem[LEFT] + t
            value = scratch[sums + i] + added if i < problem[FULL_LENGTH] else added
            put(out, offset, value)
            offset += out.strides[2]


@jit.once
def kernel(x_dtype, dtype, out_dtype):
    """Return the compiled kernel `(x, weight, bias, out, scratch, problem, turns, worker)`."""
    lanes, R, V = host().lanes(dtype.itemsize), host().panel_rows, 2
    width, itemsize = V * lanes, dtype.itemsize
    ahead = BYTES_AHEAD // itemsize

    def run(x, weight, bias, out, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        filters, filter_size = problem[FILTERS], problem[FILTER_SIZE]
        rows, weight_row = problem[SIGNALS] * problem[LENGTH], filters * filter_size
        shares = problem[SHARES]
        items = shares * problem[GROUPS]
        acc = worker * problem[SCRATCH]
        stage = acc + problem[ACC_SIZE]
        block = stage + problem[STAGE_SIZE]
        sums = block + problem[BLOCK_SIZE]
        index = take_first(turns)
        while index < items:
            group, item = divmod(index, shares)
            filter_from, filter_to = item * filters // shares, (item + 1) * filters // shares
            n_lanes = (filter_to - filter_from) * filter_size
            acc_row = -(-n_lanes // width) * width
            for channel in range(0, problem[CHANNELS], problem[CHANNEL_BLOCK]):
                count = min(problem[CHANNEL_BLOCK], problem[CHANNELS] - channel)
                first = group * problem[CHANNELS] + channel
                stage_rows(
                    x, first, count, problem[SIGNALS], problem[LENGTH], problem[IS_HALF], scratch, stage,
                    problem[STAGE_ROW],
                )  # fmt: skip
                start = first * weight_row + filter_from * filter_size
                for lane in range(0, n_lanes, width):
                    here = min(width, n_lanes - lane)
                    if here == width:
                        source, step = address(weight) + (start + lane) * itemsize, weight_row
                    else:
                        source, step = address(scratch) + block * itemsize, width
                        for c in range(count):
                            run_of_taps = address(weight) + (start + c * weight_row + lane) * itemsize
                            copy_bytes(address(scratch) + (block + c * width) * itemsize, run_of_taps, here * itemsize)
                            zero_run(scratch, block + c * width + here, width - here)
                    # Channels are as many streams, each left alone for a while: without calling the next few panels
                    # into the cache, cold weights took half as long again.
                    panel_rows(
                        scratch, (stage, problem[STAGE_ROW], 0), (source, step), (rows, count, 1),
                        (address(scratch) + (acc + lane) * itemsize, acc_row), channel == 0,
                        (), ahead, R, V, lanes, 1, 0,
                    )  # fmt: skip
            for f in range(filter_from, filter_to):
                _store_filter(
                    out, bias, scratch, acc + (f - filter_from) * filter_size, acc_row, sums, problem,
                    group * filters + f,
                )  # fmt: skip
            index = take(turns)

    return jit.compile_kernel(run, jit.kernel_arguments(x_dtype, dtype, out_dtype))


def serves(layout: Layout, geometry: Geometry, batch: int) -> bool:
    """Whether the weights of a single call should be read in place, where they lie as the kernel takes them."""
    if layout.is_packed_as_it_is:  # nothing is saved then: 1111 -> 1 (8, 4) with 15 samples took 31 us, and takes 19
        return False
    rows = batch * layout.signals * geometry.length
    weights = layout.groups * layout.channels * layout.filters * layout.filter_size
    if weights <= SMALL_WEIGHT:
        most_rows = min(MOST_ROWS, layout.channels - 1)
    else:
        most_rows = FEW_ROWS if layout.groups * layout.filters >= FEWEST_FILTERS else 0
    return (
        rows <= most_rows
        and weights >= SMALLEST_WEIGHT
        and layout.channels >= FEWEST_CHANNELS
        and layout.filters * layout.filter_size >= FEWEST_LANES
        and rows * layout.filter_size <= MOST_PRODUCTS
        and geometry.full_length <= LONGEST_OUTPUT
    )


def problem(layout: Layout, geometry: Geometry, batch: int, n_workers: int, *, is_half: bool) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    width = 2 * host().lanes(layout.dtype.itemsize)
    signals = batch * layout.signals
    rows = signals * geometry.length
    channel_block = min(layout.channels, CHANNELS_AT_ONCE, max(1, l2_bytes() // L2_OF_CHANNEL))
    shares = -(-rows * layout.filters * layout.filter_size // PRODUCTS_OF_ITEM)
    shares = min(layout.filters, -(-shares // n_workers) * n_workers)
    most_lanes = -(-layout.filters // shares) * layout.filter_size
    acc_size = rows * -(-most_lanes // width) * width
    stage_row = odd_lines(rows)
    stage_size, block_size = channel_block * stage_row, channel_block * width
    values = {
        SIGNALS: signals,
        LENGTH: geometry.length,
        IS_HALF: is_half,
        GROUPS: layout.groups,
        CHANNELS: layout.channels,
        FILTERS: layout.filters,
        FILTER_SIZE: layout.filter_size,
        PARTS: layout.parts,
        SHARES: shares,
        CHANNEL_BLOCK: channel_block,
        ACC_SIZE: acc_size,
        STAGE_ROW: stage_row,
        STAGE_SIZE: stage_size,
        BLOCK_SIZE: block_size,
        SCRATCH: acc_size + stage_size + block_size + geometry.full_length,
        STRIDE: geometry.stride,
        DILATION: geometry.dilation,
        LEFT: geometry.left,
        FULL_LENGTH: geometry.full_length,
        OUTPUT_LENGTH: geometry.output_length,
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), int(values[SCRATCH])
