"""The sums of a change of rate: which samples and taps each output has, and neighbouring outputs summed together.

    y[n, lane] = sum_j taps[r + up*j] * row[q - j, lane]          q, r = divmod(left + down*n, up)

What the lanes are is the business of `rational.py` and `columns.py`.
"""

from numba import literally

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.tile import sum_rows

# Vectors of one output at a time: as many accumulators hide the latency of the multiply-add.
VECTORS = 8


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
def sum_outputs(table, at, n, origin, units, taps, h, count, phases, target, t_step, start, end, vectors, lanes):
    """Sum the lanes from `start` to `end` of the `n` outputs listed from `at` on, each `t_step` bytes behind the other.

    Sample q's row lies at the address `table[origin + q*unit]`, where `units = (unit, step to the row of the next tap,
    such steps in a sample)`. Two neighbouring outputs see nearly the same samples, and load them together: eleven loads
    for sixteen multiply-adds. One by one, ten for eight, every fourth output of a million samples took 875 us, not 640.
    """
    unit, step, lag_of_sample = units
    k = 0
    while k < n:
        place = at + 2 * k
        q, r = table[place], table[place + 1]
        lag, r_next = 0, phases
        if k + 1 < n:
            lag, r_next = (table[place + 2] - q) * lag_of_sample, table[place + 3]
        newest, to, h_own, h_next = origin + q * unit, target + k * t_step, h + r * count, h + r_next * count
        if max(r, r_next) < phases and lag <= count:
            outputs = (h_own, to), (h_next, to + t_step)
            sum_rows(
                table, newest, step, taps, count, lag, outputs, start, end, literally(vectors), literally(lanes)
            )  # fmt: skip
            k += 2
        else:
            n_rows = count if r < phases else 0
            sum_rows(table, newest, step, taps, n_rows, 0, ((h_own, to),), start, end, VECTORS, literally(lanes))
            k += 1
