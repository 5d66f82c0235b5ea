"""From arrays to a kernel: which path, which variant, which views of the caller's arrays; then the launch.

The one way into the CPU backend for the forward pass. Arguments were checked by `functional`; what is worked out
here for a shape is kept, so that a second call pays a dictionary look-up.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from numba_tconv.backends.cpu import fir, panels, threads
from numba_tconv.backends.cpu.layout import Layout, pack, plan_layout
from numba_tconv.backends.cpu.staging import HALF
from numba_tconv.backends.cpu.target import host
from numba_tconv.geometry import Geometry

__all__ = ["forward", "pack", "plan_layout"]


class Launch(NamedTuple):
    """A kernel with everything but its arrays."""

    kernel: Callable[[bool], Callable]
    problem: np.ndarray
    scratch: int
    n_workers: int
    fills_gaps: bool


def _in_parts(array: np.ndarray) -> np.ndarray:
    """View (batch, channel, time) as (batch, channel, time, part), parts real; float16 as its bits."""
    if array.dtype.kind == "c":
        return array[..., None].view(array.real.dtype)
    if array.dtype == np.float16:
        array = array.view(HALF)
    return array[..., None]


def _is_plain(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether time is contiguous, and the array is of `dtype` or its complex pair."""
    itemsize = array.itemsize
    real = array.dtype if array.dtype.kind != "c" else np.dtype(f"f{itemsize // 2}")
    return (
        real == dtype
        and array.strides[2] == itemsize
        and array.strides[0] % dtype.itemsize == 0
        and array.strides[1] % dtype.itemsize == 0
    )


def work(layout: Layout, geometry: Geometry, batch: int) -> int:
    """Return the multiply-adds of a call."""
    lanes = layout.groups * layout.filters * layout.filter_lanes
    return batch * layout.signals * geometry.rows * lanes * layout.reduced_channels * layout.taps


@lru_cache(maxsize=4096)
def _prepare(
    layout: Layout,
    geometry: Geometry,
    batch: int,
    n_workers: int,
    dtypes: tuple[np.dtype, np.dtype],
    is_half: bool,
    is_plain_x: bool,
    is_plain_out: bool,
    unit: int,
) -> Launch:
    x_dtype, out_dtype = dtypes
    flags = {"is_half": is_half, "is_plain_out": is_plain_out}
    if layout.is_fir:
        parts = 2 if unit == 2 or layout.weight_parts == 2 else 1
        kernel = partial(fir.kernel, x_dtype, layout.dtype, out_dtype, layout.filter_lanes, unit, parts)
        flags["is_plain_out"] = is_plain_out and parts == layout.parts
        numbers = fir.problem(layout, geometry, batch, n_workers, unit, is_plain_x=is_plain_x, **flags)
    else:
        lanes = host().lanes(layout.dtype.itemsize)
        woven = panels.weave_unit(layout) or lanes
        kernel = partial(panels.kernel, x_dtype, layout.dtype, out_dtype, layout.width // lanes, woven)
        numbers = panels.problem(layout, geometry, batch, n_workers, **flags)
    return Launch(kernel, *numbers, n_workers, not geometry.is_interleaved)


def forward(
    layout: Layout, geometry: Geometry, x: np.ndarray, weight_panels: np.ndarray, bias: np.ndarray, out: np.ndarray
) -> None:
    """Write the transposed convolution of `x` (batch, in_channels, length) to `out` (batch, out_channels, length).

    `bias` holds the layout's real dtype, (out_channels * parts,), flat.
    """
    batch = x.shape[0]
    if batch == 0:
        return
    is_plain_x, is_plain_out = _is_plain(x, layout.dtype), _is_plain(out, layout.dtype)
    is_half = x.dtype == np.float16
    unit = 2 if layout.is_fir and layout.signals == 2 and is_plain_x else 1
    x_parts = x.view(layout.dtype)[..., None] if unit == 2 else _in_parts(x)
    is_plain_x = is_plain_x and layout.x_parts == unit
    out_parts = _in_parts(out)
    n_workers = threads.workers(work(layout, geometry, batch))
    launch = _prepare(
        layout, geometry, batch, n_workers, (x_parts.dtype, out_parts.dtype), is_half, is_plain_x, is_plain_out, unit
    )
    if launch.fills_gaps:  # what no branch reaches holds the bias alone
        out[...] = bias.view(out.dtype if out.dtype.kind == "c" else layout.dtype)[:, None]
    if geometry.rows == 0:
        return
    scratch = np.empty(n_workers * launch.scratch, layout.dtype)
    threads.launch(
        launch.kernel, n_workers, (x_parts, weight_panels, bias, out_parts, scratch, launch.problem, n_workers)
    )
