"""Long filters by Fourier transforms: overlap-save, phase by phase, with `scipy.fft`.

Here belong the transforms and the rule for when they win. J. J. Shynk, "Frequency-domain and multirate adaptive
filtering", IEEE Signal Processing Magazine 9(1):14-37, 1992, section II, has the method.
"""

from math import gcd
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

# A block has this many times the filter's samples, and no fewer than these; so many are transformed at once.
BLOCK_OF_TAPS, FEWEST, AT_ONCE = 4, 1 << 12, 1 << 18
# Multiply-adds that take as long as one sample's share of a transform. With two threads of a Zen 4, transforms of
# float32 won from 1200 taps on at the rates 1/1, from 700 at 4/1, 900 at 3/2, 3000 at 1/4 and 60 thousand at 160/147;
# those of float64 and complex64, whose multiply-adds cost twice, from half as many. The rule asks for 1024, 640, 1366,
# 4096 and 80 thousand. It looks at neither dtype, length nor threads: none of them may change the bits of a result.
TRANSFORM = 512


def fft_is_faster(filter_size: int, up: int, down: int) -> bool:
    """Whether transforms beat multiply-adds.

    For each sample, either `up/down` outputs of `taps` multiply-adds each, or one transform there and one back for each
    output of a period.
    """
    taps, period = -(-filter_size // up), up // gcd(up, down)
    return taps * up > TRANSFORM * (1 + period) * down


def write_by_fft(h: NDArray[Any], up: int, down: int, x: NDArray[Any], left: int, out: NDArray[Any]) -> None:
    """Write the outputs at `left`, `left + down`, ... of the full one to `out`; its dtype is computed in.

    Parameters
    ----------
    h : ndarray, (..., taps)
        Filters; leading axes broadcast against those of x.
    up, down : int
        The rates.
    x : ndarray, (..., length)
        Signals, zero beyond their ends.
    left : int
        Place of the first output in the full one.
    out : ndarray, (..., count)
        The outputs.
    """
    is_real, count, length = out.dtype.kind != "c", out.shape[-1], x.shape[-1]
    transform, inverse = (scipy.fft.rfft, scipy.fft.irfft) if is_real else (scipy.fft.fft, scipy.fft.ifft)
    period, step = up // gcd(up, down), down // gcd(up, down)
    taps = -(-h.shape[-1] // up)
    size = scipy.fft.next_fast_len(max(BLOCK_OF_TAPS * taps, FEWEST), is_real)
    hop = size - taps + 1
    first, last = left // up, (left + (count - 1) * down) // up + 1
    blocks = max(1, min(AT_ONCE // size, -(-(last - first) // hop)))
    for begin in range(first, last, blocks * hop):
        # Samples that the outputs of these blocks, one for each sample and phase, reach back to.
        end, needed = begin + blocks * hop, np.zeros((*x.shape[:-1], (blocks - 1) * hop + size), out.dtype)
        inside = slice(max(0, begin - taps + 1), max(0, min(length, end)))
        at = inside.start - (begin - taps + 1)
        needed[..., at : at + max(0, inside.stop - inside.start)] = x[..., inside]
        windows = np.lib.stride_tricks.sliding_window_view(needed, size, axis=-1)[..., ::hop, :]
        spectrum = transform(windows)
        for p in range(min(period, count)):
            q, r = divmod(left + down * p, up)
            # Outputs p, p + period, ... belong to the samples q, q + step, ...
            m = range(max(0, -((q - begin) // step)), min(-((p - count) // period), -((q - end) // step)))
            if not m:
                continue
            response = transform(h[..., r::up].astype(out.dtype), size)[..., None, :]
            filtered = inverse(spectrum * response, size)[..., taps - 1 :]
            filtered = filtered.reshape(*filtered.shape[:-2], blocks * hop)
            out[..., p + period * m[0] : p + period * m[-1] + 1 : period] = filtered[
                ..., q + step * m[0] - begin : q + step * m[-1] - begin + 1 : step
            ]
