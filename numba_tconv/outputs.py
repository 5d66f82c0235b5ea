"""Where results are written: the caller's `out`, once it is checked, or new memory.

Large results get the memory of an earlier one that nobody holds any more. The C library returns freed memory above
32 MiB to the system, so the next result would take new pages, which the system fills with zeros first: 64 signals of
100,000 samples upsampled by 2 took 18 ms so, and 5.6 in pages used before. Smaller results it serves that way itself.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_tconv.device_array import DeviceArray, as_device_array, is_on_gpu

# In bytes: what glibc returns to the system, whatever was freed before.
LARGE = 32 << 20
# As many bytes may lie unused until the next large result.
MOST_SPARE = 256 << 20
# What is handed out may be larger by an eighth: batches whose lengths differ a little find room.
SLACK = 1.125
# Large results begin with a cache line, which NumPy's do not: vectors that straddle two made eight phases of a million
# complex samples take 3.7 ms, not 3.3.
LINE = 64

# The append and the pop of a deque are atomic: any thread may make a result or drop one.
_spare: deque[NDArray[np.uint8]] = deque(maxlen=1)


class _Lease:
    """What all views of a large result hold on to; with the last of them it leaves the memory to a later result."""

    def __init__(self, memory: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._memory = memory
        # Looked up now: when a program ends, modules lose their names before all arrays are gone.
        self._spare = _spare if memory.nbytes <= MOST_SPARE else None
        address = memory.ctypes.data + -memory.ctypes.data % LINE
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}

    def __del__(self) -> None:
        if self._spare is not None:
            self._spare.append(self._memory)


def new(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array whose numbers are still to be written."""
    result = np.empty(shape, dtype)
    if result.nbytes < LARGE:
        return result
    needed = result.nbytes + LINE
    try:
        memory = _spare.pop()
    except IndexError:
        memory = np.empty(needed, np.uint8)
    if not needed <= memory.nbytes <= SLACK * needed:
        memory = np.empty(needed, np.uint8)  # what did not fit is freed
    return np.asarray(_Lease(memory, shape, dtype))


def new_or_checked(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[Any]) -> Any:
    """Return new memory, or the caller's `out` if there is one."""
    return new(shape, dtype) if out is None else _checked(out, shape, dtype, inputs)


def check_no_out(out: object) -> None:
    """Refuse `out` where the result is lazy."""
    if out is not None:
        raise TypeError(f"out must be left out where x is a dask.array; got {type(out).__name__}")


def _checked(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[Any]) -> Any:
    """Return `out` if a result can be written to it; it lies where the first of the inputs does, and overlaps none."""
    if isinstance(inputs[0], DeviceArray):
        if not is_on_gpu(out):
            raise TypeError(f"out must be on the GPU where x is; got {type(out).__name__}")
        out = as_device_array("out", out)
    elif not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        where = "in host memory where x is" if is_on_gpu(out) else "an ndarray"
        raise TypeError(f"out must be {where}; got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out must have the dtype {dtype}; got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"out must have the shape {shape}; got {out.shape}")
    if not (out.is_writable if isinstance(out, DeviceArray) else out.flags.writeable and out.flags.aligned):
        raise ValueError("out must be writeable and aligned")
    if _may_repeat(out):
        raise ValueError(f"out must not repeat its own samples; got the strides {out.strides} for {out.shape}")
    for array in inputs:
        if _overlap(out, array):
            raise ValueError("out must not overlap x, weight or bias")
    return out


def _overlap(out: Any, array: Any) -> bool:
    if isinstance(out, DeviceArray):
        if not isinstance(array, DeviceArray):
            return False
        (begin, end), (first, last) = out.extent, array.extent
        return begin < last and first < end
    return np.may_share_memory(out, array) and _shares_memory(out, array)


def _may_repeat(array: Any) -> bool:
    """Whether an array's axes are not nested, each step as large as all that the smaller ones span."""
    if isinstance(array, np.ndarray) and array.flags.c_contiguous:
        return False
    span = array.dtype.itemsize
    for step, size in sorted((abs(step), size) for step, size in zip(array.strides, array.shape, strict=True)):
        if size > 1:
            if step < span:
                return True
            span += step * (size - 1)
    return False


def _shares_memory(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays overlap; True where that is too hard to tell."""
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # the stubs know two values only
    except np.exceptions.TooHardError:
        return True
