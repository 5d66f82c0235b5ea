"""The gradient of x by three multiply-adds for four: filters with two taps of every phase, `filter_size == 2*stride`.

With grad_output by phases, `G[f, p][i] = g[n, f, stride*i + p - left]`, a sample of the gradient sums two taps of each:

    grad_x[c, i] = sum_{f, p} w[c, f, p] * G[f, p][i] + w[c, f, stride + p] * G[f, p][i + 1]

Two neighbours, `i = 2*u` and `2*u + 1`, see one sample both. With `E[u] = G[2*u]`, `O[u] = G[2*u + 1]`, and a and b for
the taps,

    grad_x[2*u]     = a*E[u] + b*O[u]     = (a + b)*O[u] + a*(E[u] - O[u])
    grad_x[2*u + 1] = a*O[u] + b*E[u + 1] = (a + b)*O[u] + b*(E[u + 1] - O[u])

which is the minimal algorithm F(2, 2) of S. Winograd, Arithmetic Complexity of Computations (1980). Samples are
subtracted once for all channels, taps added once for a block of samples. What remains are three products like that of
`windows.py`: rows of weights, windows in place, lanes along time. Sums are taken in the same order whatever the number
of threads. Terms are rounded once more, but sums have half as many of them: of normal numbers, errors are as large as
those of four products, of smooth signals 0.7 times as large. Of infinities, differences and cancelled taps make NaN.
"""

from functools import partial
from math import inf

import numpy as np
from numba import literally, types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_tconv.backends.cpu import jit, products
from numba_tconv.backends.cpu.grad_x import store_row
from numba_tconv.backends.cpu.moves import prefetch_run
from numba_tconv.backends.cpu.products import (
    MOST_PHASES,
    Operands,
    begin_of,
    even_blocks,
    integers,
    is_woven,
    place_of_phase,
    shares,
    split_phases,
    stage_line,
    stage_signals,
)
from numba_tconv.backends.cpu.staging import odd_lines
from numba_tconv.backends.cpu.target import host, kept_in_l2
from numba_tconv.backends.cpu.tile import sum_windows
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import Vectors, address, integers_at
from numba_tconv.backends.cpu.windows import (
    MOST_SAMPLES_X,
    SORTED_BYTES,
    STAGED_BYTES,
    X_ROWS,
    x_arguments,
    x_item,
)
from numba_tconv.geometry import Geometry

# Samples of a block at least. With 256, taps were added twice as often for as many products: 768 -> 384 (16, 8) took a
# Zen 4 without AVX-512 1.1 times as long.
FEWEST_SAMPLES = 512
# Of a row of taps that are multiplied at a time. Rows lie as far apart as the longest ones do, known to the compiler.
TERMS_BYTES = 1024


@intrinsic(prefer_literal=True)
def add_taps(typingctx, source, target, step, filters, stride, like, lanes):
    """`target[m*step + f*stride + p] = t[m]` with `t = a + b, a, b` and `a, b = source[f][p], source[f][stride + p]`.

    For f < filters and p < stride; addresses of numbers of the dtype of `like`. Up to `lanes - 1` numbers behind each
    of the three runs are written as well.
    """
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[5].dtype), sig.args[6].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 1))
        step, stride, none, width = args[2], args[4], vectors.index(0), vectors.index(vectors.lanes)
        whole = builder.mul(builder.sdiv(stride, width), width)
        rest = builder.sub(stride, whole)
        some = vectors.first(rest)

        def move(run, at, load):
            """Emit what becomes of the vectors of taps from `at` on, of the filter whose phases begin at `run`."""
            begin = builder.add(builder.add(run, run), at)
            a, b = (load(source, builder.add(begin, tap)) for tap in (none, stride))
            for m, vector in enumerate((builder.fadd(a, b), a, b)):
                vectors.store(vector, target, builder.add(builder.add(run, at), builder.mul(step, vectors.index(m))))

        with cgutils.for_range(builder, args[3]) as f:
            run = builder.mul(f.index, stride)
            with cgutils.for_range_slice(builder, none, whole, width) as (at, _):
                move(run, at, vectors.load)
            with builder.if_then(builder.icmp_signed(">", rest, none)):
                move(run, whole, partial(vectors.load_some, mask=some))
        return context.get_dummy_value()

    return types.void(size, size, size, size, size, like, lanes), codegen


