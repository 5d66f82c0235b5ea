"""
Audio from 44.1 to 48 kHz
=========================

The ratio of the two rates is 160/147. No zeros are inserted, and no sample is computed that is not kept: each output is
one of 160 short filters, times the samples around it.
"""

# %%
# The signal
# ----------
# Ten seconds of tones whose exact values are known at any time.

import statistics
import time

import matplotlib.pyplot as plt
import numpy as np
import scipy.signal

from numba_tconv import resample_poly

OLD, NEW, SECONDS = 44100, 48000, 10
TONES = 440 * 2 ** (np.arange(0, 61, 4) / 12)  # A4 to A9, 14 kHz


def tones(rate):
    """Return the sum of all tones at a sampling rate."""
    t = np.arange(SECONDS * rate)[:, None] / rate
    return np.sin(2 * np.pi * TONES * t).mean(axis=1).astype(np.float32)


x, truth = tones(OLD), tones(NEW)

# %%
# Quality and time
# ----------------
# The filter decides on the error; the same filter gives the same error here as in SciPy. A median of a few calls, each
# candidate in turn, says how long it takes on the machine that built this page.

windows = {"default, beta 5": ("kaiser", 5.0), "beta 8": ("kaiser", 8.0)}
candidates = {"SciPy": scipy.signal.resample_poly, "numba_tconv": resample_poly}
middle = slice(1000, -1000)
for label, window in windows.items():
    for name, call in candidates.items():
        y, seconds = call(x, 160, 147, window=window), []
        for _ in range(7):
            start = time.perf_counter()
            call(x, 160, 147, window=window)
            seconds.append(time.perf_counter() - start)
        error = 20 * np.log10(np.std((y - truth)[middle]) / np.std(truth))
        print(f"{label:16} {name:12} error {error:6.1f} dB, {1000 * statistics.median(seconds):6.2f} ms")

# %%
# Most of the error lies at the tones themselves: the filter's pass band is not quite flat. The rest, between them, are
# images of the tones.

figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
for (label, window), colour in zip(windows.items(), ("#1f77b4", "#d9822b"), strict=True):
    error = (resample_poly(x, 160, 147, window=window) - truth)[middle]
    frequencies, power = scipy.signal.welch(error, NEW, "hann", 1 << 13, scaling="spectrum")
    axes.plot(frequencies / 1000, 10 * np.log10(power + 1e-20), color=colour, linewidth=1, label=label)
frequencies, power = scipy.signal.welch(truth[middle], NEW, "hann", 1 << 13, scaling="spectrum")
axes.plot(frequencies / 1000, 10 * np.log10(power + 1e-20), color="#b5bac1", linewidth=1, zorder=0, label="signal")
axes.set(xlabel="kHz", ylabel="dB", title="Spectrum of the error", ylim=(-160, 0), xlim=(0, 20))
axes.legend(frameon=False, ncols=3)
plt.show()
