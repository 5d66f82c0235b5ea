"""How a GPU serves the functions of this package: which calls are its own, and where their results lie.

Here belongs what forward and backward pass share; the arithmetic is `backends/cuda`'s, imported when it is needed.
"""

from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from numba_tconv.arguments import check_one_place, check_out, check_stream, computed_dtype, result_dtype
from numba_tconv.backends import FEWEST_PRODUCTS, Work, check_device, serves_on_gpu
from numba_tconv.device_array import DeviceArray, is_on_gpu
from numba_tconv.geometry import Geometry


@cache
def backend(name: str) -> ModuleType:
    """Return a module of the CUDA backend; the first call imports the package that compiles for GPUs."""
    return import_module(f"numba_tconv.backends.cuda.{name}")


def first_served(device: str, weight: Any) -> int:
    """Return of how many samples of x on `serves` has to be asked: small calls have no microsecond for it."""
    if device == "cuda" or type(weight) is not np.ndarray:
        return 0
    return FEWEST_PRODUCTS // 4 // weight.size  # complex samples and weights have four products each


def serves(device: str, shape: Geometry, x: Any, weight: Any, **others: Any) -> bool:
    """Whether a GPU serves a call: where its arrays lie there, and else where that is asked for or clearly pays."""
    if is_on_gpu(x):
        check_on_gpu(device)
        return True
    check_one_place(weight=weight, **others)
    return device != "cpu" and serves_on_gpu(device, _work(shape, x, weight))


def check_on_gpu(device: str) -> None:
    """Refuse to compute arrays on a GPU elsewhere, or where their GPU cannot be used."""
    if device == "cpu":
        raise ValueError("device must be 'auto' or 'cuda' where x is on a GPU; got 'cpu'")
    check_device("cuda")


def _work(shape: Geometry, x: Any, weight: Any) -> Work:
    batch = x.size // (weight.shape[0] * shape.length)
    dtype = result_dtype(x.dtype, weight.dtype)
    parts = (1 + (x.dtype.kind == "c")) * (1 + (weight.dtype.kind == "c"))
    samples = x.size * (1 + weight.shape[1] * shape.stride)
    return Work(batch * shape.length * weight.size * parts, samples * dtype.itemsize, computed_dtype(dtype).itemsize)


def result_like(x: Any, shape: tuple[int, ...], dtype: np.dtype[Any], out: Any, inputs: tuple[Any, ...]) -> Any:
    """Allocate or check the output: in the memory that x lies in, and there by the library that x comes from."""
    if out is not None:
        return check_out(out, shape, dtype, (x, *inputs))
    return backend("views").new_like(x, shape, dtype) if isinstance(x, DeviceArray) else np.empty(shape, dtype)


def of(x: Any) -> AbstractContextManager[Any]:
    """Make the GPU that x lies on the current one; host arrays go to the one that is."""
    return backend("memory").on_device(x.device if isinstance(x, DeviceArray) else None)  # type: ignore[no-any-return]


def kept(array: Any) -> Any:
    """Return a copy of a host array; what lies on a GPU stays its owner's, and None is None."""
    return array.copy() if isinstance(array, np.ndarray) else array


def with_batch(array: Any) -> Any:
    """Return an array (batch, channels, length) for one that may lack the batch."""
    return array if array.ndim == 3 else array[None]


def owner(array: Any) -> Any:
    """Return the user's array for the view that was written to."""
    return array.owner if isinstance(array, DeviceArray) else array


def forward(
    operator: Any,
    shape: Geometry,
    x: Any,
    filters: int,
    dtype: np.dtype[Any],
    out: Any,
    inputs: tuple[Any, ...],
    stream: Any,
) -> Any:
    """Return the transposed convolution of x by an `Operator` of the backend."""
    address = check_stream(stream, x)
    with of(x):
        result = result_like(x, (*x.shape[:-2], filters, shape.output_length), dtype, out, inputs)
        operator.run(shape, with_batch(x), with_batch(result), computed_dtype(dtype), address)
    return owner(result)
