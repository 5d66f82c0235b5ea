"""How the workers of one launch share its items: a counter that each takes the next one from.

Not in equal shares beforehand: a thread that wakes late, or loses its core for a while, then holds nobody up. Every
item is computed alike by whoever takes it, so the result does not depend on who did.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Of `turns`, which starts as zeros, the next item; what stands behind it is the business of `cores.py`.
NEXT_ITEM = 0


@intrinsic
def take(typingctx, turns):
    """Return the next item, which is the caller's then."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        place = builder.gep(data, [context.get_constant(types.intp, NEXT_ITEM)])
        return builder.atomic_rmw("add", place, ir.Constant(place.type.pointee, 1), "monotonic")

    return types.int64(turns), codegen


@intrinsic
def take_part(typingctx, address, arguments, turns, worker):
    """Call what is compiled at `address` with `(*arguments, turns, worker)`."""

    def codegen(context, builder, sig, args):
        address, arguments, turns, worker = args
        values = [*cgutils.unpack_tuple(builder, arguments), turns, worker]
        kinds = [context.get_value_type(kind) for kind in (*sig.args[1], *sig.args[2:])]
        function = ir.FunctionType(context.get_value_type(types.none), kinds)
        builder.call(builder.inttoptr(address, function.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.intp, arguments, turns, types.int64), codegen