@intrinsic(prefer_literal=True)
def subtract_samples(typingctx, even, odd, target, count, like, lanes):
    """`target[u] = even[u] - odd[u]` and `target[count + u] = even[u + 1] - odd[u]` for u < count.

    Addresses of numbers of the dtype of `like`, count a multiple of `lanes`.
    """
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[4].dtype), sig.args[5].literal_value)
        even, odd, target = (builder.inttoptr(place, vectors.scalar.as_pointer()) for place in args[:3])
        count, none, width = args[3], vectors.index(0), vectors.index(vectors.lanes)
        with cgutils.for_range_slice(builder, none, count, width) as (u, _):
            shared = vectors.load(odd, u)
            for shift, place in ((vectors.index(0), u), (vectors.index(1), builder.add(count, u))):
                vectors.store(builder.fsub(vectors.load(even, builder.add(u, shift)), shared), target, place)
        return context.get_dummy_value()

    return types.void(size, size, size, size, like, lanes), codegen


@intrinsic(prefer_literal=True)
def add_sums(typingctx, source, step, target, count, like, lanes):
    """`target[2*u + k] = source[u] + source[(1 + k)*step + u]` for u < count and k < 2, in whole vectors.

    Addresses of numbers of the dtype of `like`. Up to `2*lanes - 2` numbers behind the result are written as well.
    """
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[4].dtype), sig.args[5].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 2))
        step, none, width = args[1], vectors.index(0), vectors.index(vectors.lanes)
        with cgutils.for_range_slice(builder, none, args[3], width) as (u, _):
            shared, *own = (vectors.load(source, builder.add(u, builder.mul(step, vectors.index(m)))) for m in range(3))
            woven = vectors.weave([builder.fadd(shared, value) for value in own], 1)
            for place, vector in zip((builder.add(u, u), builder.add(builder.add(u, u), width)), woven, strict=True):
                vectors.store(vector, target, place)
        return context.get_dummy_value()

    return types.void(size, size, size, size, like, lanes), codegen


@jit.helper
def _find_windows(g, scratch, windows, w0, step, start, problem, n, signals, channel, filters, part, i, lanes):
    """Write where the windows O, E - O and E[1:] - O of all phases of some filters begin, in lists `step` apart.

    Those of several signals are one window, the signals side by side.
    """
    stride, run, itemsize = problem[products.STRIDE], problem[products.TAP_BLOCK], scratch.itemsize
    time, span = stride * i - problem[products.LEFT], 2 * stride * run
    for f in range(filters):
        line = start + problem[products.LINE] + f * problem[products.PANEL_SIZE]
        spare = start + problem[products.SPARE] + f * problem[products.PANEL_SIZE]
        if signals == 1:
            run_at = stage_line(g, n, channel + f, time, part, span, problem, scratch, line, span * g.strides[2])
        else:
            of_signal = 2 * stride * problem[products.SIGNAL_STEP]
            stage_signals(g, n, signals, channel + f, time, part, of_signal, problem, scratch, line)
            run_at = address(scratch) + line * itemsize
        phases = split_phases(scratch, run_at, line, spare, 2 * stride, run, lanes)
        # What is sorted now lies in one of the two buffers. The differences go to the other one.
        other = 2 * address(scratch) + (line + spare) * itemsize - phases
        for p in range(stride):
            even = phases + problem[products.PLACES + p] * run * itemsize
            odd = phases + problem[products.PLACES + stride + p] * run * itemsize
            before = other + 2 * p * run * itemsize
            subtract_samples(even, odd, before, run, scratch, literally(lanes))
            q = w0 + f * stride + p
            windows[q], windows[q + step], windows[q + 2 * step] = odd, before, before + run * itemsize


