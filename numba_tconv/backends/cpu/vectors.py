"""LLVM vectors: what the intrinsics of `tile.py` and `moves.py` emit loads, stores, splats and shuffles with.

Numba's own autovectoriser builds neither tiles of registers nor interleaving.

Intrinsics stand at module level and take their sizes as literal integers: an intrinsic made inside a function has a new
identity in every process, and the kernels around it would never hit Numba's on-disk cache.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

INT32 = ir.IntType(32)


class Vectors:
    """Emits loads, stores, splats and shuffles of one vector type."""

    def __init__(self, context, builder, scalar, lanes):
        self.builder, self.scalar, self.lanes = builder, scalar, lanes
        self.type = ir.VectorType(scalar, lanes)
        self.intp = context.get_value_type(types.intp)
        self.undefined = ir.Constant(self.type, ir.Undefined)
        self.align = 4 if isinstance(scalar, ir.FloatType) else 8
        # AVX2 shuffles within 128 bits: across them, interleaving took it up to three times as many instructions.
        self.piece = lanes // 2 if lanes * self.align == 32 else lanes
        self._suffix = f"v{lanes}f{8 * self.align}"
        # `declare_intrinsic` does not take vector types. fmuladd and not fma: where the target has no FMA
        # instruction, `llvm.fma` becomes one library call per lane.
        self._multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.type, [self.type] * 3), f"llvm.fmuladd.{self._suffix}"
        )

    def index(self, value):
        """Return a constant offset or count."""
        return ir.Constant(self.intp, value)

    def _pointer(self, base, offset, kind):
        return self.builder.bitcast(self.builder.gep(base, [offset]), kind.as_pointer())

    def load(self, base, offset):
        """Return the vector that begins so many numbers behind `base`."""
        return self.builder.load(self._pointer(base, offset, self.type), align=self.align)

    def store(self, value, base, offset):
        """Write a vector of any length to where it begins."""
        self.builder.store(value, self._pointer(base, offset, value.type), align=self.align)

    def store_run(self, values, base):
        """Write vectors one behind the other."""
        for k, value in enumerate(values):
            self.store(value, base, self.index(k * self.lanes))

    def load_some(self, base, offset, mask):
        """Return the vector of which only the lanes of a mask are read; the others are zero."""
        pointer = self._pointer(base, offset, self.type)
        return self.builder.call(
            self._masked("load", self.type, [pointer.type, INT32, mask.type, self.type]),
            [pointer, ir.Constant(INT32, self.align), mask, ir.Constant(self.type, None)],
        )

    def store_some(self, value, base, offset, mask):
        """Write the lanes of a mask."""
        pointer = self._pointer(base, offset, self.type)
        self.builder.call(
            self._masked("store", ir.VoidType(), [self.type, pointer.type, INT32, mask.type]),
            [value, pointer, ir.Constant(INT32, self.align), mask],
        )

    def _masked(self, name, result, arguments):
        """Return LLVM's masked load or store."""
        name = f"llvm.masked.{name}.{self._suffix}.p0{self._suffix}"
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def splat(self, value):
        """Return a vector with a number in every lane."""
        first = self.builder.insert_element(self.undefined, value, ir.Constant(INT32, 0))
        return self.shuffle(first, self.undefined, [0] * self.lanes)

    def splat_some(self, base, offset, count):
        """Return a vector that repeats the `count` numbers from an offset on."""
        if count == 1:
            return self.splat(self.builder.load(self.builder.gep(base, [offset])))
        kind = ir.VectorType(self.scalar, count)
        some = self.builder.load(self._pointer(base, offset, kind), align=self.align)
        return self.shuffle(some, ir.Constant(kind, ir.Undefined), [k % count for k in range(self.lanes)])

    def repeat(self, vector, k, unit):
        """Return a vector that has lane `k` of each `unit` lanes in all of them."""
        if unit == 1:
            return vector
        return self.shuffle(vector, self.undefined, [lane // unit * unit + k for lane in range(self.lanes)])

    def shuffle(self, a, b, order):
        """Return the lanes of `a` and then `b` that `order` names."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(order)), list(order)))

    def multiply_add(self, a, b, c):
        """Return `a*b + c`."""
        return self.builder.call(self._multiply_add, [a, b, c])

    def first(self, count):
        """Return the mask of the first so many lanes."""
        # As numbers of 32 bits, for a comparison of half as many registers: with 64 bits, depthwise signals of 30
        # samples and 16 taps took 1.2 times as long.
        builder, kind = self.builder, ir.VectorType(INT32, self.lanes)
        for condition, limit in ((">", self.index(self.lanes)), ("<", self.index(0))):
            count = builder.select(builder.icmp_signed(condition, count, limit), limit, count)
        bound = builder.insert_element(
            ir.Constant(kind, ir.Undefined), builder.trunc(count, INT32), ir.Constant(INT32, 0)
        )
        bound = builder.shuffle_vector(bound, bound, ir.Constant(kind, [0] * self.lanes))
        return builder.icmp_signed("<", ir.Constant(kind, list(range(self.lanes))), bound)

    def between(self, begin, end):
        """Return the mask of the lanes from `begin` on and before `end`, which may lie outside the vector."""
        return self.builder.and_(self.builder.not_(self.first(begin)), self.first(end))

    def total(self, vector, unit=1):
        """Return the sum of all lanes, or the vector of those of every second one; halves are added to halves."""
        count = self.lanes
        while count > unit:
            count //= 2
            halves = [self.shuffle(vector, vector, range(first, first + count)) for first in (0, count)]
            vector = self.builder.fadd(*halves)
        return vector if unit > 1 else self.builder.extract_element(vector, ir.Constant(INT32, 0))

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

        Each piece of the vectors is woven by itself, and then the pieces are put in order.
        """
        woven = self._weave_pieces(rows, unit)
        if self.piece == self.lanes or len(rows) == 1:
            return woven
        halves = [(vector, first) for first in (0, self.piece) for vector in woven]
        return [self._pair_of(*halves[2 * k], *halves[2 * k + 1]) for k in range(len(rows))]

    def _weave_pieces(self, rows, unit):
        """Do what `weave` does in every piece of the vectors.

        Of an even number of rows, neighbours are zipped, whose units are then twice as long; an odd one picks the lanes
        of every row in turn. One wide shuffle for all, which LLVM would accept too, is taken apart lane by lane.
        """
        count, units = len(rows), self.piece // unit
        if count == 1 or units == 1:
            return rows
        if count % 2 == 0:
            zipped = [source + unit * u + k for u in range(units) for source in (0, self.lanes) for k in range(unit)]
            halves = (zipped[: self.piece], zipped[self.piece :])
            pairs = list(zip(rows[0::2], rows[1::2], strict=True))
            parts = ([self._fenced(self._shuffle_pieces(a, b, half)) for a, b in pairs] for half in halves)
            return [vector for part in parts for vector in self._weave_pieces(part, 2 * unit)]
        woven = []
        for first in range(0, count * self.piece, self.piece):
            places = [divmod((first + k) // unit, count) for k in range(self.piece)]
            wanted = [(row, q * unit + k % unit) for k, (q, row) in enumerate(places)]
            woven.append(self._fenced(self._pick(rows, wanted)))
        return woven

    def unweave(self, woven):
        """Take `weave(rows, 1)` apart again."""
        count = len(woven)
        if self.piece < self.lanes:
            halves = [(vector, first) for vector in woven for first in (0, self.piece)]
            woven = [self._pair_of(*halves[k], *halves[count + k]) for k in range(count)]
        return self._unweave_pieces(woven, 1)

    def _unweave_pieces(self, woven, unit):
        """Do what `unweave` does in every piece of the vectors, for units of so many lanes."""
        count, units = len(woven), self.piece // unit
        if count == 1 or units == 1:
            return woven
        if count % 2 == 0:
            halves = woven[: count // 2], woven[count // 2 :]
            pairs = zip(*(self._unweave_pieces(half, 2 * unit) for half in halves), strict=True)
            lanes = [end + k for end in (0, self.lanes) for k in range(self.piece)]
            orders = [[lane for lane in lanes if lane // unit % 2 == r] for r in (0, 1)]
            return [self._shuffle_pieces(a, b, order) for a, b in pairs for order in orders]
        rows = []
        for i in range(count):
            places = [(u * count + i) * unit + k for u in range(units) for k in range(unit)]
            rows.append(self._pick(woven, [divmod(place, self.piece) for place in places]))
        return rows

    def _fenced(self, vector):
        """Return a vector of which LLVM does not see where it comes from.

        It would merge shuffles into others that take more instructions: in AVX2, 16 to weave four rows and not 12, in
        AVX-512, 22 for six and not 18.
        """
        name = f"llvm.arithmetic.fence.{self._suffix}"
        fence = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(self.type, [self.type]), name)
        return self.builder.call(fence, [vector])

    def _pick(self, vectors, wanted):
        """Return the vector whose pieces have, in each lane, the lane of one of the vectors: (which one, its lane)."""
        picked = self.undefined
        for source, vector in enumerate(vectors):
            order = [self.lanes + lane if which == source else k for k, (which, lane) in enumerate(wanted)]
            picked = self._shuffle_pieces(picked, vector, order)
        return picked

    def _shuffle_pieces(self, a, b, order):
        """Return what `shuffle` makes of the first pieces, and the same of every other."""
        return self.shuffle(a, b, [first + lane for first in range(0, self.lanes, self.piece) for lane in order])

    def _pair_of(self, a, first, b, second):
        """Return the piece of `a` that begins with one lane and the piece of `b` that begins with another."""
        places = (first, self.lanes + second)
        return self.shuffle(a, b, [place + k for place in places for k in range(self.piece)])


def data_of(context, builder, sig, args, position):
    """Return the pointer to the first number of an argument that is an array."""
    return context.make_array(sig.args[position])(context, builder, args[position]).data


@intrinsic
def address(typingctx, array):
    """Return the address of an array's first element."""

    def codegen(context, builder, sig, args):
        return builder.ptrtoint(data_of(context, builder, sig, args, 0), context.get_value_type(types.intp))

    return types.intp(array), codegen


@intrinsic
def integers_at(typingctx, start):
    """Return the int64 numbers at an address: number k takes LLVM three instructions, element k of an array thirty.

    They cost time when a kernel is compiled, not when it runs.
    """

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(types.int64)(types.intp), codegen
