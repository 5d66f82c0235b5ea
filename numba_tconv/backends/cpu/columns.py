"""Changes of rate by up/down along any axis but the last: neighbouring signals along the lanes.

    y[n, lane] = sum_j h[r + up*j] * x[q - j, lane]          q, r = divmod(left + down*n, up)

Nothing is staged, transposed or interleaved: every row of the output is a sum of rows of the input, read and written in
place. An item is a block of rows of one array (time, signal). Rows beyond the ends are all one row of zeros.
"""

from functools import lru_cache

import numpy as np
from numba import literally, types

from numba_tconv.backends.cpu import jit, threads
from numba_tconv.backends.cpu.pack import Taps
from numba_tconv.backends.cpu.sums import VECTORS, list_outputs, sum_outputs
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.turns import take
from numba_tconv.backends.cpu.vectors import address
from numba_tconv.geometry import RateChange

# Outputs of an item: its input stays in L2 while the columns are taken a few vectors at a time.
BLOCK_OF_OUTPUTS = 128

(
    ITEMS, BLOCKS, OUTPUTS_OF_ITEM, UP, DOWN, LEFT, LENGTH, OUTPUT_LENGTH, TAPS, PHASES, ROWS,
) = range(11)  # fmt: skip


@jit.once
def kernel(dtype):
    """Return the compiled kernel `(x, taps, out, zeros, rows, problem, turns, worker)`.

    x and out are (array, time, lane).
    """
    lanes, vectors = host().lanes(dtype.itemsize), host().pair_vectors

    def run(x, taps, out, zeros, rows, problem, turns, worker):
        up, down, n_taps = problem[UP], problem[DOWN], problem[TAPS]
        columns = x.shape[2]
        table = worker * problem[ROWS]
        index = take(turns)
        while index < problem[ITEMS]:
            n, block = divmod(index, problem[BLOCKS])
            first = block * problem[OUTPUTS_OF_ITEM]
            last = min(problem[OUTPUT_LENGTH], first + problem[OUTPUTS_OF_ITEM])
            i_from = (problem[LEFT] + down * first) // up - n_taps + 1
            i_to = (problem[LEFT] + down * (last - 1)) // up + 1
            for i in range(i_from, i_to):
                row = address(x) + n * x.strides[0] + i * x.strides[1]
                rows[table + i - i_from] = row if 0 <= i < problem[LENGTH] else address(zeros)
            places = table + i_to - i_from
            list_outputs(rows, places, problem[LEFT] + down * first, down, up, last - first, i_from)
            target = address(out) + n * out.strides[0] + first * out.strides[1]
            for start in range(0, columns, VECTORS * lanes):
                sum_outputs(
                    rows, places, last - first, table, (1, 1, 1), taps, 0, n_taps, problem[PHASES], target,
                    out.strides[1], start, min(columns, start + VECTORS * lanes), literally(vectors), literally(lanes),
                )  # fmt: skip
            index = take(turns)

    flat, integers = jit.array(dtype, 1, readonly=True), jit.array(np.int64, 1)
    arguments = (
        jit.array(dtype, 3, "A", readonly=True), flat, jit.array(dtype, 3, "A"), flat,
        integers, jit.array(np.int64, 1, readonly=True), integers, types.int64,
    )  # fmt: skip
    return jit.compile_kernel(run, arguments)


def serves(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether an array (array, time, signal) has signals enough side by side to fill a vector of the real `dtype`."""
    numbers = array.shape[2] * array.itemsize // dtype.itemsize
    is_plain = array.real.dtype == dtype and array.strides[2] == array.itemsize
    return is_plain and numbers >= host().lanes(dtype.itemsize)


@lru_cache(maxsize=4096)
def _problem(change: RateChange, arrays: int, n_workers: int) -> np.ndarray:
    """Return the kernel's integers."""
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
    return np.array([values[k] for k in range(len(values))], np.int64)


def change_rate(change: RateChange, x: np.ndarray, taps: Taps, out: np.ndarray) -> None:
    """Write `x` (array, time, signal) at the new rate to `out`, what `serves`; one filter of real taps for all."""
    dtype = taps.numbers.dtype
    x, out = x.view(dtype), out.view(dtype)  # under real taps the halves of complex numbers are signals of their own
    n_workers = threads.workers(out.size * change.taps_per_phase)
    numbers = _problem(change, x.shape[0], n_workers)
    zeros, rows = np.zeros(x.shape[2], dtype), np.empty(numbers[ROWS] * n_workers, np.int64)
    threads.launch(kernel(dtype), (x, taps.numbers, out, zeros, rows, numbers), n_workers)
