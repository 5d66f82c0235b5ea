"""The sums of a change of rate: which samples and taps each output has, and neighbouring outputs summed together.

    y[n, lane] = sum_j taps[r + up*j] * row[q - j, lane]          q, r = divmod(left + down*n, up)

What the lanes are is the business of `rational.py`, `columns.py` and `segments.py`.
"""

from typing import NamedTuple

import numpy as np
from numba import literally, types

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.tile import sum_rows

# Vectors of one output at a time: as many accumulators hide the latency of the multiply-add.
VECTORS = 8


class Operands(NamedTuple):
    """What a call's arrays and taps are, besides the rates.

    Attributes
    ----------
    batch, channels : int
        Signals.
    x_parts, out_parts : int
        2 for complex, 1 for real.
    banks, sets, reduced : int
        Filters; 2 for complex taps, 1 for real; parts of a sample that each result sees.
    is_plain_x, is_plain_out : bool
        Whether time is contiguous.
    """

    batch: int
    channels: int
    x_parts: int
    out_parts: int
    banks: int
    sets: int
    reduced: int
    is_plain_x: bool
    is_plain_out: bool


def kernel_arguments(dtype: np.dtype) -> tuple:
    """Return the types of a kernel's `(x, taps, out, scratch, table, problem, turns, worker)`."""
    integers = jit.array(np.int64, 1)
    return (
        jit.array(dtype, 4, "A", readonly=True), jit.array(dtype, 1, readonly=True), jit.array(dtype, 4, "A"),
        jit.array(dtype, 1), integers, jit.array(np.int64, 1, readonly=True), integers, types.int64,
    )  # fmt: skip


@jit.helper
def list_outputs(table, at, first, step, up, count, begin):
    """Write `q - begin, r` of `count` outputs to the table; at the rate `up`, the first one is sample `first`."""
    q, r = divmod(first, up)
    q_step, r_step = divmod(step, up)
    for k in range(count):
        table[at + 2 * k], table[at + 2 * k + 1] = q - begin, r
        q, r = q + q_step, r + r_step
        if r >= up:
            q, r = q + 1, r - up


@jit.helper
def sum_outputs(
    table, at, n, origin, units, taps, h, tap_step, count, phases, target, t_step, start, end, parts, vectors, lanes
):
    """Sum the lanes from `start` to `end` of the `n` outputs listed from `at` on, each `t_step` bytes behind the other.

    A phase has `count` taps, `tap_step` numbers behind each other; `parts` as of `sum_rows`. Sample q's row lies at the
    address `table[origin + q*unit]`, where `units = (unit, step to the row of the next tap, such steps in a sample)`.

    Two neighbouring outputs see nearly the same samples, and load them together: eleven loads for sixteen
    multiply-adds. One by one, ten for eight, every fourth output of a million samples took 875 us, not 640.
    """
    unit, step, lag_of_sample = units
    k = 0
    while k < n:
        place = at + 2 * k
        q, r = table[place], table[place + 1]
        lag, r_next = 0, phases
        if k + 1 < n:
            lag, r_next = (table[place + 2] - q) * lag_of_sample, table[place + 3]
        newest, to = origin + q * unit, target + k * t_step
        h_own, h_next = h + r * count * tap_step, h + r_next * count * tap_step
        if max(r, r_next) < phases and lag <= count:
            outputs = (h_own, to), (h_next, to + t_step)
            sum_rows(
                table, newest, step, taps, tap_step, count, lag, outputs, start, end, literally(parts),
                literally(vectors), literally(lanes),
            )  # fmt: skip
            k += 2
        else:
            n_rows = count if r < phases else 0
            sum_rows(
                table, newest, step, taps, tap_step, n_rows, 0, ((h_own, to),), start, end, literally(parts),
                VECTORS, literally(lanes),
            )  # fmt: skip
            k += 1
