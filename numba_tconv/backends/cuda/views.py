"""Arrays as kernels take them: flat memory of real numbers on the GPU, and where samples lie in it.

Here belongs what turns the arrays of a call, which `device_array.py` describes, into arguments of a kernel, uploads and
new arrays included.
"""

from typing import Any

import numpy as np

from numba_tconv.backends.cuda import memory
from numba_tconv.backends.cuda.parts import View
from numba_tconv.device_array import DTYPES, DeviceArray, as_device_array, empty_like


def is_complex(array: Any) -> bool:
    """Whether an array's samples have two parts."""
    return bool(array.dtype.kind == "c")


def flat(array: DeviceArray) -> tuple[Any, View]:
    """Return an array's memory as real numbers, and where its samples lie in it."""
    real = np.empty(0, array.dtype).real.dtype
    low, high = array.extent
    numbers = memory.typed(low, max(1, (high - low) // real.itemsize), real, array.owner)
    strides = tuple(step // real.itemsize for step in array.strides)
    return numbers, View((array.pointer - low) // real.itemsize, strides)


def is_aligned(array: DeviceArray) -> bool:
    """Whether the memory of an array begins at a multiple of 16 bytes."""
    return array.extent[0] % 16 == 0


def stored_dtype(dtype: np.dtype, real: np.dtype) -> np.dtype:
    """Return the dtype that samples have on the GPU: their own, or the arithmetic's where kernels do not take it."""
    return dtype if dtype.name in DTYPES else real


def on_gpu(array: Any, real: np.dtype, stream: Any) -> DeviceArray:
    """Return an array that is on the GPU already, or upload a host array."""
    if isinstance(array, DeviceArray):
        return array
    samples = np.ascontiguousarray(array, stored_dtype(array.dtype, real))
    return as_device_array("array", memory.upload(samples, stream=stream))


def new(shape: tuple[int, ...], dtype: np.dtype, stream: Any) -> DeviceArray:
    """Return a new array on the GPU."""
    return as_device_array("array", memory.empty(shape, dtype, stream))


def new_like(array: DeviceArray, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
    """Return a new array on the GPU, of the library that another one comes from."""
    return as_device_array("array", empty_like(array, shape, dtype, memory.empty))
