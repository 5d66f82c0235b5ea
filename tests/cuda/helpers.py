"""Arrays on the simulator's GPU, or on a real one."""

import ctypes

import numpy as np

from numba_tconv.backends.cuda.compiler import SIMULATED, cuda

if SIMULATED:
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

ON_GPU = {"float16", "float32", "float64", "complex64", "complex128"}


class Uploaded:
    """An array on the GPU that lies there as it lay here, in a copy of all the memory that it is a view of."""

    def __init__(self, array):
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        self._start = root.__array_interface__["data"][0]
        all_bytes = (ctypes.c_uint8 * max(1, root.nbytes)).from_address(self._start)
        self._bytes = cuda.to_device(np.ctypeslib.as_array(all_bytes))
        self._array = array
        address = self._bytes.device_ctypes_pointer.value + array.__array_interface__["data"][0] - self._start
        self.__cuda_array_interface__ = array.__array_interface__ | {
            "data": (address, not array.flags.writeable), "strides": array.strides, "version": 3, "stream": None,
        }  # fmt: skip

    def download(self):
        """Return the array, with all the memory around it, from the GPU."""
        host = self._bytes.copy_to_host()
        array = self._array
        offset = array.__array_interface__["data"][0] - self._start
        return np.ndarray(array.shape, array.dtype, host.data, offset, array.strides)


def there(array):
    """Return an array on the GPU that lies in memory as `array` does."""
    return FakeCUDAArray(array) if SIMULATED else Uploaded(array)


def here(array):
    """Return what lies on the GPU, in host memory."""
    if SIMULATED:
        assert isinstance(array, FakeCUDAArray)
        return np.array(array._ary)
    return array.download() if isinstance(array, Uploaded) else array.copy_to_host()
