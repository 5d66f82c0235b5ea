"""What the gradients share: rows of channels times panels of grad_output, both staged as they are needed.

    result[c, lane] = sum_m A[c, m] * B[m, lane]

| gradient of | A, as the caller has it | m | lanes | B, windows of grad_output |
|---|---|---|---|---|
| x | weight | (f, k) | (n, i) | g[n, f, stride*i + dilation*k - left] |
| weight | x | (n, i) | (f, k) | the same |

Rows are the channels of x in both, and a row of A is a run of the caller's own array: nothing is packed beforehand,
and an item copies what it multiplies next. B is the column matrix of an ordinary convolution, but never more of it
than `REDUCTION_BYTES` by the lanes of an item, which stays in L2. Here belong the integers of the kernels and the
staging of B, or, for `windows.py`, its sorting.

Complex numbers become real ones as in `layout.py`, the conjugate included: complex A and complex grad_output are
`[re, im] = [[ar, ai], [-ai, ar]] [gr, gi]`, two rows and a reduction over two parts; with real A, the real and the
imaginary result are two items.
"""

from math import gcd
from typing import NamedTuple

import numpy as np
from numba import literally

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.moves import MOST_WOVEN, copy_some, copy_windows, deinterleave, prefetch_run, transpose
from numba_tconv.backends.cpu.staging import first_line, is_same_dtype, stage_samples, stage_steps, zero_run
from numba_tconv.backends.cpu.vectors import address
from numba_tconv.geometry import Geometry

# Of the numbers that are summed up between two visits to the accumulators.
REDUCTION_BYTES = 1024
# Accumulators, staged rows and staged panels of an item: about a quarter of a megabyte each.
BLOCK_BYTES = 1 << 18
MOST_ROWS, MOST_LANES = 264, 512
# Sums that are complete after so few visits are kept where they stay, and rows of the result written as long runs; with
# one visit, an item has so many lanes. By way of the accumulators, in runs of a kilobyte that lie in a page each,
# `512 -> 1 (16, 8)` took 2.5 ms for x instead of 1.5, and `512 -> 256 (12, 6)` with 16 samples 1.2 for the weight, now
# 0.7. With two or three visits both gain a tenth, with eight and more nothing.
DIRECT_VISITS, LONGEST_RUN = 4, 2048
# Steps that a reduction is cut into, in each of which lines of one row of a tile are called into the cache.
STEPS = 16
# A run of one filter's grad_output that windows are cut from; farther apart they are fetched one by one.
LINE_BYTES = 1 << 17
# Beyond, neighbouring windows hardly overlap.
MOST_PHASES = 32
# Signals of fewer samples are sorted together, and copied side by side: one by one, 16 x 5 samples of 512 -> 256
# (16, 8) took 3.7 ms instead of 2.7.
MOST_SHORT = 64
# Windows that are far apart are called into L2 so many before they are copied: 2049 -> 1 (4096, 1024), for the weight,
# 377 ms instead of 386.
WINDOWS_AHEAD = 4

(
    ITEMS, PARTS, REDUCED_PARTS, ROW_PARTS, GROUPS, ROWS, ROW_BLOCK, ROW_BLOCKS, LANES, LANE_BLOCK, LANE_BLOCKS,
    CHUNK, CHUNKS, BATCH, LENGTH, FILTERS, FILTER_SIZE, FILTER_BLOCK, TAP_BLOCK, STRIDE, DILATION, LEFT, OUTPUT_LENGTH,
    IS_HALF, IS_HALF_X, HAS_LINES, ACC, STAGE, PANELS, PANEL_SIZE, LINE, SPARE, SCRATCH, WORKERS, IN_PLACE, IS_DIRECT,
    FILTER_BLOCKS, CHANNEL_STEP, SIGNALS, SIGNAL_STEP, PLACES,
) = range(41)  # fmt: skip


