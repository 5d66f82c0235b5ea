"""The direct path: rows of a few filters' branches, lanes of time; for long signals of layers with few channels.

    row[f, branch, q] = sum_{c, j} weight[c, f, branch + branches*j] * x[c, q - step*j] + bias[f]

An item is a block of rows of one signal, for a share of the filters. It stages the samples of all channels once (zeros
at the borders, cast, contiguous), and runs the FIR tile over them for one to four filters at a time. Their sums are
complete before they leave the registers, and then stored as long runs of the output.

Weights are read as they are: of some filters and one channel, they are a run. Every sum is taken in the order of the
panel path, so that of one operator long signals may come here and short ones go there, with the same bits.
"""

import numpy as np
from numba import literally

from numba_tconv.backends.cpu import fir, jit
from numba_tconv.backends.cpu.layout import Layout
from numba_tconv.backends.cpu.moves import copy_windows, prefetch_run
from numba_tconv.backends.cpu.staging import first_line, odd_lines, whole_lines, zero_run
from numba_tconv.backends.cpu.target import host, kept_in_l2
from numba_tconv.backends.cpu.tile import fir_tile
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry

# What an item stages, at most, and as `kept_in_l2`, for L2 holds the next item's samples as well: with a half of it and
# not a quarter, a Zen 3 took 1.05 to 1.12 times as long in float32, 1.3 times in float64 with all of it.
STAGE_BYTES = 1 << 18
# Where channels are few, long runs of the output come cheaper: with 1,024 rows, 4 -> 64 (3, 1) with 24,000 samples took
# 1.3 times as long.
MOST_ROWS = 4096
# Signals of fewer rows leave too much of a tile empty.
FEWEST_ROWS = 256

# Behind the integers that it shares with the FIR path.
GROUPS, SHARES, WORKERS, FILTER_SIZE, PANEL, STAGE = range(fir.COMMON, fir.COMMON + 6)


