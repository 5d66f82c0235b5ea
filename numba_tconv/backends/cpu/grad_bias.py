"""The gradient of the bias: every sample of a channel of grad_output, over all signals, added up in pairs.

    grad_bias[f] = sum_{n, t} g[n, f, t]

Pairs of pairs of pairs: the rounding error grows with the logarithm of the number of samples, not with the number.
"""

import numpy as np
from numba import types

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.staging import stage_samples, zero_run
from numba_tconv.backends.cpu.turns import take

# Samples of a block, a power of two, which is halved in L1; then as many sums of blocks as an index has bits.
BLOCK, LEVELS = 1024, 64
SCRATCH = BLOCK + LEVELS

FILTERS, PARTS, IS_HALF = range(3)


@jit.helper
def _add_pairs(scratch, at, size):
    """Return the sum of `size` numbers, a power of two, by halving."""
    while size > 1:
        size //= 2
        for k in range(size):
            scratch[at + k] += scratch[at + size + k]
    return scratch[at]


@jit.helper
def _add_block(scratch, at, levels, number):
    """Add the sum of block `number` to those before it, as a binary counter carries."""
    total = _add_pairs(scratch, at, BLOCK)
    level = levels
    while number % 2:
        total += scratch[level]
        level, number = level + 1, number // 2
    scratch[level] = total


@jit.once
def kernel(g_dtype, dtype):
    """Return the compiled kernel `(g, sums, scratch, problem, turns, worker)`; sums is flat: (filter, part)."""

    def run(g, sums, scratch, problem, turns, worker):
        batch, length = g.shape[0], g.shape[2]
        at = worker * SCRATCH
        levels = at + BLOCK
        index = take(turns)
        while index < problem[FILTERS] * problem[PARTS]:
            f, part = divmod(index, problem[PARTS])
            filled, blocks = 0, 0
            for n in range(batch):
                done = 0
                while done < length:
                    count = min(length - done, BLOCK - filled)
                    stage_samples(g, n, f, done, part, count, length, problem[IS_HALF], scratch, at + filled)
                    done, filled = done + count, filled + count
                    if filled == BLOCK:
                        _add_block(scratch, at, levels, blocks)
                        filled, blocks = 0, blocks + 1
            zero_run(scratch, at + filled, BLOCK - filled)
            total = _add_pairs(scratch, at, BLOCK)
            level = levels
            while blocks:
                if blocks % 2:
                    total += scratch[level]
                level, blocks = level + 1, blocks // 2
            sums[index] = total
            index = take(turns)

    arguments = (
        jit.array(g_dtype, 4, "A", readonly=True), jit.array(dtype, 1), jit.array(dtype, 1),
        jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1), types.int64,
    )  # fmt: skip
    return jit.compile_kernel(run, arguments)
