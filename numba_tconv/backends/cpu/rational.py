"""Changes of rate by up/down, time along the lanes: one vector holds an output phase in neighbouring periods.

    y[(up/g)*m + p] = sum_j h[r + up*j] * x[(down/g)*m + q - j]          lanes: m

An item is a block of phases of a block of periods of one signal. Its samples are staged as planes, `down/g` samples
apart, so that what a phase needs for neighbouring periods stands side by side; a table tells where each row of
`x[(down/g)*m + i]` begins. Sums go to scratch, a row for each phase, and are interleaved on their way out. So outputs
that are not kept are not computed, and no rate needs more memory than a block.
"""

from functools import lru_cache

import numpy as np
from numba import types

from numba_tconv.backends.cpu import jit, threads
from numba_tconv.backends.cpu.pack import Taps
from numba_tconv.backends.cpu.staging import copy_bytes, in_parts, put, stage_every
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import SUM_VECTORS, address, sum_rows, transpose
from numba_tconv.backends.cpu.turns import take
from numba_tconv.geometry import RateChange

# Phases of an item, and numbers in its planes and its sums: each a quarter of a megabyte at most, to stay in L2.
BLOCK_OF_PHASES = 256
BLOCK_SIZE = 1 << 15
MOST_PERIODS = 4096

(
    ITEMS, PHASE_BLOCKS, PHASES_OF_ITEM, PERIOD_BLOCKS, PERIODS_OF_ITEM, PARTS, REDUCED, SETS, BANKS,
    UP, DOWN, LEFT, LENGTH, OUTPUT_LENGTH, PERIOD, OUTPUT_PHASES, PERIODS, STEP, TAPS, PHASES,
    PLANES, PLANE_ROW, SUM_ROW, STAGE, ROWS, SCRATCH, IS_HALF, IS_PLAIN_X, IS_PLAIN_OUT,
) = range(29)  # fmt: skip