@jit.once
def kernel(g_dtype, dtype, out_dtype):
    """Return the compiled kernel `(weight, g, out, scratch, windows, problem, turns, worker)`.

    weight is flat: (channel * row part, reduced part, filter, tap); windows are addresses.
    """
    lanes, V, itemsize = host().lanes(dtype.itemsize), host().window_vectors, dtype.itemsize
    taps_row = _taps_row(dtype)

    def run(weight, g, out, scratch, windows, problem, turns, worker):
        problem = integers_at(address(problem))
        filters, most_filters = problem[products.FILTERS], problem[products.FILTER_BLOCK]
        reduced_filters = problem[products.REDUCED_PARTS] * filters
        stride = problem[products.STRIDE]
        weight_row = reduced_filters * 2 * stride
        terms = most_filters * stride
        start, w0 = begin_of(scratch, worker, problem), worker * 3 * terms
        line, taps, taps_step = start + problem[products.STAGE], start + problem[products.PANELS], terms + lanes
        acc, acc_step = start + problem[products.ACC], problem[products.CHANNEL_STEP]
        # Sums that are complete after one visit need no place of their own.
        acc_row = 3 * acc_step if most_filters < reduced_filters else 0
        is_direct, signal_step = problem[products.IS_DIRECT] == 1, problem[products.SIGNAL_STEP]
        index = take_first(turns)
        while index < problem[products.ITEMS]:
            n, part, group, row, rows, i, count = x_item(problem, index)
            n *= problem[products.SIGNALS]
            signals = min(problem[products.SIGNALS], problem[products.BATCH] - n)
            half = (count + 1) // 2
            pairs = (signals - 1) * signal_step + half
            reduced = 0
            while reduced < reduced_filters:
                reduced_part, f = divmod(reduced, filters)
                here = min(most_filters, filters - f)
                _find_windows(
                    g, scratch, windows, w0, terms, start, problem, n, signals, group * filters + f, here,
                    part + reduced_part, i, lanes,
                )  # fmt: skip
                # Tile by tile, so that the taps are in L1 for all three products.
                for r in range(0, rows, X_ROWS):
                    height = min(X_ROWS, rows - r)
                    for k in range(height):
                        source = address(weight) + ((row + r + k) * weight_row + reduced * 2 * stride) * itemsize
                        target = address(scratch) + (taps + k * taps_row) * itemsize
                        add_taps(source, target, taps_step, here, stride, scratch, literally(lanes))
                        # Those of the next tile, short runs that lie far apart, travel into L2 meanwhile.
                        prefetch_run(source + X_ROWS * weight_row * itemsize, here * 2 * stride * itemsize)
                    sums = address(scratch) + (acc + r * acc_row) * itemsize
                    counts = height, here * stride, pairs
                    for m in range(3):
                        a = address(scratch) + (taps + m * taps_step) * itemsize
                        D = sums + m * acc_step * itemsize, 3 * acc_step
                        sum_windows(
                            scratch, a, taps_row, windows, w0 + m * terms, counts, D, reduced == 0, X_ROWS, V, lanes
                        )  # fmt: skip
                    # Here and not by a helper, with which a first call took half a second longer.
                    for each in range(height * signals if reduced + here == reduced_filters else 0):
                        k, s = divmod(each, signals)
                        source, whole = sums + (k * 3 * acc_step + s * signal_step) * itemsize, 0
                        if is_direct:
                            whole = count // (2 * lanes) * lanes
                            target = (n + s) * out.strides[0] + (row + r + k) * out.strides[1] + i * itemsize
                            add_sums(source, acc_step, address(out) + target, whole, scratch, literally(lanes))
                        # What fills no vectors, and results that are no runs of the dtype.
                        source, target = source + whole * itemsize, address(scratch) + line * itemsize
                        add_sums(source, acc_step, target, half - whole, scratch, literally(lanes))
                        place = (n + s) * problem[products.LENGTH] + i
                        store_row(out, scratch, line, problem, row + r + k, part, place + 2 * whole, place + count)
                reduced += here
            index = take(turns)

    return jit.compile_kernel(run, x_arguments(g_dtype, dtype, out_dtype))


