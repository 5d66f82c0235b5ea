"""Changes of rate by up/down, time along the lanes: one vector holds an output phase in neighbouring periods.

    y[(up/g)*m + p] = sum_j h[r + up*j] * x[(down/g)*m + q - j]          lanes: m

An item is a block of phases of a block of periods of one signal. Its samples are staged as planes, `down/g` samples
apart, so that what a phase needs for neighbouring periods stands side by side; a table tells where each row of
`x[(down/g)*m + i]` begins. Sums go to scratch, a row for each phase, and are interleaved on their way out. So outputs
that are not kept are not computed, and no rate needs more memory than a block.
"""

import numpy as np
from numba import literally

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.moves import MOST_WOVEN, deinterleave, interleave, prefetch_run, transpose
from numba_tconv.backends.cpu.staging import first_line, odd_lines, put, stage_every
from numba_tconv.backends.cpu.sums import VECTORS, Operands, kernel_arguments, list_outputs, sum_outputs
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import RateChange

# Phases of an item, and numbers in its planes and in its sums, to stay in L2. Two items that share periods write to the
# same cache lines: with 64 phases each, 147/160 for a million samples took two threads 840 us instead of 565.
BLOCK_OF_PHASES = 512
BLOCK_SIZE = 1 << 14
MOST_PERIODS = 4096
# While a block of so many phases is summed, the next one travels into L2; more of them come in long runs, which
# `_stage_planes` and `_store` call one after the other.
MOST_CALLED_AHEAD = 32
# Multiply-adds that take as long as a signal takes whatever its length, 150 ns: 512 of one sample use two threads.
WORK_OF_SIGNAL = 1 << 12


(
    ITEMS, PHASE_BLOCKS, PHASES_OF_ITEM, PERIOD_BLOCKS, PERIODS_OF_ITEM, PERIODS_OF_BLOCK,
    X_UNIT, OUT_UNIT, BANKS, SETS, REDUCED,
    UP, DOWN, LEFT, LENGTH, OUTPUT_LENGTH, PERIOD, OUTPUT_PHASES, PERIODS, STEP, TAPS, PHASES,
    PLANE_ROW, SUM_ROW, STAGE, ROWS, SCRATCH, IS_PLAIN_X, IS_PLAIN_OUT,
) = range(29)  # fmt: skip


