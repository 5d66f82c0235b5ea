"""From arrays to the kernels of the gradients on a GPU.

The way into the CUDA backend for `gradients.py` of the package, which has checked the arguments.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numba_tconv.backends.cuda import launch, memory, problems
from numba_tconv.backends.cuda.parts import parts
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
        self._contract(problems.grad_x, self._weight, out)

    def _weight_gradient(self, out: DeviceArray) -> None:
        self._contract(problems.grad_weight, self._x, out)
