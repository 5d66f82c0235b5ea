"""The register tile: `acc[r][v] += A[r] * B[v]` with R*V accumulator vectors that never leave the registers.

Here belongs what Numba's own autovectoriser does not build: LLVM vectors behind `@intrinsic`. Which tile shape suits
the machine is `target.py`'s question, what is fed to the tile is `panels.py`'s and `fir.py`'s.

The intrinsics stand at module level and take their sizes as literal integers: an intrinsic made inside a function has
a new identity in every process, and the kernels around it would never hit Numba's on-disk cache.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

INT32 = ir.IntType(32)
# Vectors that `sum_rows` is asked for at a time: as many accumulators hide the latency of the multiply-add.
SUM_VECTORS = 8
# Rows that `interleave` and `deinterleave` take by a sequence of shuffles of their own, whatever their number.
MOST_WOVEN = 8


class _Vectors:
    """Emits loads, stores, splats and shuffles of one vector type."""

    def __init__(self, context, builder, scalar, lanes):
        self.builder, self.scalar, self.lanes = builder, scalar, lanes
        self.type = ir.VectorType(scalar, lanes)
        self.intp = context.get_value_type(types.intp)
        self.undefined = ir.Constant(self.type, ir.Undefined)
        self.align = 4 if isinstance(scalar, ir.FloatType) else 8
        suffix = f"v{lanes}f{8 * self.align}"
        # `declare_intrinsic` does not take vector types. fmuladd and not fma: where the target has no FMA
        # instruction, `llvm.fma` becomes one library call per lane.
        self._multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.type, [self.type] * 3), f"llvm.fmuladd.{suffix}"
        )

    def index(self, value):
        return ir.Constant(self.intp, value)

    def _pointer(self, base, offset, kind):
        return self.builder.bitcast(self.builder.gep(base, [offset]), kind.as_pointer())

    def load(self, base, offset):
        return self.builder.load(self._pointer(base, offset, self.type), align=self.align)

    def store(self, value, base, offset):
        self.builder.store(value, self._pointer(base, offset, value.type), align=self.align)

    def splat(self, value):
        first = self.builder.insert_element(self.undefined, value, ir.Constant(INT32, 0))
        return self.shuffle(first, self.undefined, [0] * self.lanes)

    def shuffle(self, a, b, order):
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(order)), list(order)))

    def multiply_add(self, a, b, c):
        return self.builder.call(self._multiply_add, [a, b, c])

    def prefetch(self, address):
        """Call the cache line at an address into L2; an address that does not exist is no fault."""
        byte = cgutils.voidptr_t
        fetch = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32]), "llvm.prefetch.p0i8"
        )
        read, into_l2, data = ir.Constant(INT32, 0), ir.Constant(INT32, 2), ir.Constant(INT32, 1)
        self.builder.call(fetch, [self.builder.inttoptr(address, byte), read, into_l2, data])

    def pair(self, base, offset, parts):
        """Load the bias of a filter into all lanes, or, for `parts` 2, its real and imaginary half in turn."""
        last = self.builder.add(offset, self.builder.sub(parts, self.index(1)))
        halves = [self.splat(self.builder.load(self.builder.gep(base, [k]))) for k in (offset, last)]
        return self.weave(halves, 1)[0]

    def weave(self, rows, unit):
        """Interleave the vectors `rows` in units of `unit` lanes; the result is as many vectors, in order.

        An even number of rows is woven in halves (log2 steps of two shuffles a pair); an odd one picks the lanes of
        every row in turn. One wide shuffle for all, which LLVM would accept too, is taken apart lane by lane.
        """
        count = len(rows)
        if count == 1:
            return rows
        if count % 2 == 0:
            even, odd = self.weave(rows[0::2], unit), self.weave(rows[1::2], unit)
            units = range(self.lanes // unit)
            zipped = [source + unit * u + k for u in units for source in (0, self.lanes) for k in range(unit)]
            halves = (zipped[: self.lanes], zipped[self.lanes :])
            return [self.shuffle(a, b, half) for a, b in zip(even, odd, strict=True) for half in halves]
        woven = []
        for first in range(0, count * self.lanes, self.lanes):
            places = [divmod((first + k) // unit, count) for k in range(self.lanes)]
            wanted = [(row, q * unit + k % unit) for k, (q, row) in enumerate(places)]
            vector = self.undefined
            for r, row in enumerate(rows):
                order = [self.lanes + lane if source == r else k for k, (source, lane) in enumerate(wanted)]
                vector = self.shuffle(vector, row, order)
            woven.append(vector)
        return woven

    def unweave(self, woven):
        """Take `weave(rows, 1)` apart again."""
        count, lanes = len(woven), self.lanes
        if count < 2:
            return woven
        if count % 2 == 0:
            pairs = list(zip(woven[0::2], woven[1::2], strict=True))
            even, odd = (
                self.unweave([self.shuffle(a, b, range(first, 2 * lanes, 2)) for a, b in pairs]) for first in (0, 1)
            )
            return [row for pair in zip(even, odd, strict=True) for row in pair]
        rows = []
        for i in range(count):
            places = [divmod(v * count + i, lanes) for v in range(lanes)]
            row = self.undefined
            for k, vector in enumerate(woven):
                row = self.shuffle(row, vector, [lanes + lane if k == at else v for v, (at, lane) in enumerate(places)])
            rows.append(row)
        return rows


def _data(context, builder, sig, args, position):
    return context.make_array(sig.args[position])(context, builder, args[position]).data


def _accumulate(vectors, rows, columns, counts, accumulators, ahead, b_ahead=None, a_r=1):
    """Emit the two reduction loops: `acc[r][v] += A[a0 + i*a_i + j*a_j + r*a_r] * B[b0 + i*b_i + j*b_j + v*lanes]`.

    `rows` and `columns` are `(pointer, offset, step of i, step of j)`, `counts` the trip counts of i and j. Meanwhile
    lines travel into L2: for every i those from `ahead` on, (address or 0 for none, step of i in bytes, lines), and for
    every j those `b_ahead` numbers behind B.
    """
    builder = vectors.builder
    (a, a0, a_i, a_j), (b, b0, b_i, b_j) = rows, columns
    with cgutils.for_range(builder, counts[0]) as outer:
        a1 = builder.add(a0, builder.mul(outer.index, a_i))
        b1 = builder.add(b0, builder.mul(outer.index, b_i))
        line, step, n_lines = ahead
        with builder.if_then(builder.icmp_signed("!=", line, vectors.index(0))):
            line = builder.add(line, builder.mul(outer.index, step))
            with cgutils.for_range(builder, n_lines) as lines:
                vectors.prefetch(builder.add(line, builder.mul(lines.index, vectors.index(64))))
        with cgutils.for_range(builder, counts[1]) as inner:
            a2 = builder.add(a1, builder.mul(inner.index, a_j))
            b2 = builder.add(b1, builder.mul(inner.index, b_j))
            if b_ahead is not None:
                for v in range(len(accumulators[0])):
                    line = builder.gep(b, [builder.add(builder.add(b2, b_ahead), vectors.index(v * vectors.lanes))])
                    vectors.prefetch(builder.ptrtoint(line, vectors.intp))
            lanes = [
                vectors.load(b, builder.add(b2, vectors.index(v * vectors.lanes))) for v in range(len(accumulators[0]))
            ]
            for r, row in enumerate(accumulators):
                scalar = builder.load(builder.gep(a, [builder.add(a2, vectors.index(r * a_r))]))
                scalar = vectors.splat(scalar)
                for vector, slot in zip(lanes, row, strict=True):
                    builder.store(vectors.multiply_add(scalar, vector, builder.load(slot)), slot)


def _panel_tile(vectors, rows, columns, counts, target, first, shape, ahead):
    """Emit one tile of `shape` (R, V, step a_r), its sums kept in or added to `target` (pointer, offset, step of r)."""
    builder = vectors.builder
    n_rows, n_vectors, a_r = shape
    d, d0, d_r = target

    def at(r, v):
        return builder.add(builder.add(d0, builder.mul(d_r, vectors.index(r))), vectors.index(v * vectors.lanes))

    acc = [[cgutils.alloca_once(builder, vectors.type) for _ in range(n_vectors)] for _ in range(n_rows)]
    places = [(r, v) for r in range(n_rows) for v in range(n_vectors)]
    with builder.if_else(first) as (overwrite, add):
        with overwrite:
            for r, v in places:
                builder.store(ir.Constant(vectors.type, None), acc[r][v])
        with add:
            for r, v in places:
                builder.store(vectors.load(d, at(r, v)), acc[r][v])
    _accumulate(vectors, rows, columns, counts, acc, ahead[:3], ahead[3], a_r)
    for r, v in places:
        vectors.store(builder.load(acc[r][v]), d, at(r, v))


@intrinsic(prefer_literal=True)
def panel_rows(typingctx, scratch, A, B, counts, D, first, ahead, R, V, lanes, a_r):
    """`D[d0 + r*d_r + v] (+)= sum_{i<I, j<J} A[a0 + i*a_i + j*a_j + r*a_r] * B[i*b_i + j*V*lanes + v]`, v < V*lanes.

    `A = (a0, a_i, a_j)` and `D = (d0, d_r)` lie in `scratch`, `B = (address, b_i)` anywhere; `counts = (rows, I, J)`.
    Rows are taken in tiles of R, then R/2, R/4 and 1; a literal step between them costs no register. `first` overwrites
    D, otherwise the sums are added to it.

    `ahead = (address, h_i, h_r, lines, b)` is what the next calls will read: meanwhile so many lines from `address +
    i*h_i + r*h_r` on, r the first row of a tile, and, in tiles of few rows, those `b` numbers behind B travel into L2.
    """
    sig = types.void(scratch, A, B, counts, D, types.boolean, ahead, R, V, lanes, a_r)

    def codegen(context, builder, sig, args):
        n_rows, n_vectors, n_lanes, row_step = (sig.args[k].literal_value for k in (7, 8, 9, 10))
        vectors = _Vectors(context, builder, context.get_value_type(sig.args[0].dtype), n_lanes)
        data = _data(context, builder, sig, args, 0)
        (a0, a_i, a_j), (b, b_i), (n, *reduction), (d0, d_r), (line, h_i, h_r, n_lines, b_ahead) = (
            cgutils.unpack_tuple(builder, args[k]) for k in (1, 2, 3, 4, 6)
        )
        b = builder.inttoptr(b, vectors.scalar.as_pointer())
        columns = (b, vectors.index(0), b_i, vectors.index(n_vectors * n_lanes))
        row = cgutils.alloca_once_value(builder, vectors.index(0))
        for height in sorted({n_rows, n_rows // 2, n_rows // 4 or 1, 1}, reverse=True):
            condition, body, after = (builder.append_basic_block(name) for name in ("fits", "tile", "after"))
            builder.branch(condition)
            builder.position_at_end(condition)
            end = builder.add(builder.load(row), vectors.index(height))
            builder.cbranch(builder.icmp_signed("<=", end, n), body, after)
            builder.position_at_end(body)
            at = builder.load(row)
            target = (data, builder.add(d0, builder.mul(at, d_r)), d_r)
            rows = (data, builder.add(a0, builder.mul(at, vectors.index(row_step))), a_i, a_j)
            lines = (builder.add(line, builder.mul(at, h_r)), h_i, n_lines, b_ahead if height < n_rows else None)
            _panel_tile(vectors, rows, columns, reduction, target, args[5], (height, n_vectors, row_step), lines)
            builder.store(builder.add(at, vectors.index(height)), row)
            builder.branch(condition)
            builder.position_at_end(after)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def address(typingctx, array):
    """Return the address of an array's first element."""

    def codegen(context, builder, sig, args):
        return builder.ptrtoint(_data(context, builder, sig, args, 0), context.get_value_type(types.intp))

    return types.intp(array), codegen