@jit.helper
def _stage_planes(x, scratch, at, problem, x_offset, first, n_planes, count, lanes):
    """Stage `x[first + STEP*m + s]` for m < count, plane s by plane; zeros beyond the signal."""
    step, row, length, itemsize = problem[STEP], problem[PLANE_ROW], problem[LENGTH], scratch.itemsize
    woven_planes = woven_rows = 0
    if problem[IS_PLAIN_X] and n_planes >= lanes and first >= 0:
        # Square tiles that lie inside the signal: transposed in registers; the last ones overlap those before.
        woven_rows = min(count, max(0, (length - first - n_planes) // step + 1)) // lanes * lanes
        woven_planes = n_planes if woven_rows else 0
    for m in range(0, woven_rows, lanes):
        for s_next in range(0, woven_planes, lanes):
            s = min(s_next, n_planes - lanes)
            transpose(
                address(x) + x_offset + (first + step * m + s) * itemsize, step,
                address(scratch) + (at + s * row + m) * itemsize, row, scratch, lanes,
            )  # fmt: skip
    for s in range(n_planes):
        stage_every(
            x, x_offset, first + step * woven_rows + s, step, count - woven_rows, length, problem[IS_HALF], scratch,
            at + s * row + woven_rows,
        )  # fmt: skip


@jit.helper
def _store(out, scratch, sums, problem, offset, first_period, periods, first_phase, phases, lanes):
    """Interleave the sums of some phases and periods into the output; outputs beyond its end are dropped."""
    period, row, size = problem[PERIOD], problem[SUM_ROW], problem[OUTPUT_LENGTH]
    step, itemsize = out.strides[2], scratch.itemsize
    # Periods whose phases all lie inside the output.
    whole = max(0, min(periods, (size - first_phase - phases) // period + 1 - first_period))
    start = first_period * period + first_phase
    done = 0
    if problem[IS_PLAIN_OUT] and period == 1:
        copy_bytes(address(out) + offset + start * step, address(scratch) + sums * itemsize, whole * itemsize)
        done = whole
    elif problem[IS_PLAIN_OUT] and phases >= lanes:
        done = whole // lanes * lanes
        for p_next in range(0, phases, lanes):
            p = min(p_next, phases - lanes)
            for m in range(0, done, lanes):
                transpose(
                    address(scratch) + (sums + p * row + m) * itemsize, row,
                    address(out) + offset + (start + m * period + p) * itemsize, period, scratch, lanes,
                )  # fmt: skip
    for m in range(done, periods):
        place = start + m * period
        for p in range(min(phases, size - place)):
            put(out, offset + (place + p) * step, scratch[sums + p * row + m])


@jit.once
def kernel(x_dtype, dtype, out_dtype):
    """Return the compiled kernel `(x, taps, out, scratch, rows, problem, turns, worker)`."""
    lanes, itemsize = host().lanes(dtype.itemsize), dtype.itemsize

    def run(x, taps, out, scratch, rows, problem, turns, worker):
        up, down, step, n_taps = problem[UP], problem[DOWN], problem[STEP], problem[TAPS]
        reduced, plane_row = problem[REDUCED], problem[PLANE_ROW]
        sums = worker * problem[SCRATCH]
        stage, table = sums + problem[STAGE], worker * problem[ROWS]
        index = take(turns)
        while index < problem[ITEMS]:
            item, period_block = divmod(index, problem[PERIOD_BLOCKS])
            item, phase_block = divmod(item, problem[PHASE_BLOCKS])
            item, part = divmod(item, problem[PARTS])
            n, c = divmod(item, out.shape[1])
            first_period, first_phase = period_block * problem[PERIODS_OF_ITEM], phase_block * problem[PHASES_OF_ITEM]
            periods = min(problem[PERIODS_OF_ITEM], problem[PERIODS] - first_period)
            phases = min(problem[PHASES_OF_ITEM], problem[OUTPUT_PHASES] - first_phase)
            vectors = -(-periods // lanes)
            # The samples of a period that these phases reach.
            i_from = (problem[LEFT] + down * first_phase) // up - n_taps + 1
            i_count = (problem[LEFT] + down * (first_phase + phases - 1)) // up + 1 - i_from
            for k in range(reduced):
                plane = stage + k * problem[PLANES] * plane_row
                x_part = k if problem[SETS] == 2 else part
                _stage_planes(
                    x, scratch, plane, problem, n * x.strides[0] + c * x.strides[1] + x_part * x.strides[3],
                    first_period * step + i_from, min(i_count, step), vectors * lanes + (i_count - 1) // step, lanes,
                )  # fmt: skip
                for i in range(i_count):
                    place = plane + i % step * plane_row + i // step
                    rows[table + reduced * i + k] = address(scratch) + place * itemsize
            tap_set = c % problem[BANKS] * problem[SETS] + part % problem[SETS]
            for p in range(phases):
                q, r = divmod(problem[LEFT] + down * (first_phase + p), up)
                sum_rows(
                    rows, table + (q - i_from + 1) * reduced - 1,
                    taps, (tap_set * problem[PHASES] + r) * n_taps * reduced,
                    n_taps * reduced if r < problem[PHASES] else 0,
                    address(scratch) + (sums + p * problem[SUM_ROW]) * itemsize, 0, lanes * vectors, SUM_VECTORS, lanes,
                )  # fmt: skip
            offset = n * out.strides[0] + c * out.strides[1] + part * out.strides[3]
            _store(out, scratch, sums, problem, offset, first_period, periods, first_phase, phases, lanes)
            index = take(turns)

    arguments = (
        jit.array(x_dtype, 4, "A", readonly=True), jit.array(dtype, 1, readonly=True), jit.array(out_dtype, 4, "A"),
        jit.array(dtype, 1), jit.array(np.int64, 1), jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1),
        types.int64,
    )  # fmt: skip
    return jit.compile_kernel(run, arguments)


@lru_cache(maxsize=4096)
def _problem(
    change: RateChange, signals: int, parts: int, kind: tuple[int, int, int], lanes: int, n_workers: int, *,
    is_half: bool, is_plain_x: bool, is_plain_out: bool,
) -> tuple[np.ndarray, int, int]:  # fmt: skip
    """Return the kernel's integers as an array, and for one worker the numbers of scratch and the rows of its table."""
    banks, sets, reduced = kind
    phases = min(change.outputs_per_period, change.output_length)
    phases_of_item = min(phases, BLOCK_OF_PHASES)
    phase_blocks = -(-phases // phases_of_item)
    periods = -(-change.output_length // change.outputs_per_period)
    # One sample more than the phases span, because they may begin anywhere between two samples.
    reach = (phases_of_item - 1) * change.down // change.up + 1 + change.taps_per_phase
    planes = min(reach, change.inputs_per_period)
    # At least four items for each worker, where that leaves a tile to each.
    share = -(-periods * signals * parts * phase_blocks // (4 * n_workers))
    periods_of_item = min(periods, share, MOST_PERIODS, BLOCK_SIZE // max(phases_of_item, reduced * planes))
    periods_of_item = -(-max(periods_of_item, 1) // lanes) * lanes
    # An odd number of cache lines: rows must not meet in one set of the cache.
    sum_row, plane_row = (
        (-(-size // 16) | 1) * 16 for size in (periods_of_item, periods_of_item + (reach - 1) // change.inputs_per_period)
    )
    period_blocks = -(-periods // periods_of_item)
    stage = phases_of_item * sum_row
    values = {
        ITEMS: signals * parts * phase_blocks * period_blocks,
        PHASE_BLOCKS: phase_blocks,
        PHASES_OF_ITEM: phases_of_item,
        PERIOD_BLOCKS: period_blocks,
        PERIODS_OF_ITEM: periods_of_item,
        PARTS: parts,
        REDUCED: reduced,
        SETS: sets,
        BANKS: banks,
        UP: change.up,
        DOWN: change.down,
        LEFT: change.left,
        LENGTH: change.length,
        OUTPUT_LENGTH: change.output_length,
        PERIOD: change.outputs_per_period,
        OUTPUT_PHASES: phases,
        PERIODS: periods,
        STEP: change.inputs_per_period,
        TAPS: change.taps_per_phase,
        PHASES: change.phases,
        PLANES: planes,
        PLANE_ROW: plane_row,
        SUM_ROW: sum_row,
        STAGE: stage,
        ROWS: reduced * reach,
        SCRATCH: stage + reduced * planes * plane_row,
        IS_HALF: is_half,
        IS_PLAIN_X: is_plain_x,
        IS_PLAIN_OUT: is_plain_out,
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), values[SCRATCH], values[ROWS]


def change_rate(change: RateChange, x: np.ndarray, taps: Taps, out: np.ndarray) -> None:
    """Write `x` (batch, channel, time) at the new rate to `out`; any strides."""
    dtype = taps.numbers.dtype
    is_plain_x, is_plain_out = (array.dtype == dtype and array.strides[2] == array.itemsize for array in (x, out))
    is_half, x, out = x.dtype.char == "e", in_parts(x), in_parts(out)
    signals, parts = out.shape[0] * out.shape[1], out.shape[3]
    work = signals * parts * change.output_length * change.taps_per_phase * taps.reduced
    n_workers = threads.workers(work)
    numbers, scratch, rows = _problem(
        change, signals, parts, taps[1:], host().lanes(dtype.itemsize), n_workers,
        is_half=is_half, is_plain_x=is_plain_x, is_plain_out=is_plain_out,
    )  # fmt: skip
    arrays = np.empty(scratch * n_workers, dtype), np.empty(rows * n_workers, np.int64), numbers
    threads.launch(kernel(x.dtype, dtype, out.dtype), (x, taps.numbers, out, *arrays), n_workers)
