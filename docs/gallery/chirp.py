"""
A chirp at another rate
=======================

A tone that rises from 0 to 24 kHz shows what a change of rate does to every frequency. From 48 to 44.1 kHz, everything
above 22.05 kHz must go: what stays of it comes back as another frequency, an alias.
"""

# %%
# The chirp
# ---------

import matplotlib.pyplot as plt
import numpy as np
import scipy.signal
import soxr

from numba_tconv import resample_poly

OLD, NEW, SECONDS = 48000, 44100, 4
t = np.arange(SECONDS * OLD) / OLD
chirp = scipy.signal.chirp(t, 0, SECONDS, OLD / 2).astype(np.float32)

# %%
# Three resamplers
# ----------------
# SciPy's default filter is short, 20 taps to either side, and so is ours: it is the same. A Kaiser window of larger
# `beta` lets less through where nothing should be, and takes a broader band for it. soxr has a longer filter of its
# own.

results = {
    "scipy.signal.resample_poly": scipy.signal.resample_poly(chirp, 147, 160),
    "numba_tconv.resample_poly": resample_poly(chirp, 147, 160),
    "the same, beta 12": resample_poly(chirp, 147, 160, window=("kaiser", 12.0)),
    "soxr HQ": soxr.resample(chirp, OLD, NEW, quality="HQ"),
}
difference = results["numba_tconv.resample_poly"] - results["scipy.signal.resample_poly"]
print(f"largest difference from SciPy: {np.abs(difference).max():.1e}")

# %%
# The rising line is the chirp. What turns back at the upper edge, once the chirp has passed 22.05 kHz, is the alias.
# The faint lines beside it are images, 60 to 100 dB below: what the filter lets through far from its pass band.

figure, plots = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True, sharey=True, layout="constrained")
for axes, (name, y) in zip(plots.flat, results.items(), strict=True):
    frequencies, times, power = scipy.signal.spectrogram(
        y, NEW, ("kaiser", 14.0), 1024, 512, detrend=False, mode="magnitude"
    )
    decibels = 20 * np.log10(np.maximum(power / power.max(), 1e-7))
    image = axes.pcolormesh(times, frequencies / 1000, decibels, vmin=-120, vmax=0, cmap="magma", rasterized=True)
    axes.set_title(name, fontsize=10)
figure.supxlabel("seconds", fontsize=10)
figure.supylabel("kHz", fontsize=10)
figure.colorbar(image, ax=plots, label="dB")
plt.show()
