"""From arrays to the kernels of the forward pass on a GPU: which path, which views of memory; then the launch.

The way into the CUDA backend for `functional.py`, which has checked the arguments.
"""

from typing import Any

import numpy as np

from numba_tconv.backends.cuda import fir, launch, memory, problems, staging
from numba_tconv.backends.cuda.parts import parts
from numba_tconv.backends.cuda.problems import Sizes
from numba_tconv.backends.cuda.views import flat, is_aligned, is_complex, on_gpu
from numba_tconv.device_array import DeviceArray
from numba_tconv.geometry import Geometry


class Operator:
    """Weights (in_channels, filters of a group, filter_size) and bias, copied to the GPU when they are first needed."""

    def __init__(self, weight: Any, bias: Any, groups: int) -> None:
        self._weight, self._bias, self._groups = weight, bias, groups
        self._there: dict[np.dtype, tuple[DeviceArray, DeviceArray | None]] = {}

    def _weights(self, dtype: np.dtype, real: np.dtype) -> tuple[DeviceArray, DeviceArray | None]:
        """Return weights and bias on the GPU, for results of a dtype. Copied on no stream: all of them wait for it."""
        if dtype not in self._there:
            bias = self._bias
            if isinstance(bias, np.ndarray):
                bias = bias.astype(np.result_type(real, np.complex64) if is_complex(bias) else real)
            weight = on_gpu(self._weight, real, 0)
            self._there[dtype] = weight, None if bias is None else on_gpu(bias, real, 0)
        return self._there[dtype]

    def run(self, geometry: Geometry, x: Any, out: Any, real: np.dtype, stream: int | None) -> None:
        """Write the transposed convolution of x (batch, in_channels, length) to `out`, computed in `real`.

        Both are on the GPU, or both are host arrays.
        """
        if x.shape[0] == 0:
            return
        if isinstance(x, np.ndarray):
            staging.run(x, out, real, lambda x, out, stream: self._launch(geometry, x, out, real, stream))
        else:
            self._launch(geometry, x, out, real, memory.as_stream(stream))

    def _launch(self, geometry: Geometry, x: DeviceArray, out: DeviceArray, real: np.dtype, stream: Any) -> None:
        weight, bias = self._weights(out.dtype, real)
        (w_memory, w), (x_memory, x_view), (out_memory, out_view) = (flat(array) for array in (weight, x, out))
        channels, filters, _ = weight.shape
        batch, groups = x.shape[0], self._groups
        bias_memory, bias_parts = (None, 0) if bias is None else (flat(bias)[0], 1 + is_complex(bias))
        if channels == groups and not is_complex(weight):
            views = x_view, w, out_view
            parts_of_x, are_aligned = 1 + is_complex(x), is_aligned(x) and is_aligned(out)
            problem = fir.problem(
                geometry, (batch, groups, filters), parts_of_x, views, bias_parts, fir.TILES[real.itemsize],
                is_aligned=are_aligned,
            )  # fmt: skip
            launch.filter_rows(problem, real, (x_memory, w_memory, bias_memory, out_memory), stream)
            return
        sizes = Sizes(batch, groups, channels // groups, filters)
        which = parts(is_complex(weight), is_complex(x), is_complex(out))
        contraction = problems.forward(geometry, sizes, which, x_view, w, bias_parts, out_view)
        launch.contract(contraction, which, real, (w_memory, x_memory, bias_memory, out_memory), stream)
