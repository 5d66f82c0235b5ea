"""Numbers on their way between arrays and tiles: transposed, interleaved, copied and prefetched as LLVM vectors.

Here belongs what moves numbers and at most adds a bias; `tile.py` multiplies.
"""

from functools import partial

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_tconv.backends.cpu.vectors import Vectors, data_of

# Rows that `interleave` and `deinterleave` take by a sequence of shuffles of their own, whatever their number.
MOST_WOVEN = 8


def _weave_rows(vectors, source, step, target, t_step, count):
    """Emit `count` loads, `step` numbers apart, their weaving, and as many stores."""
    places = [vectors.index(k) for k in range(count)]
    rows = [vectors.load(source, vectors.builder.mul(step, k)) for k in places]
    for k, vector in zip(places, vectors.weave(rows, 1), strict=True):
        vectors.store(vector, target, vectors.builder.mul(t_step, k))


@intrinsic(prefer_literal=True)
def transpose(typingctx, source, step, target, t_step, like, lanes):
    """`target[k*t_step + i] = source[i*step + k]` for i, k < lanes: addresses of numbers of the dtype of `like`."""
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[4].dtype), sig.args[5].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 2))
        _weave_rows(vectors, source, args[1], target, args[3], vectors.lanes)
        return context.get_dummy_value()

    return types.void(size, size, size, size, like, lanes), codegen


@intrinsic(prefer_literal=True)
def transpose_to(typingctx, source, step, target, places, p0, width, counts, is_whole, like, lanes):
    """`target[places[p0 + i*step + k]] = source[i*step + k]` for i < counts[0], k < counts[1], neither above `lanes`.

    `source` and `target` are addresses of numbers as of `like`, `places` is what `integers_at` returns. The places of
    one k follow each other, but for one jump at a multiple of `width`. A tile that `is_whole` has none, and all of its
    square may be read; others take masks.
    """
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[8].dtype), sig.args[9].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 2))
        step, places, p0, width = args[1], args[3], args[4], args[5]
        count, run = cgutils.unpack_tuple(builder, args[6])
        at, none = [vectors.index(i) for i in range(vectors.lanes)], vectors.index(0)

        def move(load, store):
            rows = [load(i) for i in at]
            for k, vector in zip(at, vectors.weave(rows, 1), strict=True):
                with builder.if_then(builder.icmp_signed("<", k, run), likely=True):
                    entry = builder.add(p0, k)
                    store(vector, entry, builder.load(builder.gep(places, [entry])))

        def load_part(i):
            exists = builder.icmp_signed("<", i, count)
            return vectors.load_some(source, builder.mul(step, builder.select(exists, i, none)), vectors.first(run))

        def store_part(vector, entry, place):
            before = builder.sub(width, builder.urem(place, width))
            fits = builder.icmp_signed(">=", before, count)
            vectors.store_some(vector, target, place, vectors.first(builder.select(fits, count, before)))
            with builder.if_then(builder.not_(fits)):
                entry = builder.add(entry, builder.mul(step, before))
                place = builder.sub(builder.load(builder.gep(places, [entry])), before)
                vectors.store_some(vector, target, place, vectors.between(before, count))

        if sig.args[7].literal_value:
            move(
                lambda i: vectors.load(source, builder.mul(step, i)),
                lambda vector, entry, place: vectors.store(vector, target, place),
            )
        else:
            move(load_part, store_part)
        return context.get_dummy_value()

    return types.void(size, size, size, places, size, size, counts, is_whole, like, lanes), codegen


def cases(vectors, count, numbers):
    """Emit a branch for each of the `numbers` that `count` may be, yielding it, and one for others, yielding None."""
    builder = vectors.builder
    other, after = (builder.append_basic_block(name) for name in ("other", "after"))
    switch = builder.switch(count, other)
    for number in numbers:
        case = builder.append_basic_block(f"count_{number}")
        switch.add_case(vectors.index(number), case)
        builder.position_at_end(case)
        yield number
        builder.branch(after)
    builder.position_at_end(other)
    yield None
    builder.branch(after)
    builder.position_at_end(after)


def for_each_count(vectors, count, emit):
    """Emit `emit(n)` for every n up to MOST_WOVEN that `count` may be at run time."""
    for n in cases(vectors, count, range(1, MOST_WOVEN + 1)):
        if n is not None:
            emit(n)