@intrinsic(prefer_literal=True)
def fir_tile(typingctx, x, x_i, x_j, W, w0, I, J, bias, b0, out, ahead, S, V, lanes, unit, parts):  # noqa: E741
    """S rows of time woven into one run of `S*V*lanes` outputs, contiguous from the address `out` on.

    `row[r][v] = bias + sum_{i<I, j<J} W[w0 + (i*J + j)*S + r] * X[i*x_i + j*x_j + v]`, v < V*lanes, X from the address
    `x` on; the rows are interleaved in units of `unit` lanes (2 where X holds complex numbers under real taps).
    `parts` is 2 for complex results: then the bias is a pair, over the lanes where unit is 2, over the rows where it
    is 1. Addresses, so that one tile serves the caller's arrays and scratch. Meanwhile V lines of every i travel into
    L2: `ahead = (address or 0 for none, step of i in bytes)`.
    """
    size = types.intp
    sig = types.void(size, size, size, W, size, size, size, bias, size, size, ahead, S, V, lanes, unit, parts)

    def codegen(context, builder, sig, args):
        n_rows, n_vectors, n_lanes, n_unit, n_parts = (sig.args[k].literal_value for k in (11, 12, 13, 14, 15))
        vectors = _Vectors(context, builder, context.get_value_type(sig.args[3].dtype), n_lanes)
        w, b = (_data(context, builder, sig, args, k) for k in (3, 7))
        x, out = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 9))
        pair = [
            vectors.splat(builder.load(builder.gep(b, [builder.add(args[8], vectors.index(part))])))
            for part in range(n_parts)
        ]
        if n_unit == 2:
            pair = vectors.weave(pair, 1)[:1]
        acc = [[cgutils.alloca_once(builder, vectors.type) for _ in range(n_vectors)] for _ in range(n_rows)]
        for r, row in enumerate(acc):
            for slot in row:
                builder.store(pair[r % len(pair)], slot)
        step = vectors.index(n_rows)
        _accumulate(
            vectors,
            (w, args[4], builder.mul(args[6], step), step),
            (x, vectors.index(0), args[1], args[2]),
            (args[5], args[6]),
            acc,
            (*cgutils.unpack_tuple(builder, args[10]), vectors.index(n_vectors)),
        )
        for v in range(n_vectors):
            for k, vector in enumerate(vectors.weave([builder.load(row[v]) for row in acc], n_unit)):
                vectors.store(vector, out, vectors.index((v * n_rows + k) * n_lanes))
        return context.get_dummy_value()

    return sig, codegen


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
        vectors = _Vectors(context, builder, context.get_value_type(sig.args[4].dtype), sig.args[5].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 2))
        _weave_rows(vectors, source, args[1], target, args[3], vectors.lanes)
        return context.get_dummy_value()

    return types.void(size, size, size, size, like, lanes), codegen


