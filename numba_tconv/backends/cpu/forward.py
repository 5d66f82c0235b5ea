"""From arrays to a kernel: which path, which variant, which views of the caller's arrays; then the launch.

The one way into the CPU backend for the forward pass. Arguments were checked by `functional`; what is worked out
here for a shape is kept, so that a second call pays a dictionary look-up.
"""

from collections.abc import Callable
from functools import cache, lru_cache, partial

import numpy as np

from numba_tconv.backends.cpu import depthwise, direct, fir, panels, scatter, threads, turning
from numba_tconv.backends.cpu.layout import Layout, plan_layout
from numba_tconv.backends.cpu.pack import Packed, flat_real, pack
from numba_tconv.backends.cpu.staging import in_parts, is_plain, new_scratch, part_dtype
from numba_tconv.backends.cpu.target import host
from numba_tconv.geometry import Geometry

__all__ = ["Packed", "call_for", "forward", "forward_once", "plan_layout"]


class Call:
    """All of a call that its shapes decide: the kernel, its multiply-adds, and its integers for some workers.

    `takes_packed` says what `pack` returns is read, and not the weights as they are; `is_paired`, that complex samples
    are read as pairs of real ones, one behind the other. `fill` is the dtype of the bias where some outputs hold it
    alone, because no branch reaches them.
    """

    def __init__(
        self,
        kernel: Callable,
        work: int,
        problem: Callable[[int], tuple[np.ndarray, int]],
        dtype: np.dtype,
        *,
        takes_packed: bool = False,
        is_paired: bool = False,
        fill: np.dtype | None = None,
    ) -> None:
        self.kernel = kernel
        self.work = work
        self.split = cache(problem)  # n_workers -> integers, numbers of scratch for each worker
        self.dtype = dtype
        self.takes_packed = takes_packed
        self.is_paired = is_paired
        self.fill = fill

    def run(self, x: np.ndarray, weights: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
        """Compute `out` of arrays of these shapes."""
        x = x.view(self.dtype)[..., None] if self.is_paired else in_parts(x)
        if self.fill is not None:
            out[...] = bias.view(self.fill)[:, None]
        if self.work:
            n_workers = threads.workers(self.work)
            numbers, size = self.split(n_workers)
            scratch = new_scratch(size * n_workers, self.dtype)
            threads.launch(self.kernel, (x, weights, bias, in_parts(out), scratch, numbers), n_workers)


class TurnedCall:
    """A call of arrays whose channels lie side by side: of copies, or by way of one, with time side by side."""

    def __init__(self, call: "Call | TurnedCall", *, turns_out: bool) -> None:
        self._call = call
        self._turns_out = turns_out
        self.takes_packed: bool = call.takes_packed

    def run(self, x: np.ndarray, weights: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
        """Compute `out` of arrays of these shapes."""
        target = turning.room(out.shape, out.dtype) if self._turns_out else out
        self._call.run(turning.turned(x), weights, bias, target)
        if self._turns_out:
            turning.turn_back(target, out)


@lru_cache(maxsize=4096)
def call_for(
    layout: Layout,
    geometry: Geometry,
    batch: int,
    x_dtype: np.dtype,
    x_strides: tuple[int, ...],
    out_dtype: np.dtype,
    out_strides: tuple[int, ...],
    is_packed: bool,
) -> Call | TurnedCall:
    """Choose the path; what is looked up here for every call is the fewest things that decide on it."""
    x_shape = batch, layout.groups * layout.channels, geometry.length
    out_shape = batch, layout.groups * layout.filters, geometry.output_length
    turns_x, turns_out = turning.serves(x_shape, x_strides, x_dtype), turning.serves(out_shape, out_strides, out_dtype)
    if turns_x or turns_out:
        x_strides = turning.room_strides(x_shape, x_dtype) if turns_x else x_strides
        out_strides = turning.room_strides(out_shape, out_dtype) if turns_out else out_strides
        call = call_for(layout, geometry, batch, x_dtype, x_strides, out_dtype, out_strides, is_packed)
        return TurnedCall(call, turns_out=turns_out)
    itemsize = layout.dtype.itemsize
    is_plain_x = x_dtype == layout.x_dtype and is_plain(x_strides, x_dtype, itemsize)
    is_dense = geometry.is_interleaved and layout.branches == geometry.branches
    is_plain_out = is_dense and out_dtype == layout.out_dtype and is_plain(out_strides, out_dtype, itemsize)
    is_direct = direct.serves(layout, geometry)
    is_depthwise = (
        layout.channels == layout.parts == 1
        and is_plain_x
        and is_plain_out
        and depthwise.serves(geometry, layout.dtype, layout.groups, layout.filters, is_fir=layout.is_fir)
    )
    is_paired = is_plain_x and (layout.is_fir or is_direct) and layout.signals == 2
    unit = 2 if is_paired else 1
    dtypes = part_dtype(x_dtype), layout.dtype, part_dtype(out_dtype)
    lanes = layout.groups * layout.filters * layout.filter_lanes
    work = batch * layout.signals * geometry.rows * lanes * layout.reduced_channels * layout.taps
    flags = {"is_half": x_dtype.char == "e", "is_plain_out": is_plain_out}
    if is_direct:
        rows = layout.direct_filters, layout.filter_lanes
        kernel = direct.kernel(*dtypes, *rows, unit, fir.own_parts(layout, unit))
        problem = partial(direct.problem, layout, geometry, batch, unit=unit, **flags)
    elif is_depthwise:
        kernel = depthwise.forward_kernel(layout.dtype)
        work = depthwise.work(geometry, batch, layout.groups, layout.filters)
        problem = partial(
            depthwise.forward_problem,
            geometry,
            layout.dtype,
            batch,
            layout.groups,
            layout.filters,
            is_bias_last=not layout.is_fir,
        )
    elif layout.is_fir:
        kernel = fir.kernel(*dtypes, layout.filter_lanes, unit, fir.own_parts(layout, unit))
        is_read_in_place = is_plain_x and layout.x_parts == unit
        problem = partial(fir.problem, layout, geometry, batch, unit=unit, is_plain_x=is_read_in_place, **flags)
        work += batch * layout.signals * layout.groups * layout.filters * fir.WORK_OF_SIGNAL
    else:
        vectors = layout.width // host().lanes(itemsize)
        kernel = panels.kernel(*dtypes, vectors, is_packed)
        problem = partial(panels.problem, layout, geometry, batch, is_packed=is_packed, **flags)
    fill = None if is_dense else layout.out_dtype
    takes_packed = is_packed and not (is_direct or is_depthwise)
    return Call(kernel, work, problem, layout.dtype, takes_packed=takes_packed, is_paired=is_paired, fill=fill)


def forward(
    layout: Layout, geometry: Geometry, x: np.ndarray, packed: Packed, bias: np.ndarray, out: np.ndarray
) -> None:
    """Write the transposed convolution of `x` (batch, in_channels, length) to `out` (batch, out_channels, length).

    `bias` (out_channels * parts,) has the layout's real dtype.
    """
    if x.shape[0] == 0:
        return
    call = call_for(layout, geometry, x.shape[0], x.dtype, x.strides, out.dtype, out.strides, True)
    call.run(x, packed.panels if call.takes_packed else packed.flat, bias, out)


def forward_once(
    layout: Layout, geometry: Geometry, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, out: np.ndarray
) -> None:
    """`forward` with weights (in_channels, filters of a group, filter_size) that are not packed yet."""
    batch = x.shape[0]
    if batch == 0:
        return
    is_read_in_place = weight.flags.c_contiguous and weight.dtype == layout.dtype
    call, takes_packed = _call_once(
        layout, geometry, batch, x.dtype, x.strides, out.dtype, out.strides, is_read_in_place
    )
    call.run(x, pack(layout, weight) if takes_packed else flat_real(layout, weight), bias, out)


@lru_cache(maxsize=4096)
def _call_once(
    layout: Layout,
    geometry: Geometry,
    batch: int,
    x_dtype: np.dtype,
    x_strides: tuple[int, ...],
    out_dtype: np.dtype,
    out_strides: tuple[int, ...],
    is_read_in_place: bool,
) -> tuple[Call | TurnedCall, bool]:
    """Return the call of weights that are not packed, and whether it takes them packed before."""
    if is_read_in_place and scatter.serves(layout, geometry, batch):
        weights = layout.groups * layout.channels * layout.filters * layout.filter_size
        work = batch * layout.signals * geometry.length * weights
        kernel = scatter.kernel(part_dtype(x_dtype), layout.dtype, part_dtype(out_dtype))
        problem = partial(scatter.problem, layout, geometry, batch, is_half=x_dtype.char == "e")
        return Call(kernel, work, problem, layout.dtype), False
    is_packed = not panels.packs_on_the_way(layout, geometry, batch)
    call = call_for(layout, geometry, batch, x_dtype, x_strides, out_dtype, out_strides, is_packed)
    return call, call.takes_packed
