"""Changes of rate by up/down of many short signals: signals along the lanes, transposed on their way in and out.

    y[lane, n] = sum_j h[r + up*j] * x[lane, q - j]          q, r = divmod(left + down*n, up)

An item is a block of outputs of a block of signals. Square tiles of its samples are transposed in registers to rows of
one time; every output is a sum of rows, as in `columns.py`; and the sums are transposed back. All that stays in L2:
with a copy of all signals, a pass over it and a copy back, 1,000 signals of 250 samples at 25/36 took 430 us, on one
thread and on two, and take 240 and 140 so.
"""

import numpy as np
from numba import literally

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.staging import first_line, odd_lines, put, read, zero_run
from numba_tconv.backends.cpu.sums import VECTORS, Operands, kernel_arguments, list_outputs, sum_outputs
from numba_tconv.backends.cpu.target import LINE_OF_CACHE, host
from numba_tconv.backends.cpu.turning import turn
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import RateChange

# Numbers that an item stages and sums up, to stay in L2; and where that would leave it few outputs. Longer filters are
# for other kernels.
BLOCK_SIZE, MOST_SIZE = 1 << 16, 1 << 19
FEWEST_OUTPUTS, MOST_TAPS = 16, 1 << 10

(
    ITEMS, BLOCKS_OF_SIGNALS, SIGNALS, SIGNALS_OF_ITEM, OUTPUTS_OF_ITEM, UP, DOWN, LEFT, LENGTH, OUTPUT_LENGTH,
    TAPS, PHASES, SETS, X_UNIT, OUT_UNIT, ROW, SUMS, ROWS, SCRATCH, IS_PLAIN_X, IS_PLAIN_OUT,
) = range(21)  # fmt: skip


@jit.helper
def _stage(x, scratch, at, problem, signal, count, begin, end, lanes):
    """Stage the samples of some signals from `begin` to `end`: a row for each part of each of them."""
    unit, row, itemsize = problem[X_UNIT], problem[ROW], scratch.itemsize
    numbers = unit * (end - begin)
    if problem[IS_PLAIN_X] and numbers >= lanes:
        source = address(x) + signal * x.strides[0] + begin * unit * itemsize
        target = address(scratch) + at * itemsize
        turn(source, count, x.strides[0], target, numbers, row * itemsize, scratch, literally(lanes))
        return
    for s in range(count):
        for k in range(numbers):
            i, part = divmod(k, unit)
            offset = (signal + s) * x.strides[0] + (begin + i) * x.strides[2] + part * x.strides[3]
            scratch[at + k * row + s] = read(x, offset)


@jit.helper
def _store(out, scratch, at, problem, signal, count, first, last, lanes):
    """Store the sums of some signals, a row for each part of each output, to the outputs from `first` to `last`."""
    unit, row, itemsize = problem[OUT_UNIT], problem[ROW], scratch.itemsize
    numbers = unit * (last - first)
    if problem[IS_PLAIN_OUT] and numbers >= lanes:
        source = address(scratch) + at * itemsize
        target = address(out) + signal * out.strides[0] + first * unit * itemsize
        turn(source, numbers, row * itemsize, target, count, out.strides[0], scratch, literally(lanes))
        return
    for s in range(count):
        for k in range(numbers):
            n, part = divmod(k, unit)
            offset = (signal + s) * out.strides[0] + (first + n) * out.strides[2] + part * out.strides[3]
            put(out, offset, scratch[at + k * row + s])


