"""The register tile: `acc[r][v] += A[r] * B[v]` with R*V accumulator vectors that never leave the registers.

Here belongs whatever multiplies and adds. Which tile shape suits the machine is `target.py`'s question, what is fed to
the tile is `panels.py`'s and `fir.py`'s, numbers that are only moved are `moves.py`'s.
"""

from functools import partial

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_tconv.backends.cpu.moves import cases, for_each_count
from numba_tconv.backends.cpu.target import LINE_OF_CACHE
from numba_tconv.backends.cpu.vectors import Vectors, data_of


@intrinsic
def multiply_add(typingctx, a, b, c):
    """Return `a*b + c` of numbers, rounded as in the lanes of a tile."""

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(sig.return_type)
        name = f"llvm.fmuladd.f{32 if isinstance(kind, ir.FloatType) else 64}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(function, args)

    return a(a, a, a), codegen


def _accumulate(vectors, rows, columns, counts, accumulators, ahead=(), b_ahead=None, load=None):
    """Emit the two reduction loops: `acc[r][v] += A[a_r + i*a_i + j*a_j] * B[b_v + i*b_i + j*b_j]`.

    `rows` is `(pointer, offset of every row r, step of i, step of j)`, `columns` the same for the vectors v. `counts`
    are the trip counts of i and j. Meanwhile lines travel into L2: for every i one of each stream in `ahead`, (address,
    step of i in bytes), or several of (address, step, lines), and for every j those `b_ahead` numbers behind B.
    `load(pointer, offset, place)` emits a vector of B otherwise than as it stands there, where `place` is how far it
    lies behind `i*b_i`.

    Pointers go from step to step. Worked out from i and j they took as many instructions, for each i, as two steps of
    the tile of AVX2: layers of one tap took a Zen 3 1.4 times as long.
    """
    builder = vectors.builder
    load = load or (lambda pointer, offset, place: vectors.load(pointer, offset))
    (a, a_rs, a_i, a_j), (b, b_vs, b_i, b_j) = rows, columns
    a_of_i, b_of_i = (cgutils.alloca_once_value(builder, pointer) for pointer in (a, b))
    a_of_j, b_of_j = (cgutils.alloca_once(builder, pointer.type) for pointer in (a, b))
    streams = [(cgutils.alloca_once_value(builder, line), step, *n_lines) for line, step, *n_lines in ahead]

    def go_on(slot, step):
        """Emit the pointer or address in a slot, which goes a step further."""
        place = builder.load(slot)
        further = builder.gep(place, [step]) if place.type.is_pointer else builder.add(place, step)
        builder.store(further, slot)
        return place

    with cgutils.for_range(builder, counts[0]):
        for slot, step, *n_lines in streams:
            line = go_on(slot, step)
            if not n_lines:
                vectors.prefetch(line)
                continue
            with cgutils.for_range(builder, n_lines[0]) as lines:
                vectors.prefetch(builder.add(line, builder.mul(lines.index, vectors.index(LINE_OF_CACHE))))
        builder.store(go_on(a_of_i, a_i), a_of_j)
        builder.store(go_on(b_of_i, b_i), b_of_j)
        with cgutils.for_range(builder, counts[1]) as inner:
            a_here, b_here = go_on(a_of_j, a_j), go_on(b_of_j, b_j)
            if b_ahead is not None:
                for b_v in b_vs:
                    line = builder.gep(b_here, [builder.add(b_ahead, b_v)])
                    vectors.prefetch(builder.ptrtoint(line, vectors.intp))
            place = builder.mul(inner.index, b_j)
            lanes = [load(b_here, b_v, builder.add(place, b_v)) for b_v in b_vs]
            for a_r, row in zip(a_rs, accumulators, strict=True):
                scalar = vectors.splat(builder.load(builder.gep(a_here, [a_r])))
                for vector, slot in zip(lanes, row, strict=True):
                    builder.store(vectors.multiply_add(scalar, vector, builder.load(slot)), slot)


def _begin_sums(vectors, first, n_rows, n_vectors, load):
    """Emit the sums of a tile, zeros where `first` and else what `load(r, v)` emits; return where they are kept."""
    builder = vectors.builder
    acc = [[cgutils.alloca_once(builder, vectors.type) for _ in range(n_vectors)] for _ in range(n_rows)]
    places = [(r, v) for r in range(n_rows) for v in range(n_vectors)]
    with builder.if_else(first) as (overwrite, add):
        with overwrite:
            for r, v in places:
                builder.store(ir.Constant(vectors.type, None), acc[r][v])
        with add:
            for r, v in places:
                builder.store(load(r, v), acc[r][v])
    return acc


def _panel_tile(vectors, rows, columns, counts, target, first, shape, ahead, few):
    """Emit one tile of `shape` (R, V, step a_r), its sums kept in or added to `target` (pointer, offset, step of r).

    Up to `few` trips of the inner loop have an outer loop of their own.
    """
    builder = vectors.builder
    n_rows, n_vectors, a_r = shape
    (a, a0, a_i, a_j), (d, d0, d_r) = rows, target
    rows = (builder.gep(a, [a0]), [vectors.index(r * a_r) for r in range(n_rows)], a_i, a_j)

    def at(r, v):
        return builder.add(builder.add(d0, builder.mul(d_r, vectors.index(r))), vectors.index(v * vectors.lanes))

    acc = _begin_sums(vectors, first, n_rows, n_vectors, lambda r, v: vectors.load(d, at(r, v)))
    for n in cases(vectors, counts[1], range(1, few + 1)):
        inner = counts[1] if n is None else vectors.index(n)
        _accumulate(vectors, rows, columns, (counts[0], inner), acc, *ahead)
    for r, slots in enumerate(acc):
        for v, slot in enumerate(slots):
            vectors.store(builder.load(slot), d, at(r, v))