def _for_each_count(vectors, count, emit):
    """Emit `emit(n)` for every n up to MOST_WOVEN that `count` may be at run time."""
    builder = vectors.builder
    after = builder.append_basic_block("after")
    switch = builder.switch(count, after)
    for n in range(1, MOST_WOVEN + 1):
        case = builder.append_basic_block(f"count_{n}")
        switch.add_case(vectors.index(n), case)
        builder.position_at_end(case)
        emit(n)
        builder.branch(after)
    builder.position_at_end(after)


@intrinsic(prefer_literal=True)
def interleave(typingctx, source, step, target, like, n, lanes):
    """`target[v*n + i] = source[i*step + v]` for i < n <= MOST_WOVEN, v < lanes; addresses as of `transpose`."""
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = _Vectors(context, builder, context.get_value_type(sig.args[3].dtype), sig.args[5].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 2))
        width = vectors.index(vectors.lanes)
        _for_each_count(vectors, args[4], lambda count: _weave_rows(vectors, source, args[1], target, width, count))
        return context.get_dummy_value()

    return types.void(size, size, size, like, size, lanes), codegen


@intrinsic(prefer_literal=True)
def deinterleave(typingctx, source, target, t_step, like, n, lanes):
    """`target[i*t_step + v] = source[v*n + i]` for i < n <= MOST_WOVEN, v < lanes; addresses as of `transpose`."""
    size = types.intp

    def codegen(context, builder, sig, args):
        vectors = _Vectors(context, builder, context.get_value_type(sig.args[3].dtype), sig.args[5].literal_value)
        source, target = (builder.inttoptr(args[k], vectors.scalar.as_pointer()) for k in (0, 1))

        def emit(count):
            woven = [vectors.load(source, vectors.index(k * vectors.lanes)) for k in range(count)]
            for i, vector in enumerate(vectors.unweave(woven)):
                vectors.store(vector, target, builder.mul(args[2], vectors.index(i)))

        _for_each_count(vectors, args[4], emit)
        return context.get_dummy_value()

    return types.void(size, size, size, like, size, lanes), codegen