class Operands(NamedTuple):
    """What decides on the kernels' integers besides the geometry.

    Channels and filters are those of one group; the parts are explained above. `is_half` and `is_half_x` say that
    grad_output and x hold the bits of float16, `is_plain_out` that the result can be written in place.
    """

    batch: int
    groups: int
    channels: int
    filters: int
    parts: int
    row_parts: int
    reduced_parts: int
    is_half: bool
    is_half_x: bool = False
    is_plain_out: bool = False

    @property
    def rows(self) -> int:
        """Rows of a group."""
        return self.channels * self.row_parts

    @property
    def reduced_filters(self) -> int:
        """Filters of a group that the gradient of x sums over, real and imaginary ones."""
        return self.filters * self.reduced_parts

    @property
    def n_products(self) -> int:
        """Products of matrices: one for each group and each part of the result."""
        return self.groups * self.parts


def reduction(itemsize: int) -> int:
    """Return how many numbers are summed up between two visits to the accumulators."""
    return REDUCTION_BYTES // itemsize


def row_step(itemsize: int) -> int:
    """Return the step of the staged rows of A: an odd number of cache lines, so that rows do not meet in one set."""
    return reduction(itemsize) + 64 // itemsize


@jit.helper
def begin_of(scratch, worker, problem):
    """Return where a worker's scratch begins."""
    return worker * problem[SCRATCH] + first_line(scratch)


@jit.helper
def steps_of(count):
    """Return how many equal steps a reduction over `count` numbers is cut into."""
    if count % STEPS == 0:
        return STEPS
    return STEPS // 2 if count % (STEPS // 2) == 0 else 1


@jit.helper
def largest_factor(stride):
    """Return how many phases one pass tells apart: a factor that `deinterleave` takes, or all."""
    for factor in range(MOST_WOVEN, 1, -1):
        if stride % factor == 0:
            return factor
    return stride


@jit.helper
def split_phases(scratch, source, line, spare, stride, count, lanes):
    """Sort `stride * count` numbers from an address on by their place modulo the stride; return where they then lie.

    A factor up to MOST_WOVEN at a time is a pass of vector shuffles; a stride without one is sorted number by number.
    """
    size, itemsize = stride * count, scratch.itemsize
    while stride > 1:
        factor = largest_factor(stride)
        target, run, part = address(scratch) + spare * itemsize, stride * count, stride // factor * count
        for first in range(0, size, run):
            if factor <= MOST_WOVEN:
                for k in range(0, part, lanes):
                    deinterleave(
                        source + (first + k * factor) * itemsize, target + (first + k) * itemsize, part, scratch,
                        factor, literally(lanes),
                    )  # fmt: skip
            else:  # what came in is in `line` here
                for phase in range(factor):
                    for k in range(part):
                        scratch[spare + first + phase * part + k] = scratch[line + first + phase + k * factor]
        source, line, spare, stride = target, spare, line, stride // factor
    return source


@jit.helper
def _put_lanes(scratch, source, target, lane, count, panel_size, width, lanes):
    """Copy a run of one row of B, from an address on, to its lanes in the panels."""
    base, itemsize = address(scratch), scratch.itemsize
    while count > 0:
        panel, offset = divmod(lane, width)
        here = min(count, width - offset)
        repeats = count // width if offset == 0 and count >= width else 1
        copy_windows(
            source, width, base + (target + panel * panel_size + offset) * itemsize, panel_size,
            repeats, here, scratch, literally(lanes),
        )  # fmt: skip
        source, lane, count = source + repeats * here * itemsize, lane + repeats * here, count - repeats * here


@jit.helper
def stage_line(g, n, channel, time, part, span, problem, scratch, line, ahead):
    """Return the address of one run of a filter's grad_output, in place where it is plain, staged elsewhere.

    The run `ahead` bytes farther travels into L2 meanwhile.
    """
    offset = n * g.strides[0] + channel * g.strides[1] + time * g.strides[2]
    prefetch_run(address(g) + offset + ahead, span * g.strides[2])
    is_inside = time >= 0 and time + span <= problem[OUTPUT_LENGTH]
    if is_same_dtype(g, scratch) and g.strides[2] == g.itemsize and problem[IN_PLACE] and is_inside:
        return address(g) + offset
    stage_samples(g, n, channel, time, part, span, problem[OUTPUT_LENGTH], problem[IS_HALF], scratch, line)
    return address(scratch) + line * scratch.itemsize