def _tiles(vectors, count, heights):
    """Emit a loop for each height, yielding its first row and the height to emit the body, until `count` are done."""
    builder = vectors.builder
    row = cgutils.alloca_once_value(builder, vectors.index(0))
    for height in heights:
        condition, body, after = (builder.append_basic_block(name) for name in ("fits", "tile", "after"))
        builder.branch(condition)
        builder.position_at_end(condition)
        end = builder.add(builder.load(row), vectors.index(height))
        builder.cbranch(builder.icmp_signed("<=", end, count), body, after)
        builder.position_at_end(body)
        at = builder.load(row)
        yield at, height
        builder.store(builder.add(at, vectors.index(height)), row)
        builder.branch(condition)
        builder.position_at_end(after)


def _panel_rows(vectors, data, rows, columns, counts, target, first, ahead, shape, few=0):
    """Emit tiles of `shape` (R, V, step a_r) and less high ones, one below the other, until all rows are done.

    Those of R rows have loops of their own for up to `few` trips of the inner one.
    """
    builder, (n_rows, n_vectors, a_r) = vectors.builder, shape
    (a0, a_i, a_j), (n, *reduction), (d, d_r), (streams, b_ahead) = rows, counts, target, ahead
    d = builder.inttoptr(d, vectors.scalar.as_pointer())
    heights = sorted({n_rows, n_rows // 2 or 1, n_rows // 3 or 1, n_rows // 4 or 1, 2, 1}, reverse=True)
    for at, height in _tiles(vectors, n, heights):
        sums = (d, builder.mul(at, d_r), d_r)
        samples = (data, builder.add(a0, builder.mul(at, vectors.index(a_r))), a_i, a_j)
        lines = [(builder.add(line, builder.mul(at, h_r)), h_i, *count) for line, h_i, h_r, *count in streams]
        next_panels = b_ahead if height < n_rows else None
        _panel_tile(
            vectors, samples, columns, reduction, sums, first, (height, n_vectors, a_r), (lines, next_panels),
            few if height == n_rows else 0,
        )  # fmt: skip


@intrinsic(prefer_literal=True)
def panel_rows(typingctx, scratch, A, B, counts, D, first, ahead, b_ahead, R, V, lanes, a_r, few):
    """`D[r*d_r + v] (+)= sum_{i<I, j<J} A[a0 + i*a_i + j*a_j + r*a_r] * B[i*b_i + j*V*lanes + v]`, v < V*lanes.

    `A = (a0, a_i, a_j)` lies in `scratch`, `B = (address, b_i)` and `D = (address, d_r)` anywhere; `counts = (rows, I,
    J)`. Rows are taken in tiles of R, then R/2, R/3, R/4, 2 and 1; a literal step between them costs no register.
    `first` overwrites D, otherwise the sums are added to it.

    `ahead` are streams that the next calls will read: of each `(address, h_i, h_r)`, the line at `address + i*h_i +
    r*h_r` travels into L2 meanwhile, r the first row of a tile; of `(address, h_i, h_r, lines)`, so many from there on.
    In tiles of few rows, what lies `b_ahead` numbers behind B does, too. In those of R rows, a J up to `few` has a loop
    of its own: a Zen 3 whose core ran something else as well took 1.1 to 1.25 times as long for two taps without.
    """
    sig = types.void(scratch, A, B, counts, D, types.boolean, ahead, b_ahead, R, V, lanes, a_r, few)

    def codegen(context, builder, sig, args):
        n_rows, n_vectors, n_lanes, row_step, n_few = (sig.args[k].literal_value for k in range(8, 13))
        vectors = Vectors(context, builder, context.get_value_type(sig.args[0].dtype), n_lanes)
        rows, (b, b_i), counts, target, streams = (cgutils.unpack_tuple(builder, args[k]) for k in (1, 2, 3, 4, 6))
        b = builder.inttoptr(b, vectors.scalar.as_pointer())
        columns = (b, [vectors.index(v * n_lanes) for v in range(n_vectors)], b_i, vectors.index(n_vectors * n_lanes))
        data = data_of(context, builder, sig, args, 0)
        ahead = [cgutils.unpack_tuple(builder, stream) for stream in streams], args[7]
        _panel_rows(vectors, data, rows, columns, counts, target, args[5], ahead, (n_rows, n_vectors, row_step), n_few)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic(prefer_literal=True)
def panel_pair(typingctx, scratch, A, B, counts, D, first, b_ahead, R, V, lanes):
    """Do what `panel_rows` does for two panels at once, the second one so many numbers behind the first.

    `B = (address, b_i, distance)`, and the sums of the second panel stand beside those of the first. For few rows,
    which take as long as the panels come from memory: a core reads two runs faster than one.
    """
    sig = types.void(scratch, A, B, counts, D, types.boolean, b_ahead, R, V, lanes)

    def codegen(context, builder, sig, args):
        n_rows, n_vectors, n_lanes = (sig.args[k].literal_value for k in (7, 8, 9))
        vectors = Vectors(context, builder, context.get_value_type(sig.args[0].dtype), n_lanes)
        rows, (b, b_i, distance), counts, target = (cgutils.unpack_tuple(builder, args[k]) for k in (1, 2, 3, 4))
        b = builder.inttoptr(b, vectors.scalar.as_pointer())
        places = [vectors.index(v * n_lanes) for v in range(n_vectors)]
        places += [builder.add(distance, place) for place in places]
        columns = (b, places, b_i, vectors.index(n_vectors * n_lanes))
        data = data_of(context, builder, sig, args, 0)
        ahead = (), args[6]
        _panel_rows(vectors, data, rows, columns, counts, target, args[5], ahead, (n_rows, 2 * n_vectors, 1))
        return context.get_dummy_value()

    return sig, codegen


def _fir_rows(vectors, samples, taps, counts, biases, runs, sums, flags, shape, store, load=None):
    """Emit what `fir_tile` describes: `shape` is (F, S, together, V, unit, bias_last), `flags` (first, last).

    `samples` is (pointer, x_i, x_j), `taps` (pointer, offset), `biases` (pointer, the numbers of every filter), `runs`
    (pointer, step of filters). `load` is that of `_accumulate`, `store(woven, pointer)` writes vectors in a run.
    """
    builder, n_lanes = vectors.builder, vectors.lanes
    n_filters, n_rows, n_together, n_vectors, n_unit, is_bias_last = shape
    (x, x_i, x_j), (w, w0), (n_i, n_j), (out, o_f), (first, last) = samples, taps, counts, runs, flags
    filters = [vectors.index(f) for f in range(n_filters)]
    acc = [[cgutils.alloca_once(builder, vectors.type) for _ in range(n_vectors)] for _ in range(n_filters * n_rows)]
    places = [[vectors.index((k * n_vectors + v) * n_lanes) for v in range(n_vectors)] for k in range(len(acc))]
    filled = builder.mul(n_j, vectors.index(n_rows))
    of_row = [
        builder.add(w0, builder.add(builder.mul(f, filled), vectors.index(r))) for f in filters for r in range(n_rows)
    ]

    def bias_of(f):
        """Emit the vectors that belong to the rows of a filter in turn."""
        b, numbers = biases
        pair = [vectors.splat(builder.load(builder.gep(b, [number]))) for number in numbers(f)]
        return vectors.weave(pair, 1)[:1] if n_unit == 2 else pair

    def begin_with(k):
        """Emit what row k begins with."""
        f, r = divmod(k, n_rows)
        added = [ir.Constant(vectors.type, None)] if is_bias_last else bias_of(filters[f])
        return added[r % len(added)]

    def sum_up(here):
        """Emit the sums of some of the rows."""
        with builder.if_else(first) as (begin, go_on):
            with begin:
                for k in here:
                    value = begin_with(k)
                    for slot in acc[k]:
                        builder.store(value, slot)
            with go_on:
                for k in here:
                    for slot, place in zip(acc[k], places[k], strict=True):
                        builder.store(vectors.load(sums, place), slot)
        rows = w, [of_row[k] for k in here], builder.mul(filled, vectors.index(n_filters)), vectors.index(n_rows)
        columns = x, [vectors.index(v * n_lanes) for v in range(n_vectors)], x_i, x_j
        # Where the bias comes last, the filters are those of a layer, which have two or three taps mostly.
        for n in cases(vectors, n_j, (2, 3) if is_bias_last and n_vectors > 1 else ()):
            inner = n_j if n is None else vectors.index(n)
            _accumulate(vectors, rows, columns, (n_i, inner), [acc[k] for k in here], load=load)

    for top in range(0, len(acc), n_together):
        sum_up(range(top, min(top + n_together, len(acc))))
    with builder.if_else(last) as (end, leave):
        with end:
            for f in range(n_filters):
                added, run = bias_of(filters[f]), builder.gep(out, [builder.mul(filters[f], o_f)])
                woven = []
                for v in range(n_vectors):
                    rows = [builder.load(row[v]) for row in acc[f * n_rows : (f + 1) * n_rows]]
                    if is_bias_last:
                        rows = [builder.fadd(row, added[r % len(added)]) for r, row in enumerate(rows)]
                    woven += vectors.weave(rows, n_unit)
                store(woven, run)
        with leave:
            for row, ends in zip(acc, places, strict=True):
                for slot, place in zip(row, ends, strict=True):
                    vectors.store(builder.load(slot), sums, place)


@intrinsic(prefer_literal=True)
def fir_tile(
    typingctx, X, W, w0, counts, bias, B, out, sums, first, last, F, S, together, V, lanes, unit, parts, bias_last
):
    """S rows of time for each of F filters, woven into F runs of `S*V*lanes` outputs.

    `row[f][r][v] = bias[b0 + f*b_f] + sum_{i<I, j<J} W[w0 + ((i*F + f)*J + j)*S + r] * x[i*x_i + j*x_j + v]`, v <
    V*lanes, where `X = (address of x, x_i, x_j)`, `counts = (I, J)` and `B = (b0, b_f)`. The rows of a filter are
    interleaved in units of `unit` lanes (2 where x holds complex numbers under real taps) and written to the address
    `out[0]`, those of the next filter `out[1]` numbers further on. `parts` is 2 for complex results: then the bias is
    a pair, over the lanes where unit is 2, over the rows where it is 1. Addresses, so that one tile serves the caller's
    arrays and scratch. Unless `first`, the rows begin with what stands at the address `sums` and not with the bias;
    unless `last`, they are left there and not woven. With `bias_last`, the bias comes after the sum, as it does in the
    panel path, and the rows begin with zeros: for depthwise layers of few taps 3 % slower. So many rows are summed
    `together`, then as many others: sixteen registers do not hold those of 8 rows, two vectors each.
    """
    size, flag = types.intp, types.boolean
    sig = types.void(
        X, W, size, counts, bias, B, out, size, flag, flag, F, S, together, V, lanes, unit, parts, bias_last
    )  # fmt: skip

    def codegen(context, builder, sig, args):
        n_filters, n_rows, n_together, n_vectors, n_lanes, n_unit, n_parts, is_bias_last = (
            sig.args[k].literal_value for k in range(10, 18)
        )
        vectors = Vectors(context, builder, context.get_value_type(sig.args[1].dtype), n_lanes)
        w, b = (data_of(context, builder, sig, args, k) for k in (1, 4))
        (x, *steps), counts, (b0, b_f), (out, o_f) = (cgutils.unpack_tuple(builder, args[k]) for k in (0, 3, 5, 6))
        x, out, sums = (builder.inttoptr(place, vectors.scalar.as_pointer()) for place in (x, out, args[7]))

        def numbers(f):
            at = builder.add(b0, builder.mul(f, b_f))
            return [builder.add(at, vectors.index(part)) for part in range(n_parts)]

        _fir_rows(
            vectors, (x, *steps), (w, args[2]), counts, (b, numbers), (out, o_f), sums, args[8:10],
            (n_filters, n_rows, n_together, n_vectors, n_unit, is_bias_last), vectors.store_run,
        )  # fmt: skip
        return context.get_dummy_value()

    return sig, codegen


@intrinsic(prefer_literal=True)
def fir_edge(typingctx, X, W, w0, counts, bias, b0, out, sums, first, last, S, lanes, unit, parts):
    """Do what `fir_tile` does for one filter and vector, where a signal or its output begins or ends.

    `X = (address of x, x_i, x_j, begin, end)`: of the numbers `j*x_j + v`, those from `begin` on and before `end` exist
    and the others are zero. `out = (address, begin, end)`: of the run, so much is written.
    """
    size, flag = types.intp, types.boolean
    sig = types.void(X, W, size, counts, bias, size, out, size, flag, flag, S, lanes, unit, parts)

    def codegen(context, builder, sig, args):
        n_rows, n_lanes, n_unit, n_parts = (sig.args[k].literal_value for k in range(10, 14))
        vectors = Vectors(context, builder, context.get_value_type(sig.args[1].dtype), n_lanes)
        w, b = (data_of(context, builder, sig, args, k) for k in (1, 4))
        (x, x_i, x_j, x_from, x_to), counts, (out, out_from, out_to) = (
            cgutils.unpack_tuple(builder, args[k]) for k in (0, 3, 6)
        )
        x, out, sums = (builder.inttoptr(place, vectors.scalar.as_pointer()) for place in (x, out, args[7]))

        def mask(begin, end, place):
            return vectors.between(builder.sub(begin, place), builder.sub(end, place))

        def store(woven, run):
            begins = builder.icmp_signed("<=", out_from, vectors.index(0))
            ends = builder.icmp_signed(">=", out_to, vectors.index(n_rows * n_lanes))
            with builder.if_else(builder.and_(begins, ends)) as (whole, some):
                with whole:  # a store by a mask takes a Zen 3 4.5 ns
                    vectors.store_run(woven, run)
                with some:
                    for k, vector in enumerate(woven):
                        place = vectors.index(k * n_lanes)
                        vectors.store_some(vector, run, place, mask(out_from, out_to, place))

        _fir_rows(
            vectors, (x, x_i, x_j), (w, args[2]), counts,
            (b, lambda f: [builder.add(args[5], vectors.index(part)) for part in range(n_parts)]),
            (out, vectors.index(0)), sums, args[8:10], (1, n_rows, n_rows, 1, n_unit, False), store,
            lambda pointer, offset, place: vectors.load_some(pointer, offset, mask(x_from, x_to, place)),
        )  # fmt: skip
        return context.get_dummy_value()

    return sig, codegen


@intrinsic(prefer_literal=True)
def sum_rows(typingctx, rows, first, step, taps, t_step, count, lag, outputs, start, end, parts, V, lanes):
    """`target[v] = sum_{j<count} taps[h + j*t_step] * row[first - j*step][v]` for `start <= v < end`.

    With two `parts`, rows and results are complex numbers: a tap is a pair of factors for their imaginary halves, then
    one for the real halves.

    For one or two `outputs = ((h, target), ...)`. The second begins with the row `first + lag*step`, where `0 <= lag <=
    count`; what both see is loaded once. Row k lies at the address `rows[k]`, a result at the address `target`. Vectors
    are taken V at a time, then V/2, V/4 and so on; one that `end` cuts is moved to the left, so `end` is no less than a
    vector. Rows that may lie anywhere let one tile serve neighbouring signals, zeros beyond their ends, and the planes
    of a decimated signal.
    """
    size = types.intp

    def codegen(context, builder, sig, args):
        n_parts, n_vectors, n_lanes = (sig.args[k].literal_value for k in (10, 11, 12))
        vectors = Vectors(context, builder, context.get_value_type(sig.args[3].dtype), n_lanes)
        table, taps = (data_of(context, builder, sig, args, k) for k in (0, 3))
        first, row_step, _, tap_step, count, lag, outputs, start, end = args[1:10]
        outputs = [cgutils.unpack_tuple(builder, output) for output in cgutils.unpack_tuple(builder, outputs)]
        none, common = vectors.index(0), builder.sub(count, lag)
        # Runs of rows: how far behind `first`, how many, and of which outputs. Each of two has some to itself.
        runs = [(none, common, (0, 1)[: len(outputs)])]
        if len(outputs) == 2:
            runs = [(builder.neg(lag), lag, (1,)), *runs, (common, lag, (0,))]
        pointer = vectors.scalar.as_pointer()

        def add(behind, n_rows, seen_by, tile, places):
            """Emit `tile[k][v] += tap * row[v]` for the rows of a run and the outputs k that see them."""
            newest = builder.sub(first, builder.mul(row_step, behind))
            skipped = [builder.mul(tap_step, builder.add(behind, (none, lag)[k])) for k in seen_by]
            h = [builder.add(outputs[k][0], number) for k, number in zip(seen_by, skipped, strict=True)]
            with cgutils.for_range(builder, n_rows) as tap:
                row = builder.load(builder.gep(table, [builder.sub(newest, builder.mul(row_step, tap.index))]))
                loaded = [vectors.load(builder.inttoptr(row, pointer), place) for place in places]
                for part in reversed(range(n_parts)):
                    samples = [vectors.repeat(sample, part, n_parts) for sample in loaded]
                    for k, at in zip(seen_by, h, strict=True):
                        at = builder.add(at, builder.mul(tap_step, tap.index))
                        at = builder.add(at, vectors.index(2 * (n_parts - 1 - part)))
                        scalar = vectors.splat_some(taps, at, n_parts)
                        for slot, sample in zip(tile[k], samples, strict=True):
                            builder.store(vectors.multiply_add(scalar, sample, builder.load(slot)), slot)

        place = cgutils.alloca_once_value(builder, start)
        height = n_vectors
        while height:
            width = vectors.index(height * n_lanes)
            condition, body, after = (builder.append_basic_block(name) for name in ("fits", "tile", "after"))
            builder.branch(condition)
            builder.position_at_end(condition)
            at = builder.load(place)
            needed = width if height > 1 else vectors.index(1)
            builder.cbranch(builder.icmp_signed("<=", builder.add(at, needed), end), body, after)
            builder.position_at_end(body)
            last = builder.sub(end, width)
            at = builder.select(builder.icmp_signed("<", at, last), at, last)
            places = [builder.add(at, vectors.index(v * n_lanes)) for v in range(height)]
            tile = [[cgutils.alloca_once(builder, vectors.type) for _ in places] for _ in outputs]
            for slots in tile:
                for slot in slots:
                    builder.store(ir.Constant(vectors.type, None), slot)
            for run in runs:
                add(*run, tile, places)
            for slots, (_, target) in zip(tile, outputs, strict=True):
                for slot, v in zip(slots, places, strict=True):
                    vectors.store(builder.load(slot), builder.inttoptr(target, pointer), v)
            builder.store(builder.add(at, width), place)
            builder.branch(condition)
            builder.position_at_end(after)
            height //= 2
        return context.get_dummy_value()

    return types.void(rows, size, size, taps, size, size, size, outputs, size, size, parts, V, lanes), codegen


@intrinsic(prefer_literal=True)
def lane_sums(typingctx, like, A, B, counts, S, D, R, lanes):
    """`D[r*d_r + v] = S[r*s_r + v] + sum_{j<count} A[j*a_j + v] * B[j*b_j + r*b_r + v]` for r < rows and v < lanes.

    `A = (address, a_j)`, `B = (address, b_j, b_r)`, `S = (address, s_r)` and `D = (address, d_r)` are numbers of the
    dtype of `like`, `counts = (rows, count)`. Rows are taken R at a time, then half as many and one.
    """
    sig = types.void(like, A, B, counts, S, D, R, lanes)

    def codegen(context, builder, sig, args):
        n_rows, n_lanes = (sig.args[k].literal_value for k in (6, 7))
        vectors = Vectors(context, builder, context.get_value_type(sig.args[0].dtype), n_lanes)
        (a, a_j), (b, b_j, b_r), (rows, count), (s, s_r), (d, d_r) = (
            cgutils.unpack_tuple(builder, args[k]) for k in range(1, 6)
        )
        a, b, s, d = (builder.inttoptr(place, vectors.scalar.as_pointer()) for place in (a, b, s, d))
        for at, height in _tiles(vectors, rows, sorted({n_rows, n_rows // 2, 1}, reverse=True)):
            below = [builder.add(at, vectors.index(r)) for r in range(height)]
            acc = [cgutils.alloca_once(builder, vectors.type) for _ in below]
            for row, slot in zip(below, acc, strict=True):
                builder.store(vectors.load(s, builder.mul(row, s_r)), slot)
            places = [builder.mul(row, b_r) for row in below]
            with cgutils.for_range(builder, count) as term:
                left, step = vectors.load(a, builder.mul(term.index, a_j)), builder.mul(term.index, b_j)
                for place, slot in zip(places, acc, strict=True):
                    right = vectors.load(b, builder.add(step, place))
                    builder.store(vectors.multiply_add(left, right, builder.load(slot)), slot)
            for row, slot in zip(below, acc, strict=True):
                vectors.store(builder.load(slot), d, builder.mul(row, d_r))
        return context.get_dummy_value()

    return sig, codegen


@intrinsic(prefer_literal=True)
def dot_rows(typingctx, scratch, A, B, counts, D, first, R, C, lanes):
    """`D[d0 + r*d_r + c] (+)= sum_{i<count} A[r*a_r + i] * B[b0 + c*b_c + i]` for `r < R` and `c < columns`.

    `A = (address, a_r)` lies anywhere, `B = (b0, b_c)` and `D = (d0, d_r)` in `scratch`; `counts = (columns, count)`.
    Columns are taken C at a time, then C/2 and so on. Of a last vector, nothing behind `count` is read. `first`
    overwrites D. Meanwhile each tile of C columns calls one of the next R rows into L2: fewer columns take as long as
    their rows come from memory anyway.
    """
    sig = types.void(scratch, A, B, counts, D, types.boolean, R, C, lanes)

    def codegen(context, builder, sig, args):
        n_rows, n_columns, n_lanes = (sig.args[k].literal_value for k in (6, 7, 8))
        vectors = Vectors(context, builder, context.get_value_type(sig.args[0].dtype), n_lanes)
        data = data_of(context, builder, sig, args, 0)
        (a, a_r), (b0, b_c), (columns, count), (d0, d_r) = (cgutils.unpack_tuple(builder, args[k]) for k in range(1, 5))
        a, lanes = builder.inttoptr(a, vectors.scalar.as_pointer()), vectors.index(n_lanes)
        rows = [builder.mul(a_r, vectors.index(r)) for r in range(n_rows)]
        widths = [n_columns >> k for k in range(n_columns.bit_length())]
        for at, width in _tiles(vectors, columns, widths):
            places = [builder.add(b0, builder.mul(b_c, builder.add(at, vectors.index(c)))) for c in range(width)]
            acc = [[cgutils.alloca_once(builder, vectors.type) for _ in range(width)] for _ in range(n_rows)]
            for slots in acc:
                for slot in slots:
                    builder.store(ir.Constant(vectors.type, None), slot)
            tile = builder.udiv(at, vectors.index(n_columns))
            below = builder.add(builder.urem(tile, vectors.index(n_rows)), vectors.index(n_rows))
            below = builder.mul(a_r, below)

            def add(i, load, places=places, acc=acc):
                right = [load(data, builder.add(place, i)) for place in places]
                for place, slots in zip(rows, acc, strict=True):
                    left = load(a, builder.add(place, i))
                    for vector, slot in zip(right, slots, strict=True):
                        builder.store(vectors.multiply_add(left, vector, builder.load(slot)), slot)

            with cgutils.for_range(builder, builder.sdiv(count, lanes)) as step:
                i = builder.mul(step.index, lanes)
                if width == n_columns:
                    vectors.prefetch(builder.ptrtoint(builder.gep(a, [builder.add(below, i)]), vectors.intp))
                add(i, vectors.load)
            rest = builder.srem(count, lanes)
            with builder.if_then(builder.icmp_signed(">", rest, vectors.index(0))):
                add(builder.sub(count, rest), partial(vectors.load_some, mask=vectors.first(rest)))
            for r, slots in enumerate(acc):
                for c, slot in enumerate(slots):
                    place = builder.add(builder.add(d0, builder.mul(d_r, vectors.index(r))), vectors.index(c))
                    place = builder.gep(data, [builder.add(place, at)])
                    total = vectors.total(builder.load(slot))
                    before = builder.select(args[5], ir.Constant(vectors.scalar, 0), builder.load(place))
                    builder.store(builder.fadd(before, total), place)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic(prefer_literal=True)
def decimate_run(typingctx, source, taps, target, counts, like, n, lanes):
    """`target[i] = sum_{k<K} taps[k] * source[i*n + k]` for `i < count` and `n <= MOST_WOVEN`; `counts = (count, K)`.

    Addresses of numbers of the dtype of `like`. Neighbouring outputs are sorted from their samples in registers, anew
    for every n taps. Of the source whole vectors are read: `n*(count + (K-1)//n)` numbers, count rounded up to lanes.
    """
    size = types.intp
    sig = types.void(size, size, size, counts, like, size, lanes)

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[4].dtype), sig.args[6].literal_value)
        source, taps, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in range(3))
        count, n_taps = cgutils.unpack_tuple(builder, args[3])
        width = vectors.index(vectors.lanes)
        blocks = builder.sdiv(builder.add(count, vectors.index(vectors.lanes - 1)), width)

        def emit(n):
            turns, rest = (divide(n_taps, vectors.index(n)) for divide in (builder.sdiv, builder.srem))
            with cgutils.for_range(builder, blocks) as block:
                at = builder.mul(block.index, width)
                slot = cgutils.alloca_once(builder, vectors.type)
                builder.store(ir.Constant(vectors.type, None), slot)

                def add(turn, count=None):
                    first = builder.mul(turn, vectors.index(n))
                    begin = builder.add(builder.mul(at, vectors.index(n)), first)
                    woven = [
                        vectors.load(source, builder.add(begin, vectors.index(v * vectors.lanes))) for v in range(n)
                    ]
                    for r, samples in enumerate(vectors.unweave(woven)):
                        exists = ir.Constant(ir.IntType(1), 1)
                        if count is not None:
                            exists = builder.icmp_signed("<", vectors.index(r), count)
                        with builder.if_then(exists):
                            tap = builder.load(builder.gep(taps, [builder.add(first, vectors.index(r))]))
                            total = vectors.multiply_add(vectors.splat(tap), samples, builder.load(slot))
                            builder.store(total, slot)

                with cgutils.for_range(builder, turns) as turn:
                    add(turn.index)
                with builder.if_then(builder.icmp_signed(">", rest, vectors.index(0))):
                    add(turns, rest)
                left = builder.sub(count, at)
                with builder.if_else(builder.icmp_signed(">=", left, width)) as (whole, some):
                    with whole:
                        vectors.store(builder.load(slot), target, at)
                    with some:
                        vectors.store_some(builder.load(slot), target, at, vectors.first(left))

        for_each_count(vectors, args[5], emit)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic(prefer_literal=True)
def sum_windows(typingctx, like, a, a_r, windows, w0, counts, D, first, R, V, lanes):
    """`D[r*d_r + v] (+)= sum_{q<count} A[r*a_r + q] * window[q][v]` for `r < rows` and `v < run`.

    A begins at the address `a`; its numbers and those of `D = (address, d_r)` have the dtype of `like`. Window q lies
    at the address `windows[w0 + q]`; `counts = (rows, count, run)`. Rows are taken R at a time, then four, two and one,
    vectors V at a time, then half as many and one. Of the last vector, what belongs to the run is written. `first`
    overwrites D. With a literal `a_r`, rows need no pointers of their own: a tile of AVX2 takes 22.5 instructions a
    step instead of 25.5, and `512 -> 256 (8, 4)` 0.94 of the time.
    """
    sig = types.void(like, types.intp, a_r, windows, types.intp, counts, D, types.boolean, R, V, lanes)

    def codegen(context, builder, sig, args):
        n_rows, n_vectors, n_lanes = (sig.args[k].literal_value for k in (8, 9, 10))
        vectors = Vectors(context, builder, context.get_value_type(sig.args[0].dtype), n_lanes)
        table = data_of(context, builder, sig, args, 3)
        (rows, count, run), (d, d_r) = (cgutils.unpack_tuple(builder, args[k]) for k in (5, 6))
        a, d = (builder.inttoptr(place, vectors.scalar.as_pointer()) for place in (args[1], d))
        a_r = vectors.index(sig.args[2].literal_value) if isinstance(sig.args[2], types.Literal) else args[2]
        width = vectors.index(n_lanes)
        n_run = builder.sdiv(builder.add(run, vectors.index(n_lanes - 1)), width)

        for r, height in _tiles(vectors, rows, sorted({n_rows, 4, 2, 1}, reverse=True)):
            below = [builder.add(r, vectors.index(k)) for k in range(height)]
            factors = [builder.gep(a, [builder.mul(a_r, row)]) for row in below]
            sums = [builder.gep(d, [builder.mul(d_r, row)]) for row in below]
            for v, n in _tiles(vectors, n_run, sorted({n_vectors, n_vectors // 2 or 1, 1}, reverse=True)):
                places = [builder.mul(builder.add(v, vectors.index(k)), width) for k in range(n)]
                last = builder.sub(run, places[-1])
                mask = vectors.first(last)

                def load(r, v, sums=sums, places=places, mask=mask):
                    if v == len(places) - 1:
                        return vectors.load_some(sums[r], places[v], mask)
                    return vectors.load(sums[r], places[v])

                acc = _begin_sums(vectors, args[7], height, n, load)
                with cgutils.for_range(builder, count) as term:
                    window = builder.load(builder.gep(table, [builder.add(args[4], term.index)]))
                    window = builder.inttoptr(window, a.type)
                    samples = [vectors.load(window, place) for place in places]
                    for row, slots in zip(factors, acc, strict=True):
                        factor = vectors.splat(builder.load(builder.gep(row, [term.index])))
                        for sample, slot in zip(samples, slots, strict=True):
                            builder.store(vectors.multiply_add(factor, sample, builder.load(slot)), slot)
                for row, slots in zip(sums, acc, strict=True):
                    for place, slot in zip(places[:-1], slots[:-1], strict=True):
                        vectors.store(builder.load(slot), row, place)
                with builder.if_else(builder.icmp_signed(">=", last, width)) as (whole, some):
                    with whole:
                        for row, slots in zip(sums, acc, strict=True):
                            vectors.store(builder.load(slots[-1]), row, places[-1])
                    with some:
                        for row, slots in zip(sums, acc, strict=True):
                            vectors.store_some(builder.load(slots[-1]), row, places[-1], mask)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic(prefer_literal=True)
def dot_windows(typingctx, like, A, windows, w0, counts, D, first, R, C, lanes):
    """`D[r*d_r + c] (+)= sum_{i<count} A[r*a_r + i] * window[c][i]` for `r < rows` and `c < columns`.

    `A = (address, a_r)` and `D = (address, d_r)` are numbers of the dtype of `like`, window c lies at the address
    `windows[w0 + c]`; `counts = (rows, columns, count)`. Rows are taken R at a time and then one by one, columns C at a
    time, then two thirds of C, two and one. `first` overwrites D. Of a last vector, nothing behind `count` is read.
    Meanwhile each tile of columns calls one of the next rows into L2: 64 -> 1 (25, 4), rows read in place, ran at 67 %
    of the FMA peak without and does at 77 so.
    """
    sig = types.void(like, A, windows, types.intp, counts, D, types.boolean, R, C, lanes)

    def codegen(context, builder, sig, args):
        n_rows, n_columns, n_lanes = (sig.args[k].literal_value for k in (7, 8, 9))
        vectors = Vectors(context, builder, context.get_value_type(sig.args[0].dtype), n_lanes)
        table = data_of(context, builder, sig, args, 2)
        (a, a_r), (rows, columns, count), (d, d_r) = (cgutils.unpack_tuple(builder, args[k]) for k in (1, 4, 5))
        a, d = (builder.inttoptr(place, vectors.scalar.as_pointer()) for place in (a, d))
        width, none = vectors.index(n_lanes), vectors.index(0)
        whole = builder.mul(builder.sdiv(count, width), width)
        rest = builder.sub(count, whole)

        def add(i, left, right, acc, load):
            vector_of = [load(window, i) for window in right]
            for row, slots in zip(left, acc, strict=True):
                samples = load(row, i)
                for vector, slot in zip(vector_of, slots, strict=True):
                    builder.store(vectors.multiply_add(samples, vector, builder.load(slot)), slot)

        for r, height in _tiles(vectors, rows, sorted({n_rows, 1}, reverse=True)):
            below = [builder.add(r, vectors.index(k)) for k in range(height)]
            left = [builder.gep(a, [builder.mul(a_r, row)]) for row in below]
            for c, n in _tiles(vectors, columns, sorted({n_columns, n_columns * 2 // 3, 2, 1}, reverse=True)):
                places = [builder.add(c, vectors.index(k)) for k in range(n)]
                right = [
                    builder.inttoptr(builder.load(builder.gep(table, [builder.add(args[3], place)])), a.type)
                    for place in places
                ]
                acc = [[cgutils.alloca_once(builder, vectors.type) for _ in right] for _ in left]
                for slots in acc:
                    for slot in slots:
                        builder.store(ir.Constant(vectors.type, None), slot)
                tile = builder.udiv(builder.add(c, vectors.index(n_columns - 1)), vectors.index(n_columns))
                below_tile = builder.add(
                    r, builder.add(builder.urem(tile, vectors.index(n_rows)), vectors.index(height))
                )
                ahead = builder.gep(a, [builder.mul(a_r, below_tile)])
                with cgutils.for_range(builder, builder.sdiv(whole, width)) as step:
                    at = builder.mul(step.index, width)
                    vectors.prefetch(builder.ptrtoint(builder.gep(ahead, [at]), vectors.intp))
                    add(at, left, right, acc, vectors.load)
                with builder.if_then(builder.icmp_signed(">", rest, none)):
                    add(whole, left, right, acc, partial(vectors.load_some, mask=vectors.first(rest)))
                for row, slots in zip(below, acc, strict=True):
                    for place, slot in zip(places, slots, strict=True):
                        target = builder.gep(d, [builder.add(builder.mul(d_r, row), place)])
                        before = builder.select(args[6], ir.Constant(vectors.scalar, 0), builder.load(target))
                        builder.store(builder.fadd(before, vectors.total(builder.load(slot))), target)
        return context.get_dummy_value()

    return sig, codegen


def _carry(vectors, vector, levels, leaves):
    """Emit adding a vector to a binary counter of vectors, and counting it in the slot `leaves`."""
    builder, one = vectors.builder, vectors.index(1)
    number = builder.load(leaves)
    total = cgutils.alloca_once_value(builder, vector)
    place, left = (cgutils.alloca_once_value(builder, value) for value in (vectors.index(0), number))
    condition, body, after = (builder.append_basic_block(name) for name in ("is_carried", "carry", "kept"))
    builder.branch(condition)
    builder.position_at_end(condition)
    builder.cbranch(builder.trunc(builder.load(left), ir.IntType(1)), body, after)
    builder.position_at_end(body)
    at = builder.load(place)
    builder.store(builder.fadd(builder.load(total), vectors.load(levels, at)), total)
    builder.store(builder.add(at, vectors.index(vectors.lanes)), place)
    builder.store(builder.lshr(builder.load(left), one), left)
    builder.branch(condition)
    builder.position_at_end(after)
    vectors.store(builder.load(total), levels, builder.load(place))
    builder.store(builder.add(number, one), leaves)


@intrinsic(prefer_literal=True)
def sum_run(typingctx, source, count, levels, leaves, like, lanes):
    """Add `count` numbers from an address on to sums by lanes, which are those of pairs of pairs of vectors.

    At the address `levels` a binary counter holds the sums of 1, 2, 4 ... of the `leaves` that there are so far, a leaf
    being up to eight vectors. Returns how many leaves there are now.
    """
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[4].dtype), sig.args[5].literal_value)
        source, levels = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 2))
        width = vectors.index(vectors.lanes)
        leaves = cgutils.alloca_once_value(builder, args[3])
        n_whole = builder.sdiv(args[1], width)
        for at, n in _tiles(vectors, n_whole, (8, 4, 2, 1)):
            leaf = [vectors.load(source, builder.mul(builder.add(at, vectors.index(k)), width)) for k in range(n)]
            while len(leaf) > 1:
                leaf = [builder.fadd(a, b) for a, b in zip(leaf[0::2], leaf[1::2], strict=True)]
            _carry(vectors, leaf[0], levels, leaves)
        whole = builder.mul(n_whole, width)
        rest = builder.sub(args[1], whole)
        with builder.if_then(builder.icmp_signed(">", rest, vectors.index(0))):
            _carry(vectors, vectors.load_some(source, whole, vectors.first(rest)), levels, leaves)
        return builder.load(leaves)

    return types.intp(size, size, size, size, like, lanes), codegen


@intrinsic(prefer_literal=True)
def sum_leaves(typingctx, target, levels, leaves, like, unit, lanes):
    """Write the sum of all that `sum_run` has added to an address, or those of real and imaginary numbers in turn.

    `unit` is how many sums there are: 1 or 2.
    """
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = Vectors(context, builder, context.get_value_type(sig.args[3].dtype), sig.args[5].literal_value)
        target, levels = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 1))
        total = cgutils.alloca_once_value(builder, ir.Constant(vectors.type, None))
        bits = builder.sub(vectors.index(64), builder.ctlz(args[2], ir.Constant(ir.IntType(1), 0)))
        with cgutils.for_range(builder, bits) as level:
            bit = builder.trunc(builder.lshr(args[2], level.index), ir.IntType(1))
            with builder.if_then(bit):
                sums = vectors.load(levels, builder.mul(level.index, vectors.index(vectors.lanes)))
                builder.store(builder.fadd(builder.load(total), sums), total)
        sums = vectors.total(builder.load(total), sig.args[4].literal_value)
        builder.store(sums, builder.bitcast(target, sums.type.as_pointer()), align=vectors.align)
        return context.get_dummy_value()

    return types.void(size, size, size, like, unit, lanes), codegen