@intrinsic(prefer_literal=True)
def interleave(typingctx, source, step, target, like, n, lanes):
    """`target[v*n + i] = source[i*step + v]` for i < n <= MOST_WOVEN, v < lanes; addresses as of `transpose`."""
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[3].dtype), sig.args[5].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 2))
        width = vectors.index(vectors.lanes)
        for_each_count(vectors, args[4], lambda count: _weave_rows(vectors, source, args[1], target, width, count))
        return context.get_dummy_value()

    return types.void(size, size, size, like, size, lanes), codegen


@intrinsic(prefer_literal=True)
def deinterleave(typingctx, source, target, t_step, like, n, lanes):
    """`target[i*t_step + v] = source[v*n + i]` for i < n <= MOST_WOVEN, v < lanes; addresses as of `transpose`."""
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[3].dtype), sig.args[5].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 1))

        def emit(count):
            woven = [vectors.load(source, vectors.index(k * vectors.lanes)) for k in range(count)]
            for i, vector in enumerate(vectors.unweave(woven)):
                vectors.store(vector, target, builder.mul(args[2], vectors.index(i)))

        for_each_count(vectors, args[4], emit)
        return context.get_dummy_value()

    return types.void(size, size, size, like, size, lanes), codegen


@intrinsic(prefer_literal=True)
def weave_tile(typingctx, D, d0, d_b, d_q, first, rows, bias, b_odd, out, o0, o_f, counts, lanes):
    """Transpose a square tile of sums, filters side by side, to runs of up to `lanes` outputs of each filter.

    `out[o0 + f*o_f + i] = D[d0 + q*d_q + b*d_b + f] + D[bias + i%2*b_odd + f]` for `f < counts[0]` and `i < min(lanes,
    counts[1])`, where `q, b = divmod(first + i, rows)` and `first < rows`.
    """
    size = types.intp
    sig = types.void(D, size, size, size, size, size, size, size, out, size, size, counts, lanes)

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[0].dtype), sig.args[12].literal_value)
        d, out = (data_of(context, builder, sig, args, k) for k in (0, 8))
        d_b, d_q, b, rows = args[2:6]
        n_filters, run = cgutils.unpack_tuple(builder, args[11])
        at = builder.add(args[1], builder.mul(d_b, b))
        jump = builder.sub(d_q, builder.mul(d_b, rows))
        one, none = vectors.index(1), vectors.index(0)
        added = [vectors.load(d, args[6]), vectors.load(d, builder.add(args[6], args[7]))]
        tile = []
        for i in range(vectors.lanes):
            tile.append(builder.fadd(vectors.load(d, at), added[i % 2]))
            b = builder.add(b, one)
            is_last = builder.icmp_signed("==", b, rows)
            step = builder.add(d_b, builder.select(is_last, jump, none))
            # Behind the run, where no sums may be, the last one is read once more.
            step = builder.select(builder.icmp_signed("<", vectors.index(i + 1), run), step, none)
            at, b = builder.add(at, step), builder.select(is_last, none, b)
        woven = vectors.weave(tile, 1)

        def store(write):
            for f, vector in enumerate(woven):
                with builder.if_then(builder.icmp_signed("<", vectors.index(f), n_filters), likely=True):
                    write(vector, out, builder.add(args[9], builder.mul(args[10], vectors.index(f))))

        is_whole = builder.icmp_signed(">=", run, vectors.index(vectors.lanes))
        with builder.if_else(is_whole, likely=True) as (whole, some):
            with whole:
                store(vectors.store)
            with some:
                store(partial(vectors.store_some, mask=vectors.first(run)))
        return context.get_dummy_value()

    return sig, codegen