@jit.helper
def _transpose_windows(g, scratch, at, line, problem, n, channel, part, time, n_taps, lane, count, width, lanes):
    """Stage `n_taps` rows of `count` lanes from windows that are far apart: fetched one by one, transposed by tiles."""
    base, itemsize, panel_size = address(scratch), scratch.itemsize, problem[PANEL_SIZE]
    row = -(-n_taps // lanes) * lanes
    while count > 0:
        panel, offset = divmod(lane, width)
        here = min(count, lanes - offset % lanes)
        for i in range(here):
            start = time + problem[STRIDE] * i
            stage_samples(
                g, n, channel, start, part, n_taps, problem[OUTPUT_LENGTH], problem[IS_HALF], scratch, line + i * row
            )
        target = at + panel * panel_size + offset
        if here == lanes:
            for k in range(0, n_taps, lanes):
                transpose(
                    base + (line + k) * itemsize, row, base + (target + k * width) * itemsize, width, scratch,
                    literally(lanes),
                )  # fmt: skip
        else:
            for i in range(here):
                for k in range(n_taps):
                    scratch[target + k * width + i] = scratch[line + i * row + k]
        time, lane, count = time + problem[STRIDE] * here, lane + here, count - here


@jit.helper
def _put_signals(scratch, source, step, target, skip, length, count, panel_size, width, lanes):
    """Copy `count` numbers of signals, `step` apart and the first one from `skip` on, to lanes side by side."""
    base, itemsize, i, offset = address(scratch), scratch.itemsize, skip, 0
    while count > 0:
        here = min(length - i, count, width - offset)
        copy_some(source + i * itemsize, base + (target + offset) * itemsize, here, scratch, literally(lanes))
        count, i, offset = count - here, i + here, offset + here
        if i == length:
            source, i = source + step * itemsize, 0
        if offset == width:
            target, offset = target + panel_size, 0


@jit.helper
def stage_signals(g, n, signals, channel, time, part, span, problem, scratch, line):
    """Stage one filter's grad_output of several signals, `span` samples of each behind each other."""
    for signal in range(signals):
        stage_samples(
            g, n + signal, channel, time, part, span, problem[OUTPUT_LENGTH], problem[IS_HALF], scratch,
            line + signal * span,
        )  # fmt: skip


@jit.helper
def _stage_short_signals(
    g, scratch, at, line, spare, problem, channel, part, tap, n_filters, n_taps, first, last, width, lanes
):
    """`stage_taps` for short signals: the phases of all of them are sorted together, and copied side by side."""
    stride, dilation, length = problem[STRIDE], problem[DILATION], problem[LENGTH]
    base, itemsize, in_panel = address(scratch), scratch.itemsize, width // length
    n, skip = divmod(first, length)
    signals, count = -(-(skip + last - first) // length), length + dilation * (n_taps - 1) // stride
    total = -(-signals * count // lanes) * lanes
    for f in range(n_filters):
        time = dilation * tap - problem[LEFT]
        stage_signals(g, n, signals, channel + f, time, part, stride * count, problem, scratch, line)
        phases = split_phases(scratch, base + line * itemsize, line, spare, stride, total, lanes)
        for k in range(n_taps):
            source = phases + (problem[PLACES + 2 * k] * total + problem[PLACES + 2 * k + 1]) * itemsize
            target = at + (f * n_taps + k) * width
            if width % length:
                _put_signals(
                    scratch, source, count, target, skip, length, last - first, problem[PANEL_SIZE], width, lanes
                )
                continue
            for signal in range(0, signals, in_panel):
                copy_windows(
                    source + signal * count * itemsize, count,
                    base + (target + signal // in_panel * problem[PANEL_SIZE]) * itemsize, length,
                    min(in_panel, signals - signal), length, scratch, literally(lanes),
                )  # fmt: skip


@jit.helper
def stage_taps(g, scratch, at, start, problem, channel, part, tap, n_filters, n_taps, first, last, width, lanes):
    """Stage B for the gradient of x: rows (f, k) from `channel` and `tap` on, lanes (n, i) from `first` to `last`."""
    stride, dilation, length, panel_size = problem[STRIDE], problem[DILATION], problem[LENGTH], problem[PANEL_SIZE]
    if (last - first) % width:  # lanes that do not exist: no denormal numbers, and no NaN, from what was there before
        zero_run(scratch, at + (last - first) // width * panel_size, n_filters * n_taps * width)
    line, spare = start + problem[LINE], start + problem[SPARE]
    base, itemsize = address(scratch), scratch.itemsize
    if problem[HAS_LINES] and length < MOST_SHORT:
        _stage_short_signals(
            g, scratch, at, line, spare, problem, channel, part, tap, n_filters, n_taps, first, last, width, lanes
        )
        return
    place = first
    while place < last:
        n, i = divmod(place, length)
        run = min(length - i, last - place)
        time = stride * i + dilation * tap - problem[LEFT]
        for f in range(n_filters):
            target = at + f * n_taps * width
            if problem[HAS_LINES]:
                count = -(-(run + dilation * (n_taps - 1) // stride) // lanes) * lanes
                # The next block: other filters, or where there are no other, the next item that no other worker takes.
                has_more = problem[FILTER_BLOCK] < problem[FILTERS]
                beyond = problem[WORKERS] * problem[LANE_BLOCK] * stride * g.strides[2]
                ahead = problem[FILTER_BLOCK] * g.strides[1] if has_more else beyond
                run_at = stage_line(g, n, channel + f, time, part, stride * count, problem, scratch, line, ahead)
                phases = split_phases(scratch, run_at, line, spare, stride, count, lanes)
                for k in range(n_taps):
                    source = phases + (problem[PLACES + 2 * k] * count + problem[PLACES + 2 * k + 1]) * itemsize
                    _put_lanes(scratch, source, target + k * width, place - first, run, panel_size, width, lanes)
            elif dilation == 1:
                _transpose_windows(
                    g, scratch, target, line, problem, n, channel + f, part, time, n_taps, place - first, run, width,
                    lanes,
                )  # fmt: skip
            else:
                for k in range(n_taps):
                    stage_steps(
                        g, n, channel + f, time + dilation * k, stride, part, run, problem[OUTPUT_LENGTH],
                        problem[IS_HALF], scratch, line,
                    )  # fmt: skip
                    _put_lanes(
                        scratch, base + line * itemsize, target + k * width, place - first, run, panel_size, width,
                        lanes,
                    )  # fmt: skip
        place += run


@jit.helper
def stage_windows(g, scratch, at, start, problem, channel, part, first, last, lane_from, lane_to, width, lanes):
    """Stage B for the gradient of the weight: rows (n, i) from `first` to `last`, lanes (f, k) of a group's filters."""
    stride, dilation, length, panel_size = problem[STRIDE], problem[DILATION], problem[LENGTH], problem[PANEL_SIZE]
    filter_size, base, itemsize = problem[FILTER_SIZE], address(scratch), scratch.itemsize
    if (lane_to - lane_from) % width:
        zero_run(scratch, at + (lane_to - lane_from) // width * panel_size, (last - first) * width)
    line = start + problem[LINE]
    place = first
    while place < last:
        n, i = divmod(place, length)
        run = min(length - i, last - place)
        lane = lane_from
        while lane < lane_to:
            f, tap = divmod(lane, filter_size)
            n_taps = min(filter_size - tap, lane_to - lane)
            time = stride * i + dilation * tap - problem[LEFT]
            if problem[HAS_LINES]:
                span = stride * (run - 1) + dilation * (n_taps - 1) + 1
                run_at = stage_line(g, n, channel + f, time, part, span, problem, scratch, line, span * g.strides[2])
                k = 0
                while k < n_taps:
                    panel, offset = divmod(lane - lane_from + k, width)
                    here = min(n_taps - k, width - offset) if dilation == 1 else 1
                    target = at + panel * panel_size + (place - first) * width + offset
                    copy_windows(
                        run_at + dilation * k * itemsize, stride, base + target * itemsize, width, run, here,
                        scratch, literally(lanes),
                    )  # fmt: skip
                    k += here
            else:
                for row in range(run):
                    source = base + line * itemsize
                    if dilation == 1:
                        source = stage_line(
                            g, n, channel + f, time + stride * row, part, n_taps, problem, scratch, line,
                            WINDOWS_AHEAD * stride * g.strides[2],
                        )  # fmt: skip
                    else:
                        stage_steps(
                            g, n, channel + f, time + stride * row, dilation, part, n_taps, problem[OUTPUT_LENGTH],
                            problem[IS_HALF], scratch, line,
                        )  # fmt: skip
                    target = at + (place - first + row) * width
                    _put_lanes(scratch, source, target, lane - lane_from, n_taps, panel_size, width, lanes)
            lane += n_taps
        place += run


def vectors_of(lanes_in_use: int, lanes: int) -> int:
    """Return the vectors V of the tile: two, or one where that multiplies so much less in vain."""
    single, double = (-(-lanes_in_use // (v * lanes)) * v for v in (1, 2))
    # A single vector loads each scalar for one multiplication instead of two: 5 % on Zen 4.
    return 1 if 1.05 * single < double else 2


def even_blocks(size: int, most: int, unit: int) -> tuple[int, int]:
    """Return the size of a block, a multiple of `unit`, and how many there are: equal ones, of about `most` at most."""
    share = -(-size // -(-size // max(unit, most)))
    block = -(-share // unit) * unit
    return block, -(-size // block)


def shares(items: int, n_workers: int) -> int:
    """Return into how many parts few items are cut, to come out even over the workers."""
    return min(n_workers // gcd(items, n_workers), -(-4 * n_workers // items))


def factors(stride: int) -> list[int]:
    """Return the passes of `split_phases`."""
    found = []
    while stride > 1:
        found.append(largest_factor.py_func(stride))
        stride //= found[-1]
    return found


def is_woven(stride: int) -> bool:
    """Whether `split_phases` sorts by shuffles of vectors; number by number, it is slower and reads scratch alone."""
    return max(factors(stride), default=1) <= MOST_WOVEN


def place_of_phase(phase: int, stride: int) -> int:
    """Return the place of a phase among those that `split_phases` has sorted."""
    place = 0
    for factor in factors(stride):
        place = factor * place + phase % factor
        phase //= factor
    return place


def places_of_taps(geometry: Geometry, taps: int) -> list[int]:
    """Return for each tap the place of its phase and its shift, to follow the other integers from PLACES on."""
    places = []
    for k in range(taps):
        shift, phase = divmod(geometry.dilation * k, geometry.stride)
        places += [place_of_phase(phase, geometry.stride), shift]
    return places


def integers(
    geometry: Geometry, operands: Operands, values: dict[int, int], sizes: dict[int, int]
) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker.

    `sizes` are the parts of the scratch behind each other, under the name of where each begins.
    """
    begin = 0
    for name, size in sizes.items():
        values[name] = begin
        begin += -(-size // 16) * 16
    values |= {
        PARTS: operands.parts,
        REDUCED_PARTS: operands.reduced_parts,
        ROW_PARTS: operands.row_parts,
        BATCH: operands.batch,
        GROUPS: operands.groups,
        ROWS: operands.rows,
        FILTERS: operands.filters,
        IS_HALF: operands.is_half,
        IS_HALF_X: operands.is_half_x,
        LENGTH: geometry.length,
        STRIDE: geometry.stride,
        DILATION: geometry.dilation,
        LEFT: geometry.left,
        OUTPUT_LENGTH: geometry.output_length,
        FILTER_SIZE: geometry.filter_size,
        SCRATCH: begin,
    }
    return np.array([int(values.get(k, 0)) for k in range(PLACES)], np.int64), begin
