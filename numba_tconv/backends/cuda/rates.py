"""Changes of rate up/down, and sums over every `down`-th sample: outputs that need different taps, one after the other.

    y[n, c, m] = sum_j taps[c, j, m % period] * x[n, c, q - step*j]            q = (left + down*m) // up

Nothing is staged. Neighbouring threads compute neighbouring outputs: they read neighbouring taps, which are packed in
the order of outputs, and samples of x within the same few sectors of memory, from the L1 cache. A thread computes four
outputs of one phase, whole periods apart, so that a tap is read once for four of them.

`step` makes the gradient of x of a layer with one channel a group the same sum, with `up` 1.
"""

from typing import Any, NamedTuple

from numba_tconv.backends.cuda.access import load, store
from numba_tconv.backends.cuda.compiler import compile_kernel, cuda, types
from numba_tconv.backends.cuda.parts import View
from numba_tconv.geometry import Geometry, RateChange

int64, uint32 = types.int64, types.uint32
OUTPUTS = 4  # of a thread
THREADS = 256


class Problem(NamedTuple):
    """The integers of a change of rate; strides in real numbers."""

    batch: int
    channels: int
    lanes: int  # whole periods, of neighbouring outputs
    units: int  # of OUTPUTS*lanes outputs
    period: int
    taps: int  # of a phase
    up: int
    down: int
    left: int
    next: int  # samples of x from an output to the one `lanes` after it
    step: int  # samples between taps
    length: int
    output_length: int
    tap_channel: int
    x_start: int
    x_n: int
    x_channel: int
    x_time: int
    out_start: int
    out_n: int
    out_channel: int
    out_time: int


class Packing(NamedTuple):
    """The integers of a bank of packed filters; strides in real numbers."""

    banks: int
    period: int
    taps: int  # of a phase
    up: int
    down: int
    left: int
    filter_size: int
    start: int
    bank: int
    tap: int
    is_flipped: int
    is_conjugated: int


def gradient(geometry: Geometry) -> tuple[RateChange, int]:
    """Return the change of rate, and its step, that leads from grad_output to grad_x with flipped, conjugate taps."""
    left = geometry.dilation * (geometry.filter_size - 1) - geometry.left
    return (
        RateChange(geometry.output_length, geometry.filter_size, 1, geometry.stride, left, geometry.length),
        geometry.dilation,
    )


def _period(change: RateChange) -> int:
    """Return how many outputs have taps of their own."""
    return max(1, min(change.outputs_per_period, change.output_length))


def packing(
    change: RateChange, banks: int, h: View, *, is_flipped: bool = False, is_conjugated: bool = False
) -> tuple[Packing, int]:
    """Return the integers for `h` (bank, tap), and how many numbers, of real taps, it has when packed."""
    period = _period(change)
    return Packing(
        banks=banks,
        period=period,
        taps=change.taps_per_phase,
        up=change.up,
        down=change.down,
        left=change.left,
        filter_size=change.filter_size,
        start=h.start,
        bank=h.strides[0],
        tap=h.strides[1],
        is_flipped=is_flipped,
        is_conjugated=is_conjugated,
    ), banks * change.taps_per_phase * period


def problem(
    change: RateChange, batch: int, channels: int, banks: int, tap_parts: int, x: View, out: View, step: int = 1
) -> Problem:
    """Return the integers for x and out (batch, channel, time), with one bank of taps or one for each channel."""
    period = _period(change)
    lanes = -(-THREADS // period) * period
    return Problem(
        batch=batch,
        channels=channels,
        lanes=lanes,
        units=-(-change.output_length // (OUTPUTS * lanes)),
        period=period,
        taps=change.taps_per_phase,
        up=change.up,
        down=change.down,
        left=change.left,
        # Where the outputs are fewer than a period, no thread has a second one.
        next=lanes // period * change.inputs_per_period,
        step=step,
        length=change.length,
        output_length=change.output_length,
        tap_channel=change.taps_per_phase * period * tap_parts if banks > 1 else 0,
        x_start=x.start,
        x_n=x.strides[0],
        x_channel=x.strides[1],
        x_time=x.strides[2],
        out_start=out.start,
        out_n=out.strides[0],
        out_channel=out.strides[1],
        out_time=out.strides[2],
    )


def blocks(problem: Problem, threads: int) -> int:
    """Return how many blocks have something to do."""
    return -(-problem.batch * problem.channels * problem.units * problem.lanes // threads)
