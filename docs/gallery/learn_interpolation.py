r"""
Learn an interpolation filter
=============================

A recorder stores an ECG at a quarter of its sampling rate. What filter brings back the samples in between?

The textbook answer is a windowed sinc: the ideal low-pass filter, cut to a finite length. It knows nothing of what the
recorder did before it dropped three samples out of four. Ours averages, as the first stage of a delta-sigma converter
does (E. B. Hogenauer, "An economical class of digital filters for decimation and interpolation", IEEE Transactions on
Acoustics, Speech, and Signal Processing 29(2):155-162, 1981), and has lowered high frequencies, the highest that it
keeps to 43 %. A filter that is learned from examples undoes that too, with fewer taps.

The filter is the weights of a single transposed convolution layer, and `trainnet` learns them.
"""

# %%
# The data
# --------
# The ECG that PyWavelets ships has three heart beats in 1024 samples, at an assumed 360 Hz. The first two beats are for
# learning, the third one is only looked at in the end.

import matplotlib.pyplot as plt
import numpy as np
import pywt.data
import scipy.signal

from numba_tconv import trainingOptions, trainnet, transposedConv1dLayer

UP, RATE = 4, 360
ecg = pywt.data.ecg().astype(np.float32)
ecg = (ecg - ecg.mean()) / ecg.std()
beats, unseen = ecg[:640], ecg[640:]

# %%
# The recorder convolves with a triangle, which is two running means of four samples, and keeps every fourth sample.
# Which one of the four comes first is chance, so each of them makes an example. The best filter depends on the spectrum
# of the signal alone, which a recording that is played backwards shares: that doubles the examples.


def examples(signal):
    """Return what the recorder stores and what it was made of, as channel x batch x time."""
    averaged = np.convolve(signal, np.array([1, 2, 3, 4, 3, 2, 1], np.float32) / 16, "same")
    length = (signal.size - UP + 1) // UP * UP
    stored = [averaged[start : start + length : UP] for start in range(UP)]
    original = [signal[start : start + length] for start in range(UP)]
    return np.stack(stored)[None], np.stack(original)[None]


forwards, backwards = examples(beats), examples(beats[::-1])
X, T = (np.concatenate(pair, axis=1) for pair in zip(forwards, backwards, strict=True))
print(f"inputs {X.shape}, targets {T.shape}: channel, batch, time")

# %%
# The filters
# -----------
# The rival is the filter that `scipy.signal.resample_poly` designs: 81 taps. The layer starts from a windowed sinc of
# 33 taps. It is cropped such that there are exactly four output samples for each input sample and no delay. The bias is
# of no use here: a learn rate factor of 0 keeps it at zero.


def windowed_sinc(taps):
    """Return a low-pass filter at the stored signal's Nyquist frequency."""
    return (UP * scipy.signal.firwin(taps, 1 / UP, window=("kaiser", 5.0))).astype(np.float32)


def interpolator(taps):
    """Return a layer that interpolates with these taps."""
    crop = taps.size // 2, taps.size - UP - taps.size // 2
    return transposedConv1dLayer(
        taps.size, 1, Stride=UP, Cropping=crop, Weights=taps[:, None], Bias=np.zeros(1, np.float32),
        BiasLearnRateFactor=0,
    )  # fmt: skip


sinc, start = interpolator(windowed_sinc(81)), interpolator(windowed_sinc(33))

# %%
# Training
# --------
# Near the ends of a recording the filter reaches over the border. A loss function of our own leaves these samples out:
# it returns the loss, and its gradient with respect to the output.

EDGE = 40


def inner_mse(Y, T):
    """Return the mean squared error without the edges, and its gradient."""
    error = Y - T
    error[..., :EDGE] = error[..., -EDGE:] = 0
    count = error[..., EDGE:-EDGE].size
    return np.sum(error**2, dtype=np.float64) / count, 2 / count * error


options = trainingOptions(
    "adam", InitialLearnRate=0.01, MaxEpochs=600, L2Regularization=0, LearnRateSchedule="piecewise",
    LearnRateDropPeriod=200, LearnRateDropFactor=0.3, Verbose=False,
)  # fmt: skip
learned, info = trainnet(X, T, start, inner_mse, options)

# %%
# The third beat
# --------------
# None of the filters has seen it.

stored, original = examples(unseen)


def interpolation_error(layer):
    """Return the root mean squared error on the third beat, in standard deviations of the ECG."""
    return np.sqrt(inner_mse(layer.predict(stored, "CBT"), original)[0])


filters = {"windowed sinc, 81 taps": sinc, "windowed sinc, 33 taps": start, "learned, 33 taps": learned}
for name, layer in filters.items():
    print(f"error on the third beat, {name}: {interpolation_error(layer):.4f}")

# %%
# The sinc passes on what the recorder has lowered: the R peak stays too low, whatever the number of taps. The learned
# filter lifts frequencies by as much as the recorder has lowered them, and lets go at 45 Hz, where the stored signal
# ends. Some ripples above are the price of so few taps; the ECG has next to nothing there.

OURS, OTHERS, INK = "#1f77b4", "#e08214", "#22262b"
figure, axes = plt.subplot_mosaic(
    [["beat", "taps"], ["beat", "response"]], figsize=(9.5, 5), width_ratios=(3, 2), layout="constrained"
)

time = np.arange(original.shape[-1]) / RATE
around = slice(original[0, 0].argmax() - 26, original[0, 0].argmax() + 35)
axes["beat"].plot(time[around], original[0, 0, around], color="#b5bac1", linewidth=5, label="original")
for name, color, width in (("windowed sinc, 81 taps", OTHERS, 1.5), ("learned, 33 taps", OURS, 1.8)):
    output = filters[name].predict(stored[:, :1], "CBT")[0, 0]
    label = f"{name}: error {interpolation_error(filters[name]):.3f}"
    axes["beat"].plot(time[around], output[around], color=color, linewidth=width, label=label)
is_stored = np.arange(around.start + -around.start % UP, around.stop, UP)
axes["beat"].plot(time[is_stored], stored[0, 0, is_stored // UP], "o", color=INK, markersize=5, label="stored samples")
axes["beat"].set(
    xlabel=f"seconds, at an assumed {RATE} Hz", ylabel="standard deviations", title="The unseen third beat"
)
axes["beat"].legend(loc="upper right", frameon=False)

for name, color in (("windowed sinc, 33 taps", OTHERS), ("learned, 33 taps", OURS)):
    taps = filters[name].Weights.ravel()
    axes["taps"].plot(np.arange(taps.size) - taps.size // 2, taps, "o-", color=color, markersize=3, label=name)
    frequency, response = scipy.signal.freqz(taps / UP, fs=RATE)
    axes["response"].plot(frequency, np.abs(response), color=color, label=name)
frequency, response = scipy.signal.freqz([1, 2, 3, 4, 3, 2, 1], 16, fs=RATE)
axes["response"].plot(frequency, np.abs(response), ":", color=INK, label="recorder")
axes["taps"].set(xlabel="tap", title="The filters")
axes["response"].set(xlabel="Hz", ylabel="gain", xlim=(0, RATE / 2))
axes["response"].legend(loc="upper right", frameon=False, fontsize="small")
for ax in axes.values():
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
