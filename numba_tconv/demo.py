"""The demo: a real ECG at four times its sampling rate, checked against SciPy, timed and drawn.

Here belongs what `numba-tconv demo` shows, and nothing that other code could need.

The ECG is the one that PyWavelets ships, `pywt.data.ecg()`: 1024 integers without a word on origin, rate or unit. Its
spectrum has lines at 1/6 and 1/3 of the sampling rate. At 360 Hz, the rate of the MIT-BIH Arrhythmia Database, they are
the 60 Hz of American mains and the harmonic (G. B. Moody and R. G. Mark, "The impact of the MIT-BIH Arrhythmia
Database", IEEE Engineering in Medicine and Biology 20(3):45-50, 2001). So the demo assumes 360 Hz, leaves amplitudes in
the converter's units, and says so.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numba
import numpy as np
import pywt.data
import scipy.signal
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from numba_tconv.functional import ConvTranspose1d, conv_transpose1d

UP = 4
RATE = 360.0
TILES = 1000
TOLERANCE = 2e-5

ROUNDS = 9
REST = 0.05  # seconds in which the threads of the candidate before go to sleep

INK, OURS, OTHERS = "#22262b", "#1f77b4", "#b5bac1"

Array = NDArray[Any]
Candidates = dict[str, Callable[[], Array]]
SCIPY, FUNCTION, PLAN = "scipy.signal.upfirdn", "conv_transpose1d", "ConvTranspose1d, out="


def run_demo(output: Path) -> float:
    """Upsample the ECG, compare with SciPy, print what was found and draw it.

    Parameters
    ----------
    output : Path
        The PNG to write.

    Returns
    -------
    float
        Largest deviation from SciPy in double precision, relative to the largest sample.
    """
    ecg = pywt.data.ecg().astype(np.float32)
    taps = interpolation_filter(UP)
    print(f"ECG: pywt.data.ecg(), {ecg.size} samples, assumed {RATE:.0f} Hz; upsampled by {UP} with {taps.size} taps")

    start = time.perf_counter()
    upsampled = candidates(ecg, taps)[FUNCTION]()
    print(f"first call: {time.perf_counter() - start:.2f} s; compiles once, later processes load it from the cache")

    deviation = relative_deviation(ecg, taps)
    print(f"deviation from SciPy in double precision: {deviation:.1e} of the largest sample (limit {TOLERANCE:.0e})")

    signals = ((ecg, 50), (np.tile(ecg, TILES), 3))
    times = {f"{x.size:,} samples": median_times(candidates(x, taps), calls) for x, calls in signals}
    print(f"median times of one call on this machine, {numba.get_num_threads()} threads for numba_tconv, 1 for SciPy")
    print(f"(the long signal is the ECG {TILES} times in a row):")
    print(f"{'':24}" + "".join(f"{name:>20}" for name in times))
    for candidate in (SCIPY, FUNCTION, PLAN):
        print(f"{candidate:24}" + "".join(f"{as_time(medians[candidate]):>20}" for medians in times.values()))

    draw(output, ecg, upsampled[taps.size // 2 :], times)
    print(f"wrote {output.absolute()}")
    return deviation


def interpolation_filter(up: int) -> Array:
    """Return the windowed sinc that `scipy.signal.resample_poly` takes by default, in float32."""
    taps = scipy.signal.firwin(2 * 10 * up + 1, 1 / up, window=("kaiser", 5.0))
    return np.asarray(up * taps, np.float32)


def candidates(x: Array, taps: Array) -> Candidates:
    """Return the three ways to upsample `x` by UP; all give the full output in float32."""
    signal, weight = x[np.newaxis], taps[np.newaxis, np.newaxis]
    plan = ConvTranspose1d(weight, stride=UP)
    out = np.empty((1, (x.size - 1) * UP + taps.size), np.float32)
    return {
        SCIPY: lambda: scipy.signal.upfirdn(taps, x, UP),
        FUNCTION: lambda: conv_transpose1d(signal, weight, stride=UP)[0],
        PLAN: lambda: plan(signal, out=out)[0],
    }


def relative_deviation(x: Array, taps: Array) -> float:
    """Return our candidates' largest deviation from SciPy in double precision, relative to the largest sample."""
    expected = scipy.signal.upfirdn(taps.astype(np.float64), x.astype(np.float64), UP)
    ours = [call() for name, call in candidates(x, taps).items() if name != SCIPY]
    return float(max(np.abs(y - expected).max() for y in ours) / np.abs(expected).max())


def median_times(candidates: Candidates, calls: int) -> dict[str, float]:
    """Return each candidate's median seconds; the candidates take turns, after a rest and an untimed call."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, call in candidates.items():
            time.sleep(REST)
            call()
            for _ in range(calls):
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(samples) for name, samples in seconds.items()}


def as_time(seconds: float) -> str:
    """Return `seconds` with a fitting unit."""
    scale, unit = (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
    return f"{seconds * scale:.3g} {unit}"


def draw(output: Path, ecg: Array, upsampled: Array, times: dict[str, dict[str, float]]) -> None:
    """Write the figure: one heart beat before and after, and the times."""
    with matplotlib.rc_context({"font.size": 9, "axes.titleweight": "bold", "axes.titlelocation": "left"}):
        figure = Figure(figsize=(11, 4.5), dpi=150, layout="constrained")
        axes = figure.subplot_mosaic([["beat", name] for name in times], width_ratios=(2, 1))
        for ax in axes.values():
            ax.spines[["top", "right"]].set_visible(False)
        _draw_beat(axes["beat"], ecg, upsampled)
        for name, medians in times.items():
            _draw_times(axes[name], name, medians)
        figure.savefig(output, format="png")


def _draw_beat(axes: Axes, ecg: Array, upsampled: Array) -> None:
    """Draw one second around the tallest R peak, and the peak itself in an inset."""
    peak = ecg.argmax() / RATE
    inset = axes.inset_axes((0.5, 0.45, 0.48, 0.53))
    for ax, sizes in ((axes, (0, 2)), (inset, (3, 6))):
        fine, coarse = np.arange(upsampled.size) / (UP * RATE), np.arange(ecg.size) / RATE
        ax.plot(fine, upsampled, "o-", color=OURS, linewidth=1.2, markersize=sizes[0], label=f"upsampled ×{UP}")
        ax.plot(coarse, ecg, "o", color=INK, markersize=sizes[1], label="samples")
    axes.set(xlim=(peak - 0.3, peak + 0.7), xlabel=f"seconds, at an assumed {RATE:.0f} Hz", ylabel="converter units")
    axes.set_title(f"A real ECG, upsampled ×{UP} by numba_tconv")
    axes.legend(loc="lower right", ncols=2, frameon=False)
    inset.set(xlim=(peak - 0.025, peak + 0.035), xticks=[], yticks=[])
    axes.indicate_inset_zoom(inset, edgecolor=INK)


def _draw_times(axes: Axes, signal: str, medians: dict[str, float]) -> None:
    """Draw one bar per candidate, the first on top."""
    bars = axes.barh(list(medians), list(medians.values()), color=[OTHERS, OURS, OURS], height=0.6)
    axes.bar_label(bars, [as_time(seconds) for seconds in medians.values()], padding=4)
    axes.set(xticks=[], xlim=(0, 1.25 * max(medians.values())), title=f"One call, {signal}")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
