"""Signals with samples beyond their ends, made up from those inside: `boundaries.py` says by which rules.

As operations on whole arrays these took 200 samples 20 us, twice as long as all of SciPy's call.
"""

import numpy as np
from numba import types

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.staging import copy_bytes
from numba_tconv.backends.cpu.vectors import address

# As `boundaries.MODES` counts them; the first one needs no kernel.
WRAP, EDGE, SMOOTH, SYMMETRIC, REFLECT, ANTISYMMETRIC, ANTIREFLECT, LINE = range(1, 9)


@jit.helper
def _rule(mode, length, whole_length, p):
    """Return what makes a sample p places behind the last one: `k, sign, base, slope, other`.

    The sample is `sign*x[k] + base*x[last] + slope*(x[last] - x[other])`.
    """
    last = length - 1
    if mode == WRAP:
        return (p - 1) % length, 1.0, 0.0, 0.0, 0
    if mode == EDGE:
        return last, 1.0, 0.0, 0.0, 0
    if mode == SMOOTH:
        return last, 1.0, 0.0, float(p), length - 2
    if mode == LINE:
        return last, 1.0, 0.0, p / (whole_length - 1), 0
    # A signal that goes back and forth turns about its last sample, or behind it.
    ends = 1 if mode in (REFLECT, ANTIREFLECT) else 0
    turns, k = divmod(last + p, 2 * (length - ends))
    is_turned = k >= length
    k = 2 * length - 1 - ends - k if is_turned else k
    sign = -1.0 if is_turned and mode in (ANTISYMMETRIC, ANTIREFLECT) else 1.0
    if mode != ANTIREFLECT:
        return k, sign, 0.0, 0.0, 0
    return k, sign, 2.0 if is_turned else 0.0, 2.0 * turns, 0


@jit.helper
def _copy_inside(x, out, n, start):
    """Copy the samples inside signals, in as long runs as they come in: number by number took four times as long."""
    begin, end, signals = max(0, start), min(x.shape[1], start + out.shape[1]), out.shape[2]
    source, target = address(x) + n * x.strides[0], address(out) + n * out.strides[0] - start * out.strides[1]
    if signals == 1 and x.strides[1] == x.itemsize:
        copy_bytes(target + begin * x.itemsize, source + begin * x.itemsize, max(0, end - begin) * x.itemsize)
        return
    for i in range(begin, end):
        if x.strides[2] == x.itemsize:
            copy_bytes(target + i * out.strides[1], source + i * x.strides[1], signals * x.itemsize)
        else:
            for s in range(signals):
                out[n, i - start, s] = x[n, i, s]


@jit.once
def _kernel(dtype):
    """Return the compiled kernel `(x, out, start, mode, whole_length)` for arrays (array, time, signal).

    `out` is contiguous.
    """

    def run(x, out, start, mode, whole_length):
        length, last = x.shape[1], x.shape[1] - 1
        for n in range(out.shape[0]):
            _copy_inside(x, out, n, start)
        before, behind = max(0, min(0, start + out.shape[1]) - start), max(start, length) - start
        # Place by place: what it is made from is looked for once.
        for step in range(before + max(0, out.shape[1] - behind)):
            place = step if step < before else step - before + behind
            i = start + place
            k, sign, base, slope, other = _rule(mode, length, whole_length, -i if i < 0 else i - last)
            end = last
            if i < 0:
                k, other, end = last - k, last - other, 0
            for n in range(out.shape[0]):
                for s in range(out.shape[2]):
                    sample = sign * x[n, k, s]
                    # Not added where they are zero: infinite, they would make NaN of it.
                    if base:
                        sample += base * x[n, end, s]
                    if slope:
                        sample += slope * (x[n, end, s] - x[n, other, s])
                    out[n, place, s] = sample

    arrays = jit.array(dtype, 3, "A", readonly=True), jit.array(dtype, 3)
    return jit.compile_kernel(run, (*arrays, types.int64, types.int64, types.int64))


def extend(x: np.ndarray, out: np.ndarray, start: int, mode: int, whole_length: int) -> None:
    """Write the samples of `x` (array, time, signal) from `start` on to `out`, with what is made up beyond its ends.

    Both have one dtype; `whole_length` is that of a signal of which x has both ends.
    """
    _kernel(x.dtype)(x, out, start, mode, whole_length)