@intrinsic(prefer_literal=True)
def weave_tile(typingctx, D, d0, d_b, d_q, first, rows, bias, b_odd, out, o0, o_f, count, lanes):
    """Transpose a square tile of sums, filters side by side, to runs of `lanes` outputs of each filter.

    `out[o0 + f*o_f + i] = D[d0 + q*d_q + b*d_b + f] + D[bias + i%2*b_odd + f]` for `f < count` and `i < lanes`, where
    `q, b = divmod(first + i, rows)` and `first < rows`.
    """
    size = types.intp
    sig = types.void(D, size, size, size, size, size, size, size, out, size, size, size, lanes)

    def codegen(context, builder, sig, args):
        vectors = _Vectors(context, builder, context.get_value_type(sig.args[0].dtype), sig.args[12].literal_value)
        d, out = (_data(context, builder, sig, args, k) for k in (0, 8))
        d_b, d_q, b, rows = args[2:6]
        at = builder.add(args[1], builder.mul(d_b, b))
        jump = builder.sub(d_q, builder.mul(d_b, rows))
        one, none = vectors.index(1), vectors.index(0)
        added = [vectors.load(d, args[6]), vectors.load(d, builder.add(args[6], args[7]))]
        tile = []
        for i in range(vectors.lanes):
            tile.append(builder.fadd(vectors.load(d, at), added[i % 2]))
            at, b = builder.add(at, d_b), builder.add(b, one)
            is_last = builder.icmp_signed("==", b, rows)
            at, b = builder.add(at, builder.select(is_last, jump, none)), builder.select(is_last, none, b)
        for f, vector in enumerate(vectors.weave(tile, 1)):
            with builder.if_then(builder.icmp_signed("<", vectors.index(f), args[11]), likely=True):
                vectors.store(vector, out, builder.add(args[9], builder.mul(args[10], vectors.index(f))))
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
        vectors = _Vectors(context, builder, context.get_value_type(sig.args[0].dtype), n_lanes)
        d, b, out = (_data(context, builder, sig, args, k) for k in (0, 3, 6))
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
            vectors = _Vectors(context, builder, scalar, n)
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


