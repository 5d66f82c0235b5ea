"""Changes of rate up/down, and sums over every `down`-th sample: outputs that need different taps, one after the other.

    y[n, c, m] = sum_j taps[c, j, m % period] * x[n, c, q - step*j]            q = (left + down*m) // up

Nothing is staged. Neighbouring threads compute neighbouring outputs: they read neighbouring taps, which are packed in
the order of outputs, and samples of x within the same few sectors of memory, from the L1 cache. A thread computes four
outputs of one phase, whole periods apart, so that a tap is read once for four of them.

`step` makes the gradient of x of a layer with one channel a group the same sum, with `up` 1.
"""

from typing import Any, NamedTuple

from numba_tconv.backends.cuda.access import load, store
from numba_tconv.backends.cuda.compiler import compile_kernel, cuda, inlined, types
from numba_tconv.backends.cuda.parts import View
from numba_tconv.geometry import Geometry, RateChange

int64, uint32 = types.int64, types.uint32
OUTPUTS = 4  # of a thread
THREADS, BLOCKS = 256, 3  # more blocks have too few registers for complex float64
TURN = 4  # taps that the inner loop takes at a time


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
    change: RateChange, sizes: tuple[int, int, int], tap_parts: int, x: View, out: View, *, step: int = 1,
    threads: int = THREADS,
) -> Problem:  # fmt: skip
    """Return the integers for `sizes` (batch, channels, banks) of x and out (batch, channel, time).

    There is one bank of taps for all channels, or one for each.
    """
    batch, channels, banks = sizes
    period = _period(change)
    lanes = -(-threads // period) * period
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


def blocks(problem: Problem, threads: int = THREADS) -> int:
    """Return how many blocks have something to do."""
    return problem.batch * problem.channels * -(-problem.units * problem.lanes // threads)


def is_row(problem: Problem, x_parts: int) -> bool:
    """Whether neighbouring taps meet neighbouring numbers."""
    return problem.step * problem.x_time == x_parts


def make_kernel(threads: int, x_parts: int, tap_parts: int, real: Any, *, is_row: bool) -> Any:
    """Return the kernel `(x, taps, out, problem)` of packed taps that computes in the type `real`."""
    IS_COMPLEX_X, IS_COMPLEX_TAP = x_parts == 2, tap_parts == 2
    IS_COMPLEX, PARTS = IS_COMPLEX_X or IS_COMPLEX_TAP, max(x_parts, tap_parts)

    @inlined
    def multiply(sums, v, a, a_imag, x, at):
        """Add the product of a tap and x[at] to the sum of output v."""
        b = real(load(x, at))
        sums[v, 0] += a * b
        if IS_COMPLEX_TAP:
            sums[v, PARTS - 1] += a_imag * b
        if IS_COMPLEX_X:
            b_imag = real(load(x, at + 1))
            sums[v, PARTS - 1] += a * b_imag
            if IS_COMPLEX_TAP:
                sums[v, 0] -= a_imag * b_imag

    def rates(x, taps, out, problem):
        (
            batch, channels, lanes, units, period, taps_of_phase, up, down, left, next_samples, step,
            length, output_length, tap_channel,
            x_start, x_n, x_channel, x_time, out_start, out_n, out_channel, out_time,
        ) = problem  # fmt: skip
        sums = cuda.local.array((OUTPUTS, PARTS), real)
        places = cuda.local.array(OUTPUTS, int64)
        thread = uint32(cuda.threadIdx.x)
        # Divisions of 64 bits take as long as many taps.
        of_signal = uint32((units * lanes + threads - 1) // threads)
        item, items = uint32(cuda.blockIdx.x), uint32(batch * channels * of_signal)
        while item < items:
            signal, index = uint32(item // of_signal), uint32(item % of_signal * threads + thread)
            n, c = int64(signal // uint32(channels)), int64(signal % uint32(channels))
            unit, lane = int64(index // uint32(lanes)), int64(index % uint32(lanes))
            m = unit * OUTPUTS * lanes + lane
            if m < output_length:
                t = (left + down * m) // up
                is_inside = t - step * (taps_of_phase - 1) >= 0 and t + (OUTPUTS - 1) * next_samples < length
                tap_at = c * tap_channel + int64(uint32(lane) % uint32(period)) * tap_parts
                tap_step = period * tap_parts
                # A number that the compiler knows becomes part of an instruction that loads.
                x_step = x_parts if is_row else step * x_time
                x_at = x_start + n * x_n + c * x_channel + t * x_time
                for v in range(uint32(OUTPUTS)):
                    places[v] = x_at + int64(v) * next_samples * x_time
                    for part in range(uint32(PARTS)):
                        sums[v, part] = real(0)
                j = int64(0)
                while is_inside and j + TURN <= taps_of_phase:
                    for u in range(uint32(TURN)):
                        a = real(load(taps, tap_at))
                        a_imag = real(load(taps, tap_at + 1)) if IS_COMPLEX_TAP else real(0)
                        for v in range(uint32(OUTPUTS)):
                            multiply(sums, v, a, a_imag, x, places[v] - int64(u) * x_step)
                        tap_at += tap_step
                    for v in range(uint32(OUTPUTS)):
                        places[v] -= TURN * x_step
                    j += TURN
                # What was inside all the way passes the check without t's having followed.
                while j < taps_of_phase:
                    a = real(load(taps, tap_at))
                    a_imag = real(load(taps, tap_at + 1)) if IS_COMPLEX_TAP else real(0)
                    for v in range(uint32(OUTPUTS)):
                        at = t + int64(v) * next_samples
                        if at >= 0 and at < length:
                            multiply(sums, v, a, a_imag, x, places[v])
                        places[v] -= x_step
                    tap_at += tap_step
                    t -= step
                    j += 1
                out_at = out_start + n * out_n + c * out_channel
                for v in range(uint32(OUTPUTS)):
                    at = m + int64(v) * lanes
                    if at < output_length:
                        store(out, out_at + at * out_time, sums[v, 0])
                        if IS_COMPLEX:
                            store(out, out_at + at * out_time + 1, sums[v, 1])
            item = uint32(item + cuda.gridDim.x)

    return compile_kernel(rates, threads, BLOCKS)


def make_packer(threads: int, tap_parts: int, real: Any) -> Any:
    """Return the kernel `(h, packed, packing)` that puts taps, as `real`, in the order of outputs.

    `packed` is [bank][j][output]; a phase that lacks a tap has a zero there.
    """

    def pack(h, packed, packing):
        (
            banks, period, taps, up, down, left, filter_size, start, bank_step, tap_step, is_flipped, is_conjugated,
        ) = packing  # fmt: skip
        at = int64(cuda.blockIdx.x) * threads + int64(cuda.threadIdx.x)
        while at < banks * taps * period:
            output, rest = at % period, at // period
            j, bank = rest % taps, rest // taps
            k = (left + down * output) % up + up * j
            is_there = k < filter_size
            if is_flipped:
                k = filter_size - 1 - k
            place = start + bank * bank_step + k * tap_step
            store(packed, at * tap_parts, real(load(h, place)) if is_there else real(0))
            if tap_parts == 2:
                value = real(load(h, place + 1)) if is_there else real(0)
                store(packed, at * tap_parts + 1, -value if is_conjugated else value)
            at += int64(cuda.gridDim.x) * threads

    return compile_kernel(pack, threads, BLOCKS)
