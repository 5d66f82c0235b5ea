"""From arrays to the kernels of the gradients: which variant, which views of the caller's arrays; then the launch.

The way into the CPU backend for the backward pass. Arguments were checked by `gradients.py`; grad_output is complex
where the result is, and nowhere else.
"""

from functools import lru_cache
from math import prod
from types import ModuleType

import numpy as np

from numba_tconv.backends.cpu import (
    decimation,
    depthwise,
    dots,
    grad_weight,
    grad_x,
    products,
    threads,
    windows,
    winograd,
)
from numba_tconv.backends.cpu.grad_bias import bias_gradient
from numba_tconv.backends.cpu.polyphase import Bank
from numba_tconv.backends.cpu.products import Operands, vectors_of
from numba_tconv.backends.cpu.staging import in_parts, is_plain, new_scratch, part_dtype
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.turning import turned
from numba_tconv.geometry import Geometry

__all__ = ["bias_gradient", "input_gradient", "turned", "weight_gradient"]

# Multiply-adds that take as long as a group of the weight takes whatever its size, 150 ns.
WORK_OF_GROUP = 1 << 12


def _parts(is_complex: bool, g_is_complex: bool, result_is_complex: bool) -> tuple[int, int, int]:
    """Return the parts, row parts and reduced parts for one factor and grad_output, complex or real."""
    if is_complex and g_is_complex:
        return 1, 1 + result_is_complex, 2
    return 1 + result_is_complex, 1, 1


_x_problem = lru_cache(maxsize=4096)(grad_x.problem)
_few_samples_problem = lru_cache(maxsize=4096)(dots.problem)
_weight_problem = lru_cache(maxsize=4096)(grad_weight.problem)
_winograd_problem = lru_cache(maxsize=4096)(winograd.problem)
_window_x_problem = lru_cache(maxsize=4096)(windows.x_problem)
_window_weight_problem = lru_cache(maxsize=4096)(windows.weight_problem)