@jit.once
def kernel(dtype):
    """Return the compiled kernel `(x, taps, out, scratch, rows, problem, turns, worker)`; signals are along axis 0."""
    lanes, itemsize, vectors = host().lanes(dtype.itemsize), dtype.itemsize, host().pair_vectors

    def run(x, taps, out, scratch, rows, problem, turns, worker):
        problem = integers_at(address(problem))
        up, down, n_taps, row = problem[UP], problem[DOWN], problem[TAPS], problem[ROW]
        x_unit, out_unit, sets = problem[X_UNIT], problem[OUT_UNIT], problem[SETS]
        # Complex taps take all parts of the input in turn, real ones each part by itself.
        units = (x_unit, x_unit, 1) if sets == 1 else (x_unit, 1, x_unit)
        count = n_taps if sets == 1 else n_taps * x_unit
        # The first row is the zeros beyond all ends.
        zeros = worker * problem[SCRATCH] + first_line(scratch)
        stage, sums, table = zeros + row, zeros + problem[SUMS], worker * problem[ROWS]
        zero_run(scratch, zeros, row)
        index = take_first(turns)
        while index < problem[ITEMS]:
            # Items that run at the same time have other signals, not cache lines of the same ones: 190 us, and 140 so.
            block, signal_block = divmod(index, problem[BLOCKS_OF_SIGNALS])
            signal = signal_block * problem[SIGNALS_OF_ITEM]
            width = min(problem[SIGNALS_OF_ITEM], problem[SIGNALS] - signal)
            if width < lanes:  # the last block overlaps the one before
                signal, width = problem[SIGNALS] - lanes, lanes
            first = block * problem[OUTPUTS_OF_ITEM]
            last = min(problem[OUTPUT_LENGTH], first + problem[OUTPUTS_OF_ITEM])
            i_from = (problem[LEFT] + down * first) // up - n_taps + 1
            i_to = (problem[LEFT] + down * (last - 1)) // up + 1
            begin, end = max(0, i_from), min(problem[LENGTH], i_to)
            if begin < end:
                _stage(x, scratch, stage, problem, signal, width, begin, end, literally(lanes))
            for i in range(i_from, i_to):
                for part in range(x_unit):
                    place = stage + ((i - begin) * x_unit + part) * row if begin <= i < end else zeros
                    rows[table + (i - i_from) * x_unit + part] = address(scratch) + place * itemsize
            outputs = table + (i_to - i_from) * x_unit
            list_outputs(rows, outputs, problem[LEFT] + down * first, down, up, last - first, i_from)
            for start in range(0, width, VECTORS * lanes):
                for part in range(out_unit):
                    origin = table + (part if sets == 1 else x_unit - 1)
                    sum_outputs(
                        rows, outputs, last - first, origin, units, taps, part % sets, sets, count, problem[PHASES],
                        address(scratch) + (sums + part * row) * itemsize, out_unit * row * itemsize,
                        start, min(width, start + VECTORS * lanes), 1, literally(vectors), literally(lanes),
                    )  # fmt: skip
            _store(out, scratch, sums, problem, signal, width, first, last, literally(lanes))
            index = take(turns)

    return jit.compile_kernel(run, kernel_arguments(dtype))


def serves(change: RateChange, operands: Operands, lanes: int) -> bool:
    """Whether signals (signal, 1, time) are enough to fill a vector, and have one filter that is not too long."""
    is_shared = operands.banks == operands.channels == 1
    return is_shared and operands.batch >= lanes and change.taps_per_phase <= MOST_TAPS


def cost(change: RateChange, operands: Operands, lanes: int) -> float:
    """Return about how long a call takes, as `polyphase.py` compares it."""
    vectors, blocks = -(-operands.batch // lanes), -(-operands.batch // (VECTORS * lanes))
    samples, sums = change.length * operands.x_parts, change.output_length * operands.out_parts
    listed = 3.2 * blocks * (samples + sums)
    # A vector has as many bytes in both precisions, and takes as long. What makes no square tile is moved by numbers.
    moved = vectors * (2.7 * samples + 5.3 * sums)
    for numbers, is_plain in ((samples, operands.is_plain_x), (sums, operands.is_plain_out)):
        moved += 0 if is_plain and numbers >= lanes else 2.5 * operands.batch * numbers
    summed = sums * change.taps_per_phase * operands.reduced * (0.2 * vectors + 0.72 * blocks)
    return 1200 + listed + moved + summed


def problem(change: RateChange, operands: Operands, lanes: int, n_workers: int) -> tuple[np.ndarray, int, int]:
    """Return the kernel's integers, and for one worker the numbers of scratch and the rows of its table."""
    signals, count = operands.batch, change.output_length
    blocks_of_signals = max(-(-signals // (VECTORS * lanes)), min(n_workers, signals // (2 * lanes)))
    width = -(-signals // (blocks_of_signals * lanes)) * lanes
    row = odd_lines(width)

    def reach(outputs: int) -> int:
        """Return how many samples so many outputs see."""
        return min(change.length, (outputs - 1) * change.down // change.up + 1 + change.taps_per_phase)

    def size(outputs: int) -> int:
        return row * (reach(outputs) * operands.x_parts + outputs * operands.out_parts)

    outputs = count
    while outputs > 1 and size(outputs) > (BLOCK_SIZE if outputs > FEWEST_OUTPUTS else MOST_SIZE):
        outputs = -(-outputs // 2)
    blocks = -(-count // outputs)
    outputs = -(-count // blocks)
    sums = row * (1 + reach(outputs) * operands.x_parts)
    values = {
        ITEMS: -(-signals // width) * blocks,
        BLOCKS_OF_SIGNALS: -(-signals // width),
        SIGNALS: signals,
        SIGNALS_OF_ITEM: width,
        OUTPUTS_OF_ITEM: outputs,
        UP: change.up,
        DOWN: change.down,
        LEFT: change.left,
        LENGTH: change.length,
        OUTPUT_LENGTH: count,
        TAPS: change.taps_per_phase,
        PHASES: change.phases,
        SETS: operands.sets,
        X_UNIT: operands.x_parts,
        OUT_UNIT: operands.out_parts,
        ROW: row,
        SUMS: sums,
        ROWS: ((outputs - 1) * change.down // change.up + 1 + change.taps_per_phase) * operands.x_parts + 2 * outputs,
        SCRATCH: sums + outputs * operands.out_parts * row + LINE_OF_CACHE,
        IS_PLAIN_X: operands.is_plain_x,
        IS_PLAIN_OUT: operands.is_plain_out,
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), values[SCRATCH], values[ROWS]