def _taps_row(dtype: np.dtype) -> int:
    """Return how far rows of added taps lie apart: three runs of terms, and room for a vector behind each."""
    return odd_lines(3 * (TERMS_BYTES // dtype.itemsize + host().lanes(dtype.itemsize)))


def _blocks(geometry: Geometry, dtype: np.dtype, operands: Operands) -> tuple[int, int, int, int]:
    """Return the samples of a block, how many blocks a signal has, the signals of an item, and its filters at a time.

    Of short signals, an item has several.
    """
    stride, most = geometry.stride, kept_in_l2(SORTED_BYTES) // dtype.itemsize // geometry.stride
    samples = min(MOST_SAMPLES_X, max(FEWEST_SAMPLES, most // operands.filters))
    if 2 * geometry.length > samples:
        block, blocks = even_blocks(geometry.length, samples, 2 * host().lanes(dtype.itemsize))
        signals = 1
    else:
        block, blocks = geometry.length + geometry.length % 2, 1
        signals, _ = even_blocks(operands.batch, samples // block, 1)
    filters = min(operands.filters, most // (signals * block), TERMS_BYTES // dtype.itemsize // stride)
    return block, blocks, signals, max(1, filters)


def cost(geometry: Geometry, dtype: np.dtype, operands: Operands) -> float:
    """Return about how long the gradient of x takes here, as `backward.x_path` compares it."""
    stride = geometry.stride
    if geometry.dilation > 1 or geometry.filter_size != 2 * stride or stride > MOST_PHASES or not is_woven(2 * stride):
        return inf
    block, blocks, signals, filter_block = _blocks(geometry, dtype, operands)
    lanes, runs, blocks = host().lanes(dtype.itemsize), operands.batch * blocks, -(-operands.batch // signals) * blocks
    vectors, terms = 2 * blocks * -(-signals * (block // 2 + 1) // lanes), operands.reduced_filters * stride
    visits = -(-operands.filters // filter_block) * operands.reduced_parts
    # As in `windows.py`, where all four are multiplied: fitted to 1,800 random layers on a Zen 4 without AVX-512.
    multiplied = (0.25 if host().registers == 32 else 0.227) * vectors * operands.rows * 1.5 * terms
    added = 0.62 * blocks * operands.rows * terms
    stored = ((0.9 * vectors + 38 * blocks) * visits + 1.2 * vectors + 25 * runs) * operands.rows
    in_phases = (14 * blocks + 0.135 * dtype.itemsize * vectors * lanes) * terms
    return multiplied + added + stored + in_phases


def problem(geometry: Geometry, dtype: np.dtype, n_workers: int, operands: Operands) -> tuple[np.ndarray, int]:
    """Return the kernel's integers as an array, and the numbers of scratch for one worker."""
    rows, stride, lanes = operands.rows, geometry.stride, host().lanes(dtype.itemsize)
    block, blocks, signals, filter_block = _blocks(geometry, dtype, operands)
    # A window has a number for each pair of samples of a signal, and the even ones one more.
    signal_step = block // 2 + 1
    run = odd_lines(signals * signal_step)
    acc_step = signals * signal_step + 16
    kept = filter_block < operands.reduced_filters  # sums wait for other filters
    row_blocks = -(-rows * 3 * acc_step * dtype.itemsize // STAGED_BYTES) if kept else 1
    items = -(-operands.batch // signals) * operands.n_products * blocks
    # Few items are cut by channels, for which grad_output is sorted once more.
    row_block, row_blocks = even_blocks(rows, -(-rows // (row_blocks * shares(items * row_blocks, n_workers))), X_ROWS)
    line = 2 * stride * run + lanes
    values = {
        products.ITEMS: items * row_blocks,
        products.SIGNALS: signals,
        products.SIGNAL_STEP: signal_step,
        products.ROW_BLOCK: row_block,
        products.ROW_BLOCKS: row_blocks,
        products.LANE_BLOCK: block,
        products.LANE_BLOCKS: blocks,
        products.CHANNEL_STEP: acc_step,
        products.FILTER_BLOCK: filter_block,
        products.TAP_BLOCK: run,
        products.PANEL_SIZE: line,
        products.IN_PLACE: True,
        products.IS_DIRECT: operands.is_plain_out,
    }
    sizes = {
        products.ACC: (row_block if kept else X_ROWS) * 3 * acc_step,
        products.STAGE: block + 2 * lanes,
        products.PANELS: X_ROWS * _taps_row(dtype),
        products.LINE: filter_block * line,
        products.SPARE: filter_block * line,
    }
    numbers, scratch = integers(geometry, operands, values, sizes)
    places = [place_of_phase(phase, 2 * stride) for phase in range(2 * stride)]
    return np.append(numbers, places), scratch
