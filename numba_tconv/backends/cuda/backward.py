"""From arrays to the kernels of the gradients on a GPU.

The way into the CUDA backend for `gradients.py` of the package, which has checked the arguments.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numba_tconv.backends.cuda import launch, memory, problems, rates
from numba_tconv.backends.cuda.parts import View, parts
from numba_tconv.backends.cuda.problems import Sizes
from numba_tconv.backends.cuda.views import layout, new, on_gpu
from numba_tconv.device_array import DeviceArray
from numba_tconv.geometry import Geometry


class Backward:
    """The gradients of one call; arrays (batch, channels, length) that lie on the GPU, or are copied there."""

    def __init__(
        self, geometry: Geometry, grad_output: Any, x: Any, weight: Any, groups: int, real: np.dtype, stream: int | None
    ) -> None:
        self._geometry, self._real, self._stream = geometry, real, memory.as_stream(stream)
        self._grad_output = on_gpu(grad_output, real, self._stream)
        self._x, self._weight = x, weight
        channels, filters, _ = weight.shape
        self._device = memory.current_device()
        self._sizes = Sizes(x.shape[0], groups, channels // groups, filters)

    def write(self, name: str, out: Any) -> None:
        """Write the gradient with respect to 'x', 'weight' or 'bias'."""
        if out.size == 0:
            return
        compute = {"x": self._input_gradient, "weight": self._weight_gradient, "bias": self._bias_gradient}[name]
        if isinstance(out, DeviceArray):
            compute(out)
            return
        there = new(out.shape, out.dtype, self._stream)
        compute(there)
        memory.download(there.owner, out, self._stream)

    def _contract(self, make: Callable[..., Any], factor: Any, out: DeviceArray) -> None:
        """Contract the conjugate of a factor with grad_output."""
        factor, g = on_gpu(factor, self._real, self._stream), self._grad_output
        layouts = layout(factor), layout(g), layout(out)
        which = parts(*(one.is_complex for one in layouts))
        factor_view, g_view, out_view = (one.view for one in layouts)
        problem, lanes = make(self._geometry, self._sizes, which, g_view, factor_view, out_view)
        memories = layouts[0].memory, layouts[1].memory, None, layouts[2].memory
        run = launch.contract(problem, lanes, which, self._real, memories, self._device, conjugate=True)
        run((factor.pointer, g.pointer, 0, out.pointer), self._stream)

    def _input_gradient(self, out: DeviceArray) -> None:
        batch, groups, channels, filters = self._sizes
        g, is_complex = layout(self._grad_output), layout(out).is_complex
        is_filtered = channels == filters == 1 and is_complex == (g.is_complex or self._weight.dtype.kind == "c")
        if not is_filtered:
            self._contract(problems.grad_x, self._weight, out)
            return
        weight = on_gpu(self._weight, self._real, self._stream)
        w = layout(weight)
        change, step = rates.gradient(self._geometry)
        taps = View(w.view.start, (w.view.strides[0], w.view.strides[2]))
        arrays = (g.memory, g.view), (w.memory, taps), (layout(out).memory, layout(out).view)
        sizes, numbers = (batch, groups, groups), (1 + g.is_complex, 1 + w.is_complex)
        run = launch.change_rate(change, sizes, numbers, self._real, arrays, self._device, step=step, is_adjoint=True)
        run((self._grad_output.pointer, weight.pointer, out.pointer), self._stream)

    def _weight_gradient(self, out: DeviceArray) -> None:
        batch, groups, channels, filters = self._sizes
        g, of_out = layout(self._grad_output), layout(out)
        if not (channels == filters == 1 and self._x.dtype.kind != "c" and not g.is_complex):
            self._contract(problems.grad_weight, self._x, out)
            return
        x = on_gpu(self._x, self._real, self._stream)
        of_x = layout(x)
        rows = View(of_out.view.start, (of_out.view.strides[-1],))  # it is new, and contiguous
        arrays = (of_x.memory, of_x.view), (g.memory, g.view), (of_out.memory, rows)
        run = launch.sum_taps(self._geometry, (batch, groups), self._real, arrays, self._device)
        run((x.pointer, self._grad_output.pointer, out.pointer), self._stream)

    def _bias_gradient(self, out: DeviceArray) -> None:
        g, result = layout(self._grad_output), layout(out)
        batch, filters, length = g.shape
        view = g.view
        rows = View(view.start, (view.strides[1], view.strides[0], view.strides[2]))
        sizes, arrays = (filters, batch, length), ((g.memory, rows), (result.memory, result.view))
        run = launch.sum_rows(sizes, 1 + g.is_complex, self._real, *arrays, self._device)
        run((self._grad_output.pointer, out.pointer), self._stream)
