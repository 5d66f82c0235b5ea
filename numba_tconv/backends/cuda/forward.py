"""From arrays to the kernels of the forward pass on a GPU: which path, which views of memory; then the launch.

The way into the CUDA backend for `functional.py`, which has checked the arguments.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from numba_tconv.backends.cuda import fir, launch, memory, problems, staging
from numba_tconv.backends.cuda.binding import Launch
from numba_tconv.backends.cuda.parts import parts
from numba_tconv.backends.cuda.problems import Sizes
from numba_tconv.backends.cuda.views import Layout, layout, on_gpu
from numba_tconv.device_array import DeviceArray
from numba_tconv.geometry import Geometry


class Operator:
    """Weights (in_channels, filters of a group, filter_size) and bias, copied to the GPU when they are first needed."""

    def __init__(self, weight: Any, bias: Any, groups: int) -> None:
        self._weight, self._bias, self._groups = weight, bias, groups
        self._there: dict[np.dtype, tuple[DeviceArray, Layout, DeviceArray | None, Layout | None]] = {}

    def _weights(
        self, dtype: np.dtype, real: np.dtype
    ) -> tuple[DeviceArray, Layout, DeviceArray | None, Layout | None]:
        """Return weights and bias on the GPU, for results of a dtype, and how they lie there.

        They are copied on no stream: all of them wait for it.
        """
        if dtype not in self._there:
            bias = self._bias
            if isinstance(bias, np.ndarray):
                bias = bias.astype(np.result_type(real, np.complex64) if bias.dtype.kind == "c" else real)
            weight, bias = on_gpu(self._weight, real, 0), None if bias is None else on_gpu(bias, real, 0)
            self._there[dtype] = weight, layout(weight), bias, None if bias is None else layout(bias)
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
        weight, of_weight, bias, of_bias = self._weights(out.dtype, real)
        layouts = of_weight, layout(x), of_bias, layout(out)
        run = _launch(geometry, self._groups, real, layouts, memory.current_device())
        run((weight.pointer, x.pointer, 0 if bias is None else bias.pointer, out.pointer), stream)


@lru_cache(maxsize=256)
def _launch(
    geometry: Geometry, groups: int, real: np.dtype, layouts: tuple[Layout, Layout, Layout | None, Layout], device: int
) -> Launch:
    """Return the launch for arrays (weight, x, bias or None, out) that lie so on a GPU."""
    weight, x, bias, out = layouts
    memories = weight.memory, x.memory, None if bias is None else bias.memory, out.memory
    bias_parts = 0 if bias is None else 1 + bias.is_complex
    channels, filters, _ = weight.shape
    sizes = Sizes(x.shape[0], groups, channels // groups, filters)
    if not weight.is_complex:
        tile = fir.TILES[real.itemsize]
        kind, rows = fir.problem(
            geometry, sizes, 1 + x.is_complex, (x.view, weight.view, out.view), bias_parts, tile,
            is_aligned=x.is_aligned and out.is_aligned,
        )  # fmt: skip
        # With more branches, the rows of a contraction's tiles are as well filled by one filter as by many.
        is_one_filter = filters == rows.sets == 1 and launch.fills(fir.blocks(rows), tile.blocks, device)
        if sizes.channels == 1 or is_one_filter:
            return launch.filter_rows(kind, rows, real, memories, device)
    which = parts(weight.is_complex, x.is_complex, out.is_complex)
    problem, lanes = problems.forward(geometry, sizes, which, x.view, weight.view, bias_parts, out.view)
    return launch.contract(problem, lanes, which, real, memories, device)
