"""The forward pass of few products for a sample of x: filters of signals, depthwise layers, many channels to one.

    out[n, f, stride*q + dilation*b - left] = bias[f] + sum_cj w[c, f, b + branches*j] * x[n, c, q - step*j]

The channels c are those of the group that the filter f belongs to, mostly a single one: then memory bounds the time.

Taps are real; a complex signal has pairs of numbers. So everything runs over numbers of a row, called columns, of which
a tap's are `reach = step*parts` apart, and no number is multiplied that a real signal would not have.

A block computes a tile of columns for a few branches of one filter and signal, channel by channel in chunks of taps. It
stages the taps
and the window of x that they reach in shared memory. A thread owns four columns, neighbours where a tap's reach is
short: the numbers of four taps and columns then are a few neighbours too, read 16 bytes at a time and kept in registers
from one tap to the next, which leaves (reach + branches)/(16*branches) reads of shared memory for a multiply-add. With
columns read one by one it is 1/branches, and the taps'.

Results go out by way of shared memory too: neighbouring threads write neighbouring samples.
"""

from typing import Any, NamedTuple

from numba_tconv.backends.cuda.access import load, load4, store, store4
from numba_tconv.backends.cuda.compiler import ALIGNMENT, compile_kernel, cuda, types
from numba_tconv.backends.cuda.parts import View
from numba_tconv.backends.cuda.problems import Sizes
from numba_tconv.geometry import Geometry

int32, int64, uint32 = types.int32, types.int64, types.uint32
COLUMNS = 4  # of a thread
# The longest reach of a tap with which a thread's columns are neighbours. The next one leaves nothing to keep.
SHORT_REACH = 3


class Tile(NamedTuple):
    """What a block does."""

    threads: int  # a multiple of eight, so that a thread writes one branch and part
    taps: int  # of a chunk at most; a multiple of four
    reach: int  # numbers between those of a chunk's first and last tap at most; a multiple of four
    blocks: int


# By the itemsize of what is computed with. More blocks would have too few registers.
TILES = {4: Tile(256, 64, 512, 4), 8: Tile(256, 64, 512, 2)}


class Kind(NamedTuple):
    """What a kernel is compiled for.

    Attributes
    ----------
    branches : int
        Branches that a block computes, 1, 2 or 4.
    reach : int
        Numbers between those of neighbouring taps, where that is at most `SHORT_REACH`; else 0.
    parts : int
        Numbers of a sample.
    is_row_in : bool
        Whether each signal is a row of neighbouring numbers from a multiple of four on, in a memory that begins at a
        multiple of 16 bytes.
    is_row_out : bool
        Whether a tile of the output is such a row, from wherever on.
    """

    branches: int
    reach: int
    parts: int
    is_row_in: bool
    is_row_out: bool


class Problem(NamedTuple):
    """The integers of a problem; strides in real numbers."""

    signals: int  # batch times filters of all groups
    all_filters: int
    filters: int  # of a group
    channels: int  # of a group
    tiles: int
    sets: int  # of branches
    first: int  # column; a multiple of four
    length: int  # of x
    branches: int
    taps: int  # of a branch
    chunk: int
    step: int  # numbers between those of neighbouring taps
    x_start: int
    x_n: int
    x_group: int
    x_channel: int
    x_time: int
    w_start: int
    w_group: int
    w_channel: int
    w_filter: int
    w_tap: int
    filter_size: int
    out_start: int
    out_n: int
    out_filter: int
    out_time: int
    out_length: int
    stride: int
    dilation: int
    left: int
    gap: int
    bias_parts: int  # 0 without a bias


