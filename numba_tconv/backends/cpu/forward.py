"""From arrays to a kernel: which path, which variant, which views of the caller's arrays; then the launch.

The one way into the CPU backend for the forward pass. Arguments were checked by `functional`; what is worked out
here for a shape is kept, so that a second call pays a dictionary look-up.
"""

from functools import cache, lru_cache, partial

import numpy as np

from numba_tconv.backends.cpu import fir, panels, threads
from numba_tconv.backends.cpu.layout import Layout, pack, plan_layout
from numba_tconv.backends.cpu.staging import HALF
from numba_tconv.backends.cpu.target import host
from numba_tconv.geometry import Geometry

__all__ = ["forward", "pack", "plan_layout"]


class Call:
    """A kernel with its integers: all of a call that its shapes decide."""

    def __init__(
        self,
        layout: Layout,
        geometry: Geometry,
        batch: int,
        dtypes: tuple[np.dtype, np.dtype, np.dtype],
        unit: int,
        *,
        is_half: bool,
        is_plain_x: bool,
        is_plain_out: bool,
    ) -> None:
        lanes = layout.groups * layout.filters * layout.filter_lanes
        self.work = batch * layout.signals * geometry.rows * lanes * layout.reduced_channels * layout.taps
        self.split = cache(partial(self._split, layout, geometry, batch, unit, is_half, is_plain_x, is_plain_out))
        if layout.is_fir:
            self.kernel = fir.kernel(*dtypes, layout.filter_lanes, unit, fir.own_parts(layout, unit))
        else:
            lanes = host().lanes(layout.dtype.itemsize)
            self.kernel = panels.kernel(*dtypes, layout.width // lanes, panels.weave_unit(layout))

    @staticmethod
    def _split(layout, geometry, batch, unit, is_half, is_plain_x, is_plain_out, n_workers):
        """Return the kernel's integers for `n_workers`, and the numbers of scratch they need together."""
        flags = {"is_half": is_half, "is_plain_out": is_plain_out}
        if layout.is_fir:
            numbers, scratch = fir.problem(
                layout, geometry, batch, n_workers, unit, is_plain_x=is_plain_x, **flags
            )
        else:
            numbers, scratch = panels.problem(layout, geometry, batch, n_workers, **flags)
        return numbers, scratch * n_workers


_call = lru_cache(maxsize=4096)(Call)


def _in_parts(array: np.ndarray, is_complex: bool) -> np.ndarray:
    """View (batch, channel, time) as (batch, channel, time, part), parts real; float16 as its bits."""
    if is_complex:
        return array[..., None].view(array.real.dtype)
    return (array.view(HALF) if array.dtype == np.float16 else array)[..., None]


def forward(
    layout: Layout, geometry: Geometry, x: np.ndarray, panels: np.ndarray, bias: np.ndarray, out: np.ndarray
) -> None:
    """Write the transposed convolution of `x` (batch, in_channels, length) to `out` (batch, out_channels, length).

    `panels` is what `pack` made of the weight; `bias` (out_channels * parts,) has the layout's real dtype.
    """
    batch = x.shape[0]
    if batch == 0:
        return
    is_plain_x, is_plain_out = _is_plain(x, layout, layout.x_parts), _is_plain(out, layout, layout.parts)
    if is_plain_x and layout.is_fir and layout.signals == 2:
        unit, x_parts = 2, x.view(layout.dtype)[..., None]
    else:
        unit, x_parts = 1, _in_parts(x, layout.x_parts == 2)
    out_parts = _in_parts(out, layout.parts == 2)
    call = _call(
        layout, geometry, batch, (x_parts.dtype, layout.dtype, out_parts.dtype), unit, is_half=x.dtype == np.float16,
        is_plain_x=is_plain_x and layout.x_parts == unit, is_plain_out=is_plain_out,
    )  # fmt: skip
    if not geometry.is_interleaved:  # what no branch reaches holds the bias alone
        out[...] = bias.view(out.dtype if layout.parts == 2 else layout.dtype)[:, None]
    if geometry.rows:
        n_workers = threads.workers(call.work)
        numbers, scratch = call.split(n_workers)
        arguments = (x_parts, panels, bias, out_parts, np.empty(scratch, layout.dtype), numbers)
        threads.launch(call.kernel, arguments, n_workers)


def _is_plain(array: np.ndarray, layout: Layout, parts: int) -> bool:
    """Whether time is contiguous and holds what is computed in, real or in pairs."""
    n, c, t = array.strides
    itemsize = layout.dtype.itemsize
    return (
        t == itemsize * parts
        and array.dtype.char == ("fd" if parts == 1 else "FD")[itemsize == 8]
        and n % itemsize == 0
        and c % itemsize == 0
    )
