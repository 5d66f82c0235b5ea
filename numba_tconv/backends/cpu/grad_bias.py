"""The gradient of the bias: every sample of a channel of grad_output, over all signals, added up in pairs.

    grad_bias[f] = sum_{n, t} g[n, f, t]

Lanes run along time; vectors are added in pairs of pairs of pairs, and lanes at the end. So the rounding error grows
with the logarithm of the number of samples, not with the number.
"""

import numpy as np
from numba import types

from numba_tconv.backends.cpu import jit, threads
from numba_tconv.backends.cpu.staging import in_parts, is_same_dtype, stage_samples
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import sum_leaves, sum_run
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at

# Samples that are staged at a time, where they cannot be read in place; sums that wait, one for a bit of their count.
BLOCK, LEVELS = 1024, 64
# Samples of an item, in as many channels as that takes.
ITEM_SIZE = 1 << 13
# Multiply-adds that take as long as a sample, and as a channel whatever its samples.
WORK_OF_SAMPLE, WORK_OF_CHANNEL = 4, 1 << 10

CHANNELS_OF_ITEM, PARTS, IS_HALF, SCRATCH = range(4)


@jit.once
def kernel(g_dtype, dtype, unit):
    """Return the compiled kernel `(g, sums, scratch, problem, turns, worker)`; sums is flat: (filter, part).

    With `unit` 2, complex numbers are read in place as pairs of real ones.
    """
    lanes, itemsize = host().lanes(dtype.itemsize), dtype.itemsize

    def run(g, sums, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        batch, length, channels = g.shape[0], g.shape[2], problem[CHANNELS_OF_ITEM]
        is_plain = is_same_dtype(g, scratch) and g.strides[2] == unit * itemsize
        stage = worker * problem[SCRATCH]
        staged = address(scratch) + stage * itemsize
        levels = staged + BLOCK * itemsize
        first = take_first(turns) * channels
        while first * unit < sums.size:
            for index in range(first, min(sums.size // unit, first + channels)):
                f, part = divmod(index, problem[PARTS])
                leaves = 0
                for n in range(batch):
                    done = 0
                    while done < length:
                        if is_plain:
                            count, source = length * unit, address(g) + n * g.strides[0] + f * g.strides[1]
                        else:
                            count, source = min(length - done, BLOCK), staged
                            stage_samples(g, n, f, done, part, count, length, problem[IS_HALF], scratch, stage)
                        leaves = sum_run(source, count, levels, leaves, scratch, lanes)
                        done += count
                sum_leaves(address(sums) + index * unit * itemsize, levels, leaves, scratch, unit, lanes)
            first = take(turns) * channels

    arguments = (
        jit.array(g_dtype, 4, "A", readonly=True), jit.array(dtype, 1), jit.array(dtype, 1),
        jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1), types.int64,
    )  # fmt: skip
    return jit.compile_kernel(run, arguments)


def bias_gradient(grad_output: np.ndarray, dtype: np.dtype, out_dtype: np.dtype) -> np.ndarray:
    """Return the sums of `grad_output` (batch, out_channels, length) over batch and length, computed in `dtype`."""
    g = in_parts(grad_output)
    batch, filters, length, parts = g.shape
    # Complex numbers, where they lie one behind the other in the precision that is computed in, are pairs of real ones.
    unit = parts if g.dtype == dtype and g.strides[2] == parts * dtype.itemsize else 1
    sums = np.empty(filters * parts, dtype)
    n_workers = threads.workers(g.size * WORK_OF_SAMPLE + sums.size * WORK_OF_CHANNEL)
    channels = max(1, ITEM_SIZE // max(1, batch * length))
    size = BLOCK + LEVELS * host().lanes(dtype.itemsize)
    integers = np.array([channels, parts // unit, grad_output.dtype.char == "e", size], np.int64)
    scratch = np.empty(size * n_workers, dtype)
    threads.launch(kernel(g.dtype, dtype, unit), (g, sums, scratch, integers), n_workers)
    if parts == 2:
        sums = sums.view(np.result_type(dtype, np.complex64))
    return sums.astype(out_dtype, copy=False)
