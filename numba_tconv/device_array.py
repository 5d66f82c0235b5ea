"""Arrays in the memory of a GPU, as arguments: whose they are, where they lie, and how to make another of their kind.

Here belongs what can be known of such an array without a compiler for GPUs: any object with
`__cuda_array_interface__` (CuPy, Numba, PyTorch, JAX) or, failing that, DLPack's protocol. Kernels and launches are
`backends/cuda`'s.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import prod
from typing import Any

import numpy as np

DLPACK_CUDA = 2
# The dtypes that kernels take, by their characters, and the bytes of a real number in them.
REAL_BYTES = {"e": 2, "f": 4, "d": 8, "F": 4, "D": 8}


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """A view of somebody's array on a GPU.

    Attributes
    ----------
    owner : object
        The user's array, which keeps the memory alive.
    pointer : int
        Address of the first sample.
    shape, strides : tuple of int
        Strides in bytes, as NumPy's.
    dtype : numpy.dtype
        Of the samples.
    stream : int or None
        The CUDA stream after whose work the samples are there.
    is_writable : bool
        Whether the owner lets others write.
    device : int or None
        The number of the GPU, where the owner tells it; else it is the current one.
    """

    owner: Any
    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int | None
    is_writable: bool
    device: int | None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of samples."""
        return prod(self.shape)

    @cached_property
    def extent(self) -> tuple[int, int]:
        """The addresses from the first byte to behind the last one."""
        low, high = extent(self.shape, self.strides, self.dtype.itemsize)
        return self.pointer + low, self.pointer + high

    def __getitem__(self, key: None) -> "DeviceArray":
        """Return the view with one axis more before the others, as NumPy does for None."""
        return replace(self, shape=(1, *self.shape), strides=(0, *self.strides))

    def first(self, count: int) -> "DeviceArray":
        """Return the view of the first `count` along the first axis."""
        return replace(self, shape=(count, *self.shape[1:]))


def extent(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, int]:
    """Return the first byte of an array and the one behind its last, counted from its first sample."""
    if 0 in shape:
        return 0, 0
    low, high = 0, itemsize
    for size, step in zip(shape, strides, strict=True):
        if step < 0:
            low += (size - 1) * step
        else:
            high += (size - 1) * step
    return low, high


def is_on_gpu(value: object) -> bool:
    """Whether an argument lies in the memory of a GPU."""
    if isinstance(value, DeviceArray):
        return True
    if type(value) is np.ndarray:  # nearly every call
        return False
    if kind(value) == "torch":  # whose interface takes five times as long
        return bool(getattr(value, "is_cuda", False))
    try:
        return hasattr(value, "__cuda_array_interface__") or _is_on_gpu_by_dlpack(value) or is_simulated(value)
    except RuntimeError:  # such an array, but one that cannot be read as it is
        return True


def _dlpack_device(value: Any) -> tuple[int, int] | None:
    """Return the kind of device and its number; None for arrays without the protocol."""
    device = getattr(value, "__dlpack_device__", None)
    return None if device is None else tuple(map(int, device()))  # type: ignore[return-value]  # it is a pair


def _is_on_gpu_by_dlpack(value: Any) -> bool:
    device = _dlpack_device(value)
    return device is not None and device[0] == DLPACK_CUDA


def is_simulated(value: object) -> bool:
    """Whether an array is one of Numba's CUDA simulator, which lies in host memory."""
    return type(value).__module__.startswith("numba.cuda.simulator")


def as_device_array(name: str, value: Any) -> DeviceArray:
    """Return a view of an array on a GPU, of a dtype that kernels take."""
    try:
        array = _view(value)
    except (RuntimeError, TypeError, BufferError) as error:
        raise TypeError(f"{name} must be an array whose memory on the GPU can be read; got {error}") from None
    real = REAL_BYTES.get(array.dtype.char)
    if real is None:
        raise TypeError(f"{name} on a GPU must be float16/32/64 or complex64/128; got {array.dtype}")
    if array.pointer % real or any(step % real for step in array.strides):
        raise ValueError(f"{name} must be aligned; got the strides {array.strides} for {array.dtype}")
    return array


def _view(value: Any) -> DeviceArray:
    if kind(value) == "torch":
        return _view_of_tensor(value)
    if is_simulated(value):
        interface = value._ary.__array_interface__
    elif hasattr(value, "__cuda_array_interface__"):
        interface = value.__cuda_array_interface__
    else:
        return _view_by_dlpack(value)
    if interface.get("mask") is not None:
        raise TypeError("a masked array")
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    strides = interface.get("strides") or _contiguous(shape, dtype.itemsize)
    pointer, is_read_only = interface["data"]
    return DeviceArray(
        value, pointer, shape, tuple(strides), dtype, interface.get("stream"), not is_read_only, _number(value)
    )


def _view_of_tensor(tensor: Any) -> DeviceArray:
    """Return the view of a tensor of PyTorch, whose interface takes five times as long as what it is made of.

    That has no stream, being of version 2, and means the one that is current.
    """
    if tensor.requires_grad or tensor.is_conj() or tensor.is_neg():
        raise TypeError("a tensor that wants a gradient or is a lazy conjugate: detach or resolve it first")
    dtype, device = _dtype_of_torch(tensor.dtype), tensor.device
    shape, strides = tuple(tensor.shape), tuple(step * dtype.itemsize for step in tensor.stride())
    stream = sys.modules["torch"].cuda.current_stream(device).cuda_stream
    return DeviceArray(tensor, tensor.data_ptr(), shape, strides, dtype, stream, True, device.index)


@cache
def _dtype_of_torch(dtype: Any) -> np.dtype[Any]:
    return np.dtype(str(dtype).removeprefix("torch."))


def _number(value: Any) -> int | None:
    device = _dlpack_device(value)
    return device[1] if device is not None and device[0] == DLPACK_CUDA else None


def _view_by_dlpack(value: Any) -> DeviceArray:
    """Return the view that `cuda.core`, which comes with the compilers, reads from a DLPack capsule."""
    from cuda.core.utils import StridedMemoryView

    # -1: no synchronization; the default stream waits for nobody here, and the call is launched on it.
    view = StridedMemoryView.from_dlpack(value, stream_ptr=-1)
    dtype, shape = np.dtype(view.dtype), tuple(view.shape)
    strides = view.strides
    in_bytes = _contiguous(shape, dtype.itemsize) if strides is None else tuple(n * dtype.itemsize for n in strides)
    return DeviceArray(value, view.ptr, shape, in_bytes, dtype, None, not view.readonly, _number(value))


def _contiguous(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape)))


def kind(value: object) -> str:
    """Return the library whose array it is: 'cupy', 'torch', 'jax', or 'numba' for all others."""
    root = type(value).__module__.partition(".")[0]
    return {"cupy": "cupy", "torch": "torch", "jax": "jax", "jaxlib": "jax"}.get(root, "numba")


def empty_like(array: DeviceArray, shape: tuple[int, ...], dtype: np.dtype[Any], empty: Callable[..., Any]) -> Any:
    """Return a new array of the same library on the same GPU; `empty(shape, dtype)` is Numba's way."""
    library = kind(array.owner)
    if library == "cupy":
        return sys.modules["cupy"].empty(shape, dtype)
    if library == "torch":
        torch = sys.modules["torch"]
        return torch.empty(shape, dtype=getattr(torch, dtype.name), device=array.owner.device)
    if library == "jax":
        # JAX's arrays are immutable to their users; this one is nobody's yet.
        return sys.modules["jax"].numpy.empty(shape, dtype, device=array.owner.device).block_until_ready()
    return empty(shape, dtype)
