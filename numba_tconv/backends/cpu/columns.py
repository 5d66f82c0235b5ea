"""Changes of rate by up/down along any axis but the last: neighbouring signals along the lanes.

    y[n, lane] = sum_j h[r + up*j] * x[q - j, lane]          q, r = divmod(left + down*n, up)

Nothing is staged, transposed or interleaved: every row of the output is a sum of rows of the input, read and written in
place. An item is a block of rows of one array (time, signal). Rows beyond the ends are all one row of zeros.
"""

import numpy as np
from numba import literally

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.staging import zero_run
from numba_tconv.backends.cpu.sums import VECTORS, Operands, kernel_arguments, list_outputs, sum_outputs
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import RateChange

# Outputs of an item: its input stays in L2 while the columns are taken a few vectors at a time.
BLOCK_OF_OUTPUTS = 128

(
    ITEMS, BLOCKS, OUTPUTS_OF_ITEM, UP, DOWN, LEFT, LENGTH, OUTPUT_LENGTH, TAPS, PHASES, ROWS,
) = range(11)  # fmt: skip


@jit.once
def kernel(dtype, parts):
    """Return the compiled kernel `(x, taps, out, scratch, rows, problem, turns, worker)`, for taps of so many parts.

    x and out are (array, 1, time, lane).
    """
    lanes, vectors = host().lanes(dtype.itemsize), host().pair_vectors

    def run(x, taps, out, scratch, rows, problem, turns, worker):
        problem = integers_at(address(problem))
        up, down, n_taps = problem[UP], problem[DOWN], problem[TAPS]
        columns = x.shape[3]
        table, zeros = worker * problem[ROWS], worker * columns
        zero_run(scratch, zeros, columns)
        index = take_first(turns)
        while index < problem[ITEMS]:
            n, block = divmod(index, problem[BLOCKS])
            first = block * problem[OUTPUTS_OF_ITEM]
            last = min(problem[OUTPUT_LENGTH], first + problem[OUTPUTS_OF_ITEM])
            i_from = (problem[LEFT] + down * first) // up - n_taps + 1
            i_to = (problem[LEFT] + down * (last - 1)) // up + 1
            for i in range(i_from, i_to):
                row = address(x) + n * x.strides[0] + i * x.strides[2]
                is_inside = 0 <= i < problem[LENGTH]
                rows[table + i - i_from] = row if is_inside else address(scratch) + zeros * scratch.itemsize
            places = table + i_to - i_from
            list_outputs(rows, places, problem[LEFT] + down * first, down, up, last - first, i_from)
            target = address(out) + n * out.strides[0] + first * out.strides[2]
            for start in range(0, columns, VECTORS * lanes):
                sum_outputs(
                    rows, places, last - first, table, (1, 1, 1), taps, 0, parts * parts, n_taps, problem[PHASES],
                    target, out.strides[2], start, min(columns, start + VECTORS * lanes), literally(parts),
                    literally(vectors), literally(lanes),
                )  # fmt: skip
            index = take(turns)

    return jit.compile_kernel(run, kernel_arguments(dtype))


def serves(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether an array (array, time, signal) has signals enough side by side to fill a vector of the real `dtype`."""
    numbers = array.shape[2] * array.itemsize // dtype.itemsize
    is_plain = array.real.dtype == dtype and array.strides[2] == array.itemsize
    return is_plain and numbers >= host().lanes(dtype.itemsize)


def cost(change: RateChange, operands: Operands, lanes: int) -> float:
    """Return about how long a call takes for channels side by side, as `polyphase.py` compares it."""
    vectors = operands.batch * -(-operands.channels * operands.x_parts // lanes)
    of_output = vectors * (1.65 + 0.32 * change.taps_per_phase * operands.sets)
    return 1600 + 8 * (change.taps_per_phase + change.output_length) + change.output_length * of_output


def problem(change: RateChange, arrays: int, columns: int, n_workers: int) -> tuple[np.ndarray, int, int]:
    """Return the kernel's integers, and for one worker the numbers of scratch and the rows of its table."""
    # At least four items for each worker.
    share = -(-change.output_length * arrays // (4 * n_workers))
    outputs_of_item = max(1, min(BLOCK_OF_OUTPUTS, share, change.output_length))
    blocks = -(-change.output_length // outputs_of_item)
    values = {
        ITEMS: arrays * blocks,
        BLOCKS: blocks,
        OUTPUTS_OF_ITEM: outputs_of_item,
        UP: change.up,
        DOWN: change.down,
        LEFT: change.left,
        LENGTH: change.length,
        OUTPUT_LENGTH: change.output_length,
        TAPS: change.taps_per_phase,
        PHASES: change.phases,
        ROWS: (outputs_of_item - 1) * change.down // change.up + 1 + change.taps_per_phase + 2 * outputs_of_item,
    }
    return np.array([values[k] for k in range(len(values))], np.int64), columns, values[ROWS]