@intrinsic(prefer_literal=True)
def copy_rows(typingctx, D, d0, d_r, bias, b0, parts, out, o0, o_r, count, run, lanes):
    """`out[o0 + q*o_r + k] = D[d0 + q*d_r + k] + bias[b0 + k%parts]` for q < count, k < run, in whole vectors.

    Rows are stored in order. A run longer than a vector ends with one that overlaps the one before; a shorter one
    writes `lanes - run` numbers too many behind every row, so what follows must be stored later.
    """
    size = types.intp
    sig = types.void(D, size, size, bias, size, size, out, size, size, size, size, lanes)

    def codegen(context, builder, sig, args):
        n_lanes = sig.args[11].literal_value
        vectors = Vectors(context, builder, context.get_value_type(sig.args[0].dtype), n_lanes)
        d, b, out = (data_of(context, builder, sig, args, k) for k in (0, 3, 6))
        added = vectors.pair(b, args[4], args[5])
        width = vectors.index(n_lanes)
        spare = builder.sub(args[10], width)
        spare = builder.select(builder.icmp_signed("<", spare, vectors.index(0)), vectors.index(0), spare)
        chunks = builder.add(builder.sdiv(builder.sub(args[10], vectors.index(1)), width), vectors.index(1))
        with cgutils.for_range(builder, args[9]) as row:
            source = builder.add(args[1], builder.mul(row.index, args[2]))
            target = builder.add(args[7], builder.mul(row.index, args[8]))
            with cgutils.for_range(builder, chunks) as chunk:
                at = builder.mul(chunk.index, width)
                at = builder.select(builder.icmp_signed("<", at, spare), at, spare)
                value = builder.fadd(vectors.load(d, builder.add(source, at)), added)
                vectors.store(value, out, builder.add(target, at))
        return context.get_dummy_value()

    return sig, codegen


@intrinsic(prefer_literal=True)
def copy_windows(typingctx, source, s_w, target, t_w, count, run, like, lanes):
    """`target[w*t_w + k] = source[w*s_w + k]` for w < count and k < run: addresses of numbers of the dtype of `like`.

    Nothing beyond a run is written. A run is taken in vectors of `lanes`, then of half as many and so on, each of them
    for all windows, so that short runs cost no call and no branch.
    """
    size = types.intp

    def codegen(context, builder, sig, args):
        scalar, n_lanes = context.get_value_type(sig.args[6].dtype), sig.args[7].literal_value
        source, s_w, target, t_w, count, run = args[:6]
        width = ir.Constant(run.type, n_lanes)
        done = cgutils.alloca_once_value(builder, ir.Constant(run.type, 0))

        def copy(n):
            vectors = Vectors(context, builder, scalar, n)
            begin, end = (builder.inttoptr(address, scalar.as_pointer()) for address in (source, target))
            at = builder.load(done)
            with cgutils.for_range(builder, count) as window:
                value = vectors.load(begin, builder.add(at, builder.mul(window.index, s_w)))
                vectors.store(value, end, builder.add(at, builder.mul(window.index, t_w)))
            builder.store(builder.add(at, vectors.index(n)), done)

        with cgutils.for_range(builder, builder.sdiv(run, width)):
            copy(n_lanes)
        n = n_lanes // 2
        while n:
            bit = builder.and_(run, ir.Constant(run.type, n))
            with builder.if_then(builder.icmp_signed("!=", bit, ir.Constant(run.type, 0))):
                copy(n)
            n //= 2
        return context.get_dummy_value()

    return types.void(size, size, size, size, size, size, like, lanes), codegen


@intrinsic(prefer_literal=True)
def copy_some(typingctx, source, target, count, like, lanes):
    """Copy `count` numbers, at least one, from an address to another: whole vectors, and what remains by a mask."""
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[3].dtype), sig.args[4].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 1))
        width, one = vectors.index(vectors.lanes), vectors.index(1)
        whole = builder.sdiv(builder.sub(args[2], one), width)
        with cgutils.for_range(builder, whole) as step:
            at = builder.mul(step.index, width)
            vectors.store(vectors.load(source, at), target, at)
        at = builder.mul(whole, width)
        rest = vectors.first(builder.sub(args[2], at))
        vectors.store_some(vectors.load_some(source, at, rest), target, at, rest)
        return context.get_dummy_value()

    return types.void(size, size, size, like, lanes), codegen


@intrinsic
def prefetch_run(typingctx, start, size):
    """Call `size` bytes from an address on into L2; what does not exist is no fault."""

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, ir.FloatType(), 1)
        with cgutils.for_range(builder, builder.sdiv(args[1], vectors.index(64))) as line:
            vectors.prefetch(builder.add(args[0], builder.mul(line.index, vectors.index(64))))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen
