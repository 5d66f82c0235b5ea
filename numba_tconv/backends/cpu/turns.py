"""How the workers of one launch share its items: a counter that each takes the next one from.

Not in equal shares beforehand: a thread that wakes late, or loses its core for a while, then holds nobody up. Every
item is computed alike by whoever takes it, so the result does not depend on who did.

Python calls a kernel once, on its own thread. Where several workers are wanted, that call hands itself to the launcher
of `threads.py`, which repeats it on all threads. So one compiled parallel loop serves all kernels: one for each list of
arguments, which passed them on, compiled for half a second in the first call of each.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Of `turns`, which are zeros but for a launch of several workers: the next item, the addresses of the launcher and of
# what it lets each worker do, and their number. What stands behind is the business of `cores.py`.
NEXT_ITEM, LAUNCHER, WORK, WORKERS, SIZE = range(5)


def _place(context, builder, sig, args, k):
    """Return the pointer to number k of `turns`."""
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.gep(data, [context.get_constant(types.intp, k)])


def _take(builder, counter):
    """Emit the next item."""
    return builder.atomic_rmw("add", counter, ir.Constant(counter.type.pointee, 1), "monotonic")


@intrinsic
def take(typingctx, turns):
    """Return the next item, which is the caller's then."""

    def codegen(context, builder, sig, args):
        return _take(builder, _place(context, builder, sig, args, NEXT_ITEM))

    return types.int64(turns), codegen


@intrinsic
def take_first(typingctx, turns):
    """Return a worker's first item, in a kernel whose last arguments are `turns, worker`.

    A call with a launcher in `turns` first lets that repeat it for every worker. Then no item is left.
    """

    def codegen(context, builder, sig, args):
        counter, to_launch, work, n_workers = (
            _place(context, builder, sig, args, k) for k in (NEXT_ITEM, LAUNCHER, WORK, WORKERS)
        )
        launcher = builder.load(to_launch)
        none = ir.Constant(launcher.type, 0)
        with builder.if_then(builder.icmp_signed("!=", launcher, none), likely=False):
            builder.store(none, to_launch)
            # With the places of the result, None, and of an exception: kernels raise none, so all may share them.
            values = builder.function.args[:-1]
            call = cgutils.alloca_once(builder, ir.LiteralStructType([value.type for value in values]))
            for k, value in enumerate(values):
                builder.store(value, cgutils.gep_inbounds(builder, call, 0, k))
            repeater = _repeater(builder.function, call.type)
            _call_at(builder, launcher, [builder.load(work), repeater, call, counter, builder.load(n_workers)])
        return _take(builder, counter)

    return types.int64(turns), codegen


def _repeater(kernel, call):
    """Emit the function `(call, worker)` that calls a kernel as it was called, but for another worker."""
    kind = ir.FunctionType(ir.VoidType(), [call, kernel.args[-1].type])
    function = ir.Function(kernel.module, kind, f"{kernel.name}.repeat")
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block())
    values = builder.load(function.args[0])
    values = [builder.extract_value(values, k) for k in range(len(call.pointee.elements))]
    # Inlined, the kernel would be compiled twice.
    builder.call(kernel, [*values, function.args[1]], attrs=("noinline",))
    builder.ret_void()
    return function


def _call_at(builder, address, values):
    """Emit a call of what is compiled at an address, with integers and addresses."""
    word = address.type
    words = [builder.ptrtoint(value, word) if value.type.is_pointer else value for value in values]
    kind = ir.FunctionType(ir.VoidType(), [word] * len(words))
    builder.call(builder.inttoptr(address, kind.as_pointer()), words)


@intrinsic
def call_at(typingctx, address, arguments):
    """Call what is compiled at an address with some integers."""

    def codegen(context, builder, sig, args):
        _call_at(builder, args[0], cgutils.unpack_tuple(builder, args[1]))
        return context.get_dummy_value()

    return types.void(types.intp, arguments), codegen
