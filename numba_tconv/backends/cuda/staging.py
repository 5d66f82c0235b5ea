"""Host arrays through a GPU: copied in, computed and copied out in chunks of the batch, copies beside computation.

Two slots take chunks in turn, each with a stream and with pinned memory: while one is computed, the other is copied.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from threading import Lock
from typing import Any

import numpy as np

from numba_tconv.backends.cuda import memory
from numba_tconv.backends.cuda.views import stored_dtype
from numba_tconv.device_array import DeviceArray, as_device_array

# Of input and output together. Long enough for a copy of milliseconds, beside which starting it takes no time.
CHUNK_BYTES = 1 << 25

_one_call = Lock()


class _Slot:
    """Pinned host memory and memory on the GPU for one chunk, and the stream that it goes through."""

    def __init__(
        self, stream: Any, x_shape: tuple[int, ...], x: np.dtype, out_shape: tuple[int, ...], out: np.dtype
    ) -> None:
        self.stream = stream
        self.x, self.out = memory.pinned(x_shape, x), memory.pinned(out_shape, out)
        self.x_there, self.out_there = memory.empty(x_shape, x), memory.empty(out_shape, out)

    def begin(self, x: np.ndarray, compute: Callable[[DeviceArray, DeviceArray, Any], None]) -> None:
        """Copy a chunk in, compute it and copy the result out, without waiting for any of it."""
        self.x[: len(x)] = x
        memory.upload(self.x, self.x_there, self.stream)
        x_there, out_there = (as_device_array("array", array) for array in (self.x_there, self.out_there))
        compute(x_there.first(len(x)), out_there.first(len(x)), self.stream)
        memory.download(self.out_there, self.out, self.stream)

    def finish(self, out: np.ndarray) -> None:
        """Wait for the chunk, and hand its result over."""
        self.stream.synchronize()
        out[...] = self.out[: len(out)]


@cache
def _streams(device: int) -> tuple[Any, Any]:
    """Return the streams of a GPU's slots, always the same: launches keep memory for every stream."""
    return memory.new_stream(), memory.new_stream()


@lru_cache(maxsize=1)
def _slots(device: int, *shapes_and_dtypes: Any) -> tuple[_Slot, ...]:
    """Return the slots of the last call if they serve this one: pinning memory takes longer than using it."""
    return tuple(_Slot(stream, *shapes_and_dtypes) for stream in _streams(device))


def run(
    x: np.ndarray, out: np.ndarray, real: np.dtype, compute: Callable[[DeviceArray, DeviceArray, Any], None]
) -> None:
    """Call `compute(x, out, stream)` with what lies on the GPU of host arrays (batch, ...)."""
    batch = len(x)
    size = max(1, min(batch, CHUNK_BYTES * batch // (x.nbytes + out.nbytes)))
    with _one_call:
        shapes_and_dtypes = (size, *x.shape[1:]), stored_dtype(x.dtype, real), (size, *out.shape[1:]), out.dtype
        slots = _slots(memory.current_device(), *shapes_and_dtypes)
        chunks = [slice(start, start + size) for start in range(0, batch, size)]
        for number, chunk in enumerate(chunks):
            slot = slots[number % 2]
            if number > 1:
                slot.finish(out[chunks[number - 2]])
            slot.begin(x[chunk], compute)
        for number in range(max(0, len(chunks) - 2), len(chunks)):
            slots[number % 2].finish(out[chunks[number]])
