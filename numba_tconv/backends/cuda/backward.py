"""From arrays to the kernels of the gradients on a GPU.

The way into the CUDA backend for `gradients.py` of the package, which has checked the arguments.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numba_tconv.backends.cuda import launch, memory, problems, rates
from numba_tconv.backends.cuda.parts import View, parts
from numba_tconv.backends.cuda.problems import Sizes
from numba_tconv.backends.cuda.views import flat, is_complex, new, on_gpu
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
        factor = on_gpu(factor, self._real, self._stream)
        views = [flat(array) for array in (factor, self._grad_output, out)]
        (f_memory, f), (g_memory, g), (out_memory, out_view) = views
        which = parts(*(is_complex(array) for array in (factor, self._grad_output, out)))
        problem = make(self._geometry, self._sizes, which, g, f, out_view)
        memories = f_memory, g_memory, None, out_memory
        launch.contract(problem, which, self._real, memories, self._stream, conjugate=True)

    def _input_gradient(self, out: DeviceArray) -> None:
        batch, groups, channels, filters = self._sizes
        g = self._grad_output
        is_filtered = channels == filters == 1 and is_complex(out) == (is_complex(g) or is_complex(self._weight))
        if not is_filtered:
            self._contract(problems.grad_x, self._weight, out)
            return
        weight = on_gpu(self._weight, self._real, self._stream)
        (w_memory, w), g_flat, out_flat = flat(weight), flat(g), flat(out)
        change, step = rates.gradient(self._geometry)
        taps = w_memory, View(w.start, (w.strides[0], w.strides[2]))
        sizes, numbers = (batch, groups, groups), (1 + is_complex(g), 1 + is_complex(weight))
        arrays = g_flat, taps, out_flat
        launch.change_rate(change, sizes, numbers, self._real, arrays, self._stream, step=step, is_adjoint=True)

    def _weight_gradient(self, out: DeviceArray) -> None:
        self._contract(problems.grad_weight, self._x, out)

    def _bias_gradient(self, out: DeviceArray) -> None:
        memory_of, view = flat(self._grad_output)
        batch, filters, length = self._grad_output.shape
        rows = View(view.start, (view.strides[1], view.strides[0], view.strides[2]))
        numbers = 1 + is_complex(self._grad_output)
        sizes = filters, batch, length
        launch.sum_rows(sizes, numbers, self._real, (memory_of, rows), flat(out), self._stream)
