"""
Upsample an ECG
===============

An ECG at 360 Hz shows an R peak with a dozen samples. Four times as many place it more exactly, as heart rate
variability asks for. `resample_poly` designs the filter and cuts its delay, so times stay what they were.
"""

# %%
# The signal
# ----------
# PyWavelets ships one, three heart beats in 1024 samples, at an assumed 360 Hz, in the converter's units.

import matplotlib.pyplot as plt
import numpy as np
import pywt.data
import scipy.signal

from numba_tconv import resample_poly

UP, RATE = 4, 360
ecg = pywt.data.ecg().astype(np.float32)

# %%
# Four times the rate
# -------------------
# The import is what changes in a script that used SciPy. The samples at hand do not pass through unchanged: they are
# filtered as well.

fine = resample_poly(ecg, UP, 1)
expected = scipy.signal.resample_poly(ecg.astype(float), UP, 1)
print(f"largest deviation from SciPy in double precision: {np.abs(fine - expected).max() / ecg.max():.1e} of the peak")

# %%
# The tallest peak lies between two samples.

peak = int(ecg.argmax())
near = slice(UP * (peak - 4), UP * (peak + 5))
place = (near.start + int(fine[near].argmax())) / UP
print(f"R peak at {1000 * peak / RATE:.1f} ms; between samples, at {1000 * place / RATE:.1f} ms")

seconds, fine_seconds = np.arange(ecg.size) / RATE, np.arange(fine.size) / (UP * RATE)
figure, (beat, close) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(2, 1), layout="constrained")
for axes in (beat, close):
    axes.plot(fine_seconds, fine, ".-", color="#1f77b4", linewidth=1, markersize=4, label=f"upsampled ×{UP}")
    axes.plot(seconds, ecg, "o", color="#22262b", markersize=3, label="samples")
    axes.set_xlabel("seconds")
beat.set(xlim=(peak / RATE - 0.3, peak / RATE + 0.6), ylabel="converter units", title="One heart beat")
close.set(xlim=((peak - 4) / RATE, (peak + 5) / RATE), title="Its R peak")
beat.legend(frameon=False)
plt.show()
