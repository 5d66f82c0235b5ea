"""Move samples between the caller's arrays and the kernels' own: any strides, any dtype, zeros outside the signal.

The caller's arrays arrive as four axes (batch, channel, time, part), where the part is the real or imaginary half of
a complex number. float16 arrives as its bits, in uint16; it is computed in float32 and rounded once.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from numba_tconv.backends.cpu import jit
from numba_tconv.backends.cpu.target import LINE_OF_CACHE
from numba_tconv.backends.cpu.vectors import address

HALF = np.dtype(np.uint16)


@cache
def part_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype of the parts of numbers of a dtype."""
    if dtype.char == "e":
        return HALF
    return dtype.type().real.dtype if dtype.kind == "c" else dtype


def is_plain(strides: tuple[int, ...], dtype: np.dtype, itemsize: int) -> bool:
    """Whether time is contiguous in (batch, channel, time), and all rows lie whole numbers of so many bytes apart."""
    n, c, t = strides
    return t == dtype.itemsize and not (n % itemsize or c % itemsize)


@jit.helper
def first_line(array):
    """Return the number with which a cache line begins: of what begins there, no vector lies in two.

    NumPy's arrays begin anywhere. With scratch and weights like that, layers took a Zen 3 1.05 times as long.
    """
    return -address(array) % LINE_OF_CACHE // array.itemsize