def problem(
    geometry: Geometry,
    sizes: Sizes,
    parts: int,
    arrays: tuple[View, View, View],
    bias_parts: int,
    tile: Tile,
    *,
    is_aligned: bool,
) -> tuple[Kind, Problem]:
    """Return the kind of kernel and the integers.

    `arrays` are x (batch, channel, time), weight (channel, filter of a group, tap) and out (batch, filter, time);
    `is_aligned` tells whether the memories of x and out begin at multiples of 16 bytes.
    """
    (batch, groups, channels, filters), (x, weight, out) = sizes, arrays
    branches = next(some for some in (1, 2, 4) if some >= min(4, geometry.branches))
    is_one_set = branches == geometry.branches and geometry.is_interleaved
    step = geometry.input_step * parts
    kind = Kind(
        branches=branches,
        reach=step if step <= SHORT_REACH else 0,
        parts=parts,
        is_row_in=is_aligned and x.strides[-1] == parts and not any(place % 4 for place in (x.start, *x.strides[:-1])),
        is_row_out=is_aligned and out.strides[-1] == parts and is_one_set,
    )
    first, rows = geometry.covering_rows
    first_column = first * parts // 4 * 4
    columns = (first + rows) * parts - first_column
    return kind, Problem(
        signals=batch * groups * filters,
        all_filters=groups * filters,
        filters=filters,
        channels=channels,
        tiles=-(-columns // (COLUMNS * tile.threads)),
        sets=-(-geometry.branches // branches),
        first=first_column,
        length=geometry.length,
        branches=geometry.branches,
        taps=geometry.taps_per_branch,
        chunk=tile.taps if kind.reach else min(tile.taps, tile.reach // step + 1),
        step=step,
        x_start=x.start,
        x_n=x.strides[0],
        x_group=channels * x.strides[1],
        x_channel=x.strides[1],
        x_time=x.strides[2],
        w_start=weight.start,
        w_group=channels * weight.strides[0],
        w_channel=weight.strides[0],
        w_filter=weight.strides[1],
        w_tap=weight.strides[2],
        filter_size=geometry.filter_size,
        out_start=out.start,
        out_n=out.strides[0],
        out_filter=out.strides[1],
        out_time=out.strides[2],
        out_length=geometry.output_length,
        stride=geometry.stride,
        dilation=geometry.dilation,
        left=geometry.left,
        gap=geometry.gap,
        bias_parts=bias_parts,
    )


def blocks(problem: Problem) -> int:
    """Return how many blocks have something to do."""
    return problem.signals * problem.tiles * problem.sets


def make_kernel(tile: Tile, kind: Kind, real: Any) -> Any:
    """Return the kernel `(x, weight, bias, out, problem)` that computes in the type `real`."""
    THREADS, TAPS, REACH, _ = tile
    R, S, PARTS, IS_ROW_IN, IS_ROW_OUT = kind
    V, TILE = COLUMNS, COLUMNS * THREADS
    LAST_PART, BRANCH_BITS = PARTS - 1, R.bit_length() - 1  # LAST_PART: as many bits as a part has, too
    # Column v of a thread is thread*NEXT_THREAD + v*NEXT.
    NEXT_THREAD, NEXT = (V, 1) if S else (1, THREADS)
    # The taps lie behind the window; the window begins at a multiple of four before what is reached.
    WINDOW = TILE + (S * TAPS if S else REACH + 4)
    # Results are skewed by one number in 32: threads that write branches side by side then meet different banks.
    SKEWED_TILE = TILE + TILE // 32
    STAGE = max(WINDOW + TAPS * R, R * SKEWED_TILE + 4)
    KEPT, TAKEN = 4 * S + 4, 4 * R  # numbers that four taps and columns meet, and the taps

    def fir(x, weight, bias, out, problem):
        (
            signals, all_filters, filters, channels, tiles, sets, first, length, branches, taps, chunk, step,
            x_start, x_n, x_group, x_channel, x_time, w_start, w_group, w_channel, w_filter, w_tap, filter_size,
            out_start, out_n, out_filter, out_time, out_length, stride, dilation, left, gap, bias_parts,
        ) = problem  # fmt: skip
        stage = cuda.shared.array(STAGE, real, ALIGNMENT)
        sums = cuda.local.array((R, V), real)
        kept = cuda.local.array(KEPT, real)
        tap = cuda.local.array(TAKEN, real)

        thread = int32(cuda.threadIdx.x)
        own = thread * NEXT_THREAD
        # Items are counted in 32 bits: a division of 64 bits takes as long as a thread's share of a depthwise tile.
        item, items = uint32(cuda.blockIdx.x), uint32(signals * tiles * sets)
        while item < items:
            # Blocks that run at the same time write branches of the same rows and read the same x.
            rest, branch_set = uint32(item // uint32(sets)), int64(item % uint32(sets))
            signal, tile = uint32(rest // uint32(tiles)), int64(rest % uint32(tiles))
            n, f = int64(signal // uint32(all_filters)), uint32(signal % uint32(all_filters))
            group, own_filter = int64(f // uint32(filters)), int64(f % uint32(filters))
            first_branch = branch_set * R
            column = first + tile * TILE
            x_at = x_start + n * x_n + group * x_group
            w_at = w_start + group * w_group + own_filter * w_filter
            out_at = out_start + n * out_n + int64(f) * out_filter
            bias_0 = bias_1 = real(0)
            if bias_parts > 0:
                bias_0 = load(bias, int64(f) * bias_parts)
            if bias_parts > 1:
                bias_1 = load(bias, int64(f) * bias_parts + 1)
            for v in range(uint32(V)):
                value = bias_1 if own + int32(v) * NEXT & LAST_PART else bias_0
                for r in range(uint32(R)):
                    sums[r, v] = value

            channel, begin = int64(0), int64(0)
            while channel < channels:
                count = int32(min(chunk, taps - begin))
                if S:
                    window = column - (begin + (count + 3 >> 2 << 2)) * S
                else:
                    window = column - (begin + count - 1) * step >> 2 << 2
                last = int32(column - begin * step - window)  # of column 0 and the chunk's first tap
                size = int32(last + TILE)
                if IS_ROW_IN and window >= 0 and window + (size + 3 >> 2 << 2) <= length * PARTS:
                    i = int32(thread * 4)
                    while i < size:
                        a, b, c, d = load4(x, x_at + window + i)
                        store4(stage, i, real(a), real(b), real(c), real(d))
                        i = int32(i + 4 * THREADS)
                else:
                    i = thread
                    while i < size:
                        at = window + i
                        value = real(0)
                        if at >= 0 and at < length * PARTS:
                            value = real(load(x, x_at + (at >> LAST_PART) * x_time + (at & LAST_PART)))
                        store(stage, i, value)
                        i = int32(i + THREADS)
                i = thread
                while i < (count + 3 >> 2 << 2) * R:
                    k = first_branch + (i & R - 1) + (begin + (i >> BRANCH_BITS)) * branches
                    value = real(0)
                    if i < count * R and k < filter_size:
                        value = real(load(weight, w_at + k * w_tap))
                    store(stage, WINDOW + i, value)
                    i = int32(i + THREADS)
                cuda.syncthreads()

                if S:
                    at = int32(last + own)
                    kept[4 * S], kept[4 * S + 1], kept[4 * S + 2], kept[4 * S + 3] = load4(stage, at)
                    j = int32(0)
                    while j < count:
                        at = int32(at - 4 * S)
                        for s in range(uint32(S)):
                            kept[4 * s], kept[4 * s + 1], kept[4 * s + 2], kept[4 * s + 3] = load4(
                                stage, at + 4 * int32(s)
                            )
                        for r in range(uint32(R)):
                            tap[4 * r], tap[4 * r + 1], tap[4 * r + 2], tap[4 * r + 3] = load4(
                                stage, WINDOW + j * R + 4 * int32(r)
                            )
                        if j + 4 <= count:
                            for u in range(uint32(4)):
                                for r in range(uint32(R)):
                                    for v in range(uint32(V)):
                                        sums[r, v] += tap[u * R + r] * kept[4 * S + v - S * u]
                        else:
                            # A tap that is not there must not multiply: what it would reach may be infinite.
                            for u in range(uint32(3)):
                                if j + int32(u) < count:
                                    for r in range(uint32(R)):
                                        for v in range(uint32(V)):
                                            sums[r, v] += tap[u * R + r] * kept[4 * S + v - S * u]
                        for v in range(uint32(4)):
                            kept[4 * S + v] = kept[v]
                        j = int32(j + 4)
                else:
                    for j in range(count):
                        at = int32(last + own - j * int32(step))
                        for r in range(uint32(R)):
                            tap[r] = load(stage, WINDOW + j * R + int32(r))
                        for v in range(uint32(V)):
                            kept[v] = load(stage, at + int32(v) * NEXT)
                        for r in range(uint32(R)):
                            for v in range(uint32(V)):
                                sums[r, v] += tap[r] * kept[v]
                cuda.syncthreads()
                begin += chunk
                if begin >= taps:
                    channel, begin = channel + 1, int64(0)
                    x_at, w_at = x_at + x_channel, w_at + w_channel

            # The first number of a tile that is a row, and how far behind a multiple of four in memory that is.
            target = ((column >> LAST_PART) * stride - left) * PARTS
            shift = int32(out_at + target & 3) if IS_ROW_OUT else int32(0)
            for v in range(uint32(V)):
                here = int32(own + int32(v) * NEXT)
                at = int32((here >> LAST_PART) * (R * PARTS) + (here & LAST_PART))
                at = int32(at + (at >> 5) + shift)
                for r in range(uint32(R)):
                    store(stage, at + int32(r) * PARTS, sums[r, v])
            cuda.syncthreads()
            if IS_ROW_OUT and target >= 0 and target + R * TILE <= out_length * PARTS:
                place = out_at + target - shift
                i = int32(thread * 4)
                at_0, at_1 = int32(i + (i - shift >> 5)), int32(i + (i + 1 - shift >> 5) + 1)
                at_2, at_3 = int32(i + (i + 2 - shift >> 5) + 2), int32(i + (i + 3 - shift >> 5) + 3)
                for r in range(uint32(R)):
                    more = int32(r) * SKEWED_TILE
                    if r > 0 or thread > 0 or shift == 0:
                        store4(
                            out, place + i + int32(r) * TILE,
                            load(stage, at_0 + more), load(stage, at_1 + more),
                            load(stage, at_2 + more), load(stage, at_3 + more),
                        )  # fmt: skip
                # What the tile has of its first and last four numbers.
                if shift > 0 and thread < 4:
                    i = thread if thread >= shift else int32(thread + R * TILE)
                    store(out, place + i, load(stage, i + (i - shift >> 5)))
            else:
                part, branch = thread & LAST_PART, first_branch + (thread >> LAST_PART & R - 1)
                row = (column >> LAST_PART) + (thread >> LAST_PART + BRANCH_BITS)
                time = row * stride + branch * dilation - left
                place = out_at + part + time * out_time
                step_time = (THREADS >> LAST_PART + BRANCH_BITS) * stride
                value = bias_1 if part else bias_0
                if branch < branches:
                    i = thread
                    while i < R * TILE:
                        if time >= 0 and time < out_length:
                            store(out, place, load(stage, i + (i >> 5) + shift))
                        for more in range(1, gap):
                            if time + more >= 0 and time + more < out_length:
                                store(out, place + more * out_time, value)
                        time += step_time
                        place += step_time * out_time
                        i = int32(i + THREADS)
            cuda.syncthreads()
            item = uint32(item + cuda.gridDim.x)

    return compile_kernel(fir, THREADS, tile.blocks)
