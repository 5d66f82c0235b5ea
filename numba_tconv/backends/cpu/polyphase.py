"""Changes of rate: which kernel serves a signal, and which a signal's neighbours.

The one way into the CPU backend for the signal face. Whatever the kernel, every output is the same chain of
multiply-adds, from the newest sample to the oldest: so its bits do not depend on which kernel has computed it, nor on
what else was computed with it.
"""

from functools import lru_cache

import numpy as np

from numba_tconv.backends.cpu import columns, rational, sparse, turning
from numba_tconv.backends.cpu.forward import forward
from numba_tconv.backends.cpu.layout import Layout, plan_layout
from numba_tconv.backends.cpu.pack import Packed, Taps, pack_phases
from numba_tconv.backends.cpu.staging import part_dtype
from numba_tconv.backends.cpu.target import host
from numba_tconv.geometry import RateChange, rate_change, window

# Lanes run along the periods of a signal. Where they are fewer than fill a few vectors, lanes run along the signals:
# copies, but 1,000 signals of 250 samples at 160/147 took 3.2 ms and take 0.2, at 25/36 1.2 and 0.3. The measure is
# periods times the square of a number's bytes: of float64 a vector holds half as many, and copies are twice as long.
SHORT = 1536


@lru_cache(maxsize=4096)
def _layout(dtype: np.dtype, banks: int, size: int, up: int, x_parts: int, is_complex: bool) -> Layout:
    """Return the layout of filters one for each channel."""
    return plan_layout(
        dtype, groups=banks, channels=1, filters=1, filter_size=size, stride=up, dilation=1, x_parts=x_parts,
        weight_parts=2 if is_complex else 1,
    )  # fmt: skip


def _are_short(change: RateChange, x: np.ndarray, out: np.ndarray) -> bool:
    """Whether the signals (signal, 1, time) are many, and have so few periods that lanes should run along signals."""
    periods = change.output_length / change.outputs_per_period
    numbers = out.shape[0] * out.itemsize // out.real.itemsize
    return (
        periods * out.real.itemsize**2 < SHORT
        and numbers >= host().lanes(out.real.itemsize)
        and x.dtype == out.dtype
        and max(x.nbytes, out.nbytes) <= turning.MOST_BYTES
    )


class Bank:
    """Filters (bank, tap) between two rates, packed for real or complex inputs and results of a `dtype`."""

    def __init__(self, h: np.ndarray, up: int, down: int, dtype: np.dtype, *, is_complex: bool) -> None:
        dtype = part_dtype(dtype)
        self.up, self.down, self.size = up, down, h.shape[1]
        self._dtype, self._h, self._parts = dtype, h, 2 if is_complex else 1
        self._chars = dtype.char + np.result_type(dtype, np.complex64).char  # what is not converted
        self._fir: tuple[Layout, Packed] | None = None
        if down == 1:
            layout = _layout(dtype, *h.shape, up, self._parts, h.dtype.kind == "c")
            if layout.is_fir:
                self._fir = layout, Packed(layout, h[:, None])
        self._phases: Taps | None = None

    def _taps(self) -> Taps:
        if self._phases is None:
            self._phases = pack_phases(self._h, self.up, self._dtype, self._parts)
        return self._phases

    def run(self, x: np.ndarray, left: int, out: np.ndarray) -> None:
        """Write the outputs at `left`, `left + down`, ... of the full one to `out`.

        x and out are (batch, channel, time), out not empty; one filter is for all channels, several are one for each.
        """
        if x.dtype.char not in self._chars:
            # One pass more; kernels for every dtype would be compiled for a second each.
            x = x.astype(np.result_type(self._dtype, np.complex64) if x.dtype.kind == "c" else self._dtype)
        length, count = x.shape[2], out.shape[2]
        if self._fir:
            layout, packed = self._fir
            forward(layout, window(length, self.size, self.up, 1, left, count), x, packed, layout.zero_bias, out)
        else:
            change, taps = rate_change(length, self.size, self.up, self.down, left, count), self._taps()
            is_shared = self._h.shape[0] == x.shape[1] == 1 and self._h.dtype.kind != "c"
            if sparse.serves_small(change, taps, x.shape[0] * x.shape[1]):
                sparse.change_rate(change, x, taps, out)
            elif is_shared and _are_short(change, x, out):
                self._run_turned(change, x[:, 0].T, out[:, 0].T)
            elif sparse.serves(change, taps):
                sparse.change_rate(change, x, taps, out)
            else:
                rational.change_rate(change, x, taps, out)

    def _run_turned(self, change: RateChange, x: np.ndarray, out: np.ndarray) -> None:
        """`run_columns` for an array (time, signal) with time side by side, by way of copies."""
        beside = turning.turned(x[None])
        if beside.strides[2] != beside.itemsize:
            beside = np.ascontiguousarray(beside)
        shape = 1, *out.shape
        is_turned_back = turning.serves(shape, (0, *out.strides), out.dtype)
        result = turning.room(shape, out.dtype) if is_turned_back else np.empty(shape, out.dtype)
        columns.change_rate(change, beside, self._taps(), result)
        if is_turned_back:
            turning.turn_back(result, out[None])
        else:
            out[...] = result[0]

    def run_columns(self, x: np.ndarray, left: int, out: np.ndarray) -> bool:
        """`run` for arrays (array, time, signal) and one filter of real taps.

        Returns False, with nothing done, where that is not so or the signals side by side do not fill a vector.
        """
        if self._h.dtype.kind == "c" or not columns.serves(out, self._dtype):
            return False
        x = np.ascontiguousarray(x, out.dtype)
        change = rate_change(x.shape[1], self.size, self.up, self.down, left, out.shape[1])
        if sparse.serves_small(change, self._taps(), x.shape[0] * x.shape[2]):
            sparse.change_rate(change, x.swapaxes(1, 2), self._taps(), out.swapaxes(1, 2))
        else:
            columns.change_rate(change, x, self._taps(), out)
        return True