def new_scratch(numbers: int, dtype: np.dtype) -> np.ndarray:
    """Return scratch of so many numbers from its `first_line` on, which kernels find: here it would take 2 us."""
    return np.empty(numbers + LINE_OF_CACHE // dtype.itemsize, dtype)


def on_a_line(numbers: int, dtype: np.dtype, make: Callable = np.empty) -> np.ndarray:
    """Return a new flat array that begins with a cache line."""
    room = make(numbers + LINE_OF_CACHE // dtype.itemsize, dtype)
    begin = -room.__array_interface__["data"][0] % LINE_OF_CACHE // dtype.itemsize
    return room[begin : begin + numbers]


def whole_lines(numbers: int, dtype: np.dtype) -> int:
    """Return how many numbers the cache lines hold that so many take."""
    of_line = LINE_OF_CACHE // dtype.itemsize
    return -(-numbers // of_line) * of_line


def odd_lines(numbers: int) -> int:
    """Return how far rows of so many numbers lie apart: odd numbers of lines, not to meet in one set of the cache."""
    return (-(-numbers // 16) | 1) * 16


def in_parts(array: np.ndarray) -> np.ndarray:
    """View (batch, channel, time) as (batch, channel, time, part), parts real; float16 as its bits."""
    char = array.dtype.char
    if char in "FD":
        return array[..., None].view(array.real.dtype)
    return (array.view(HALF) if char == "e" else array)[..., None]


@jit.helper
def half_to_float(bits):
    """Widen the bits of a float16; subnormals, infinities and NaN included."""
    # Every result is cast: Numba widens the integers of an expression to 64 bits, which have no float32 view.
    magnitude = np.uint32(np.uint32(bits & 0x7FFF) << np.uint32(13))
    sign = np.uint32(np.uint32(bits & 0x8000) << np.uint32(16))
    # 2**112 moves the exponent's bias from 15 to 127 and normalises subnormals on the way.
    scaled = np.float32(magnitude.view(np.float32) * np.float32(2.0**112)).view(np.uint32)
    if magnitude >= np.uint32(0x7C00 << 13):
        scaled = np.uint32(scaled | np.uint32(0x7F800000))
    return np.uint32(scaled | sign).view(np.float32)


@jit.helper
def float_to_half(value):
    """Round a float32 to the bits of the nearest float16, ties to even."""
    bits = np.float32(value).view(np.uint32)
    sign = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(0x8000))
    magnitude = np.uint32(bits & np.uint32(0x7FFFFFFF))
    if magnitude >= np.uint32(0x7F800000):
        rounded = np.uint32(0x7C00) if magnitude == np.uint32(0x7F800000) else np.uint32(0x7E00)
    elif magnitude >= np.uint32(0x477FF000):  # 65520 and above round to infinity
        rounded = np.uint32(0x7C00)
    elif magnitude < np.uint32(0x38800000):  # below 2**-14: let the adder round at float16's last subnormal bit
        shifted = np.float32(magnitude.view(np.float32) + np.float32(0.5)).view(np.uint32)
        rounded = np.uint32(shifted - np.uint32(0x3F000000))
    else:
        odd = np.uint32(np.uint32(magnitude >> np.uint32(13)) & np.uint32(1))
        rebased = np.uint32(magnitude - np.uint32(0x38000000) + np.uint32(0xFFF) + odd)
        rounded = np.uint32(rebased >> np.uint32(13))
    return np.uint16(rounded | sign)


@intrinsic
def copy_bytes(typingctx, target, source, size):
    """Copy `size` bytes from one address to another."""

    def codegen(context, builder, sig, args):
        target, source = (builder.inttoptr(args[k], cgutils.voidptr_t) for k in (0, 1))
        cgutils.raw_memcpy(builder, target, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def zero_run(typingctx, target, at, count):
    """Write `count` zeros to `target[at]`; often none, which should not cost a call."""
    sig = types.void(target, types.intp, types.intp)

    def codegen(context, builder, sig, args):
        target = context.make_array(sig.args[0])(context, builder, args[0]).data
        itemsize = context.get_abi_sizeof(target.type.pointee)
        with builder.if_then(builder.icmp_signed(">", args[2], ir.Constant(args[2].type, 0))):
            size = builder.mul(args[2], ir.Constant(args[2].type, itemsize))
            cgutils.memset(builder, builder.gep(target, [args[1]]), size, 0)
        return context.get_dummy_value()

    return sig, codegen


def _element(context, builder, sig, args):
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    moved = builder.gep(builder.bitcast(data, cgutils.voidptr_t), [args[1]])
    return builder.bitcast(moved, data.type)


@intrinsic
def read(typingctx, array, offset):
    """Return the element `offset` bytes behind the data pointer: no wrap-around of negative indices to compile."""

    def codegen(context, builder, sig, args):
        return context.unpack_value(builder, sig.args[0].dtype, _element(context, builder, sig, args))

    return array.dtype(array, types.intp), codegen


@intrinsic
def _write(typingctx, array, offset, value):
    """Write to the element `offset` bytes behind the data pointer."""

    def codegen(context, builder, sig, args):
        context.pack_value(builder, sig.args[0].dtype, args[2], _element(context, builder, sig, args))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), codegen


def _as_float(value, half, stage):
    """Convert a sample to the stage's dtype."""


@overload(_as_float)
def _as_float_overload(value, half, stage):
    dtype = stage.dtype
    if value == types.uint16:
        return lambda value, half, stage: dtype(half_to_float(np.uint32(value))) if half else dtype(value)
    return lambda value, half, stage: dtype(value)


@jit.helper
def _stage_run(x, offset, step, count, half, stage, at):
    """Write `count` samples to `stage[at:]`: the first `offset` bytes behind x's data pointer, then `step` bytes on."""
    if is_same_dtype(x, stage) and step == x.itemsize:
        copy_bytes(address(stage) + at * step, address(x) + offset, count * step)
    else:
        for k in range(at, at + count):
            stage[k] = _as_float(read(x, offset), half, stage)
            offset += step


@jit.helper
def stage_samples(x, n, c, first, part, count, length, half, stage, at):
    """Write `count` samples from time `first` on to `stage[at:]`, zeros before and after the signal."""
    begin = min(max(-first, 0), count)
    end = max(min(length - first, count), begin)
    zero_run(stage, at, begin)
    step = x.strides[2]
    offset = n * x.strides[0] + c * x.strides[1] + (first + begin) * step + part * x.strides[3]
    _stage_run(x, offset, step, end - begin, half, stage, at + begin)
    zero_run(stage, at + end, count - end)


@jit.helper
def stage_every(x, offset, first, step, count, length, half, stage, at):
    """`stage_samples` of every `step`-th sample; the signal begins `offset` bytes behind x's data pointer."""
    begin = min(max(-(first // step), 0), count)
    end = max(min(-((first - length) // step), count), begin)
    zero_run(stage, at, begin)
    offset += (first + begin * step) * x.strides[2]
    _stage_run(x, offset, step * x.strides[2], end - begin, half, stage, at + begin)
    zero_run(stage, at + end, count - end)


@jit.helper
def stage_steps(x, n, c, first, step, part, count, length, half, stage, at):
    """Write `count` samples, from time `first` on and `step` apart, to `stage[at:]`, zeros outside the signal."""
    if step == 1:
        stage_samples(x, n, c, first, part, count, length, half, stage, at)
    else:
        begin = min(max(-(first // step), 0), count)
        end = max(min(-((first - length) // step), count), begin)
        zero_run(stage, at, begin)
        offset = n * x.strides[0] + c * x.strides[1] + (first + begin * step) * x.strides[2] + part * x.strides[3]
        for k in range(begin, end):
            stage[at + k] = _as_float(read(x, offset), half, stage)
            offset += step * x.strides[2]
        zero_run(stage, at + end, count - end)


@jit.helper
def stage_rows(x, channel, count, signals, length, half, stage, at, stage_row):
    """Stage `count` channels, their signals behind each other without a gap."""
    parts = signals // x.shape[0]
    for k in range(count):
        for signal in range(signals):
            n, part = divmod(signal, parts)
            target = at + k * stage_row + signal * length
            stage_samples(x, n, channel + k, 0, part, length, length, half, stage, target)


@intrinsic
def is_same_dtype(typingctx, a, b):
    """Whether two arrays have one dtype, known to the compiler."""
    answer = a.dtype == b.dtype
    return types.boolean(a, b), lambda context, builder, sig, args: context.get_constant(types.boolean, answer)


@jit.helper
def has_plain_rows(x, stage):
    """Whether the rows of x are runs of numbers of the stage's dtype, whole numbers apart."""
    return is_same_dtype(x, stage) and x.strides[2] == x.itemsize and x.strides[1] % x.itemsize == 0


def put(out, offset, value):
    """Write `value` to `offset` bytes behind out's data pointer, rounded to float16 where out holds its bits."""


@overload(put)
def _put_overload(out, offset, value):
    if out.dtype == types.uint16:
        return lambda out, offset, value: _write(out, offset, float_to_half(value))
    return lambda out, offset, value: _write(out, offset, value)
