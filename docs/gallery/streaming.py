"""
Block by block
==============

Sound comes in blocks. A program that filters each block by itself hears a click at every border, because a filter
needs the samples before. An `Upsampler` keeps them.
"""

# %%
# Blocks of 10 ms
# ---------------

import matplotlib.pyplot as plt
import numpy as np

from numba_tconv import Upsampler, upfirdn

RATE, UP, BLOCK = 8000, 4, 80
t = np.arange(4 * BLOCK) / RATE
x = np.sin(2 * np.pi * 440 * t).astype(np.float32)
blocks = np.split(x, 4)

taps = UP * np.sinc(np.arange(-40, 41) / UP) * np.hamming(81) / UP
taps = taps.astype(np.float32)

# %%
# Each block by itself, the tail of each dropped; then a stream; then all samples at once.

alone = np.concatenate([upfirdn(taps, block, UP)[: UP * BLOCK] for block in blocks])
upsampler = Upsampler(taps, UP)
streamed = np.concatenate([*(upsampler.process(block) for block in blocks), upsampler.flush()])
whole = upfirdn(taps, x, UP)
np.testing.assert_array_equal(streamed, whole)
print("the stream has the bits of the whole signal")

# %%
# `delay` says by how many output samples the result lags behind: half the filter.

milliseconds = 1000 * np.arange(alone.size) / (UP * RATE)
figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
for border in range(1, 4):
    axes.axvline(1000 * border * BLOCK / RATE, color="#b5bac1", linewidth=0.8)
axes.plot(milliseconds, alone, color="#d9822b", linewidth=1.2, label="each block by itself")
axes.plot(milliseconds, streamed[: alone.size], color="#1f77b4", linewidth=1.6, label="stream")
title = f"Borders of blocks; the filter's delay is {1000 * upsampler.delay / (UP * RATE):.2f} ms"
axes.set(xlabel="milliseconds", ylabel="amplitude", title=title, ylim=(-1.15, 1.45))
axes.legend(frameon=False, ncols=2, loc="upper right")
plt.show()