def _is_plain(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether an array holds runs of real numbers of the dtype."""
    return array.dtype == dtype and is_plain(array.strides, dtype, dtype.itemsize)


@lru_cache(maxsize=4096)
def x_path(geometry: Geometry, dtype: np.dtype, operands: Operands) -> ModuleType:
    """Return the module that computes a gradient of x in the least time.

    Each says how many nanoseconds one core takes for what it multiplies, copies and looks up, fitted to 2,400 random
    layers in float32 and float64 (a Xeon of 2023). Of all of these, the choice takes 1.04 times as long as the best
    one would; thresholds on samples, channels and terms took 1.14 times, and in one of ten layers more than 1.6.
    """
    costs = {windows: windows.x_cost, winograd: winograd.cost, dots: dots.cost, grad_x: grad_x.cost}
    return min(costs, key=lambda module: costs[module](geometry, dtype, operands))


def _work(geometry: Geometry, batch: int, weights: int, parts: tuple[int, int, int]) -> int:
    """Return the multiply-adds of a gradient for so many weights."""
    return batch * geometry.length * weights * prod(parts)


def input_gradient(
    geometry: Geometry, grad_output: np.ndarray, weight: np.ndarray, out: np.ndarray, *, groups: int, dtype: np.dtype
) -> None:
    """Write the gradient of x to `out` (batch, in_channels, length), computed in the real `dtype`."""
    if out.shape[0] == 0:
        return
    is_complex, g_is_complex = out.dtype.kind == "c", grad_output.dtype.kind == "c"
    if is_complex and not g_is_complex:
        grad_output, g_is_complex = grad_output.astype(out.dtype), True
    if not g_is_complex:
        weight = weight.real
    channels, filters, filter_size = weight.shape
    are_plain = _is_plain(grad_output, dtype) and _is_plain(out, dtype)
    if channels == groups and are_plain and depthwise.serves_x(geometry, dtype, channels, filters):
        depthwise.input_gradient(geometry, in_parts(grad_output), np.ascontiguousarray(weight, dtype), in_parts(out))
        return
    is_alone = channels == groups and filters == geometry.dilation == 1 and geometry.left < filter_size
    has_one_dtype = part_dtype(grad_output.dtype) == part_dtype(out.dtype) == dtype and is_complex == g_is_complex
    if is_alone and has_one_dtype:
        if are_plain and decimation.serves(geometry):
            decimation.input_gradient(geometry, in_parts(grad_output), weight[:, 0], in_parts(out))
            return
        # A signal that sees no other is filtered and decimated. 1 x 1e6 samples, stride 2, 41 taps: 9.9 ms as a product
        # of matrices with one row, 2.4 so; 4 x 64 x 1,024, stride 4, 15 taps: 1.9 and 1.0.
        bank = Bank(weight[:, 0, ::-1].conj(), 1, geometry.stride, out.dtype, is_complex=is_complex)
        bank.run(grad_output, filter_size - 1 - geometry.left, out)
        return
    parts = _parts(weight.dtype.kind == "c", g_is_complex, is_complex)
    n_workers = threads.workers(_work(geometry, out.shape[0], weight.size, parts))
    g, out = in_parts(grad_output), in_parts(out)
    is_plain_out = out.dtype == dtype and out.strides[2] == dtype.itemsize
    operands = Operands(
        len(out), groups, channels // groups, filters, *parts, grad_output.dtype.char == "e", is_plain_out=is_plain_out
    )
    more: tuple[np.ndarray, ...] = ()
    path = x_path(geometry, dtype, operands)
    if path is winograd:
        integers, size = _winograd_problem(geometry, dtype, n_workers, operands)
        kernel = winograd.kernel(g.dtype, dtype, out.dtype)
        more = (np.empty(n_workers * integers[products.FILTER_BLOCK] * 3 * geometry.stride, np.int64),)
    elif path is windows:
        integers, size = _window_x_problem(geometry, dtype, n_workers, operands)
        kernel = windows.x_kernel(g.dtype, dtype, out.dtype)
        more = (np.empty(n_workers * integers[products.FILTER_BLOCK] * filter_size, np.int64),)
    elif path is dots:
        integers, size = _few_samples_problem(geometry, dtype, n_workers, operands)
        kernel = dots.kernel(g.dtype, dtype, out.dtype)
    else:
        vectors = vectors_of(len(out) * geometry.length, host().lanes(dtype.itemsize))
        integers, size = _x_problem(geometry, dtype, vectors, n_workers, operands)
        kernel = grad_x.kernel(g.dtype, dtype, out.dtype, vectors)
    arrays = (_rows_of_weight(weight, parts, dtype), g, out, new_scratch(size * n_workers, dtype), *more, integers)
    threads.launch(kernel, arrays, n_workers)


def _rows_of_weight(weight: np.ndarray, parts: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
    """Return the conjugate weight (channel, row part, reduced part, filter, tap), real and flat."""
    _, row_parts, reduced_parts = parts
    if reduced_parts == 2:
        rows = [[weight.real, weight.imag], [-weight.imag, weight.real]][:row_parts]
        weight = np.stack([np.stack(row, axis=1) for row in rows], axis=1)
    return np.ascontiguousarray(weight, dtype).reshape(-1)


def weight_gradient(
    geometry: Geometry,
    grad_output: np.ndarray,
    x: np.ndarray,
    shape: tuple[int, int, int],
    *,
    groups: int,
    dtype: np.dtype,
    out_dtype: np.dtype,
) -> np.ndarray:
    """Return the gradient of the weight (in_channels, filters of a group, filter_size), computed in `dtype`."""
    batch, (channels, filters, filter_size) = x.shape[0], shape
    if batch == 0:
        return np.zeros(shape, out_dtype)
    is_complex, g_is_complex = out_dtype.kind == "c", grad_output.dtype.kind == "c"
    if is_complex and not g_is_complex:
        grad_output, g_is_complex = grad_output.astype(out_dtype), True
    if not g_is_complex:
        x = x.real
    are_plain = _is_plain(grad_output, dtype) and _is_plain(x, dtype)
    if channels == groups and are_plain and depthwise.serves_weight(geometry, dtype, channels, filters):
        gradient = depthwise.weight_gradient(geometry, in_parts(grad_output), in_parts(x), filters)
        return gradient.astype(out_dtype, copy=False)
    parts = _parts(x.dtype.kind == "c", g_is_complex, is_complex)
    n_workers = threads.workers(_work(geometry, batch, prod(shape), parts) + groups * WORK_OF_GROUP)
    x_parts, g = in_parts(x), in_parts(grad_output)
    operands = Operands(
        batch, groups, channels // groups, filters, *parts, grad_output.dtype.char == "e", is_half_x=x.dtype.char == "e"
    )
    more: tuple[np.ndarray, ...] = ()
    if windows.serves_weight(geometry, dtype, channels // groups, filters):
        integers, size = _window_weight_problem(geometry, dtype, n_workers, operands)
        kernel = windows.weight_kernel(x_parts.dtype, g.dtype, dtype)
        more = (np.empty(n_workers * integers[products.FILTER_BLOCK] * filter_size, np.int64),)
    else:
        vectors = vectors_of(filters * filter_size, host().lanes(dtype.itemsize))
        integers, size = _weight_problem(geometry, dtype, vectors, operands)
        kernel = grad_weight.kernel(x_parts.dtype, g.dtype, dtype, vectors)
    n_parts, row_parts, _ = parts
    sums = np.empty((integers[products.CHUNKS], n_parts, channels, row_parts, filters, filter_size), dtype)
    arrays = (x_parts, g, sums.reshape(-1), new_scratch(size * n_workers, dtype), *more, integers)
    threads.launch(kernel, arrays, n_workers)
    total = sums[0] if len(sums) == 1 else sums.sum(axis=0)
    if is_complex:
        result = np.empty(shape, out_dtype)
        real, imaginary = np.moveaxis(total, 2, 1).reshape(2, *shape)
        result.real, result.imag = real, imaginary
        return result
    return total.reshape(shape).astype(out_dtype, copy=False)