@jit.helper
def _block_of(problem, batch, index):
    """Return (batch, part, group, first row, row behind the last, share of the filters) of an item."""
    item, share = divmod(index, problem[SHARES])
    item, row_block = divmod(item, problem[fir.ROW_BLOCKS])
    signal, group = divmod(item, problem[GROUPS])
    n, part = divmod(signal, problem[fir.SIGNALS] // batch)
    first = problem[fir.FIRST_ROW] + row_block * problem[fir.BLOCK_OF_ROWS]
    last = min(problem[fir.FIRST_ROW] + problem[fir.ROWS], first + problem[fir.BLOCK_OF_ROWS])
    return n, part, group, first, last, share


@jit.helper
def _gather(weight, scratch, at, problem, group, f, F, S, lanes):
    """Copy the weights of F filters, all channels, one behind the other, each filled up with zeros to whole rows."""
    filter_size, filled = problem[FILTER_SIZE], problem[fir.TAPS] * S
    filters, reduced, itemsize = problem[fir.FILTERS], problem[fir.REDUCED], weight.itemsize
    source = address(weight) + (group * reduced * filters + f) * filter_size * itemsize
    target = address(scratch) + at * itemsize
    # Filters that need no zeros are copied together.
    count, run = (1, F * filled) if filter_size == filled else (F, filter_size)
    if count > 1 or run < filled:
        zero_run(scratch, at, reduced * F * filled)
    for k in range(count):
        copy_windows(
            source + k * filter_size * itemsize, filters * filter_size, target + k * filled * itemsize, F * filled,
            reduced, run, scratch, literally(lanes),
        )  # fmt: skip


@jit.once
def kernel(x_dtype, dtype, out_dtype, F, S, unit, parts):
    """Return the compiled kernel `(x, weight, bias, out, scratch, problem, turns, worker)`; the weight is flat."""
    lanes, itemsize, V = host().lanes(dtype.itemsize), dtype.itemsize, host().direct_vectors(F * S)
    tile_rows, few_rows, together = V * lanes // unit, lanes // unit, host().fir_together(F * S)

    def run(x, weight, bias, out, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        reduced, halo, step = problem[fir.REDUCED], problem[fir.HALO], problem[fir.STEP] * unit
        counts = reduced, problem[fir.TAPS]
        tiles = problem[fir.FILTERS] // F
        spill = worker * problem[fir.SCRATCH] + first_line(scratch)
        panel, stage = spill + problem[PANEL], spill + problem[STAGE]
        spilled = address(scratch) + spill * itemsize
        index = take_first(turns)
        while index < problem[fir.ITEMS]:
            n, part, group, first, last, share = _block_of(problem, out.shape[0], index)
            fir.stage_channels(
                x, scratch, stage, problem, n, group, part, first - halo, last - first + few_rows + halo, unit,
                (0, reduced),
            )  # fmt: skip
            # With the tiles travels into L2 what comes next: their outputs, and of the samples that this worker is
            # likely to stage next some channels with each filter. 48 -> 24 (4, 2): 71 % of the FMA peak without, 80 so.
            next_n, _, next_group, next_first, _, _ = _block_of(problem, out.shape[0], index + problem[WORKERS])
            has_next = next_n < out.shape[0] and x.strides[2] == x.itemsize
            ahead = address(x) + next_n * x.strides[0] + next_group * problem[fir.CHANNELS] * x.strides[1]
            tile_from, tile_to = tiles * share // problem[SHARES], tiles * (share + 1) // problem[SHARES]
            for tile in range(tile_from, tile_to):
                channel = group * problem[fir.FILTERS] + tile * F
                _gather(weight, scratch, panel, problem, group, tile * F, F, S, literally(lanes))
                biases = channel * problem[fir.PARTS] + part, problem[fir.PARTS]
                called_from = problem[fir.CHANNELS] * (tile - tile_from) // (tile_to - tile_from)
                called_to = problem[fir.CHANNELS] * (tile - tile_from + 1) // (tile_to - tile_from)
                row = first
                while row < last:
                    is_whole = row + tile_rows <= last
                    rows = tile_rows if is_whole else few_rows
                    count = rows * unit * S
                    produced = (problem[fir.STRIDE] * row - problem[fir.LEFT]) * parts
                    fits = produced >= 0 and produced + count <= problem[fir.OUTPUT_LENGTH] * parts
                    is_inside = problem[fir.IS_PLAIN_OUT] and fits
                    source = address(scratch) + (stage + (row - first + halo) * unit) * itemsize
                    samples, target = (source, problem[fir.STAGE_ROW], -step), (spilled, count)
                    if is_inside:
                        start = n * out.strides[0] + channel * out.strides[1] + produced * itemsize
                        target = address(out) + start, out.strides[1] // itemsize
                        for f in range(F):
                            prefetch_run(target[0] + f * out.strides[1] + count * itemsize, count * itemsize)
                    for c in range(called_from, called_to if has_next else called_from):
                        start = c * x.strides[1] + (next_first + row - first) * unit * x.itemsize
                        prefetch_run(ahead + start, rows * unit * x.itemsize)
                    if is_whole:
                        fir_tile(
                            samples, scratch, panel, counts, bias, biases, target, spilled, True, True,
                            F, S, together, V, lanes, unit, parts, True,
                        )  # fmt: skip
                    else:
                        fir_tile(
                            samples, scratch, panel, counts, bias, biases, target, spilled, True, True,
                            F, S, together, 1, lanes, unit, parts, True,
                        )  # fmt: skip
                    if not is_inside:
                        for f in range(F):
                            fir.store_spilled(
                                out, scratch, spill + f * count, problem, n, channel + f, part, row,
                                min(rows, last - row), count, parts,
                            )  # fmt: skip
                    row += rows
            index = take(turns)

    return jit.compile_kernel(run, jit.kernel_arguments(x_dtype, dtype, out_dtype))


def serves(layout: Layout, geometry: Geometry) -> bool:
    """Whether signals of so many samples should come here."""
    return layout.direct_filters > 0 and geometry.rows >= FEWEST_ROWS


def problem(
    layout: Layout,
    geometry: Geometry,
    batch: int,
    n_workers: int,
    *,
    unit: int,
    is_half: bool,
    is_plain_out: bool,
) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    lanes, n_filters = host().lanes(layout.dtype.itemsize), layout.direct_filters
    rows_of_tile = n_filters * layout.filter_lanes
    vectors = host().direct_vectors(rows_of_tile)
    tile_rows = vectors * lanes // unit
    signals = batch * (1 if unit == 2 else layout.signals)
    staged = kept_in_l2(STAGE_BYTES) // layout.dtype.itemsize
    fitting = staged // (layout.reduced_channels * unit) - geometry.halo
    row_blocks = -(-geometry.rows // max(tile_rows, min(MOST_ROWS, fitting)))
    items = signals * layout.groups
    if items % n_workers and items * row_blocks < 8 * n_workers:  # few items should come out even
        row_blocks = -(-row_blocks // n_workers) * n_workers
    tiles = -(-geometry.rows // (row_blocks * tile_rows))
    block_of_rows = tiles * tile_rows
    row_blocks = -(-geometry.rows // block_of_rows)
    # What is still missing comes from the filters, for which the samples are staged once more.
    shares = min(-(-n_workers // (items * row_blocks)), layout.filters // n_filters)
    stage_row = odd_lines((block_of_rows + lanes // unit + geometry.halo) * unit)
    panel = rows_of_tile * vectors * lanes
    stage = whole_lines(panel + layout.reduced_channels * layout.taps * rows_of_tile, layout.dtype)
    scratch = whole_lines(stage + layout.reduced_channels * stage_row, layout.dtype)
    values = fir.integers_of(layout, geometry, unit, is_half=is_half, is_plain_out=is_plain_out) | {
        fir.ITEMS: items * row_blocks * shares,
        fir.ROW_BLOCKS: row_blocks,
        fir.BLOCK_OF_ROWS: block_of_rows,
        fir.SIGNALS: signals,
        fir.STAGE_ROW: stage_row,
        fir.SCRATCH: scratch,
        GROUPS: layout.groups,
        SHARES: shares,
        WORKERS: n_workers,
        FILTER_SIZE: layout.filter_size * layout.weight_parts,
        PANEL: panel,
        STAGE: stage,
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), scratch
