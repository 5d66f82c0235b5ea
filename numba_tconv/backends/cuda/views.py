"""Arrays as kernels take them: flat memory of real numbers on the GPU, and where samples lie in it.

Here belongs what turns the arrays of a call, which `device_array.py` describes, into what kernels are bound to, uploads
and new arrays included.
"""

from typing import Any, NamedTuple

import numpy as np

from numba_tconv.backends.cuda import memory
from numba_tconv.backends.cuda.binding import Memory
from numba_tconv.backends.cuda.parts import View
from numba_tconv.device_array import REAL_BYTES, DeviceArray, as_device_array, empty_like, extent


class Layout(NamedTuple):
    """How an array lies in memory, wherever that is; `place` is its address modulo 16."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    place: int

    @property
    def is_complex(self) -> bool:
        """Whether samples have two parts."""
        return bool(self.dtype.kind == "c")

    @property
    def memory(self) -> Memory:
        """All the memory from the first to the last sample, as real numbers."""
        real = np.empty(0, self.dtype).real.dtype
        low, high = extent(self.shape, self.strides, self.dtype.itemsize)
        return Memory(real, max(1, (high - low) // real.itemsize), -low)

    @property
    def view(self) -> View:
        """Where samples lie in the memory."""
        real, _, before = self.memory
        return View(before // real.itemsize, tuple(step // real.itemsize for step in self.strides))

    @property
    def is_aligned(self) -> bool:
        """Whether the memory begins at a multiple of 16 bytes."""
        return (self.place - self.memory.before) % 16 == 0


def layout(array: DeviceArray) -> Layout:
    """Return how an array lies in memory."""
    return Layout(array.shape, array.strides, array.dtype, array.pointer % 16)


def stored_dtype(dtype: np.dtype, real: np.dtype) -> np.dtype:
    """Return the dtype that samples have on the GPU: their own, or the arithmetic's where kernels do not take it."""
    return dtype if dtype.char in REAL_BYTES else real


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