@jit.helper
def _stage_planes(x, scratch, at, problem, x_start, first, planes, count, lanes):
    """Stage `x[first + STEP*m + s]` for m < count, a plane for every s < planes; zeros beyond the signal."""
    step, unit, row, itemsize = problem[STEP], problem[X_UNIT], problem[PLANE_ROW], scratch.itemsize
    source, square = address(x) + x_start + first * unit * itemsize, unit * planes - lanes
    # Sixteen runs at once are too many for the processor to fetch by itself: with the next ones called into L2, here
    # and in `_store`, a million samples of 160/147 that had left the caches took two threads 723 us, and 841 without.
    begin, end, is_taken_apart = 0, 0, step * unit <= MOST_WOVEN and planes == step
    if problem[IS_PLAIN_X] and (is_taken_apart or square >= 0):
        # Periods whose samples lie inside the signal altogether, if they are a vector or more. The others are staged
        # number by number: of 256 signals of 4,096 samples, that was all of them while the first had to lie inside.
        begin = min(count, max(0, -(first // step)))
        end = min(count, max(0, (problem[LENGTH] - first - planes) // step + 1))
        if end - begin < lanes:
            begin = end = 0
    m_next = begin
    while m_next < end:
        # Vectors are whole cache lines, but for the first and the last one, which overlap their neighbours.
        m, m_next = min(m_next, end - lanes), (m_next // lanes + 1) * lanes
        period = source + m * step * unit * itemsize
        if is_taken_apart:
            deinterleave(period, address(scratch) + (at + m) * itemsize, row, scratch, step * unit, literally(lanes))
        else:
            for s_next in range(0, unit * planes, lanes):
                s = min(s_next, square)
                target = address(scratch) + (at + s * row + m) * itemsize
                transpose(period + s * itemsize, step * unit, target, row, scratch, literally(lanes))
                prefetch_run(period + (step * unit + s) * lanes * itemsize, lanes * lanes * itemsize)
    for m, periods in ((0, begin), (end, count - end)):
        for s in range(planes if periods else 0):
            for part in range(unit):
                stage_every(
                    x, x_start + part * x.strides[3], first + step * m + s, step, periods, problem[LENGTH], False,
                    scratch, at + (s * unit + part) * row + m,
                )  # fmt: skip


@jit.helper
def _store(out, scratch, sums, problem, out_start, first_period, periods, first_phase, phases, lanes):
    """Interleave the sums of some phases and periods into the output; outputs beyond its end are dropped."""
    period, unit, row, size = problem[PERIOD], problem[OUT_UNIT], problem[SUM_ROW], problem[OUTPUT_LENGTH]
    itemsize, step = scratch.itemsize, out.strides[2]
    first = first_period * period + first_phase
    is_woven = period * unit <= MOST_WOVEN
    woven = 0
    if problem[IS_PLAIN_OUT] and (is_woven or phases * unit >= lanes):
        # Periods whose phases lie inside the output altogether, from a vector of them on.
        woven = min(periods, max(0, (size - first - phases) // period + 1))
        woven = woven if woven >= lanes else 0
    # Where all periods begin alike, square tiles write vectors that straddle no cache line: 160/147 took one thread
    # 1127 us, and 994 so.
    skew = 0
    if period * unit % lanes == 0:
        skew = -(address(out) + out_start + first * unit * itemsize) % (lanes * itemsize) // itemsize
    for m_next in range(0, woven, lanes):
        m = min(m_next, woven - lanes)  # the last vector overlaps the one before
        source = address(scratch) + (sums + m) * itemsize
        target = address(out) + out_start + (first + m * period) * unit * itemsize
        if is_woven:
            interleave(source, row, target, scratch, phases * unit, literally(lanes))
        else:
            # The first tile and the last one overlap their neighbours.
            for p_next in range(skew - lanes if skew else 0, phases * unit, lanes):
                p = max(0, min(p_next, phases * unit - lanes))
                transpose(
                    source + p * row * itemsize, row, target + p * itemsize, period * unit, scratch, literally(lanes)
                )  # fmt: skip
                prefetch_run(target + (period * unit + p) * lanes * itemsize, lanes * lanes * itemsize)
    for p in range(phases):
        count = min(periods, -((first + p - size) // period))
        for part in range(unit):
            target = out_start + (first + woven * period + p) * step + part * out.strides[3]
            at = sums + (p * unit + part) * row
            for m in range(woven, count):
                put(out, target, scratch[at + m])
                target += period * step


@jit.helper
def _call_into_cache(array, start, first, count):
    """Call some samples of a signal into L2."""
    prefetch_run(address(array) + start + first * array.strides[2], count * array.strides[2])


@jit.once
def kernel(dtype):
    """Return the compiled kernel `(x, taps, out, scratch, rows, problem, turns, worker)`."""
    lanes, itemsize, vectors = host().lanes(dtype.itemsize), dtype.itemsize, host().pair_vectors

    def run(x, taps, out, scratch, rows, problem, turns, worker):
        problem = integers_at(address(problem))
        up, down, step, n_taps = problem[UP], problem[DOWN], problem[STEP], problem[TAPS]
        x_unit, out_unit, sets, count = problem[X_UNIT], problem[OUT_UNIT], problem[SETS], n_taps * problem[REDUCED]
        units = (x_unit, x_unit, 1) if sets == 1 else (x_unit, 1, x_unit)
        sums = worker * problem[SCRATCH] + first_line(scratch)
        stage, table = sums + problem[STAGE], worker * problem[ROWS]
        index = take_first(turns)
        while index < problem[ITEMS]:
            item, period_block = divmod(index, problem[PERIOD_BLOCKS])
            signal, phase_block = divmod(item, problem[PHASE_BLOCKS])
            n, c = divmod(signal, out.shape[1])
            first, first_phase = period_block * problem[PERIODS_OF_ITEM], phase_block * problem[PHASES_OF_ITEM]
            last = min(problem[PERIODS], first + problem[PERIODS_OF_ITEM])
            phases = min(problem[PHASES_OF_ITEM], problem[OUTPUT_PHASES] - first_phase)
            x_start, out_start = n * x.strides[0] + c * x.strides[1], n * out.strides[0] + c * out.strides[1]
            # The samples of a period that these phases reach.
            i_from = (problem[LEFT] + down * first_phase) // up - n_taps + 1
            i_count = (problem[LEFT] + down * (first_phase + phases - 1)) // up + 1 - i_from
            plane, shift = 0, 0  # i % step and i // step: dividing took a quarter of the time of short signals
            for i in range(i_count):
                for part in range(x_unit):
                    place = stage + (plane * x_unit + part) * problem[PLANE_ROW] + shift
                    rows[table + i * x_unit + part] = address(scratch) + place * itemsize
                plane += 1
                if plane == step:
                    plane, shift = 0, shift + 1
            outputs = table + i_count * x_unit
            list_outputs(rows, outputs, problem[LEFT] + down * first_phase, down, up, phases, i_from)
            for period in range(first, last, problem[PERIODS_OF_BLOCK]):
                periods = min(problem[PERIODS_OF_BLOCK], last - period)
                padded = -(-periods // lanes) * lanes
                _stage_planes(
                    x, scratch, stage, problem, x_start, period * step + i_from, min(i_count, step),
                    padded + (i_count - 1) // step, literally(lanes),
                )  # fmt: skip
                # A few vectors of all phases before the next ones: neighbouring phases read the same rows, which then
                # stay in L1. Phase by phase, a million outputs of 160/147 took 1.27 ms instead of 1.06.
                for start in range(0, padded, VECTORS * lanes):
                    if period + periods < last and phases <= MOST_CALLED_AHEAD:
                        ahead = period + periods + start
                        _call_into_cache(x, x_start, ahead * step, VECTORS * lanes * step)
                        _call_into_cache(out, out_start, ahead * phases, VECTORS * lanes * phases)
                    for part in range(out_unit):
                        # Real taps take each part of the input by itself, complex ones all of them in turn.
                        origin = table + (part if sets == 1 else x_unit - 1)
                        h = c % problem[BANKS] * problem[PHASES] * count * sets
                        sum_outputs(
                            rows, outputs, phases, origin, units, taps, h + part % sets, sets, count,
                            problem[PHASES], address(scratch) + (sums + part * problem[SUM_ROW]) * itemsize,
                            out_unit * problem[SUM_ROW] * itemsize, start, min(padded, start + VECTORS * lanes),
                            1, literally(vectors), literally(lanes),
                        )  # fmt: skip
                _store(
                    out, scratch, sums, problem, out_start, period, periods, first_phase, phases, literally(lanes)
                )  # fmt: skip
            index = take(turns)

    return jit.compile_kernel(run, kernel_arguments(dtype))


def _repeats(change: RateChange, units: tuple[int, int], lanes: int) -> int:
    """Return how many periods are taken as one.

    Phases are summed in pairs: of a few, none should be left over. And what is too much to be woven, but does not fill
    a vector, would be moved number by number.
    """
    x_unit, out_unit = units
    for repeats in (1, 2, 4, 8):
        period, planes = repeats * change.outputs_per_period, repeats * change.inputs_per_period * x_unit
        if change.output_length < 4 * lanes * period or planes * lanes > BLOCK_SIZE:
            break  # the signal, or the block, has too few of them
        is_even = period % 2 == 0 or period > 2 * MOST_WOVEN
        if is_even and not any(MOST_WOVEN < rows < lanes for rows in (period * out_unit, planes)):
            return repeats
    return 1


def _periods(change: RateChange, operands: Operands, lanes: int) -> tuple[int, int, int, int]:
    """Return the outputs and inputs of a period as it is taken, its phases, and how many periods there are."""
    repeats = _repeats(change, (operands.x_parts, operands.out_parts), lanes)
    period = repeats * change.outputs_per_period
    return (
        period, repeats * change.inputs_per_period, min(period, change.output_length),
        -(-change.output_length // period),
    )  # fmt: skip


def _reach(change: RateChange, phases: int) -> int:
    """Return how many samples so many phases see."""
    # One more than they span, because they may begin anywhere between two samples.
    return (phases - 1) * change.down // change.up + 1 + change.taps_per_phase


def cost(change: RateChange, operands: Operands, lanes: int) -> float:
    """Return about how long a call takes, as `polyphase.py` compares it."""
    _, step, phases, periods = _periods(change, operands, lanes)
    reach, vectors = _reach(change, phases), -(-periods // lanes)
    listed = 3.5 * (reach * operands.x_parts + 2 * phases)
    staged = min(reach, step) * operands.x_parts * (10 + 0.27 * vectors * lanes)
    summed = 0.38 * vectors * change.taps_per_phase * operands.reduced
    stored = 5.7 + 0.27 * vectors * lanes
    of_signal = 77 + listed + staged + phases * operands.out_parts * (summed + stored)
    return 1400 + operands.batch * operands.channels * of_signal


def problem(change: RateChange, operands: Operands, lanes: int, n_workers: int) -> tuple[np.ndarray, int, int]:
    """Return the kernel's integers as an array, and for one worker the numbers of scratch and the rows of its table."""
    signals, x_unit, out_unit = operands.batch * operands.channels, operands.x_parts, operands.out_parts
    period, step, phases, periods = _periods(change, operands, lanes)
    phases_of_item = min(phases, BLOCK_OF_PHASES)
    phase_blocks = -(-phases // phases_of_item)
    reach = _reach(change, phases_of_item)
    planes = min(reach, step) * x_unit
    # At least four items for each worker, where that leaves a tile to each: the sums of one vector wait for each other,
    # and 10,000 samples at 147/160 took 64 us in four items of one or two vectors, 50 in one.
    tile, total = lanes * VECTORS // 2, periods * signals * phase_blocks
    share = max(-(-total // (4 * n_workers)), min(-(-total // n_workers), tile))
    block = max(1, min(periods, share, MOST_PERIODS, BLOCK_SIZE // max(phases_of_item * out_unit, planes)))
    # In whole vectors, and where there are enough of them in whole tiles.
    step_of_block = tile if block >= tile else lanes
    block = -(-block // step_of_block) * step_of_block
    periods_of_item = max(1, share // block) * block
    sum_row, plane_row = (odd_lines(size) for size in (periods_of_item, periods_of_item + (reach - 1) // step))
    period_blocks = -(-periods // periods_of_item)
    stage = phases_of_item * out_unit * sum_row
    values = {
        ITEMS: signals * phase_blocks * period_blocks,
        PHASE_BLOCKS: phase_blocks,
        PHASES_OF_ITEM: phases_of_item,
        PERIOD_BLOCKS: period_blocks,
        PERIODS_OF_ITEM: periods_of_item,
        PERIODS_OF_BLOCK: block,
        X_UNIT: x_unit,
        OUT_UNIT: out_unit,
        BANKS: operands.banks,
        SETS: operands.sets,
        REDUCED: operands.reduced,
        UP: change.up,
        DOWN: change.down,
        LEFT: change.left,
        LENGTH: change.length,
        OUTPUT_LENGTH: change.output_length,
        PERIOD: period,
        OUTPUT_PHASES: phases,
        PERIODS: periods,
        STEP: step,
        TAPS: change.taps_per_phase,
        PHASES: change.phases,
        PLANE_ROW: plane_row,
        SUM_ROW: sum_row,
        STAGE: stage,
        ROWS: x_unit * reach + 2 * phases_of_item,
        SCRATCH: stage + planes * plane_row + 16,
        IS_PLAIN_X: operands.is_plain_x,
        IS_PLAIN_OUT: operands.is_plain_out,
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), values[SCRATCH], values[ROWS]


def work(change: RateChange, operands: Operands) -> int:
    """Return the multiply-adds of a call."""
    of_signal = operands.out_parts * change.output_length * change.taps_per_phase * operands.reduced
    return operands.batch * operands.channels * (WORK_OF_SIGNAL + of_signal)
