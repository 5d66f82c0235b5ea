"""The gradient of x for few samples: weights are read where they lie, along (filter, tap), and copied by nobody.

    grad_x[c, (n, i)] = sum_q weight[c, q] * B[(n, i), q]        q = (f, k), B the windows of grad_output

What `scatter.py` is to the forward pass. Lanes run along q, as weights lie in memory and windows in grad_output. With
lanes along time, as in `grad_x.py`, most would be empty, and weights are staged for few multiplications each: the
1024 -> 512 (16, 8) layer took 7 ms with 4 samples, here 2; with 32, 8 and 6.

An item is a block of channels and of samples. It walks through q: windows are staged, then each row of weights meets
them in tiles of dot products. Every sum is taken in the same order whatever the number of threads.
"""

import numpy as np
from numba import literally

from numba_tconv.backends.cpu import jit, products
from numba_tconv.backends.cpu.grad_x import kernel_arguments, store_row
from numba_tconv.backends.cpu.products import LINE_BYTES, Operands, begin_of, even_blocks, integers, stage_windows
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import dot_rows
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry

# With more samples an item has some of them, and all channels.
FEW_SAMPLES = 48
# Of the windows that are staged at a time, which all rows of an item pass: half of it or twice were 5 % slower. But of
# many samples no less of each than adding the lanes is worth.
WINDOW_NUMBERS, FEWEST_OF_WINDOW = 1 << 14, 256
MOST_LANES = 256
# Of a tile: four were up to 4 % slower, eight up to 25, for then sums leave the registers.
R = 6
# Of an item: their sums are scratch.
MOST_ROWS = 4096


@jit.helper
def _multiply(weight, at, weight_row, rows, scratch, stage, step, samples, count, acc, is_first, C, lanes):
    """Add the products of `count` numbers of every row, from `weight[at]` on, and of every staged window."""
    counts, windows = (samples, count), (stage, step)
    for r in range(0, rows, R):
        a, sums = (address(weight) + (at + r * weight_row) * weight.itemsize, weight_row), acc + r * samples
        here = min(R, rows - r)
        if here == R:
            dot_rows(scratch, a, windows, counts, (sums, samples), is_first, R, C, lanes)
        else:
            for k in range(here):
                b = (a[0] + k * weight_row * weight.itemsize, weight_row)
                dot_rows(scratch, b, windows, counts, (sums + k * samples, samples), is_first, 1, C, lanes)


@jit.once
def kernel(g_dtype, dtype, out_dtype):
    """Return the compiled kernel, with the arguments of `grad_x.kernel`."""
    lanes, C = host().lanes(dtype.itemsize), host().dot_columns

    def run(weight, g, out, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        rows_of_group, step = problem[products.ROWS], problem[products.CHUNK]
        reduced = problem[products.FILTERS] * problem[products.FILTER_SIZE]
        weight_row = problem[products.REDUCED_PARTS] * reduced
        start = begin_of(scratch, worker, problem)
        acc, stage = start + problem[products.ACC], start + problem[products.PANELS]
        index = take_first(turns)
        while index < problem[products.ITEMS]:
            item, row_block = divmod(index, problem[products.ROW_BLOCKS])
            item, lane_block = divmod(item, problem[products.LANE_BLOCKS])
            part, group = divmod(item, problem[products.GROUPS])
            first = lane_block * problem[products.LANE_BLOCK]
            last = min(problem[products.LANES], first + problem[products.LANE_BLOCK])
            row = group * rows_of_group + row_block * problem[products.ROW_BLOCK]
            rows = min(problem[products.ROW_BLOCK], rows_of_group - row_block * problem[products.ROW_BLOCK])
            for reduced_part in range(problem[products.REDUCED_PARTS]):
                for q in range(0, reduced, step):
                    count = min(reduced - q, step)
                    stage_windows(
                        g, scratch, stage, start, problem, group * problem[products.FILTERS], part + reduced_part,
                        first, last, q, q + count, step, lanes,
                    )  # fmt: skip
                    _multiply(
                        weight, row * weight_row + reduced_part * reduced + q, weight_row, rows, scratch, stage, step,
                        last - first, count, acc, q == 0 and reduced_part == 0, literally(C), literally(lanes),
                    )  # fmt: skip
            for r in range(rows):
                store_row(out, scratch, acc + r * (last - first), problem, row + r, part, first, last)
            index = take(turns)

    return jit.compile_kernel(run, kernel_arguments(g_dtype, dtype, out_dtype))


def cost(geometry: Geometry, dtype: np.dtype, operands: Operands) -> float:
    """Return about how long the gradient of x takes here, as `backward.x_path` compares it."""
    samples, reduced = operands.batch * geometry.length, operands.filters * geometry.filter_size
    sums, windows = samples * operands.rows, samples * operands.reduced_parts * reduced
    multiplied = 0.24 * windows * operands.rows / host().lanes(dtype.itemsize)
    staged = 0.07 * dtype.itemsize * windows + operands.reduced_filters * (0.45 * samples + 17 * operands.batch)
    _, chunks = _chunk(dtype, samples, reduced)
    return multiplied + staged + 2.0 * sums * operands.reduced_parts * chunks


def _chunk(dtype: np.dtype, samples: int, reduced: int) -> tuple[int, int]:
    """Return how many numbers are summed up at once, which decides on the bits and not on the workers, how often."""
    most = max(WINDOW_NUMBERS // samples, FEWEST_OF_WINDOW)
    return even_blocks(reduced, most, host().lanes(dtype.itemsize))


def problem(geometry: Geometry, dtype: np.dtype, n_workers: int, operands: Operands) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    rows, samples, reduced = operands.rows, operands.batch * geometry.length, operands.filters * geometry.filter_size
    # Every item stages windows for all its rows: one for each worker, of other samples where there are many.
    wanted, most = -(-n_workers // operands.n_products), MOST_LANES
    if samples > FEW_SAMPLES:
        most, wanted = min(most, -(-samples // wanted)), 1
    lane_block, lane_blocks = even_blocks(samples, most, 1)
    row_block, row_blocks = even_blocks(rows, min(-(-rows // wanted), MOST_ROWS), R)
    chunk, _ = _chunk(dtype, samples, reduced)
    line = geometry.stride * (min(geometry.length, lane_block) - 1)
    line += geometry.dilation * (min(geometry.filter_size, chunk) - 1) + 1
    has_lines = line * dtype.itemsize <= LINE_BYTES
    values = {
        products.ITEMS: operands.n_products * row_blocks * lane_blocks,
        products.ROW_BLOCK: row_block,
        products.ROW_BLOCKS: row_blocks,
        products.LANES: samples,
        products.LANE_BLOCK: lane_block,
        products.LANE_BLOCKS: lane_blocks,
        products.CHUNK: chunk,
        products.HAS_LINES: has_lines,
        products.IN_PLACE: True,
    }
    sizes = {
        products.ACC: row_block * lane_block,
        products.PANELS: lane_block * chunk,
        products.LINE: line if has_lines else chunk,
    }
    return integers(geometry, operands, values, sizes)
