"""Filters between two rates over arrays of any shape: what `upfirdn`, `resample_poly` and streams share.

Here belong axes, banks of filters, the ends of signals and the choice between multiplying and Fourier transforms. The
arithmetic is a backend's; what users call is `resampling.py`'s and `streaming.py`'s.
"""

from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_tconv.arguments import computed_dtype
from numba_tconv.axes import along, folded, unfold
from numba_tconv.backends import backend
from numba_tconv.boundaries import extended
from numba_tconv.geometry import rate_length
from numba_tconv.overlap_save import write_by_fft

Array = NDArray[Any]

# Samples of a signal, and of all, that are copied for what goes on beyond their ends: one call costs less than three.
MOST_SAMPLES, MOST_NUMBERS = 1 << 12, 1 << 14


@cache
def result_dtype(h: np.dtype[Any], x: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the result, by SciPy's rule."""
    return np.result_type(h, x, np.float32)


def result_shape(h: tuple[int, ...], x: tuple[int, ...], axis: int, count: int) -> tuple[int, ...]:
    """Return the shape of `count` outputs, for filters and signals of a shape; `axis` is negative."""
    lead = x[:axis] + x[len(x) + axis + 1 :]
    if len(h) > 1:  # a look-up of 4 us, in every block of a stream
        lead = np.broadcast_shapes(h[:-1], lead)
    place = len(lead) + axis + 1
    return (*lead[:place], count, *lead[place:])


class Polyphase:
    """A filter, or a bank of them, that upsamples by `up`, filters and keeps every `down`-th sample.

    Parameters
    ----------
    h : ndarray, (..., taps)
        Filters; the leading axes broadcast against those of a signal without its time axis.
    up, down : int
        The rates.
    by_fft : bool
        Whether to transform, or to multiply and add.
    on_gpu : bool
        Whether a GPU does so.
    stream : int, optional
        The address of the CUDA stream to put the work on.
    """

    def __init__(
        self, h: Array, up: int, down: int, *, by_fft: bool = False, on_gpu: bool = False, stream: int | None = None
    ) -> None:
        # SciPy computes float16 in float32, and returns it.
        self.h: Array = h.astype(np.float32) if h.dtype.char == "e" and not on_gpu else h
        self.up, self.down, self.by_fft, self.on_gpu, self._stream = up, down, by_fft, on_gpu, stream
        self._banks: dict[tuple[Any, ...], Any] = {}

    @property
    def halo(self) -> int:
        """Samples before its newest one that an output reaches back to."""
        taps: int = self.h.shape[-1]
        return -(-taps // self.up) - 1

    def full_length(self, length: int) -> int:
        """Return how many outputs a signal of `length` samples has."""
        return rate_length(length, self.h.shape[-1], self.up, self.down)

    def write(self, x: Array, axis: int, left: int, out: Array, mode: str = "constant", cval: complex = 0) -> None:
        """Write the outputs at `left`, `left + down`, ... of the full one to `out`; time is the negative `axis`."""
        if out.size == 0:
            return
        if mode == "constant" and cval == 0:
            self._write(x, axis, left, out)
            return
        length, count = x.shape[axis], out.shape[axis]
        x = x.astype(result_dtype(x.dtype, out.real.dtype), copy=False)  # once, and not for each piece
        if length <= MOST_SAMPLES and x.size <= MOST_NUMBERS:
            self._write_piece(x, axis, left, out, mode, cval)
            return
        # A few outputs at either end see samples beyond it, which are made up; the rest is computed as it stands.
        begin = min(count, max(0, -((left - self.halo * self.up) // self.down)))
        end = min(count, max(begin, -((left - length * self.up) // self.down)))
        for start, stop in pairwise((0, begin, end, count)):
            if start < stop:
                self._write_piece(x, axis, left + start * self.down, out[along(axis, start, stop)], mode, cval)

    def _write_piece(self, x: Array, axis: int, left: int, out: Array, mode: str, cval: complex) -> None:
        """Write outputs of signals that are continued as far as these see."""
        first, last = left // self.up - self.halo, (left + (out.shape[axis] - 1) * self.down) // self.up + 1
        if first >= 0 and last <= x.shape[axis]:
            samples = x[along(axis, first, last)]
        else:
            samples = extended(x, axis, first, last, out.dtype, mode, cval)
        self._write(samples, axis, left - first * self.up, out)

    def _write(self, x: Array, axis: int, left: int, out: Array) -> None:
        """`write` of signals that are zero beyond their ends."""
        if self.on_gpu:
            backend("cuda.polyphase").write(
                self.h, self.up, self.down, x, axis, left, out, computed_dtype(out.dtype), self._stream
            )
        elif self.by_fft:
            write_by_fft(self.h, self.up, self.down, np.moveaxis(x, axis, -1), left, np.moveaxis(out, axis, -1))
        elif self.h.ndim == 1:
            self._write_shared(x, axis, left, out)
        else:
            self._write_bank(np.moveaxis(x, axis, -1), left, np.moveaxis(out, axis, -1))

    def _bank(self, x: Array, out: Array, h: Array) -> Any:
        """Return the filters `h`, packed for inputs like `x`."""
        key = x.dtype.kind == "c", out.dtype.char, h.shape
        bank = self._banks.get(key)
        if bank is None:
            filters = h.reshape(-1, h.shape[-1])
            bank = backend("cpu.polyphase").Bank(filters, self.up, self.down, out.dtype, is_complex=key[0])
            self._banks[key] = bank
        return bank

    def _write_shared(self, x: Array, axis: int, left: int, out: Array) -> None:
        """Write signals that all have one filter, folded to (array, time, signal)."""
        bank = self._bank(x, out, self.h)
        if x.ndim == 1:
            bank.run(x[None, None], left, out[None, None])
            return
        source, target = folded(x, axis), folded(out, axis)
        arrays, _, signals = target.shape
        if signals == 1:
            bank.run(source.swapaxes(1, 2), left, target.swapaxes(1, 2))
        elif not bank.run_columns(source, left, target):
            # Signals that are neighbours in memory, but too few; or too many arrays of them to fold once more.
            if arrays < signals:
                for a, b in zip(source, target, strict=True):
                    bank.run(a.T[:, None], left, b.T[:, None])
            else:
                for k in range(signals):
                    bank.run(source[:, None, :, k], left, target[:, None, :, k])
        unfold(target, out)

    def _write_bank(self, x: Array, left: int, out: Array) -> None:
        """Write signals (..., time), each with a filter of its own; leading axes without one are a batch."""
        lead = out.shape[:-1]
        h = np.broadcast_to(self.h, (*(1 for _ in lead[self.h.ndim - 1 :]), *self.h.shape))
        batch = next((k for k, size in enumerate(h.shape[:-1]) if size > 1), len(lead))
        channels = lead[batch:]
        h = np.broadcast_to(h, (*h.shape[:batch], *channels, h.shape[-1])).reshape(-1, h.shape[-1])
        source = np.broadcast_to(x, (*lead, x.shape[-1])).reshape(prod(lead[:batch]), prod(channels), x.shape[-1])
        target = out.reshape(prod(lead[:batch]), prod(channels), out.shape[-1])
        self._bank(x, out, h).run(source, left, target)
        unfold(target, out)
