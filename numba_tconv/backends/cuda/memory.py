"""Memory of the GPU, copies and streams: all that depends on how the package of the compiler manages them.

Nothing else in this package allocates on a GPU, copies to or from one, or makes a stream, so that this file alone moves
when the packages' host side does.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from numba_tconv.backends.cuda.compiler import SIMULATED, cuda

if SIMULATED:
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
else:
    from cuda.bindings import driver

_HERE: AbstractContextManager[Any] = nullcontext()


def empty(shape: tuple[int, ...], dtype: Any, stream: Any = 0) -> Any:
    """Return a new array on the GPU."""
    return cuda.device_array(shape, dtype, stream=stream)


def upload(array: np.ndarray, target: Any = None, stream: Any = 0) -> Any:
    """Copy a contiguous array to the GPU, into `target` where that is given; asynchronously from pinned memory."""
    if 0 in array.strides:  # which Numba takes for an axis without samples
        array = array.copy()
    return cuda.to_device(array, stream=stream, to=target)


def download(array: Any, target: np.ndarray, stream: Any = 0) -> None:
    """Copy an array from the GPU into a contiguous one; asynchronously to pinned memory."""
    array.copy_to_host(target, stream=stream)


def pinned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a new array of host memory that copies from and to the GPU need not wait for."""
    array: np.ndarray = cuda.pinned_array(shape, dtype)
    return array


def on_device(number: int | None) -> AbstractContextManager[Any]:
    """Make a GPU the current one, where its number is known, and some GPU where none is."""
    if SIMULATED:
        return _HERE
    here = _current_device()
    return _HERE if here is not None and number in (None, here) else cuda.gpus[number or 0]


def current_device() -> int:
    """Return the number of the current GPU."""
    return 0 if SIMULATED else _current_device() or 0


def _current_device() -> int | None:
    """Return the number of the GPU that this thread uses, if any; Numba takes forty times as long to tell."""
    error, number = driver.cuCtxGetDevice()
    return None if error else int(number)


def new_stream() -> Any:
    """Return a new stream."""
    return cuda.stream()


def as_stream(address: int | None) -> Any:
    """Return the package's object for the stream at an address; the default stream for None."""
    # The simulator has no streams.
    return _external_stream(address) if address and not SIMULATED else 0


@cache
def _external_stream(address: int) -> Any:
    return cuda.external_stream(address)


def address(array: Any) -> int:
    """Return the address of an array that this package made on the GPU."""
    if SIMULATED:
        return int(array._ary.ctypes.data)
    return int(array.__cuda_array_interface__["data"][0])


def typed(address: int, size: int, dtype: np.dtype) -> Any:
    """Return the `size` numbers from an address on, as a package's own launch takes them."""
    interface = {"data": (address, False), "shape": (size,), "typestr": dtype.str, "version": 3}
    if SIMULATED:  # there, the GPU's memory is the host's
        exposed = type("Exposed", (), {"__array_interface__": interface})()
        return FakeCUDAArray(np.asarray(exposed))
    return cuda.from_cuda_array_interface(interface, sync=False)