@intrinsic
def prefetch_run(typingctx, start, size):
    """Call `size` bytes from an address on into L2; what does not exist is no fault."""

    def codegen(context, builder, sig, args):
        vectors = _Vectors(context, builder, ir.FloatType(), 1)
        with cgutils.for_range(builder, builder.sdiv(args[1], vectors.index(64))) as line:
            vectors.prefetch(builder.add(args[0], builder.mul(line.index, vectors.index(64))))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def sum_rows(typingctx, rows, first, step, taps, h0, count, target, start, end, V, lanes):
    """`target[v] = sum_{j<count} taps[h0 + j] * row[first - j*step][v]` for `start <= v < end`.

    Row k lies at the address `rows[k]`, the result at the address `target`. Vectors are taken V at a time, then V/2,
    V/4 and so on; one that `end` cuts is moved to the left, so `end` is no less than a vector. Rows that may lie
    anywhere let one tile serve neighbouring signals, zeros beyond their ends, and the planes of a decimated signal;
    looking a row up costs one load for V multiplications.
    """
    size = types.intp

    def codegen(context, builder, sig, args):
        n_vectors, n_lanes = (sig.args[k].literal_value for k in (9, 10))
        vectors = _Vectors(context, builder, context.get_value_type(sig.args[3].dtype), n_lanes)
        table, taps = (_data(context, builder, sig, args, k) for k in (0, 3))
        first, row_step, _, h0, count, target, start, end = args[1:9]
        pointer = vectors.scalar.as_pointer()
        target = builder.inttoptr(target, pointer)
        place = cgutils.alloca_once_value(builder, start)
        height = n_vectors
        while height:
            step = vectors.index(height * n_lanes)
            condition, body, after = (builder.append_basic_block(name) for name in ("fits", "tile", "after"))
            builder.branch(condition)
            builder.position_at_end(condition)
            at = builder.load(place)
            needed = step if height > 1 else vectors.index(1)
            builder.cbranch(builder.icmp_signed("<=", builder.add(at, needed), end), body, after)
            builder.position_at_end(body)
            last = builder.sub(end, step)
            at = builder.select(builder.icmp_signed("<", at, last), at, last)
            places = [builder.add(at, vectors.index(v * n_lanes)) for v in range(height)]
            acc = [cgutils.alloca_once(builder, vectors.type) for _ in places]
            for slot in acc:
                builder.store(ir.Constant(vectors.type, None), slot)
            with cgutils.for_range(builder, count) as tap:
                row = builder.load(builder.gep(table, [builder.sub(first, builder.mul(row_step, tap.index))]))
                row = builder.inttoptr(row, pointer)
                scalar = vectors.splat(builder.load(builder.gep(taps, [builder.add(h0, tap.index)])))
                for slot, v in zip(acc, places, strict=True):
                    builder.store(vectors.multiply_add(scalar, vectors.load(row, v), builder.load(slot)), slot)
            for slot, v in zip(acc, places, strict=True):
                vectors.store(builder.load(slot), target, v)
            builder.store(builder.add(at, step), place)
            builder.branch(condition)
            builder.position_at_end(after)
            height //= 2
        return context.get_dummy_value()

    return types.void(rows, size, size, taps, size, size, size, size, size, V, lanes), codegen
