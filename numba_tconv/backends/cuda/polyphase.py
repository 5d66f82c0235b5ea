"""Changes of rate on a GPU: arrays of any shape as batches of rows, and which kernel serves them.

The way into the CUDA backend for the signal face, which has checked the arguments.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from numba_tconv.backends.cuda import fir, launch, memory
from numba_tconv.backends.cuda.parts import View
from numba_tconv.backends.cuda.problems import Sizes
from numba_tconv.backends.cuda.views import layout, new, on_gpu
from numba_tconv.device_array import DeviceArray
from numba_tconv.geometry import rate_change, window


class _Axis(NamedTuple):
    """An axis besides time: its size, and the strides of x, h and out in real numbers."""

    size: int
    x: int
    h: int
    out: int


NOTHING = _Axis(1, 0, 0, 0)


def write(
    h: Any, up: int, down: int, x: Any, axis: int, left: int, out: Any, real: np.dtype, address: int | None
) -> None:
    """Write the outputs at `left`, `left + down`, ... of the full one to `out`; time is the negative `axis`.

    x and out are on the GPU, or both are host arrays; h (..., taps) broadcasts, as of `upfirdn`.
    """
    stream = memory.as_stream(address)
    there = out if isinstance(out, DeviceArray) else new(out.shape, out.dtype, stream)
    _write(on_gpu(h, real, stream), up, down, on_gpu(x, real, stream), axis, left, there, real, stream)
    if there is not out:
        samples = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
        memory.download(there.owner, samples, stream)
        if samples is not out:
            out[...] = samples


def _write(
    h: DeviceArray, up: int, down: int, x: DeviceArray, axis: int, left: int, out: DeviceArray, real: np.dtype,
    stream: Any,
) -> None:  # fmt: skip
    of_h, of_x, of_out, device = layout(h), layout(x), layout(out), memory.current_device()
    h_view, x_view, out_view = of_h.view, of_x.view, of_out.view
    length, count, taps = x.shape[axis], out.shape[axis], h.shape[-1]
    x_time, out_time = x_view.strides[axis], out_view.strides[axis]
    for outer, channel, (x_at, h_at, out_at) in _rows(h, x, axis, out, (h_view, x_view, out_view)):
        rows = View(x_view.start + x_at, (outer.x, channel.x, x_time))
        results = View(out_view.start + out_at, (outer.out, channel.out, out_time))
        first = h_view.start + h_at
        if down == 1 and not of_h.is_complex:
            filters = View(first, (channel.h, 0, h_view.strides[-1]))
            shape = window(length, taps, up, 1, left, count)
            sizes, views = Sizes(outer.size, channel.size, 1, 1), (rows, filters, results)
            kind, problem = fir.problem(
                shape, sizes, 1 + of_x.is_complex, views, 0, fir.TILES[real.itemsize],
                is_aligned=of_x.is_aligned and of_out.is_aligned,
            )  # fmt: skip
            run = launch.filter_rows(kind, problem, real, (of_h.memory, of_x.memory, None, of_out.memory), device)
            run((h.pointer, x.pointer, 0, out.pointer), stream)
        else:
            bank = View(first, (channel.h, h_view.strides[-1]))
            arrays = (of_x.memory, rows), (of_h.memory, bank), (of_out.memory, results)
            change = rate_change(length, taps, up, down, left, count)
            rows_and_banks = outer.size, channel.size, channel.size if channel.h else 1
            parts = 1 + of_x.is_complex, 1 + of_h.is_complex
            run = launch.change_rate(change, rows_and_banks, parts, real, arrays, device)
            run((x.pointer, h.pointer, out.pointer), stream)


def _rows(
    h: DeviceArray, x: DeviceArray, axis: int, out: DeviceArray, views: tuple[View, View, View]
) -> Iterator[tuple[_Axis, _Axis, tuple[int, int, int]]]:
    """Yield two axes of rows that one launch computes, and where their first row lies in x, h and out.

    All rows of one filter are folded to as few axes as their strides allow; filters change along the second one alone.
    """
    h_view, x_view, out_view = views
    place = len(out.shape) + axis
    shape = (*out.shape[:place], *out.shape[place + 1 :])
    strides = zip(
        shape,
        _broadcast(_without(x.shape, axis), _without(x_view.strides, axis), shape),
        _broadcast(h.shape[:-1], h_view.strides[:-1], shape),
        _without(out_view.strides, axis),
        strict=True,
    )
    axes: list[_Axis] = []
    for inner in (_Axis(*one) for one in strides if one[0] != 1):
        if axes and all(a == b * inner.size for a, b in zip(axes[-1][1:], inner[1:], strict=True)):
            inner = _Axis(axes.pop().size * inner.size, *inner[1:])
        axes.append(inner)
    channel = next((one for one in reversed(axes) if one.h), axes[-1] if axes else NOTHING)
    rest = [one for one in axes if one is not channel]
    outer = max((one for one in rest if not one.h), key=lambda one: one.size, default=NOTHING)
    rest = [one for one in rest if one is not outer]
    for index in np.ndindex(*(one.size for one in rest)):
        x_at, h_at, out_at = (sum(i * one[which] for i, one in zip(index, rest, strict=True)) for which in (1, 2, 3))
        yield outer, channel, (x_at, h_at, out_at)


def _without(sizes: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*sizes[:axis], *sizes[len(sizes) + axis + 1 :])


def _broadcast(shape: tuple[int, ...], strides: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Return an array's strides when it is broadcast to a shape."""
    missing = (0,) * (len(target) - len(shape))
    return (*missing, *(0 if size == 1 else step for size, step in zip(shape, strides, strict=True)))
