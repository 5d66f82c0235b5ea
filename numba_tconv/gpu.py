"""How a GPU serves the functions of this package: which calls are its own, and where their results lie.

Here belongs what forward and backward pass share; the arithmetic is `backends/cuda`'s, imported when it is needed.
"""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from numba_tconv.arguments import check_one_place, computed_dtype, result_dtype
from numba_tconv.backends import FEWEST_PRODUCTS, Work, backend, check_device, serves_on_gpu
from numba_tconv.device_array import DeviceArray, is_on_gpu
from numba_tconv.geometry import Geometry
from numba_tconv.outputs import new_or_checked


def is_small(samples: int, weights: int) -> bool:
    """Whether a call with so many is too small for any GPU; complex samples and weights have four products each."""
    return samples * weights < FEWEST_PRODUCTS // 4


def serves(device: str, shape: Geometry, x: Any, weight: Any, filters: int, **others: Any) -> bool:
    """Whether a GPU serves a call: where its arrays lie there, and else where that is asked for or clearly pays."""
    # Small calls have no microsecond for more.
    are_here = type(x) is type(weight) is np.ndarray
    are_here = are_here and (not others or all(type(array) is np.ndarray for array in others.values()))
    if are_here and device != "cuda" and is_small(x.size, weight.size):
        return False
    if is_on_gpu(x):
        check_on_gpu(device)
        return True
    check_one_place(weight=weight, **others)
    if device == "cpu":
        return False
    batch = x.size // (weight.shape[0] * shape.length)
    products, samples = batch * shape.length * weight.size, x.size + batch * filters * shape.output_length
    dtype = result_dtype(x.dtype, weight.dtype)
    return serves_on_gpu(device, work(products, x.dtype, weight.dtype, samples, dtype))


def check_on_gpu(device: str) -> None:
    """Refuse to compute arrays on a GPU elsewhere, or where their GPU cannot be used."""
    if device == "cpu":
        raise ValueError("device must be 'auto' or 'cuda' where x is on a GPU; got 'cpu'")
    check_device("cuda")


def work(products: int, a: np.dtype[Any], b: np.dtype[Any], samples: int, dtype: np.dtype[Any]) -> Work:
    """Return what a call costs with so many products of numbers of two dtypes, and so many samples of `dtype`."""
    parts = (1 + (a.kind == "c")) * (1 + (b.kind == "c"))
    return Work(products * parts, samples * dtype.itemsize, computed_dtype(dtype).itemsize)


def result_like(x: Any, shape: tuple[int, ...], dtype: np.dtype[Any], out: Any, inputs: tuple[Any, ...]) -> Any:
    """Allocate or check the output: in the memory that x lies in, and there by the library that x comes from."""
    if out is None and isinstance(x, DeviceArray):
        return backend("cuda.views").new_like(x, shape, dtype)
    return new_or_checked(out, shape, dtype, (x, *inputs))


def of(x: Any) -> AbstractContextManager[Any]:
    """Make the GPU that x lies on the current one; host arrays go to the one that is."""
    return backend("cuda.memory").on_device(x.device if isinstance(x, DeviceArray) else None)  # type: ignore[no-any-return]


def kept(array: Any) -> Any:
    """Return a copy of a host array; what lies on a GPU stays its owner's, and None is None."""
    return array.copy() if isinstance(array, np.ndarray) else array


def with_batch(array: Any) -> Any:
    """Return an array (batch, channels, length) for one that may lack the batch."""
    return array if array.ndim == 3 else array[None]


def owner(array: Any) -> Any:
    """Return the user's array for the view that was written to."""
    return array.owner if isinstance(array, DeviceArray) else array
