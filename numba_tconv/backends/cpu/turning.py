"""Arrays whose channels lie side by side, (batch, time, channel) in memory: turned, so that time does.

All kernels take runs of time; any other order they collect number by number, a cache line for each, and again in every
item. Square tiles that are transposed in registers are read and written once. With all arrays in that order, 256 -> 128
(16, 8) with 16 x 128 samples took 1.3 times as long as in the usual one and 1.3 to 1.7 for its gradients, now 1.1;
64 -> 32 (4, 2) with 11,008 samples 1.8, now 1.4.
"""

import numpy as np
from numba import literally, types

from numba_tconv.backends.cpu import jit, threads
from numba_tconv.backends.cpu.moves import transpose
from numba_tconv.backends.cpu.staging import on_a_line
from numba_tconv.backends.cpu.target import LINE_OF_CACHE, host
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address

# Of a copy; larger arrays are taken as they are. A call has two.
MOST_BYTES = 1 << 23
# Smaller ones as well: the launch takes as long.
FEWEST_NUMBERS = 1 << 12
# Of an item: rows, and columns; two items that write to one row should not do so side by side.
ROWS, COLUMNS = 64, 512
# Multiply-adds that count as moving one. With 16, two threads moved 50,000 numbers, which takes one 7 us.
WORK_OF_NUMBER = 2


@jit.helper
def turn(source, rows, step, target, columns, t_step, like, lanes):
    """Transpose `rows` runs of `columns` numbers, `step` bytes apart, to `columns` runs of `rows`, `t_step` apart.

    By square tiles between addresses of numbers as of `like`; neither count is less than `lanes`.
    """
    for row_next in range(0, rows, lanes):
        row = min(row_next, rows - lanes)  # the last tile overlaps the one before
        for column_next in range(0, columns, lanes):
            column = min(column_next, columns - lanes)
            transpose(
                source + row * step + column * like.itemsize, step // like.itemsize,
                target + column * t_step + row * like.itemsize, t_step // like.itemsize, like, literally(lanes),
            )  # fmt: skip


@jit.once
def _kernel(dtype):
    """Return the compiled kernel `(source, target, turns, worker)`; the one is contiguous along axis 1, the other 2."""
    lanes, itemsize = host().lanes(dtype.itemsize), dtype.itemsize

    def run(source, target, turns, worker):
        batch, rows, columns = source.shape
        row_blocks, column_blocks = -(-rows // ROWS), -(-columns // COLUMNS)
        index = take_first(turns)
        while index < batch * row_blocks * column_blocks:
            item, column_block = divmod(index, column_blocks)
            n, row_block = divmod(item, row_blocks)
            # A last block of fewer rows than a tile begins within the one before.
            row, column = min(row_block * ROWS, rows - lanes), min(column_block * COLUMNS, columns - lanes)
            turn(
                address(source) + n * source.strides[0] + row * itemsize + column * source.strides[2],
                min(columns, (column_block + 1) * COLUMNS) - column, source.strides[2],
                address(target) + n * target.strides[0] + row * target.strides[1] + column * itemsize,
                min(rows, (row_block + 1) * ROWS) - row, target.strides[1], target, literally(lanes),
            )  # fmt: skip
            index = take(turns)

    arguments = (
        jit.array(dtype, 3, "A", readonly=True), jit.array(dtype, 3, "A"), jit.array(np.int64, 1), types.int64
    )  # fmt: skip
    return jit.compile_kernel(run, arguments)


def serves(shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array (batch, channel, time) should be turned."""
    itemsize = dtype.itemsize
    if strides[1] != itemsize or strides[2] == itemsize or dtype.kind not in "fc" or itemsize not in (4, 8):
        return False
    batch, channels, length = shape
    is_whole = strides[0] % itemsize == strides[2] % itemsize == 0
    is_square = min(channels, length) >= host().lanes(itemsize)
    return is_whole and is_square and FEWEST_NUMBERS <= batch * channels * length <= MOST_BYTES // itemsize


def turned(array: np.ndarray) -> np.ndarray:
    """Return an array as it is, or where it should be turned a copy with time side by side."""
    if not serves(array.shape, array.strides, array.dtype):
        return array
    copy = room(array.shape, array.dtype)
    _copy(array, copy)
    return copy


def room_strides(shape: tuple[int, int, int], dtype: np.dtype) -> tuple[int, int, int]:
    """Return the strides of `room`: rows are an odd number of cache lines, or would meet in one set of the cache."""
    _, channels, length = shape
    row = (-(-length * dtype.itemsize // LINE_OF_CACHE) | 1) * LINE_OF_CACHE
    return channels * row, row, dtype.itemsize


def room(shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
    """Return a new array with time side by side, whose rows begin with a cache line."""
    strides = room_strides(shape, dtype)
    return np.ndarray(shape, dtype, on_a_line(shape[0] * strides[0], np.dtype(np.uint8)), 0, strides)


def turn_back(source: np.ndarray, target: np.ndarray) -> None:
    """Copy an array with time side by side to one with channels side by side."""
    _copy(source.swapaxes(1, 2), target.swapaxes(1, 2))


def _copy(source: np.ndarray, target: np.ndarray) -> None:
    # Complex numbers are moved as what has as many bytes.
    dtype = np.dtype(f"f{source.itemsize}")
    n_workers = threads.workers(source.size * WORK_OF_NUMBER)
    threads.launch(_kernel(dtype), (source.view(dtype), target.view(dtype)), n_workers)
